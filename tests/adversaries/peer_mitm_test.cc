// A man in the middle between two agents, who ends TLS on both sides: what he relays as it is he cannot
// read, and nothing that he alters, repeats, reorders, sends back or carries from one session into
// another is accepted.
#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/haystack.h"
#include "tests/support/peer_interposer.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using Towards = PeerInterposer::Towards;
using Seen = PeerInterposer::Seen;
using Onward = PeerInterposer::Onward;

class PeerMitmTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({}, {{"alice", "violet umbrella 7", "1001", "2468", "1.00"},
                                    {"bob", "paper lantern 3", "1002", "1357", "1.00"}})
                    .release();
    if (shopping_ == nullptr) return;
    auto middle = PeerInterposer::Start();
    ASSERT_TRUE(middle.ok()) << middle.status();
    middle_ = middle->release();
    for (const char* user : {"alice", "bob"}) shopping_->Ask(user, {"certificate", "request"});
    // Whoever asks the broker for Bob is led to the man in the middle.
    const json listening = shopping_->Ask(
        "bob", {"peer", "listen", "--announce", middle_->address(), "--accept-files", "50MB"});
    middle_->SetUpstream(listening["address"]);
  }
  static void TearDownTestSuite() {
    delete middle_;
    delete shopping_;
  }
  void SetUp() override {
    ASSERT_NE(shopping_, nullptr);
    ASSERT_NE(middle_, nullptr);
  }
  void TearDown() override { middle().SetHook(nullptr); }

  static Shopping& shopping() { return *shopping_; }
  static PeerInterposer& middle() { return *middle_; }

  // The texts that `user` received, in order.
  static std::vector<std::string> Received(const std::string& user) {
    std::vector<std::string> texts;
    const json inbox = shopping().Ask(user, {"peer", "inbox", "--limit", "1000"});
    for (const json& text : inbox["texts"]) {
      if (text["outgoing"] == false) texts.push_back(text["text"]);
    }
    return texts;
  }
  static void CloseAll() {
    shopping().Run("alice", {"peer", "close", "bob"});
    shopping().Run("bob", {"peer", "close", "alice"});
  }
  // Everything in both inboxes was said by the other end, and at most once.
  void ExpectOnlyWhatWasSaid() {
    for (const char* user : {"alice", "bob"}) {
      const std::string other = user == std::string("alice") ? "bob" : "alice";
      std::vector<std::string> received = Received(user);
      std::vector<std::string> said;
      const json inbox = shopping().Ask(other, {"peer", "inbox", "--limit", "1000"});
      for (const json& text : inbox["texts"]) {
        if (text["outgoing"] == true) said.push_back(text["text"]);
      }
      std::sort(received.begin(), received.end());
      std::sort(said.begin(), said.end());
      EXPECT_TRUE(std::includes(said.begin(), said.end(), received.begin(), received.end()))
          << user << " received what nobody said, or twice";
    }
  }
  std::string NextText() { return absl::StrCat("text number ", ++texts_); }

 private:
  static Shopping* shopping_;
  static PeerInterposer* middle_;
  static int texts_;
};
Shopping* PeerMitmTest::shopping_ = nullptr;
PeerInterposer* PeerMitmTest::middle_ = nullptr;
int PeerMitmTest::texts_ = 0;

Onward AsItIs(const Seen& seen) { return {{seen.message}, {}}; }

TEST_F(PeerMitmTest, WhatIsRelayedAsItIsArrivesAndIsNotRead) {
  const std::string marker = "the divorce papers are in the blue folder";
  const std::string content = Content(700'000, 3);
  const std::string path = shopping().market().folder() + "/blue-folder-scan.txt";
  std::ofstream(path, std::ios::binary) << marker << content;
  shopping().Ask("alice", {"peer", "send", "bob", marker});
  shopping().Ask("bob", {"peer", "send", "alice", "yes: " + marker});
  shopping().Ask("alice", {"peer", "send-file", "bob", path});
  EXPECT_EQ(Received("bob").back(), marker);
  EXPECT_EQ(Received("alice").back(), "yes: " + marker);

  Haystack seen;
  size_t frames = 0;
  for (const Seen& message : middle().All()) {
    seen.AddBytes("relayed", message.message.SerializeAsString());
    frames += message.message.has_frame() ? 1 : 0;
  }
  EXPECT_GT(frames, 5u);
  EXPECT_TRUE(seen.Find(marker).empty());
  EXPECT_TRUE(seen.Find("blue-folder-scan").empty());
  EXPECT_TRUE(seen.Find(content.substr(1000, 32)).empty());
  // What he does see, as docs/peers.md says: who meets whom.
  EXPECT_FALSE(seen.Find("alice").empty());
  EXPECT_FALSE(seen.Find("bob").empty());
  CloseAll();
}

TEST_F(PeerMitmTest, NoHandshakeThatWasAlteredComesToStand) {
  struct Case {
    const char* name;
    Towards towards;
    int number;  // Of that direction's handshake messages.
    double at;   // Where in the body; beyond 1: in Finished.
  };
  const Case cases[] = {
      {"hello, certificates", Towards::kListener, 0, 0.1},
      {"hello, key", Towards::kListener, 0, 0.99},
      {"answer, certificates", Towards::kCaller, 0, 0.3},
      {"answer, key", Towards::kCaller, 0, 0.95},
      {"answer, signature", Towards::kCaller, 0, 0.999},
      {"finish, signature", Towards::kListener, 1, 0.05},
      {"finish, master secret", Towards::kListener, 1, 0.9},
      {"finish, Finished", Towards::kListener, 1, 2},
      {"last, Finished", Towards::kCaller, 1, 2},
  };
  for (const Case& c : cases) {
    CloseAll();
    std::map<int, int> heard;  // By session.
    bool altered = false;
    std::mutex mutex;
    middle().SetHook([&](const Seen& seen) -> Onward {
      std::lock_guard<std::mutex> lock(mutex);
      if (seen.towards != c.towards || !seen.message.has_handshake()) return AsItIs(seen);
      if (heard[seen.session]++ != c.number) return AsItIs(seen);
      altered = true;
      v1::LinkMessage message = seen.message;
      std::string& bytes = c.at > 1 ? *message.mutable_handshake()->mutable_finished()
                                    : *message.mutable_handshake()->mutable_body();
      bytes[static_cast<size_t>(static_cast<double>(bytes.size()) * (c.at > 1 ? 0.5 : c.at))] ^= 4;
      return {{message}, {}};
    });
    const std::string text = NextText();
    const Answer answer = shopping().Run("alice", {"peer", "send", "bob", text});
    EXPECT_NE(answer.exit_code, kOk) << c.name;
    EXPECT_TRUE(altered) << c.name;
    EXPECT_TRUE(shopping().Ask("alice", {"peer", "sessions"})["sessions"].empty()) << c.name;
    const std::vector<std::string> received = Received("bob");
    EXPECT_EQ(std::count(received.begin(), received.end(), text), 0) << c.name;
    middle().SetHook(nullptr);
  }
  shopping().Ask("alice", {"peer", "send", "bob", NextText()});
  ExpectOnlyWhatWasSaid();
}

TEST_F(PeerMitmTest, NoFrameThatWasAlteredIsAccepted) {
  const std::pair<const char*, std::function<void(v1::Frame*)>> cases[] = {
      {"ciphertext", [](v1::Frame* frame) { (*frame->mutable_ciphertext())[100] ^= 1; }},
      {"mac", [](v1::Frame* frame) { (*frame->mutable_mac())[31] ^= 1; }},
      {"seq", [](v1::Frame* frame) { frame->set_seq(frame->seq() + 1); }},
      {"session", [](v1::Frame* frame) { (*frame->mutable_session_id())[0] ^= 1; }},
      {"cut", [](v1::Frame* frame) { frame->mutable_ciphertext()->resize(512); }},
  };
  for (const auto& [name, alter] : cases) {
    for (const Towards towards : {Towards::kListener, Towards::kCaller}) {
      CloseAll();
      shopping().Ask("alice", {"peer", "connect", "bob"});
      middle().SetHook([&alter, towards](const Seen& seen) -> Onward {
        if (seen.towards != towards || !seen.message.has_frame()) return AsItIs(seen);
        v1::LinkMessage message = seen.message;
        alter(message.mutable_frame());
        return {{message}, {}};
      });
      const std::string text = NextText();
      const Answer answer = shopping().Run("alice", {"peer", "send", "bob", text});
      EXPECT_NE(answer.exit_code, kOk) << name;
      const std::vector<std::string> received = Received("bob");
      // Where only the way back was altered, the text itself arrived as it was: once.
      EXPECT_EQ(std::count(received.begin(), received.end(), text),
                towards == Towards::kListener ? 0 : 1)
          << name;
      middle().SetHook(nullptr);
    }
  }
  ExpectOnlyWhatWasSaid();
}

TEST_F(PeerMitmTest, NothingIsAcceptedTwiceOrElsewhere) {
  std::vector<v1::LinkMessage> earlier;  // What Alice sent in a session before.
  for (const Seen& seen : middle().All()) {
    if (seen.towards == Towards::kListener) earlier.push_back(seen.message);
  }
  if (earlier.empty()) {
    shopping().Ask("alice", {"peer", "send", "bob", NextText()});
    for (const Seen& seen : middle().All()) {
      if (seen.towards == Towards::kListener) earlier.push_back(seen.message);
    }
  }
  const auto old_frame =
      std::find_if(earlier.begin(), earlier.end(),
                   [](const v1::LinkMessage& message) { return message.has_frame(); });
  ASSERT_NE(old_frame, earlier.end());

  const std::pair<const char*, PeerInterposer::Hook> cases[] = {
      {"twice",
       [](const Seen& seen) -> Onward {
         if (!seen.message.has_frame()) return AsItIs(seen);
         return {{seen.message, seen.message}, {}};
       }},
      {"back at its sender",
       [](const Seen& seen) -> Onward {
         if (!seen.message.has_frame()) return AsItIs(seen);
         return {{}, {seen.message}};
       }},
      {"from an earlier session",
       [&](const Seen& seen) -> Onward {
         if (!seen.message.has_frame()) return AsItIs(seen);
         return {{*old_frame, seen.message}, {}};
       }},
      {"a handshake message in the middle",
       [&](const Seen& seen) -> Onward {
         if (!seen.message.has_frame()) return AsItIs(seen);
         return {{earlier.front(), seen.message}, {}};
       }},
      {"nothing at all", [](const Seen& seen) -> Onward {
         if (!seen.message.has_frame()) return AsItIs(seen);
         return {{v1::LinkMessage()}, {}};
       }}};
  for (const auto& [name, hook] : cases) {
    CloseAll();
    shopping().Ask("alice", {"peer", "connect", "bob"});
    middle().SetHook(hook);
    const std::string text = NextText();
    // It may arrive before what is wrong is noticed, but never twice.
    (void)shopping().Run("alice", {"peer", "send", "bob", text});
    const std::vector<std::string> received = Received("bob");
    EXPECT_LE(std::count(received.begin(), received.end(), text), 1) << name;
    ExpectOnlyWhatWasSaid();
    middle().SetHook(nullptr);
  }

  // A whole session said once more, to a Bob who has heard it all before.
  CloseAll();
  const size_t before = Received("bob").size();
  middle().SetHook([&, at = size_t{0}](const Seen& seen) mutable -> Onward {
    if (seen.towards != Towards::kListener || at >= earlier.size()) return AsItIs(seen);
    Onward onward;
    onward.onward.push_back(earlier[at++]);
    return onward;
  });
  EXPECT_NE(shopping().Run("alice", {"peer", "connect", "bob"}).exit_code, kOk);
  EXPECT_EQ(Received("bob").size(), before);
  middle().SetHook(nullptr);

  // Pieces of a file that come in another order.
  CloseAll();
  const std::string path = shopping().market().folder() + "/in-order.bin";
  std::ofstream(path, std::ios::binary) << Content(3'000'000, 9);
  shopping().Ask("alice", {"peer", "connect", "bob"});
  v1::LinkMessage held;
  bool holding = false;
  int frames = 0;
  middle().SetHook([&](const Seen& seen) -> Onward {
    if (seen.towards != Towards::kListener || !seen.message.has_frame()) return AsItIs(seen);
    if (++frames == 2) {
      held = seen.message;
      holding = true;
      return {};
    }
    if (!holding) return AsItIs(seen);
    holding = false;
    return {{seen.message, held}, {}};
  });
  (void)shopping().Run("alice", {"peer", "send-file", "bob", path});
  middle().SetHook(nullptr);
  const json sent = shopping().Ask("alice", {"peer", "send-file", "bob", path});
  EXPECT_EQ(sent["done"], true);
  const json files = shopping().Ask("bob", {"peer", "inbox", "--limit", "1000"})["files"];
  EXPECT_EQ(FileContent(files.back()["path"]), FileContent(path));
  ExpectOnlyWhatWasSaid();
}

}  // namespace
}  // namespace blindcart::testing
