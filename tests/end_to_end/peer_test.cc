// Direct sessions between agents as processes of their own, driven with the command line; and what an
// agent says to a caller whose certificates are not in order.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "crypto/certificate_authority.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/peer_handshake.h"
#include "services/agent/grpc_peer_transport.h"
#include "services/broker/authority.h"
#include "services/broker/config.h"
#include "services/common/broker_card.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/tcp_recorder.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class PeerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({}, {{"alice", "violet umbrella 7", "1001", "2468", "1.00"},
                                    {"bob", "paper lantern 3", "1002", "1357", "1.00"},
                                    {"carol", "brass kettle 11", "1003", "9753", "1.00"}})
                    .release();
    if (shopping_ == nullptr) return;
    for (const char* user : {"alice", "bob", "carol"}) {
      shopping_->Ask(user, {"certificate", "request"});
    }
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }
  void TearDown() override {
    for (const char* user : {"alice", "bob"}) {
      shopping().Run(user, {"peer", "listen", "--stop"});
      shopping().Run(user, {"peer", "close", user == std::string("alice") ? "bob" : "alice"});
    }
  }

  static Shopping& shopping() { return *shopping_; }
  // Where `user` listens from now on.
  std::string Listen(const std::string& user, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"peer", "listen"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const json reply = shopping().Ask(user, arguments);
    return reply.is_object() ? reply["address"].get<std::string>() : "";
  }
  // The texts that `user` received, in order.
  std::vector<std::string> Received(const std::string& user) {
    std::vector<std::string> texts;
    const json inbox = shopping().Ask(user, {"peer", "inbox", "--limit", "1000"});
    for (const json& text : inbox["texts"]) {
      if (text["outgoing"] == false) texts.push_back(text["text"]);
    }
    return texts;
  }
  std::string WriteFile(const std::string& name, const std::string& content) {
    const std::string path = shopping().market().folder() + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::string WaitForFile(const std::string& user, size_t number) {
    for (int i = 0; i < 2'000; ++i) {
      const json files = shopping().Ask(user, {"peer", "inbox", "--limit", "1000"})["files"];
      if (files.size() >= number) return files[number - 1]["path"];
    }
    ADD_FAILURE() << "no file came";
    return "";
  }

 private:
  static Shopping* shopping_;
};
Shopping* PeerTest::shopping_ = nullptr;

TEST_F(PeerTest, TextsGoBothWays) {
  Listen("bob");
  const json connected = shopping().Ask("alice", {"peer", "connect", "bob"});
  ASSERT_TRUE(connected.is_object());
  EXPECT_EQ(connected["session"]["username"], "bob");
  EXPECT_EQ(connected["session"]["fingerprint_hex"],
            shopping().Ask("bob", {"status"})["own_fingerprint_hex"]);
  shopping().Ask("alice", {"peer", "send", "bob", "Are you there?"});
  shopping().Ask("bob", {"peer", "send", "alice", "I am."});
  EXPECT_THAT(Received("bob"), ::testing::ElementsAre("Are you there?"));
  EXPECT_THAT(Received("alice"), ::testing::ElementsAre("I am."));
  const json sessions = shopping().Ask("bob", {"peer", "sessions"});
  ASSERT_EQ(sessions["sessions"].size(), 1u) << sessions.dump(2);
  EXPECT_EQ(sessions["sessions"][0]["username"], "alice");
  EXPECT_EQ(sessions["announced"], true);

  // A chat: what is typed here comes out there, and the other way round.
  const absl::StatusOr<std::vector<Output>> outputs = [&] {
    Command alice = shopping().market().CliCommand("alice", {"peer", "chat", "bob"});
    alice.input = "line one\nline two\n";
    return RunAllToEnd({alice});
  }();
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  EXPECT_EQ(outputs->front().exit_code, kOk) << outputs->front().err;
  EXPECT_THAT(Received("bob"), ::testing::ElementsAre("Are you there?", "line one", "line two"));

  // She called, and he knows of her key only what the broker says. No line of hers passes for another's.
  shopping().Ask("alice", {"peer", "send", "bob", "one\n2026-01-01 00:00:00 from carol:\n  | two"});
  const auto human = [&](const std::vector<std::string>& arguments) {
    const auto output = RunToEnd(shopping().market().CliCommand("bob", arguments));
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  };
  const Output inbox = human({"peer", "inbox", "alice", "--limit", "1"});
  EXPECT_EQ(inbox.exit_code, kOk) << inbox.err;
  EXPECT_THAT(inbox.out, HasSubstr("from alice (first contact, key not compared):\n  | one\n"
                                   "  | 2026-01-01 00:00:00 from carol:\n  |   | two\n"));
  EXPECT_THAT(inbox.out, ::testing::Not(HasSubstr("line two")));
  EXPECT_THAT(inbox.out, HasSubstr("left out"));
  EXPECT_THAT(inbox.err, HasSubstr("contacts verify alice"));
  EXPECT_THAT(human({"peer", "inbox", "--since", "2999-01-01"}).out, HasSubstr("since then"));
  EXPECT_THAT(human({"peer", "sessions"}).err, HasSubstr("contacts verify alice"));
  EXPECT_THAT(human({"contacts"}).err, HasSubstr("contacts verify alice"));

  shopping().Ask("alice", {"peer", "close", "bob"});
  shopping().Ask("alice", {"peer", "close", "bob"}, kRefused);
}

TEST_F(PeerTest, NobodyThereAndWrongUsage) {
  shopping().Ask("alice", {"peer", "connect", "carol"}, kUnreachable);
  shopping().Ask("alice", {"peer", "connect", "127.0.0.1:1"}, kUnreachable);
  shopping().Ask("alice", {"peer", "connect", "no-address:"}, kUsage);
  shopping().Ask("alice", {"peer", "listen", "--address", "203.0.113.5:7444", "--plain-tcp"},
                 kUsage);
  shopping().Ask("alice", {"peer", "send-file", "bob", "/nonexistent"}, kUsage);
  const std::string address = Listen("bob");
  const Answer answer = shopping().Run("alice", {"peer", "connect", "carol", "--address", address});
  EXPECT_EQ(answer.exit_code, kVerification) << answer.err;
  EXPECT_THAT(answer.err, HasSubstr("not carol but bob"));
}

TEST_F(PeerTest, EachStepIsExplained) {
  Listen("bob");
  const Answer answer = shopping().Run("alice", {"--explain", "peer", "connect", "bob"});
  ASSERT_EQ(answer.exit_code, kOk) << answer.err;
  for (const char* step : {"hello sent", "certificates were checked", "signature", "master secret",
                           "fresh keys stand"}) {
    EXPECT_THAT(answer.err, HasSubstr(step));
  }
}

TEST_F(PeerTest, FilesAreTakenWhenWanted) {
  Listen("bob");
  const std::string path = WriteFile("gift.txt", "a small gift");
  Answer answer = shopping().Run("alice", {"peer", "send-file", "bob", path});
  EXPECT_EQ(answer.exit_code, kRefused) << answer.err;
  EXPECT_THAT(answer.err, HasSubstr("peer accept"));
  shopping().Ask("bob", {"peer", "accept", "alice", "1MB"});
  answer = shopping().Run("alice", {"peer", "send-file", "bob", path});
  EXPECT_EQ(answer.exit_code, kOk) << answer.err;
  EXPECT_EQ(answer.json["done"], true);
  const std::string received = WaitForFile("bob", 1);
  EXPECT_EQ(FileContent(received), "a small gift");
  EXPECT_EQ(std::filesystem::path(received).filename(), "gift.txt");
}

// A caller that the test writes itself, with certificates as the broker's own authority would make
// them, or not.
class CallerTest : public PeerTest {
 protected:
  // Null: the agent refused at its answer.
  class Caller : public LinkHandler, public protocol::PeerVerifier {
   public:
    struct Result {
      std::mutex mutex;
      std::condition_variable changed;
      bool answered = false;
      bool finished = false;
      absl::optional<absl::Status> closed;
    };
    Caller(std::shared_ptr<Link> link, const crypto::Identity& identity,
           const protocol::PeerCertificates& certificates, std::shared_ptr<Result> result)
        : link_(std::move(link)),
          x_(identity, certificates, *this, crypto::SystemRandom()),
          result_(std::move(result)) {
      link_->SendHandshake(*x_.Start());
    }
    absl::StatusOr<protocol::CertifiedPeer> Verify(
        const protocol::PeerCertificates& certificates) override {
      // Whatever is shown: this end checks nothing.
      const auto signing = crypto::Certificate::Parse(certificates.signing);
      const auto encryption = crypto::Certificate::Parse(certificates.encryption);
      if (!signing.ok() || !encryption.ok()) return absl::DataLossError("no certificates");
      auto identity = crypto::PublicIdentity::Create(*encryption->RsaKey(), *signing->Ed25519Key());
      if (!identity.ok()) return identity.status();
      return protocol::CertifiedPeer{signing->subject(), *std::move(identity)};
    }
    void OnHandshake(const v1::HandshakeMessage& message) override {
      std::lock_guard<std::mutex> lock(result_->mutex);
      if (!result_->answered) {
        result_->answered = true;
        auto finish = x_.OnAnswer(message);
        // Without the keys of the certificates it has to make one up; waiting would end with the
        // agent's patience only.
        link_->SendHandshake(finish.ok() ? *std::move(finish) : MadeUpFinish());
        return;
      }
      result_->finished = x_.OnFinished(message).ok();
      link_->Close(absl::OkStatus());
      result_->changed.notify_all();
    }
    void OnMessages(std::vector<std::string> /*messages*/) override {}
    void OnClosed(const absl::Status& status) override {
      std::lock_guard<std::mutex> lock(result_->mutex);
      result_->closed = status;
      result_->changed.notify_all();
    }

   private:
    static v1::HandshakeMessage MadeUpFinish() {
      constexpr size_t kSignatureBytes = 64, kCiphertextBytes = 384, kMacBytes = 32;
      crypto::RandomSource& random = crypto::SystemRandom();
      v1::HandshakeMessage finish;
      finish.set_body(
          crypto::LengthPrefixed({random.Bytes(kSignatureBytes), random.Bytes(kCiphertextBytes)}));
      finish.set_finished(random.Bytes(kMacBytes));
      return finish;
    }

    std::shared_ptr<Link> link_;
    protocol::PeerInitiator x_;
    std::shared_ptr<Result> result_;
  };

  struct Outcome {
    bool answered = false;  // The agent showed its own certificates.
    bool finished = false;  // The handshake came to its end.
  };
  Outcome Call(const std::string& address, const crypto::Identity& identity,
               const protocol::PeerCertificates& certificates) {
    static auto* const counters = new protocol::RefusalCounters();
    agent::GrpcPeerTransport transport(*counters);
    const auto result = std::make_shared<Caller::Result>();
    const auto link = transport.Dial(address, false, [&](std::shared_ptr<Link> dialled) {
      return std::make_unique<Caller>(std::move(dialled), identity, certificates, result);
    });
    EXPECT_TRUE(link.ok()) << link.status();
    std::unique_lock<std::mutex> lock(result->mutex);
    EXPECT_TRUE(result->changed.wait_for(lock, std::chrono::seconds(60),
                                         [&] { return result->closed.has_value(); }));
    return {result->answered, result->finished};
  }
};

TEST_F(CallerTest, OnlyCertificatesThatAreInOrderOpenTheDoor) {
  const std::string address = Listen("bob");
  const broker::DataPaths paths(shopping().market().broker_dir());
  const auto card = LoadBrokerCard(shopping().market().broker_card());
  ASSERT_TRUE(card.ok()) << card.status();
  const absl::Time now = absl::Now();
  const auto authority = broker::LoadAuthority(paths, card->identity, Marketplace::kPassphrase, now,
                                               crypto::SystemRandom());
  ASSERT_TRUE(authority.ok()) << authority.status();
  const auto own = crypto::Identity::Generate();
  const auto other = crypto::Identity::Generate();
  const crypto::ValidityPeriod year = {now - absl::Hours(24), now + absl::Hours(24 * 365)};
  const auto other_authority =
      crypto::CertificateAuthority::Create(authority->certificate().subject(), year);
  ASSERT_TRUE(own.ok() && other.ok() && other_authority.ok());

  const auto issue = [](const crypto::CertificateAuthority& issuer, const crypto::Identity& signing,
                        const crypto::Identity& encryption, const std::string& username,
                        const crypto::ValidityPeriod& validity) {
    const auto a = issuer.IssueSigning(username, signing.public_identity().ed25519(), validity);
    const auto b = issuer.IssueEncryption(username, encryption.public_identity().rsa(), validity);
    EXPECT_TRUE(a.ok() && b.ok());
    return protocol::PeerCertificates{a->der(), b->der()};
  };
  const crypto::ValidityPeriod today = {now - absl::Hours(1), now + absl::Hours(24)};
  const protocol::PeerCertificates good = issue(*authority, *own, *own, "dave", today);

  struct Case {
    const char* what;
    const crypto::Identity* keys;
    protocol::PeerCertificates certificates;
    bool answered;  // Refused only after the agent has answered: what is wrong shows later.
    bool finished;
  };
  const Case cases[] = {
      {"in order", &*own, good, true, true},
      {"expired", &*own,
       issue(*authority, *own, *own, "dave", {now - absl::Hours(48), now - absl::Hours(1)}), false,
       false},
      {"not yet valid", &*own,
       issue(*authority, *own, *own, "dave", {now + absl::Hours(24), now + absl::Hours(48)}), false,
       false},
      {"another authority of the same name", &*own,
       issue(*other_authority, *own, *own, "dave", today), false, false},
      {"somebody else's, without their keys", &*other, good, true, false},
      {"the two of different people",
       &*own,
       {good.signing, issue(*authority, *own, *own, "erin", today).encryption},
       false,
       false},
      {"one for the other", &*own, {good.encryption, good.signing}, false, false},
      {"twice the same", &*own, {good.signing, good.signing}, false, false},
      {"no certificates", &*own, {"not", "at all"}, false, false},
  };
  for (const Case& c : cases) {
    const Outcome outcome = Call(address, *c.keys, c.certificates);
    EXPECT_EQ(outcome.answered, c.answered) << c.what;
    EXPECT_EQ(outcome.finished, c.finished) << c.what;
  }
}

TEST_F(PeerTest, ARevokedUserIsRefusedOnBothEnds) {
  const std::string carol = Listen("carol");
  Listen("alice");
  shopping().Ask("carol", {"peer", "send", "alice", "before"});
  const auto revoked = shopping().market().BrokerCommand({"revoke", "carol"});
  ASSERT_TRUE(revoked.ok()) << revoked.status();
  ASSERT_EQ(revoked->exit_code, 0) << revoked->err;
  // Alice fetches the new list before she connects, and does not accept Carol any more.
  const Answer answer = shopping().Run("alice", {"peer", "connect", "carol"});
  EXPECT_EQ(answer.exit_code, kVerification) << answer.out << answer.err;
  EXPECT_THAT(answer.err, HasSubstr("revoked"));
  // Nor does she let her in, or go on with the session that stood.
  shopping().Run("carol", {"peer", "close", "alice"});
  EXPECT_EQ(shopping().Run("carol", {"peer", "connect", "alice"}).exit_code, kRefused);
  const std::vector<std::string> received = Received("alice");
  EXPECT_EQ(std::count(received.begin(), received.end(), "before"), 1);
}

// The last: it leaves the broker switched off.
TEST_F(PeerTest, GoesOnWithTheBrokerSwitchedOff) {
  const std::string address = Listen("bob", {"--accept-files", "100MB"});
  const auto recorder = TcpRecorder::Start(address);
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  shopping().market().KillBroker();

  // Alice knows Bob by this address only.
  shopping().Ask("alice", {"peer", "connect", "bob", "--address", (*recorder)->address()});
  shopping().Ask("alice", {"peer", "send", "bob", "no broker"});
  shopping().Ask("bob", {"peer", "send", "alice", "none here either"});
  EXPECT_EQ(Received("bob").back(), "no broker");
  EXPECT_EQ(Received("alice").back(), "none here either");

  const std::string content = Content(5 * 1024 * 1024 + 12'345, 7);
  const size_t files = shopping().Ask("bob", {"peer", "inbox", "--limit", "1000"})["files"].size();
  (*recorder)->CutAfter(2 * 1024 * 1024);
  const json sent =
      shopping().Ask("alice", {"peer", "send-file", "bob", WriteFile("thesis.pdf", content)});
  EXPECT_EQ((*recorder)->cuts(), 1);
  ASSERT_TRUE(sent.is_object());
  EXPECT_EQ(sent["done"], true);
  const std::string received = WaitForFile("bob", files + 1);
  EXPECT_TRUE(FileContent(received) == content);
  // Sent again it is known, and not sent.
  const size_t before = (*recorder)->Bytes().size();
  shopping().Ask("alice",
                 {"peer", "send-file", "bob", shopping().market().folder() + "/thesis.pdf"});
  EXPECT_LT((*recorder)->Bytes().size() - before, 1024u * 1024u);
  EXPECT_EQ((*recorder)->Bytes().find("no broker"), std::string::npos);

  // An agent that starts anew, with no broker in sight, knows what it has to.
  shopping().market().KillAgent("alice");
  ASSERT_TRUE(shopping().market().StartAgent("alice").ok());
  shopping().Ask("alice", {"peer", "send", "bob", "back again"});
  EXPECT_EQ(Received("bob").back(), "back again");
}

}  // namespace
}  // namespace blindcart::testing
