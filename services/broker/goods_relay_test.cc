#include "services/broker/goods_relay.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::broker {
namespace {

struct TextPiece : GoodsPiece {
  explicit TextPiece(int number) : number(number) {}
  int number;
};

struct FakeSource : GoodsSource {
  void ReadNext() override { ++reads; }
  void Finish(const absl::Status& status) override {
    ++finishes;
    finished = status;
  }
  int reads = 0;
  int finishes = 0;
  absl::Status finished;
};

struct FakeSink : GoodsSink {
  void Write(std::unique_ptr<GoodsPiece> piece) override {
    written.push_back(static_cast<TextPiece&>(*piece).number);
  }
  void Finish(const absl::Status& status) override {
    ++finishes;
    finished = status;
  }
  std::vector<int> written;
  int finishes = 0;
  absl::Status finished;
};

class GoodsRelayTest : public ::testing::Test {
 protected:
  GoodsRelayTest() {
    GoodsRelay::Options options;
    options.max_per_customer = 2;
    options.max_open = 3;
    relay_ = std::make_unique<GoodsRelay>(options, clock_);
  }

  std::shared_ptr<Delivery> Opened() {
    EXPECT_TRUE(relay_->Open(1, "delivery"));
    return relay_->Find("delivery");
  }
  static void Piece(Delivery& delivery, int number) {
    delivery.OnPiece(std::make_unique<TextPiece>(number));
  }

  protocol::FakeClock clock_;
  std::unique_ptr<GoodsRelay> relay_;
  FakeSource source_;
  FakeSink sink_;
};

TEST_F(GoodsRelayTest, CarriesEveryPieceInOrderAndEndsBothEnds) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  ASSERT_TRUE(delivery->AttachSource(&source_));
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(source_.reads, i + 1);
    Piece(*delivery, i);
    ASSERT_EQ(sink_.written.size(), static_cast<size_t>(i + 1));
    delivery->OnWritten();
  }
  delivery->OnSourceEnded(absl::OkStatus());
  EXPECT_EQ(sink_.written, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(source_.finishes, 1);
  EXPECT_EQ(sink_.finishes, 1);
  EXPECT_TRUE(source_.finished.ok());
  EXPECT_TRUE(sink_.finished.ok());
  EXPECT_EQ(relay_->open_count(), 0u);
}

TEST_F(GoodsRelayTest, ReadsAheadAtMostFourPiecesWhileNobodyTakesThem) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(source_.reads, i + 1);
    Piece(*delivery, i);
  }
  EXPECT_EQ(source_.reads, 4);
  ASSERT_TRUE(delivery->AttachSink(&sink_));  // Takes one, so there is room for one.
  EXPECT_EQ(sink_.written.size(), 1u);
  EXPECT_EQ(source_.reads, 5);
  Piece(*delivery, 4);
  EXPECT_EQ(source_.reads, 5);
  delivery->OnWritten();
  EXPECT_EQ(sink_.written.size(), 2u);
  EXPECT_EQ(source_.reads, 6);
}

TEST_F(GoodsRelayTest, WritesOnePieceAtATime) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  Piece(*delivery, 0);
  Piece(*delivery, 1);
  EXPECT_EQ(sink_.written.size(), 1u);
}

TEST_F(GoodsRelayTest, EndsOnlyWhenTheLastPieceIsWritten) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  Piece(*delivery, 0);
  delivery->OnSourceEnded(absl::OkStatus());
  EXPECT_EQ(source_.finishes, 0);
  delivery->OnWritten();
  EXPECT_EQ(source_.finishes, 1);
}

TEST_F(GoodsRelayTest, EachEndAttachesOnce) {
  const auto delivery = Opened();
  FakeSource other_source;
  FakeSink other_sink;
  ASSERT_TRUE(delivery->AttachSource(&source_));
  EXPECT_FALSE(delivery->AttachSource(&other_source));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  EXPECT_FALSE(delivery->AttachSink(&other_sink));
  EXPECT_EQ(other_source.reads, 0);
}

TEST_F(GoodsRelayTest, AnIdIsGoodOnce) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  delivery->OnSourceEnded(absl::CancelledError(""));
  EXPECT_EQ(relay_->Find("delivery"), nullptr);
  EXPECT_FALSE(delivery->AttachSink(&sink_));
}

TEST_F(GoodsRelayTest, AMerchantThatBreaksEndsTheAgent) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  Piece(*delivery, 0);
  delivery->OnSourceEnded(absl::CancelledError("broke"));
  EXPECT_EQ(sink_.finishes, 1);
  EXPECT_FALSE(sink_.finished.ok());
}

TEST_F(GoodsRelayTest, AnAgentThatBreaksEndsTheMerchant) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  delivery->OnSinkEnded();
  EXPECT_EQ(source_.finishes, 1);
  EXPECT_FALSE(source_.finished.ok());
  Piece(*delivery, 0);  // Late: dropped.
  EXPECT_TRUE(sink_.written.empty());
}

TEST_F(GoodsRelayTest, ADetachedStreamIsNotCalledAnyMore) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  delivery->DetachSink();
  EXPECT_EQ(sink_.finishes, 0);
  EXPECT_EQ(source_.finishes, 1);
  delivery->DetachSource();
  EXPECT_EQ(source_.finishes, 1);
}

TEST_F(GoodsRelayTest, UnknownIdsAndIdsInUseAreRefused) {
  EXPECT_EQ(relay_->Find("delivery"), nullptr);
  ASSERT_TRUE(relay_->Open(1, "delivery"));
  EXPECT_FALSE(relay_->Open(1, "delivery"));
  EXPECT_FALSE(relay_->Open(2, "delivery"));
}

TEST_F(GoodsRelayTest, DeliveriesAreBoundedPerCustomerAndInAll) {
  EXPECT_TRUE(relay_->Open(1, "a"));
  EXPECT_TRUE(relay_->Open(1, "b"));
  EXPECT_FALSE(relay_->Open(1, "c"));
  EXPECT_TRUE(relay_->Open(2, "d"));
  EXPECT_FALSE(relay_->Open(2, "e"));
  relay_->Find("a")->OnSinkEnded();
  EXPECT_TRUE(relay_->Open(1, "c"));
}

TEST_F(GoodsRelayTest, ADeliveryThatNobodyFeedsEnds) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  clock_.Advance(29'999);
  relay_->Sweep();
  EXPECT_EQ(sink_.finishes, 0);
  clock_.Advance(1);
  relay_->Sweep();
  EXPECT_EQ(sink_.finishes, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(sink_.finished));
  EXPECT_EQ(relay_->open_count(), 0u);
}

TEST_F(GoodsRelayTest, ADeliveryThatStandsStillEnds) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  clock_.Advance(100'000);
  Piece(*delivery, 0);
  clock_.Advance(100'000);
  relay_->Sweep();
  EXPECT_EQ(relay_->open_count(), 1u);
  clock_.Advance(20'000);
  relay_->Sweep();
  EXPECT_EQ(relay_->open_count(), 0u);
  EXPECT_EQ(source_.finishes, 1);
}

TEST_F(GoodsRelayTest, ADeliveryMayOutliveTheRelay) {
  const auto delivery = Opened();
  ASSERT_TRUE(delivery->AttachSource(&source_));
  relay_.reset();
  delivery->OnSourceEnded(absl::CancelledError(""));
  EXPECT_EQ(source_.finishes, 1);
}

TEST_F(GoodsRelayTest, ADeliveryMovesOnceBothEndsAreThere) {
  const auto delivery = Opened();
  EXPECT_EQ(relay_->open_count(), 1u);
  EXPECT_EQ(relay_->moving_count(), 0u);
  ASSERT_TRUE(delivery->AttachSink(&sink_));
  EXPECT_EQ(relay_->moving_count(), 0u);
  ASSERT_TRUE(delivery->AttachSource(&source_));
  EXPECT_EQ(relay_->moving_count(), 1u);
  delivery->OnSourceEnded(absl::OkStatus());
  EXPECT_EQ(relay_->moving_count(), 0u);
  EXPECT_EQ(relay_->open_count(), 0u);
}

}  // namespace
}  // namespace blindcart::broker
