#include "services/common/link_pump.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "crypto/secret_bytes.h"
#include "gtest/gtest.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/common/testing/memory_link.h"

namespace blindcart {
namespace {

using protocol::Channel;
using protocol::RefusalCounters;
using protocol::RefusalReason;
using protocol::Role;

std::unique_ptr<Channel> MakeChannel(Role role, const std::string& secret = "shared") {
  protocol::SessionKeys keys;
  keys.session_id = std::string(protocol::kSessionIdBytes, 'i');
  keys.seal = crypto::SecretBytes::CopyOf(crypto::Sha256(secret + "seal"));
  keys.mac = crypto::SecretBytes::CopyOf(crypto::Sha256(secret + "mac"));
  return *Channel::Create(std::move(keys), role, protocol::SystemClock(), {});
}

// What a handler saw, outliving the handler.
class Seen {
 public:
  void AddMessages(std::vector<std::string> messages) {
    std::lock_guard<std::mutex> lock(mutex_);
    frames_.push_back(messages.size());
    for (std::string& message : messages) messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  void SetClosed(absl::Status status) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++closed_count_;
    closed_ = std::move(status);
    changed_.notify_all();
  }
  std::vector<std::string> WaitForMessages(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return messages_.size() >= count || closed_count_ > 0; });
    return messages_;
  }
  absl::Status WaitForClose() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return closed_count_ > 0; });
    return closed_;
  }
  std::vector<size_t> frames() {
    std::lock_guard<std::mutex> lock(mutex_);
    return frames_;
  }
  int closed_count() {
    std::lock_guard<std::mutex> lock(mutex_);
    return closed_count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> messages_;
  std::vector<size_t> frames_;
  absl::Status closed_;
  int closed_count_ = 0;
};

// Exchanges one handshake message each way, then has a session.
class TestHandler : public LinkHandler {
 public:
  TestHandler(std::shared_ptr<Link> link, Role role, Seen& seen, std::string secret = "shared")
      : link_(std::move(link)), role_(role), seen_(seen), secret_(std::move(secret)) {
    if (role_ == Role::kInitiator) link_->SendHandshake({});
  }
  void OnHandshake(const v1::HandshakeMessage&) override {
    link_->Establish(MakeChannel(role_, secret_));
    if (role_ == Role::kResponder) {
      link_->SendHandshake({});
    } else {
      ASSERT_TRUE(link_->Send("hello").ok());
    }
  }
  void OnMessages(std::vector<std::string> messages) override {
    seen_.AddMessages(std::move(messages));
  }
  void OnClosed(const absl::Status& status) override { seen_.SetClosed(status); }

 private:
  std::shared_ptr<Link> link_;
  const Role role_;
  Seen& seen_;
  const std::string secret_;
};

class LinkPumpTest : public ::testing::Test {
 protected:
  std::unique_ptr<testing::MemoryLinkPair> Connect(const std::string& dialler_secret = "shared") {
    return std::make_unique<testing::MemoryLinkPair>(
        [this](std::shared_ptr<Link> link) {
          return std::make_unique<TestHandler>(std::move(link), Role::kResponder, at_responder_);
        },
        [this, dialler_secret](std::shared_ptr<Link> link) {
          return std::make_unique<TestHandler>(std::move(link), Role::kInitiator, at_initiator_,
                                               dialler_secret);
        },
        counters_);
  }

  RefusalCounters counters_;
  Seen at_responder_;
  Seen at_initiator_;
};

TEST_F(LinkPumpTest, CarriesMessagesBothWaysInOrder) {
  auto pair = Connect();
  ASSERT_EQ(at_responder_.WaitForMessages(1), std::vector<std::string>{"hello"});
  std::vector<std::string> sent;
  for (int i = 0; i < 1000; ++i) {
    sent.push_back("message " + std::to_string(i));
    ASSERT_TRUE(pair->accepting_end()->Send(sent.back()).ok());
  }
  EXPECT_EQ(at_initiator_.WaitForMessages(sent.size()), sent);
}

TEST_F(LinkPumpTest, BusyWriterBatchesAtMost64MessagesInAFrame) {
  auto pair = Connect();
  at_responder_.WaitForMessages(1);
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(pair->dialling_end()->Send("x").ok());
  ASSERT_EQ(at_responder_.WaitForMessages(2001).size(), 2001u);
  const std::vector<size_t> frames = at_responder_.frames();
  EXPECT_LT(frames.size(), 2001u) << "nothing was batched";
  for (const size_t messages : frames) EXPECT_LE(messages, protocol::kMaxBatch);
}

TEST_F(LinkPumpTest, LargeMessagesAreSplitOverFrames) {
  auto pair = Connect();
  at_responder_.WaitForMessages(1);
  const std::string large(protocol::kMaxBatchBytes, 'l');
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pair->dialling_end()->Send(large).ok());
  const std::vector<std::string> got = at_responder_.WaitForMessages(4);
  ASSERT_EQ(got.size(), 4u);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(got[i], large);
  EXPECT_EQ(pair->dialling_end()->Send(std::string(protocol::kMaxBatchBytes + 1, 'l')).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(LinkPumpTest, CloseFlushesWhatIsQueuedAndEndsBothSidesOnce) {
  auto pair = Connect();
  at_responder_.WaitForMessages(1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(pair->dialling_end()->Send("last words").ok());
  pair->dialling_end()->Close(absl::OkStatus());
  EXPECT_TRUE(at_responder_.WaitForClose().ok());
  EXPECT_TRUE(at_initiator_.WaitForClose().ok());
  EXPECT_EQ(at_responder_.WaitForMessages(101).size(), 101u);
  EXPECT_EQ(pair->dialling_end()->Send("too late").code(), absl::StatusCode::kUnavailable);
  pair.reset();
  EXPECT_EQ(at_responder_.closed_count(), 1);
  EXPECT_EQ(at_initiator_.closed_count(), 1);
}

TEST_F(LinkPumpTest, FrameUnderAnotherKeyIsRefusedAndCounted) {
  auto pair = Connect("another secret");
  EXPECT_TRUE(protocol::IsRefusal(at_responder_.WaitForClose()));
  EXPECT_TRUE(protocol::IsRefusal(at_initiator_.WaitForClose()));
  EXPECT_EQ(counters_.Get(RefusalReason::kMac), 1u);
  EXPECT_TRUE(at_responder_.WaitForMessages(1).empty());
}

TEST_F(LinkPumpTest, HandshakeAfterTheSessionStandsIsRefused) {
  auto pair = Connect();
  at_responder_.WaitForMessages(1);
  pair->dialling_end()->SendHandshake({});
  EXPECT_TRUE(protocol::IsRefusal(at_responder_.WaitForClose()));
  EXPECT_EQ(counters_.Get(RefusalReason::kOutOfOrder), 1u);
}

TEST_F(LinkPumpTest, BrokenStreamClosesBothEndsWithUnavailable) {
  auto pair = Connect();
  at_responder_.WaitForMessages(1);
  pair->Break();
  EXPECT_EQ(at_responder_.WaitForClose().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(at_initiator_.WaitForClose().code(), absl::StatusCode::kUnavailable);
}

// A transport whose peer never takes anything.
class StuckTransport : public LinkPump::Transport {
 public:
  void StartWrite(const v1::LinkMessage& message) override {
    ++writes;
    last = message;
  }
  void Finish(const absl::Status&) override { ++finishes; }
  void Abort() override { ++aborts; }
  int writes = 0;
  int finishes = 0;
  int aborts = 0;
  v1::LinkMessage last;
};

TEST(LinkPumpQueueTest, SendNeedsASession) {
  RefusalCounters counters;
  StuckTransport transport;
  LinkPump pump(transport, counters);
  EXPECT_EQ(pump.Send("x").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LinkPumpQueueTest, PeerThatDoesNotReadIsCutOff) {
  RefusalCounters counters;
  StuckTransport transport;
  LinkPump pump(transport, counters);
  pump.Establish(MakeChannel(Role::kInitiator));
  const std::string chunk(protocol::kMaxBatchBytes, 'c');
  absl::Status status;
  size_t accepted = 0;
  while (status.ok() && accepted < 1000) {
    status = pump.Send(chunk);
    if (status.ok()) ++accepted;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(accepted * chunk.size(), Link::kMaxQueuedBytes + chunk.size());
  EXPECT_EQ(transport.writes, 1) << "one write at a time";
  EXPECT_EQ(pump.Send("x").code(), absl::StatusCode::kUnavailable);
}

TEST(LinkPumpQueueTest, FrameBeforeTheSessionIsRefused) {
  RefusalCounters counters;
  StuckTransport transport;
  LinkPump pump(transport, counters);
  Seen seen;
  class Handler : public LinkHandler {
    void OnHandshake(const v1::HandshakeMessage&) override { FAIL(); }
    void OnMessages(std::vector<std::string>) override { FAIL(); }
    void OnClosed(const absl::Status&) override {}
  } handler;
  v1::LinkMessage early;
  early.mutable_frame()->set_seq(0);
  pump.OnReceived(early, handler);
  EXPECT_EQ(transport.finishes, 1);
  EXPECT_TRUE(protocol::IsRefusal(pump.close_status()));
  EXPECT_EQ(counters.Get(RefusalReason::kOutOfOrder), 1u);
}

TEST(LinkPumpQueueTest, BrokenWriteFinishesOnce) {
  RefusalCounters counters;
  StuckTransport transport;
  LinkPump pump(transport, counters);
  pump.Establish(MakeChannel(Role::kInitiator));
  ASSERT_TRUE(pump.Send("a").ok());
  ASSERT_TRUE(pump.Send("b").ok());
  pump.OnWritten(false);
  pump.OnPeerClosed();
  EXPECT_EQ(transport.finishes, 1);
  EXPECT_EQ(transport.writes, 1);
}

}  // namespace
}  // namespace blindcart
