#include "services/common/status_conversion.h"

#include "gtest/gtest.h"
#include "protocol/refusal.h"

namespace blindcart {
namespace {

TEST(StatusConversionTest, LocalStatusesKeepCodeAndWords) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "what went wrong");
    const grpc::Status converted = ToGrpcStatus(status);
    EXPECT_EQ(static_cast<int>(converted.error_code()), code);
    EXPECT_EQ(FromGrpcStatus(converted), status);
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusConversionTest, NothingButTheOneRefusalLeavesWithWords) {
  const grpc::Status refused = ToWireStatus(protocol::Refused());
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(refused.error_message(), "refused");
  const grpc::Status other = ToWireStatus(absl::DataLossError("row 17 of accounts is damaged"));
  EXPECT_EQ(other.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(other.error_message(), "");
}

}  // namespace
}  // namespace blindcart
