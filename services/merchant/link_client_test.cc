#include "services/merchant/link_client.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"
#include "services/common/testing/fake_scheduler.h"

namespace blindcart::merchant {
namespace {

class FakeLink : public Link {
 public:
  void SendHandshake(v1::HandshakeMessage) override {}
  void Establish(std::unique_ptr<protocol::Channel>) override {}
  absl::Status Send(std::string) override { return absl::OkStatus(); }
  void Close(absl::Status) override {
    if (!closed && on_close) on_close();
    closed = true;
  }
  void CloseIfExpired() override {}

  std::unique_ptr<LinkHandler> handler;
  std::function<void()> on_close;
  bool closed = false;
};

class NullHandler : public LinkHandler {
 public:
  void OnHandshake(const v1::HandshakeMessage&) override {}
  void OnMessages(std::vector<std::string>) override {}
  void OnClosed(const absl::Status&) override {}
};

class LinkClientTest : public ::testing::Test {
 protected:
  LinkClientTest() {
    client_ = LinkClient::Create(
        [this](const std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link>)>& make) {
          auto link = std::make_shared<FakeLink>();
          link->handler = make(link);
          links_.push_back(link);
          return link;
        },
        [this](std::shared_ptr<Link>, std::function<void()> established) {
          established_ = std::move(established);
          return std::make_unique<NullHandler>();
        },
        scheduler_, clock_, random_);
  }

  ~LinkClientTest() override {
    // A link lets go of its handler at its end.
    for (const std::shared_ptr<FakeLink>& link : links_) link->handler.reset();
  }

  void Pass(int64_t ms) {
    clock_.Advance(ms);
    scheduler_.Advance(ms);
  }
  // The latest link breaks. Returns how long until the next dial.
  int64_t Break() {
    const size_t before = links_.size();
    // What is scheduled for the dial that broke is there already.
    const std::vector<int64_t> waiting = scheduler_.Delays();
    links_.back()->handler->OnClosed(absl::UnavailableError("gone"));
    EXPECT_EQ(links_.size(), before);
    std::vector<int64_t> now_waiting = scheduler_.Delays();
    EXPECT_EQ(now_waiting.size(), waiting.size() + 1);
    for (const int64_t delay : waiting) {
      now_waiting.erase(std::find(now_waiting.begin(), now_waiting.end(), delay));
    }
    return now_waiting.front();
  }

  protocol::FakeClock clock_;
  blindcart::testing::FakeScheduler scheduler_;
  crypto::DeterministicRandom random_{3};
  std::vector<std::shared_ptr<FakeLink>> links_;
  std::function<void()> established_;
  std::shared_ptr<LinkClient> client_;
  std::thread ended_;
};

TEST_F(LinkClientTest, IsConnectedOnceBothSidesHaveProvedThemselves) {
  client_->Start();
  ASSERT_EQ(links_.size(), 1u);
  EXPECT_FALSE(client_->connected());
  established_();
  EXPECT_TRUE(client_->connected());
  Break();
  EXPECT_FALSE(client_->connected());
}

TEST_F(LinkClientTest, BacksOffExponentiallyWithJitterUpToALimit) {
  client_->Start();
  int64_t limit_ms = LinkClient::kMinBackoffMs;
  std::vector<int64_t> at_limit;
  for (int i = 0; i < 20; ++i) {
    const int64_t delay_ms = Break();
    EXPECT_GE(delay_ms, limit_ms / 2) << i;
    EXPECT_LE(delay_ms, limit_ms) << i;
    if (limit_ms == LinkClient::kMaxBackoffMs) at_limit.push_back(delay_ms);
    const size_t before = links_.size();
    Pass(delay_ms - 1);
    EXPECT_EQ(links_.size(), before);
    Pass(1);
    EXPECT_EQ(links_.size(), before + 1);
    limit_ms = std::min(limit_ms * 2, LinkClient::kMaxBackoffMs);
  }
  std::sort(at_limit.begin(), at_limit.end());
  EXPECT_GT(at_limit.back() - at_limit.front(), 1'000) << "no jitter";
}

TEST_F(LinkClientTest, AStableLinkBeginsTheBackoffAnewAndAShortOneDoesNot) {
  client_->Start();
  for (int i = 0; i < 6; ++i) Pass(Break());
  established_();
  Pass(LinkClient::kStableMs - 1);
  const int64_t after_a_short_one_ms = Break();
  EXPECT_GT(after_a_short_one_ms, LinkClient::kMinBackoffMs);
  Pass(after_a_short_one_ms);
  established_();
  Pass(LinkClient::kStableMs);
  EXPECT_LE(Break(), LinkClient::kMinBackoffMs);
}

TEST_F(LinkClientTest, ALinkThatDoesNotFinishItsHandshakeIsGivenUp) {
  client_->Start();
  Pass(LinkClient::kHandshakeLimitMs - 1);
  EXPECT_FALSE(links_[0]->closed);
  Pass(1);
  EXPECT_TRUE(links_[0]->closed);
  Pass(Break());
  ASSERT_EQ(links_.size(), 2u);
  established_();
  Pass(LinkClient::kHandshakeLimitMs);
  EXPECT_FALSE(links_[1]->closed);
}

TEST_F(LinkClientTest, StopClosesTheLinkWaitsForItsEndAndDialsNoMore) {
  client_->Start();
  established_();
  links_[0]->on_close = [this] {
    // The stream's end comes from another thread, after Close.
    ended_ = std::thread([this] { links_[0]->handler->OnClosed(absl::OkStatus()); });
  };
  client_->Stop();
  ended_.join();
  EXPECT_FALSE(client_->connected());
  Pass(LinkClient::kMaxBackoffMs);
  EXPECT_EQ(links_.size(), 1u);
}

TEST_F(LinkClientTest, StopBetweenTwoLinksEndsTheWaiting) {
  client_->Start();
  Break();
  client_->Stop();
  Pass(LinkClient::kMaxBackoffMs);
  EXPECT_EQ(links_.size(), 1u);
}

}  // namespace
}  // namespace blindcart::merchant
