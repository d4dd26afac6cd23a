// Valid rows to begin a test with; a test changes what it is about. Every function fails the
// running test when the store refuses.
#ifndef SERVICES_STORAGE_TESTING_SAMPLE_ROWS_H_
#define SERVICES_STORAGE_TESTING_SAMPLE_ROWS_H_

#include <cstdint>
#include <string>

#include "services/storage/store.h"

namespace blindcart::storage::testing {

// `size` bytes that differ for different seeds.
std::string SampleBytes(int64_t seed, size_t size);

Account SampleAccount(AccountKind kind, const std::string& number);
Customer SampleCustomer(const std::string& username, int64_t account_id);
Merchant SampleMerchant(const std::string& name, int64_t account_id);

// 10.00 EUR and a charge of 0.25.
Order SampleOrder(int64_t seed, int64_t merchant_id, int64_t customer_id);

// A small marketplace in EUR.
struct SampleWorld {
  int64_t customer_account = 0;
  int64_t merchant_account = 0;
  int64_t broker_account = 0;
  int64_t external_account = 0;
  int64_t customer = 0;
  int64_t merchant = 0;
};

SampleWorld AddSampleWorld(Store& store);

// An order that has been paid, and the stored answer of its request.
void AddPaidOrder(Store& store, const SampleWorld& world);

}  // namespace blindcart::storage::testing

#endif  // SERVICES_STORAGE_TESTING_SAMPLE_ROWS_H_
