#include "clients/cli/exit_code.h"

#include "clients/cli/outcomes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::cli {
namespace {

using ::testing::HasSubstr;

TEST(ExitCodeTest, OfStatuses) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("")), ExitCode::kLogin);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), ExitCode::kRefused);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), ExitCode::kVerification);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), ExitCode::kFailure);
  EXPECT_EQ(ExitCodeOf(absl::UnknownError("")), ExitCode::kFailure);
}

TEST(ExitCodeTest, NumbersAreTheInterface) {
  EXPECT_EQ(static_cast<int>(ExitCode::kFailure), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kLogin), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kRefused), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kUnreachable), 5);
  EXPECT_EQ(static_cast<int>(ExitCode::kVerification), 6);
}

// Every outcome of the protocol has a code of its own making and words; one that is added to the
// protocol and forgotten here fails.
TEST(ExitCodeTest, EveryCheckoutOutcomeIsKnown) {
  const auto* outcomes = v1::CheckoutOutcome_descriptor();
  const std::string unknown = WhyNotOrdered(v1::CHECKOUT_OUTCOME_UNSPECIFIED);
  for (int i = 0; i < outcomes->value_count(); ++i) {
    const auto outcome = static_cast<v1::CheckoutOutcome>(outcomes->value(i)->number());
    if (outcome == v1::CHECKOUT_OUTCOME_UNSPECIFIED) {
      EXPECT_EQ(ExitCodeOf(outcome), ExitCode::kFailure);
    } else if (outcome == v1::CHECKOUT_OUTCOME_ORDERED) {
      EXPECT_EQ(ExitCodeOf(outcome), ExitCode::kOk);
    } else {
      EXPECT_EQ(ExitCodeOf(outcome),
                outcome == v1::CHECKOUT_OUTCOME_BUSY ? ExitCode::kUnreachable : ExitCode::kRefused);
      EXPECT_NE(WhyNotOrdered(outcome), unknown) << outcomes->value(i)->name();
    }
  }
}

TEST(ExitCodeTest, EveryPayOutcomeIsKnown) {
  const auto* outcomes = v1::PayOutcome_descriptor();
  v1::PayReply reply;
  const std::string unknown = WhyNotPaid(reply);
  for (int i = 0; i < outcomes->value_count(); ++i) {
    const auto outcome = static_cast<v1::PayOutcome>(outcomes->value(i)->number());
    reply.set_outcome(outcome);
    if (outcome == v1::PAY_OUTCOME_UNSPECIFIED) {
      EXPECT_EQ(ExitCodeOf(outcome), ExitCode::kFailure);
    } else if (outcome == v1::PAY_OUTCOME_SUCCESSFUL) {
      EXPECT_EQ(ExitCodeOf(outcome), ExitCode::kOk);
    } else {
      EXPECT_EQ(ExitCodeOf(outcome),
                outcome == v1::PAY_OUTCOME_BUSY ? ExitCode::kUnreachable : ExitCode::kRefused);
      EXPECT_NE(WhyNotPaid(reply), unknown) << outcomes->value(i)->name();
      EXPECT_THAT(WhyNotPaid(reply),
                  HasSubstr(outcome == v1::PAY_OUTCOME_BUSY ? "it is never charged twice"
                                                            : "Nothing was charged"));
    }
  }
}

TEST(OutcomesTest, EveryOrderStatusHasAWord) {
  const auto* statuses = v1::OrderStatus_descriptor();
  for (int i = 0; i < statuses->value_count(); ++i) {
    const auto status = static_cast<v1::OrderStatus>(statuses->value(i)->number());
    EXPECT_EQ(StatusWord(status) == "unknown", status == v1::ORDER_STATUS_UNSPECIFIED);
  }
}

TEST(OutcomesTest, SaysHowLongToWait) {
  v1::PayReply reply;
  reply.set_outcome(v1::PAY_OUTCOME_TRY_LATER);
  reply.set_retry_after_ms(65'000);
  EXPECT_THAT(WhyNotPaid(reply), HasSubstr("wait 1 min 05 s"));
}

}  // namespace
}  // namespace blindcart::cli
