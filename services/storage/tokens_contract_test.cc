// The notary's tokens, for every backend.
#include <cstdint>
#include <limits>
#include <string>

#include "services/storage/store_contract_test.h"

namespace blindcart::storage {
namespace {

using testing::SampleBytes;

absl::Status Insert(Store& store, int64_t serial, const std::string& hash) {
  return store.Write([&](Transaction& transaction) {
    return transaction.tokens().Insert({serial, hash});
  });
}

absl::StatusOr<Token> Get(Store& store, int64_t serial) {
  absl::StatusOr<Token> token = absl::UnknownError("the body did not run");
  const absl::Status read = store.Read([&](Transaction& transaction) {
    token = transaction.tokens().Get(serial);
    return absl::OkStatus();
  });
  return read.ok() ? token : read;
}

int64_t HighestSerial(Store& store) {
  absl::StatusOr<int64_t> highest = absl::UnknownError("the body did not run");
  EXPECT_TRUE(store
                  .Read([&](Transaction& transaction) {
                    highest = transaction.tokens().HighestSerial();
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(highest.ok()) << highest.status();
  return highest.value_or(-1);
}

TEST_P(StoreContractTest, TokensAreKeptWithTheirHash) {
  EXPECT_EQ(HighestSerial(*store_), 0);
  const std::string hash = SampleBytes(1, kTokenHashBytes);
  ASSERT_TRUE(Insert(*store_, 7, hash).ok());
  ASSERT_TRUE(Insert(*store_, std::numeric_limits<int64_t>::max(), hash).ok());
  ASSERT_TRUE(Insert(*store_, 3, SampleBytes(2, kTokenHashBytes)).ok());
  EXPECT_EQ(HighestSerial(*store_), std::numeric_limits<int64_t>::max());
  const absl::StatusOr<Token> token = Get(*store_, 7);
  ASSERT_TRUE(token.ok()) << token.status();
  EXPECT_EQ(token->serial, 7);
  EXPECT_EQ(token->hash, hash);
  EXPECT_EQ(Get(*store_, 8).status().code(), absl::StatusCode::kNotFound);

  store_ = *backend_->Open();
  EXPECT_EQ(Get(*store_, 3)->hash, SampleBytes(2, kTokenHashBytes));
}

TEST_P(StoreContractTest, ASerialIsUsedOnce) {
  ASSERT_TRUE(Insert(*store_, 7, SampleBytes(1, kTokenHashBytes)).ok());
  EXPECT_EQ(Insert(*store_, 7, SampleBytes(2, kTokenHashBytes)).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Get(*store_, 7)->hash, SampleBytes(1, kTokenHashBytes));
}

TEST_P(StoreContractTest, TokensAreBounded) {
  for (const int64_t serial : {int64_t{0}, int64_t{-1}}) {
    EXPECT_EQ(Insert(*store_, serial, SampleBytes(1, kTokenHashBytes)).code(),
              absl::StatusCode::kInvalidArgument);
  }
  for (const size_t bytes : {size_t{0}, size_t{31}, size_t{33}}) {
    EXPECT_EQ(Insert(*store_, 1, SampleBytes(1, bytes)).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(HighestSerial(*store_), 0);
}

}  // namespace
}  // namespace blindcart::storage
