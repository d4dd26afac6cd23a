#include "services/common/call_stats.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const google::protobuf::OneofDescriptor& Methods() {
  return *v1::CustomerMessage::descriptor()->FindOneofByName("body");
}

std::string TextOf(const CallStats& stats) {
  MetricPage page;
  stats.AddTo(page, "customer");
  return page.Text();
}

TEST(CallStatsTest, ACallIsUnderWayUntilTheLastReferenceGoes) {
  CallStats stats(Methods());
  const auto of_link = std::make_shared<std::atomic<int64_t>>(0);
  CallStats::CallPtr pay = stats.Begin(v1::CustomerMessage::kPay, of_link);
  CallStats::CallPtr in_a_callback = pay;
  const CallStats::CallPtr other = stats.Begin(v1::CustomerMessage::kBalance);
  pay.reset();
  EXPECT_EQ(stats.under_way(), 2);
  EXPECT_EQ(*of_link, 1);
  EXPECT_THAT(TextOf(stats),
              HasSubstr("blindcart_call_seconds_count{link=\"customer\",method=\"pay\"} 0"));
  in_a_callback.reset();
  EXPECT_EQ(stats.under_way(), 1);
  EXPECT_EQ(*of_link, 0);
  EXPECT_THAT(TextOf(stats),
              HasSubstr("blindcart_call_seconds_count{link=\"customer\",method=\"pay\"} 1"));
  EXPECT_THAT(TextOf(stats),
              HasSubstr("blindcart_calls_total{link=\"customer\",method=\"balance\"} 1"));
}

TEST(CallStatsTest, EveryMethodIsThereFromTheStartAndNoOther) {
  CallStats stats(Methods());
  stats.Begin(v1::CustomerMessage::BODY_NOT_SET);
  stats.Begin(9'999);
  const std::string text = TextOf(stats);
  for (int i = 0; i < Methods().field_count(); ++i) {
    EXPECT_THAT(text, HasSubstr("blindcart_calls_total{link=\"customer\",method=\"" +
                                Methods().field(i)->name() + "\"} 0\n"));
  }
  EXPECT_THAT(text, Not(HasSubstr("} 1\n")));
}

TEST(CallStatsTest, CountsFromManyThreads) {
  CallStats stats(Methods());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&stats] {
      for (int call = 0; call < 1'000; ++call) stats.Begin(v1::CustomerMessage::kMail);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stats.under_way(), 0);
  EXPECT_THAT(TextOf(stats),
              HasSubstr("blindcart_calls_total{link=\"customer\",method=\"mail\"} 4000"));
  EXPECT_THAT(TextOf(stats),
              HasSubstr("blindcart_call_seconds_count{link=\"customer\",method=\"mail\"} 4000"));
}

}  // namespace
}  // namespace blindcart
