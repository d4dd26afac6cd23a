// The contract of Store as tests that every backend runs.
//
// A backend's own test links this library and says
//   INSTANTIATE_TEST_SUITE_P(Name, StoreContractTest, ::testing::Values(MakeBackend));
// where MakeBackend gives a database that nobody else uses.
#ifndef SERVICES_STORAGE_STORE_CONTRACT_TEST_H_
#define SERVICES_STORAGE_STORE_CONTRACT_TEST_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "services/storage/store.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::storage {

// One empty database; removed by the destructor.
class StoreBackend {
 public:
  virtual ~StoreBackend() = default;
  // Opens the database once more; every Store so opened sees the same rows.
  virtual absl::StatusOr<std::unique_ptr<Store>> Open() = 0;
};

using StoreBackendFactory = std::unique_ptr<StoreBackend> (*)();

class StoreContractTest : public ::testing::TestWithParam<StoreBackendFactory> {
 protected:
  void SetUp() override;

  std::unique_ptr<StoreBackend> backend_;
  std::unique_ptr<Store> store_;
  testing::SampleWorld world_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_STORE_CONTRACT_TEST_H_
