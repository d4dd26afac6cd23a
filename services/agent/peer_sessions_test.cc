#include "services/agent/peer_sessions.h"

#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/peer_message.h"
#include "services/agent/message_store.h"
#include "services/common/testing/memory_link.h"

namespace blindcart::agent {
namespace {

using ::testing::HasSubstr;

constexpr auto kPatience = std::chrono::seconds(60);

// Who has which certificates, and who listens where: the broker's knowledge, shared by all agents.
struct World {
  std::mutex mutex;
  std::map<std::string, int> users = {{"alice", 0}, {"bob", 1}, {"mallory", 2}};  // Test identity.
  std::set<std::string> revoked;
  std::map<std::string, std::string> announced;
  bool broker_on = true;

  // Addresses on which somebody listens.
  std::map<std::string, PeerTransport::AcceptHandler> doors;
  std::vector<std::unique_ptr<testing::MemoryLinkPair>> links;
  protocol::RefusalCounters counters;
  int next_port = 1000;

  void BreakAll() {
    std::lock_guard<std::mutex> lock(mutex);
    for (const auto& link : links) link->Break();
  }
};

class FakeDirectory : public PeerDirectory {
 public:
  FakeDirectory(World& world, std::string username)
      : world_(world), username_(std::move(username)) {}
  absl::StatusOr<protocol::PeerCertificates> OwnCertificates() override {
    if (has_none) return absl::FailedPreconditionError("no certificate yet");
    return protocol::PeerCertificates{"signing " + username_, "encryption " + username_};
  }
  absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    for (const auto& [username, identity] : world_.users) {
      if (certificates.signing != "signing " + username ||
          certificates.encryption != "encryption " + username) {
        continue;
      }
      if (world_.revoked.count(username) > 0) return absl::DataLossError("it was revoked");
      return protocol::CertifiedPeer{username, crypto::TestIdentity(identity).public_identity()};
    }
    return absl::DataLossError("not this broker's");
  }
  void Refresh() override {}
  absl::StatusOr<std::string> FindAddress(const std::string& username,
                                          bool /*patiently*/) override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    if (!world_.broker_on) return absl::UnavailableError("broker off");
    const auto found = world_.announced.find(username);
    if (found == world_.announced.end()) return absl::NotFoundError("not known");
    return found->second;
  }
  bool Announce(const std::string& address) override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    if (!world_.broker_on) return false;
    world_.announced[username_] = address;
    if (address.empty()) world_.announced.erase(username_);
    return true;
  }
  bool has_none = false;

 private:
  World& world_;
  const std::string username_;
};

class Nobody : public LinkHandler {
 public:
  explicit Nobody(const std::shared_ptr<Link>& link) {
    link->Close(absl::UnavailableError("nobody is there"));
  }
  void OnHandshake(const v1::HandshakeMessage& /*message*/) override {}
  void OnMessages(std::vector<std::string> /*messages*/) override {}
  void OnClosed(const absl::Status& /*status*/) override {}
};

class FakeTransport : public PeerTransport {
 public:
  // `source` is where those who are called see the call come from.
  explicit FakeTransport(World& world, std::string source = "")
      : world_(world), source_(std::move(source)) {}
  absl::StatusOr<std::shared_ptr<Link>> Dial(const std::string& address, bool /*plain_tcp*/,
                                             const MakeHandler& make_handler) override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    AcceptHandler door = [](std::shared_ptr<Link> link, const std::string& /*source*/) {
      return std::make_unique<Nobody>(link);
    };
    if (world_.doors.count(address) > 0) door = world_.doors[address];
    // The handler is made on the pair's own thread, which a caller's locals may not outlive.
    std::mutex made_mutex;
    std::condition_variable made_changed;
    bool made = false;
    auto pair = std::make_unique<testing::MemoryLinkPair>(
        [door, source = source_](std::shared_ptr<Link> link) {
          return door(std::move(link), source);
        },
        [&](std::shared_ptr<Link> link) {
          std::unique_ptr<LinkHandler> handler = make_handler(std::move(link));
          std::lock_guard<std::mutex> made_lock(made_mutex);
          made = true;
          made_changed.notify_all();
          return handler;
        },
        world_.counters);
    std::unique_lock<std::mutex> made_lock(made_mutex);
    made_changed.wait(made_lock, [&] { return made; });
    std::shared_ptr<Link> end = pair->dialling_end();
    world_.links.push_back(std::move(pair));
    return end;
  }
  absl::StatusOr<std::string> Listen(const std::string& address, bool /*plain_tcp*/,
                                     AcceptHandler accept) override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    address_ = address + std::to_string(world_.next_port++);
    world_.doors[address_] = std::move(accept);
    return address_;
  }
  void StopListening() override {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.doors.erase(address_);
  }

 private:
  World& world_;
  const std::string source_;
  std::string address_;
};

std::string Scratch() {
  std::string path = ::testing::TempDir() + "/peer-XXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

std::string Content(size_t bytes) {
  std::string content(bytes, '\0');
  uint32_t state = 12345;
  for (char& byte : content) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return content;
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

// One agent.
class Party {
 public:
  static PeerSessions::Options QuickSweeps() {
    PeerSessions::Options options;
    options.sweep_interval_ms = 50;
    return options;
  }
  Party(World& world, const std::string& username, int identity,
        const PeerSessions::Options& options = QuickSweeps())
      : world_(world),
        folder_(Scratch()),
        database_(AgentDatabase::Open(folder_ + "/agent.db").value()),
        store_(*database_),
        directory_(world, username),
        transport_(world) {
    PeerSessions::Dependencies use;
    use.own = &crypto::TestIdentity(identity);
    use.random = &crypto::SystemRandom();
    use.clock = &protocol::SystemClock();
    use.scheduler = &scheduler_;
    use.executor = &work_;
    use.store = &store_;
    use.directory = &directory_;
    use.transport = &transport_;
    use.received_dir = received_dir();
    sessions_ = std::make_unique<PeerSessions>(use, options);
    watch_ = sessions_->Watch([this](const PeerEvent& event) {
      std::lock_guard<std::mutex> lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
  }
  ~Party() {
    sessions_->Unwatch(watch_);
    sessions_->Shutdown();
    scheduler_.Shutdown();
    work_.Shutdown();
  }

  PeerSessions& operator*() { return *sessions_; }
  PeerSessions* operator->() { return sessions_.get(); }
  FakeDirectory& directory() { return directory_; }
  PeerStore& store() { return store_; }
  std::string received_dir() const { return folder_ + "/received"; }
  // As the user does who accepts another key of a contact.
  void AcceptKey(const std::string& username, int identity, bool verified = false) {
    EXPECT_TRUE(database_
                    ->Transact([&](storage::SqliteDatabase& database) -> absl::Status {
                      MessageStore contacts(database);
                      auto contact = contacts.FindContact(username);
                      if (!contact.ok() || !contact->has_value()) return contact.status();
                      (*contact)->identity =
                          crypto::TestIdentity(identity).public_identity().Serialize();
                      (*contact)->verified = verified;
                      return contacts.SaveContact(**contact);
                    })
                    .ok());
  }

  // Opens the door and returns where.
  std::string Open(uint64_t max_file_bytes = 0) {
    const auto listening = sessions_->Listen("here:", "", false, max_file_bytes);
    EXPECT_TRUE(listening.ok()) << listening.status();
    return listening.ok() ? listening->address : "";
  }
  // Until such an event has happened for the `number`th time; its text.
  std::string Await(PeerEvent::Kind kind, int number = 1) {
    std::unique_lock<std::mutex> lock(mutex_);
    std::string text;
    const auto count = [&] {
      int found = 0;
      for (const PeerEvent& event : events_) {
        if (event.kind == kind && ++found == number) {
          text = event.text;
          return true;
        }
      }
      return false;
    };
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, count));
    return text;
  }
  std::string WriteFile(const std::string& name, const std::string& content) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::vector<std::string> ReceivedNames() {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(received_dir(), error)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

 private:
  World& world_;
  const std::string folder_;
  std::unique_ptr<AgentDatabase> database_;
  PeerStore store_;
  FakeDirectory directory_;
  FakeTransport transport_;
  ThreadScheduler scheduler_;
  WorkerPool work_{4, 256};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<PeerEvent> events_;
  uint64_t watch_ = 0;
  std::unique_ptr<PeerSessions> sessions_;
};

class PeerSessionsTest : public ::testing::Test {
 protected:
  World world_;
  Party alice_{world_, "alice", 0};
  Party bob_{world_, "bob", 1};
};

TEST_F(PeerSessionsTest, TextsGoBothWaysInOneSession) {
  bob_.Open();
  const auto view = alice_->Connect("bob", "", false, 0);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->username, "bob");
  EXPECT_EQ(view->fingerprint, crypto::TestIdentity(1).public_identity().fingerprint());
  EXPECT_TRUE(view->first_contact);
  ASSERT_TRUE(alice_->SendText("bob", "Are you there?").ok());
  EXPECT_EQ(bob_.Await(PeerEvent::Kind::kText), "Are you there?");
  ASSERT_TRUE(bob_->SendText("alice", "I am.\nAnd you?").ok());
  EXPECT_EQ(alice_.Await(PeerEvent::Kind::kText), "I am.\nAnd you?");
  EXPECT_EQ(alice_->List().size(), 1u);
  EXPECT_EQ(bob_->List().size(), 1u);
  EXPECT_TRUE(bob_->List()[0].address.empty()) << "she called";

  const auto texts = bob_->Texts({"alice"});
  ASSERT_TRUE(texts.ok());
  ASSERT_EQ(texts->size(), 2u);
  EXPECT_FALSE((*texts)[0].outgoing);
  EXPECT_TRUE((*texts)[1].outgoing);
  EXPECT_TRUE((*texts)[1].delivered);
  EXPECT_EQ((*texts)[0].message_id, (*alice_->Texts({"bob"}))[0].message_id);
}

TEST_F(PeerSessionsTest, ATextThatComesTwiceIsKeptOnce) {
  PeerTextRecord text;
  text.username = "alice";
  text.fingerprint = std::string(32, 'f');
  text.message_id = std::string(16, 'i');
  text.text = "once";
  EXPECT_TRUE(*bob_.store().SaveText(text));
  EXPECT_FALSE(*bob_.store().SaveText(text));
  text.outgoing = true;
  EXPECT_TRUE(*bob_.store().SaveText(text)) << "the other direction has ids of its own";
  EXPECT_EQ(bob_.store().Texts({""})->size(), 2u);
}

TEST_F(PeerSessionsTest, OldTextsMakeRoom) {
  PeerTextRecord text;
  text.username = "alice";
  text.fingerprint = std::string(32, 'f');
  for (int i = 0; i < PeerStore::kMaxKept + 5; ++i) {
    text.message_id = std::string(12, 'i') + std::to_string(1000 + i);
    text.text = std::to_string(i);
    ASSERT_TRUE(bob_.store().SaveText(text).ok());
  }
  const auto texts = bob_.store().Texts({"alice"});
  ASSERT_EQ(texts->size(), static_cast<size_t>(PeerStore::kMaxKept));
  EXPECT_EQ(texts->front().text, "5");
}

TEST_F(PeerSessionsTest, TheLatestTextsComeInTheirOrder) {
  PeerTextRecord text;
  for (int i = 0; i < 10; ++i) {
    text.username = i % 2 == 0 ? "alice" : "mallory";
    text.fingerprint = std::string(32, i % 2 == 0 ? 'f' : 'm');
    text.message_id = std::string(15, 'i') + static_cast<char>('0' + i);
    text.text = std::to_string(i);
    text.at_ms = 100 * i;
    ASSERT_TRUE(*bob_.store().SaveText(text));
  }
  const auto texts = [&](const PeerFilter& filter) {
    const auto found = bob_.store().Texts(filter);
    EXPECT_TRUE(found.ok());
    std::vector<std::string> shown;
    for (const PeerTextRecord& one : *found) shown.push_back(one.text);
    return shown;
  };
  using Shown = std::vector<std::string>;
  PeerFilter filter;
  filter.limit = 3;
  EXPECT_EQ(texts(filter), Shown({"7", "8", "9"}));
  filter.username = "alice";
  EXPECT_EQ(texts(filter), Shown({"4", "6", "8"}));
  filter.since_ms = 600;
  EXPECT_EQ(texts(filter), Shown({"6", "8"}));
  filter = PeerFilter();
  filter.limit = 2;
  filter.before_number = bob_.store().Texts({})->at(5).number;
  EXPECT_EQ(texts(filter), Shown({"3", "4"}));
}

TEST_F(PeerSessionsTest, WhoCallsFirstIsMarkedUntilTheirKeyIsCompared) {
  bob_.Open();
  ASSERT_TRUE(alice_->Connect("bob", "", false, 0).ok());
  bob_.Await(PeerEvent::Kind::kOpened);
  EXPECT_EQ(*bob_->UncheckedCallers(), std::vector<std::string>{"alice"});
  EXPECT_TRUE(alice_->UncheckedCallers()->empty()) << "she called him herself";
  bob_.AcceptKey("alice", 0, /*verified=*/true);
  EXPECT_TRUE(bob_->UncheckedCallers()->empty());
  // Another key, which the user decided on.
  bob_.AcceptKey("alice", 2);
  EXPECT_TRUE(bob_->UncheckedCallers()->empty());
}

TEST_F(PeerSessionsTest, ASessionIsOpenedForAText) {
  bob_.Open();
  ASSERT_TRUE(alice_->SendText("bob", "no connect before").ok());
  EXPECT_EQ(bob_.Await(PeerEvent::Kind::kText), "no connect before");
}

TEST_F(PeerSessionsTest, WorksWithTheBrokerOffAtTheLastKnownAddress) {
  const std::string address = bob_.Open();
  {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.broker_on = false;
  }
  const auto unknown = alice_->Connect("bob", "", false, 0);
  EXPECT_TRUE(absl::IsUnavailable(unknown.status())) << unknown.status();
  ASSERT_TRUE(alice_->Connect("bob", address, false, 0).ok());
  ASSERT_TRUE(alice_->Close("bob").ok());
  bob_.Await(PeerEvent::Kind::kClosed);
  alice_.Await(PeerEvent::Kind::kClosed);
  EXPECT_TRUE(alice_->SendText("bob", "as last time").ok());
}

TEST_F(PeerSessionsTest, ASessionThatBrokeIsOpenedAgainForTheNextText) {
  bob_.Open();
  ASSERT_TRUE(alice_->SendText("bob", "one").ok());
  world_.BreakAll();
  ASSERT_TRUE(alice_->SendText("bob", "two").ok());
  EXPECT_EQ(bob_.Await(PeerEvent::Kind::kText, 2), "two");
}

TEST_F(PeerSessionsTest, SomebodyElseThanExpectedIsRefused) {
  const std::string address = bob_.Open();
  const auto view = alice_->Connect("mallory", address, false, 0);
  EXPECT_TRUE(absl::IsDataLoss(view.status())) << view.status();
  EXPECT_THAT(std::string(view.status().message()), HasSubstr("not mallory but bob"));
  EXPECT_TRUE(alice_->List().empty());
  EXPECT_TRUE(bob_->List().empty());
}

TEST_F(PeerSessionsTest, WhoeverIsThereIsShownWhenOnlyAnAddressIsNamed) {
  const auto view = alice_->Connect(bob_.Open(), "", false, 0);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->username, "bob");
}

TEST_F(PeerSessionsTest, ARevokedUserGetsNoSession) {
  bob_.Open();
  {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.revoked = {"bob"};
  }
  auto view = alice_->Connect("bob", "", false, 0);
  EXPECT_TRUE(absl::IsDataLoss(view.status())) << view.status();
  {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.revoked = {"alice"};
  }
  view = alice_->Connect("bob", "", false, 0);
  EXPECT_TRUE(absl::IsPermissionDenied(view.status())) << view.status();
  EXPECT_TRUE(bob_->List().empty());
}

TEST_F(PeerSessionsTest, ASessionEndsWhenItsUserIsRevoked) {
  bob_.Open();
  ASSERT_TRUE(alice_->Connect("bob", "", false, 0).ok());
  alice_.Await(PeerEvent::Kind::kOpened);
  bob_.Await(PeerEvent::Kind::kOpened);
  {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.revoked = {"alice"};
  }
  bob_.Await(PeerEvent::Kind::kClosed);
  alice_.Await(PeerEvent::Kind::kClosed);
  EXPECT_TRUE(absl::IsPermissionDenied(alice_->SendText("bob", "still there?")));
}

TEST_F(PeerSessionsTest, AnotherKeyUnderAKnownNameIsRefusedUntilTheUserDecides) {
  bob_.Open();
  ASSERT_TRUE(alice_->Connect("bob", "", false, 0).ok());
  // The authority says now that Mallory's key is Bob's.
  {
    std::lock_guard<std::mutex> lock(world_.mutex);
    world_.users["bob"] = 2;
  }
  Party impostor(world_, "bob", 2);
  const std::string address = impostor.Open();
  const auto view = alice_->Connect("bob", address, false, 0);
  EXPECT_TRUE(absl::IsDataLoss(view.status())) << view.status();
  EXPECT_THAT(std::string(view.status().message()), HasSubstr("another key"));
  EXPECT_EQ(alice_.store().FindContact("bob")->fingerprint,
            crypto::TestIdentity(1).public_identity().fingerprint());
}

// Nothing is swept: what is sent or comes in has to notice by itself.
class UnpinnedTest : public ::testing::Test {
 protected:
  static PeerSessions::Options NoSweeps() {
    PeerSessions::Options options;
    options.sweep_interval_ms = 3'600'000;
    return options;
  }
  UnpinnedTest() {
    bob_.Open(64 << 20);
    EXPECT_TRUE(alice_->Connect("bob", "", false, 64 << 20).ok());
    bob_.Await(PeerEvent::Kind::kOpened);
  }

  World world_;
  Party alice_{world_, "alice", 0, NoSweeps()};
  Party bob_{world_, "bob", 1, NoSweeps()};
};

TEST_F(UnpinnedTest, NothingIsSentUnderAKeyThatIsNotPinnedAnyMore) {
  alice_.AcceptKey("bob", 2);
  const absl::Status sent = alice_->SendText("bob", "for the new key only");
  EXPECT_TRUE(absl::IsDataLoss(sent)) << sent;
  alice_.Await(PeerEvent::Kind::kClosed);
  bob_.Await(PeerEvent::Kind::kClosed);
  EXPECT_TRUE(absl::IsDataLoss(
      alice_->SendFile("bob", alice_.WriteFile("new.txt", "new"), nullptr).status()));
  EXPECT_TRUE(bob_->Texts({""})->empty());
  EXPECT_TRUE(bob_.ReceivedNames().empty());
  EXPECT_TRUE(alice_->List().empty());
}

TEST_F(UnpinnedTest, NoTextIsTakenUnderAKeyThatIsNotPinnedAnyMore) {
  alice_.AcceptKey("bob", 2);
  EXPECT_FALSE(bob_->SendText("alice", "under the old key").ok());
  alice_.Await(PeerEvent::Kind::kClosed);
  EXPECT_TRUE(alice_->Texts({""})->empty());
  EXPECT_TRUE(alice_->List().empty());
}

TEST_F(UnpinnedTest, NoFileIsTakenUnderAKeyThatIsNotPinnedAnyMore) {
  alice_.AcceptKey("bob", 2);
  EXPECT_FALSE(bob_->SendFile("alice", bob_.WriteFile("old.txt", "old"), nullptr).ok());
  alice_.Await(PeerEvent::Kind::kClosed);
  EXPECT_TRUE(alice_.ReceivedNames().empty());
}

TEST_F(UnpinnedTest, AFileUnderWayGetsNoNameWhenTheKeyIsNotPinnedAnyMore) {
  const std::string path = bob_.WriteFile("film.bin", Content(protocol::kPeerPieceBytes * 30));
  bool accepted = false;
  const auto sent = bob_->SendFile("alice", path, [&](const PeerSession::FileProgress& progress) {
    if (!accepted && progress.sent_bytes >= protocol::kPeerPieceBytes * 5) {
      accepted = true;
      alice_.AcceptKey("bob", 2);
    }
    return true;
  });
  EXPECT_TRUE(accepted);
  EXPECT_FALSE(sent.ok());
  alice_.Await(PeerEvent::Kind::kClosed);
  for (const std::string& name : alice_.ReceivedNames()) EXPECT_EQ(name.front(), '.') << name;
  EXPECT_TRUE(alice_->Files({""})->empty());
}

TEST_F(PeerSessionsTest, ASessionEndsBySweepWhenItsKeyIsNotPinnedAnyMore) {
  bob_.Open();
  ASSERT_TRUE(alice_->Connect("bob", "", false, 0).ok());
  alice_.AcceptKey("bob", 2);
  alice_.Await(PeerEvent::Kind::kClosed);
  bob_.Await(PeerEvent::Kind::kClosed);
}

TEST_F(PeerSessionsTest, NobodyWithoutACertificate) {
  bob_.directory().has_none = true;
  EXPECT_TRUE(absl::IsFailedPrecondition(bob_->Listen("here:", "", false, 0).status()));
  bob_.directory().has_none = false;
  bob_.Open();
  alice_.directory().has_none = true;
  EXPECT_TRUE(absl::IsFailedPrecondition(alice_->Connect("bob", "", false, 0).status()));
}

TEST_F(PeerSessionsTest, NobodyIsThere) {
  const auto view = alice_->Connect("here:1", "", false, 0);
  EXPECT_TRUE(absl::IsUnavailable(view.status())) << view.status();
  EXPECT_TRUE(absl::IsUnavailable(alice_->SendText("bob", "hello")));
  EXPECT_TRUE(absl::IsNotFound(alice_->Close("bob")));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->SendText("bob", "")));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->SendText("bob", "\x1b[2J")));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->Connect("", "", false, 0).status()));
}

TEST_F(PeerSessionsTest, AFileArrivesWithItsSignature) {
  bob_.Open(/*max_file_bytes=*/64 << 20);
  const std::string content = Content(protocol::kPeerPieceBytes * 20 + 77);
  const std::string path = alice_.WriteFile("thesis.pdf", content);
  uint64_t steps = 0;
  const auto sent = alice_->SendFile("bob", path, [&](const PeerSession::FileProgress& progress) {
    EXPECT_EQ(progress.total_bytes, content.size());
    ++steps;
    return true;
  });
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_GT(steps, 1u);
  const std::string received = bob_.Await(PeerEvent::Kind::kFile);
  EXPECT_EQ(received, bob_.received_dir() + "/thesis.pdf");
  EXPECT_TRUE(ReadAll(received) == content);
  const auto files = bob_->Files({"alice"});
  ASSERT_EQ(files->size(), 1u);
  const PeerFileRecord& file = files->front();
  EXPECT_EQ(file.sha256, crypto::Sha256(content));
  EXPECT_TRUE(protocol::VerifyPeerFile(crypto::TestIdentity(0).public_identity(),
                                       crypto::TestIdentity(1).public_identity().fingerprint(),
                                       {file.name, file.size_bytes, file.sha256}, file.signature)
                  .ok());

  // Once more is no second copy; the same name with other content is.
  ASSERT_TRUE(alice_->SendFile("bob", path, nullptr).ok());
  EXPECT_EQ(bob_.ReceivedNames().size(), 1u);
  ASSERT_TRUE(alice_->SendFile("bob", alice_.WriteFile("thesis.pdf", "short"), nullptr).ok());
  EXPECT_EQ(bob_.ReceivedNames().size(), 2u);
  EXPECT_TRUE(ReadAll(received) == content) << "a file was overwritten";
  ASSERT_TRUE(alice_->SendFile("bob", alice_.WriteFile("empty", ""), nullptr).ok());
  EXPECT_EQ(bob_.ReceivedNames().size(), 3u);
}

TEST_F(PeerSessionsTest, FilesAreTakenOnlyWhenTheyAreWanted) {
  bob_.Open();
  const std::string path = alice_.WriteFile("gift.bin", Content(1000));
  auto sent = alice_->SendFile("bob", path, nullptr);
  EXPECT_TRUE(absl::IsPermissionDenied(sent.status())) << sent.status();
  ASSERT_TRUE(bob_->AcceptFiles("alice", 999).ok());
  sent = alice_->SendFile("bob", path, nullptr);
  EXPECT_TRUE(absl::IsPermissionDenied(sent.status())) << sent.status();
  EXPECT_THAT(std::string(sent.status().message()), HasSubstr("999"));
  EXPECT_TRUE(bob_.ReceivedNames().empty());
  ASSERT_TRUE(bob_->AcceptFiles("alice", 1000).ok());
  EXPECT_TRUE(alice_->SendFile("bob", path, nullptr).ok());
  EXPECT_TRUE(alice_->SendText("bob", "the session stood all the while").ok());
  EXPECT_EQ(alice_->List().size(), 1u);
}

TEST(ReceivedQuotaTest, BothEndsHearThatNoMoreIsKept) {
  PeerSessions::Options options;
  options.received = {/*per_sender_bytes=*/2'000, /*total_bytes=*/3'000};
  World world;
  Party alice(world, "alice", 0);
  Party bob(world, "bob", 1, options);
  bob.Open(1 << 20);
  ASSERT_TRUE(alice->SendFile("bob", alice.WriteFile("one", Content(1'500)), nullptr).ok());
  const std::string two = alice.WriteFile("two", Content(1'000));
  const absl::Status refused = alice->SendFile("bob", two, nullptr).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("received_per_user_bytes"));
  EXPECT_EQ(bob.Await(PeerEvent::Kind::kFileRefused), "two");
  const auto sessions = bob->List();
  ASSERT_EQ(sessions.size(), 1u);
  ASSERT_TRUE(sessions[0].refused.has_value());
  EXPECT_EQ(sessions[0].refused->verdict, v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(bob.ReceivedNames(), std::vector<std::string>{"one"});
  // What is here already needs no room.
  EXPECT_TRUE(alice->SendFile("bob", alice.WriteFile("one", Content(1'500)), nullptr).ok());
  // Bob moves it elsewhere.
  std::filesystem::remove(bob.received_dir() + "/one");
  EXPECT_TRUE(alice->SendFile("bob", two, nullptr).ok());
  EXPECT_FALSE(bob->List().at(0).refused.has_value());
}

TEST_F(PeerSessionsTest, AFileGoesOnAfterABreak) {
  bob_.Open(64 << 20);
  const std::string content = Content(protocol::kPeerPieceBytes * 40);
  const std::string path = alice_.WriteFile("film.bin", content);
  bool broken = false;
  const auto sent = alice_->SendFile("bob", path, [&](const PeerSession::FileProgress& progress) {
    if (!broken && progress.sent_bytes >= protocol::kPeerPieceBytes * 5) {
      broken = true;
      world_.BreakAll();
    }
    return true;
  });
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_TRUE(broken);
  EXPECT_GE(sent->resumed_from_bytes, 0u);
  EXPECT_TRUE(ReadAll(bob_.Await(PeerEvent::Kind::kFile)) == content);
  EXPECT_EQ(bob_.ReceivedNames().size(), 1u);
}

TEST_F(PeerSessionsTest, AStoppedFileGoesOnInTheNextCall) {
  bob_.Open(64 << 20);
  const std::string content = Content(protocol::kPeerPieceBytes * 30 + 1);
  const std::string path = alice_.WriteFile("film.bin", content);
  const auto stopped =
      alice_->SendFile("bob", path, [&](const PeerSession::FileProgress& progress) {
        return progress.sent_bytes < protocol::kPeerPieceBytes * 10;
      });
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
  uint64_t resumed_from = 0;
  const auto sent = alice_->SendFile("bob", path, [&](const PeerSession::FileProgress& progress) {
    resumed_from = progress.resumed_from_bytes;
    return true;
  });
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_GE(resumed_from, protocol::kPeerPieceBytes * 10);
  EXPECT_TRUE(ReadAll(bob_.Await(PeerEvent::Kind::kFile)) == content);
}

TEST_F(PeerSessionsTest, WhatWasDamagedOnTheDiskIsThrownAwayAndSentAnew) {
  bob_.Open(64 << 20);
  const std::string content = Content(protocol::kPeerPieceBytes * 10);
  const std::string path = alice_.WriteFile("film.bin", content);
  (void)alice_->SendFile("bob", path, [&](const PeerSession::FileProgress& progress) {
    return progress.sent_bytes < protocol::kPeerPieceBytes * 3;
  });
  // The part file is Bob's alone once his session has heard of the end.
  while (bob_->List().at(0).receiving.has_value()) std::this_thread::yield();
  ASSERT_EQ(bob_.ReceivedNames().size(), 1u);
  const std::string part = bob_.received_dir() + "/" + bob_.ReceivedNames()[0];
  EXPECT_EQ(std::filesystem::path(part).extension(), ".part");
  {
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << "damage";
  }
  EXPECT_TRUE(absl::IsDataLoss(alice_->SendFile("bob", path, nullptr).status()));
  EXPECT_TRUE(bob_.ReceivedNames().empty());
  EXPECT_TRUE(alice_->SendFile("bob", path, nullptr).ok());
  EXPECT_TRUE(ReadAll(bob_.Await(PeerEvent::Kind::kFile)) == content);
}

TEST_F(PeerSessionsTest, NoNameLeavesTheFolder) {
  bob_.Open(1 << 20);
  ASSERT_TRUE(alice_->SendFile("bob", alice_.WriteFile("..profile", "x"), nullptr).ok());
  ASSERT_TRUE(alice_->SendFile("bob", alice_.WriteFile("-rf", "y"), nullptr).ok());
  ASSERT_TRUE(alice_->SendFile("bob", alice_.WriteFile("CON.TXT", "z"), nullptr).ok());
  for (const std::string& name : bob_.ReceivedNames()) {
    EXPECT_NE(name.front(), '.') << name;
    EXPECT_NE(name.front(), '-') << name;
    EXPECT_NE(name, "CON.txt");
  }
  EXPECT_EQ(bob_.ReceivedNames().size(), 3u);
}

TEST_F(PeerSessionsTest, WhoStopsListeningIsNotFoundAnyMore) {
  const std::string address = bob_.Open();
  EXPECT_TRUE(bob_->StopListening());
  EXPECT_FALSE(bob_->StopListening());
  EXPECT_TRUE(absl::IsUnavailable(alice_->Connect("bob", "", false, 0).status()));
  EXPECT_TRUE(absl::IsUnavailable(alice_->Connect("bob", address, false, 0).status()));
}

TEST_F(PeerSessionsTest, OnlySoManySessionsOfOneUser) {
  const std::string address = bob_.Open();
  for (size_t i = 0; i < PeerSessions::kMaxPerUser + 3; ++i) {
    ASSERT_TRUE(alice_->Connect("bob", address, false, 0).ok());
  }
  alice_.Await(PeerEvent::Kind::kClosed, 3);
  EXPECT_LE(alice_->List().size(), PeerSessions::kMaxPerUser);
  EXPECT_TRUE(alice_->SendText("bob", "in the newest").ok());
}

// What an authenticated peer may say that it must not.
class Rude : public LinkHandler {
 public:
  Rude(std::shared_ptr<Link> link, protocol::PeerVerifier& verifier)
      : link_(std::move(link)),
        x_(crypto::TestIdentity(2), {"signing mallory", "encryption mallory"}, verifier,
           crypto::SystemRandom()) {
    link_->SendHandshake(*x_.Start());
  }
  void OnHandshake(const v1::HandshakeMessage& message) override {
    if (!answered_) {
      answered_ = true;
      link_->SendHandshake(*x_.OnAnswer(message));
      return;
    }
    ASSERT_TRUE(x_.OnFinished(message).ok());
    link_->Establish(*protocol::Channel::Create(*x_.TakeKeys(), protocol::Role::kInitiator,
                                                protocol::SystemClock(), {}));
    for (const std::string& bytes : say) (void)link_->Send(bytes);
  }
  void OnMessages(std::vector<std::string> messages) override {
    for (const std::string& bytes : messages) {
      const auto message = protocol::ParsePeerMessage(bytes);
      ASSERT_TRUE(message.ok());
      EXPECT_FALSE(message->has_file_answer()) << message->ShortDebugString();
    }
  }
  void OnClosed(const absl::Status& status) override {
    std::lock_guard<std::mutex> lock(*mutex);
    *closed_with = status;
    *closed = true;
    changed->notify_all();
  }

  std::vector<std::string> say;
  std::mutex* mutex = nullptr;
  std::condition_variable* changed = nullptr;
  absl::Status* closed_with = nullptr;
  bool* closed = nullptr;

 private:
  std::shared_ptr<Link> link_;
  protocol::PeerInitiator x_;
  bool answered_ = false;
};

class DirectoryVerifier : public protocol::PeerVerifier {
 public:
  explicit DirectoryVerifier(FakeDirectory& directory) : directory_(directory) {}
  absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) override {
    return directory_.Verify(certificates);
  }

 private:
  FakeDirectory& directory_;
};

TEST_F(PeerSessionsTest, WhoeverBreaksTheRulesIsCutOff) {
  const std::string address = bob_.Open(1 << 20);
  v1::PeerMessage piece;
  piece.mutable_file_piece()->set_transfer_id(std::string(16, 't'));
  piece.mutable_file_piece()->set_content("nobody asked for it");
  v1::PeerMessage end;
  end.mutable_file_end()->set_transfer_id(std::string(16, 't'));
  end.mutable_file_end()->set_sha256(std::string(32, 'h'));
  end.mutable_file_end()->set_signature(std::string(64, 's'));
  v1::PeerMessage flood;
  flood.mutable_text()->set_message_id(std::string(16, 'i'));
  flood.mutable_text()->set_text("\x07");
  for (const std::string& rude :
       {std::string("no message"), std::string(), piece.SerializeAsString(),
        end.SerializeAsString(), flood.SerializeAsString()}) {
    DirectoryVerifier verifier(alice_.directory());
    FakeTransport transport(world_);
    std::mutex mutex;
    std::condition_variable changed;
    absl::Status closed_with;
    bool closed = false;
    ASSERT_TRUE(transport
                    .Dial(address, false,
                          [&](std::shared_ptr<Link> link) {
                            auto handler = std::make_unique<Rude>(std::move(link), verifier);
                            handler->say = {rude};
                            handler->mutex = &mutex;
                            handler->changed = &changed;
                            handler->closed_with = &closed_with;
                            handler->closed = &closed;
                            return handler;
                          })
                    .ok());
    std::unique_lock<std::mutex> lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, kPatience, [&] { return closed; }));
    EXPECT_TRUE(protocol::IsRefusal(closed_with)) << closed_with;
  }
  EXPECT_TRUE(bob_.ReceivedNames().empty());
  EXPECT_TRUE(bob_->Texts({""})->empty());
}

// Somebody at the door who shows a hello at most, and then waits.
class Stranger {
 public:
  Stranger(World& world, const std::string& address, const std::string& source, bool says_hello)
      : transport_(world, source), closed_(std::make_shared<Closed>()) {
    const auto link = transport_.Dial(address, false, [&](std::shared_ptr<Link> dialled) {
      if (says_hello) {
        NobodysVerifier verifier;
        protocol::PeerInitiator x(crypto::TestIdentity(2),
                                  {"signing mallory", "encryption mallory"}, verifier,
                                  crypto::SystemRandom());
        dialled->SendHandshake(*x.Start());
      }
      return std::make_unique<Waiter>(closed_);
    });
    EXPECT_TRUE(link.ok());
    if (link.ok()) link_ = *link;
  }
  // The agent showed its certificates: it has heard the hello.
  void AwaitAnswer() const {
    std::unique_lock<std::mutex> lock(closed_->mutex);
    EXPECT_TRUE(closed_->changed.wait_for(lock, kPatience, [&] { return closed_->answered; }));
  }
  void AwaitClosed() const {
    std::unique_lock<std::mutex> lock(closed_->mutex);
    EXPECT_TRUE(closed_->changed.wait_for(lock, kPatience, [&] { return closed_->closed; }));
  }
  bool closed() const {
    std::lock_guard<std::mutex> lock(closed_->mutex);
    return closed_->closed;
  }

 private:
  struct Closed {
    std::mutex mutex;
    std::condition_variable changed;
    bool answered = false;
    bool closed = false;
  };
  class NobodysVerifier : public protocol::PeerVerifier {
   public:
    absl::StatusOr<protocol::CertifiedPeer> Verify(
        const protocol::PeerCertificates& /*certificates*/) override {
      return absl::DataLossError("nobody asks");
    }
  };
  class Waiter : public LinkHandler {
   public:
    explicit Waiter(std::shared_ptr<Closed> closed) : closed_(std::move(closed)) {}
    void OnHandshake(const v1::HandshakeMessage& /*message*/) override {
      std::lock_guard<std::mutex> lock(closed_->mutex);
      closed_->answered = true;
      closed_->changed.notify_all();
    }
    void OnMessages(std::vector<std::string> /*messages*/) override {}
    void OnClosed(const absl::Status& /*status*/) override {
      std::lock_guard<std::mutex> lock(closed_->mutex);
      closed_->closed = true;
      closed_->changed.notify_all();
    }

   private:
    const std::shared_ptr<Closed> closed_;
  };

  FakeTransport transport_;
  const std::shared_ptr<Closed> closed_;
  std::shared_ptr<Link> link_;
};

// Who waits at the door is not cut off by the time that passes.
class PatientDoorTest : public ::testing::Test {
 protected:
  static PeerSessions::Options Patient() {
    PeerSessions::Options options;
    options.handshake_timeout_ms = 3'600'000;
    options.hello_timeout_ms = 3'600'000;
    return options;
  }
  Stranger* Knock(const std::string& source, bool says_hello = false) {
    strangers_.push_back(std::make_unique<Stranger>(world_, address_, source, says_hello));
    return strangers_.back().get();
  }

  World world_;
  Party alice_{world_, "alice", 0};
  Party bob_{world_, "bob", 1, Patient()};
  const std::string address_ = bob_.Open();
  std::vector<std::unique_ptr<Stranger>> strangers_;
};

TEST_F(PatientDoorTest, WhoSaysNothingMakesRoom) {
  for (size_t i = 0; i < PeerSessions::kMaxPending; ++i) Knock("ipv4:192.0.2." + std::to_string(i));
  for (const auto& stranger : strangers_) EXPECT_FALSE(stranger->closed());
  ASSERT_TRUE(alice_->Connect("bob", "", false, 0).ok());
  strangers_[0]->AwaitClosed();
  for (size_t i = 1; i < strangers_.size(); ++i) EXPECT_FALSE(strangers_[i]->closed()) << i;
}

TEST_F(PatientDoorTest, OneMachineHasOnlySoManyPlaces) {
  const std::string source = "ipv4:192.0.2.7";
  const Stranger* other = Knock("ipv4:192.0.2.8");
  const Stranger* first = Knock(source);
  for (size_t i = 0; i < PeerSessions::kMaxPendingPerSource; ++i) {
    Knock(source, /*says_hello=*/true)->AwaitAnswer();
  }
  first->AwaitClosed();
  EXPECT_FALSE(other->closed());
  // Nobody of that machine is silent now, so who comes next goes.
  Knock(source)->AwaitClosed();
  EXPECT_FALSE(other->closed());
  for (size_t i = 2; i + 1 < strangers_.size(); ++i) EXPECT_FALSE(strangers_[i]->closed()) << i;
  EXPECT_TRUE(alice_->Connect("bob", "", false, 0).ok());
}

TEST(ImpatientDoorTest, WhoSaysNothingIsCutOffSoon) {
  PeerSessions::Options options;
  options.handshake_timeout_ms = 3'600'000;
  options.hello_timeout_ms = 50;
  World world;
  Party alice(world, "alice", 0);
  Party bob(world, "bob", 1, options);
  const std::string address = bob.Open();
  ASSERT_TRUE(alice->Connect("bob", "", false, 0).ok());
  const Stranger stranger(world, address, "", /*says_hello=*/false);
  stranger.AwaitClosed();
  EXPECT_TRUE(alice->SendText("bob", "who has said hello may go on").ok());
}

TEST_F(PeerSessionsTest, NobodyListensWhileTheAgentEnds) {
  bob_->Shutdown();
  EXPECT_TRUE(absl::IsUnavailable(bob_->Listen("here:", "", false, 0).status()));
  EXPECT_EQ(bob_->listening().address, "");
  std::lock_guard<std::mutex> lock(world_.mutex);
  EXPECT_TRUE(world_.doors.empty());
}

}  // namespace
}  // namespace blindcart::agent
