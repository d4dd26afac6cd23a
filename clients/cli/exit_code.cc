#include "clients/cli/exit_code.h"

namespace blindcart::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return ExitCode::kUsage;
    case absl::StatusCode::kUnauthenticated:
      return ExitCode::kLogin;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
      return ExitCode::kRefused;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kDataLoss:
      return ExitCode::kVerification;
    default:
      return ExitCode::kFailure;
  }
}

ExitCode ExitCodeOf(v1::CheckoutOutcome outcome) {
  switch (outcome) {
    case v1::CHECKOUT_OUTCOME_ORDERED:
      return ExitCode::kOk;
    case v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT:
    case v1::CHECKOUT_OUTCOME_SOLD_OUT:
    case v1::CHECKOUT_OUTCOME_ORDER_KEY_USED:
    case v1::CHECKOUT_OUTCOME_BROKER_DECLINED:
      return ExitCode::kRefused;
    case v1::CHECKOUT_OUTCOME_BUSY:
      return ExitCode::kUnreachable;
    default:
      return ExitCode::kFailure;
  }
}

ExitCode ExitCodeOf(v1::PayOutcome outcome) {
  switch (outcome) {
    case v1::PAY_OUTCOME_SUCCESSFUL:
      return ExitCode::kOk;
    case v1::PAY_OUTCOME_ACCOUNT_OR_PIN:
    case v1::PAY_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::PAY_OUTCOME_ORDER_UNKNOWN:
    case v1::PAY_OUTCOME_ORDER_EXPIRED:
    case v1::PAY_OUTCOME_ORDER_DECLINED:
    case v1::PAY_OUTCOME_TOTAL_DIFFERS:
    case v1::PAY_OUTCOME_TRY_LATER:
    case v1::PAY_OUTCOME_CURRENCY:
      return ExitCode::kRefused;
    case v1::PAY_OUTCOME_BUSY:
      return ExitCode::kUnreachable;
    default:
      return ExitCode::kFailure;
  }
}

ExitCode ExitCodeOf(v1::CashOutcome outcome) {
  switch (outcome) {
    case v1::CASH_OUTCOME_DONE:
      return ExitCode::kOk;
    case v1::CASH_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::CASH_OUTCOME_NOT_ALLOWED:
    case v1::CASH_OUTCOME_LIMIT:
      return ExitCode::kRefused;
    case v1::CASH_OUTCOME_BUSY:
      return ExitCode::kUnreachable;
    default:
      return ExitCode::kFailure;
  }
}

}  // namespace blindcart::cli
