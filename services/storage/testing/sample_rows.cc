#include "services/storage/testing/sample_rows.h"

#include "gtest/gtest.h"

namespace blindcart::storage::testing {

std::string SampleBytes(int64_t seed, size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    // The seed itself in the first eight bytes, then something that is never all zero.
    bytes[i] = i < 8 ? static_cast<char>(seed >> (8 * i)) : static_cast<char>(0xa5 + i);
  }
  return bytes;
}

Account SampleAccount(AccountKind kind, const std::string& number) {
  Account account;
  account.number = number;
  account.kind = kind;
  account.currency = "EUR";
  return account;
}

Customer SampleCustomer(const std::string& username, int64_t account_id) {
  Customer customer;
  customer.username = username;
  customer.identity = "identity of " + username;
  customer.fingerprint = SampleBytes(account_id, kFingerprintBytes);
  customer.password_record = "password record";
  customer.account_id = account_id;
  customer.created_at_ms = 1000;
  return customer;
}

Merchant SampleMerchant(const std::string& name, int64_t account_id) {
  Merchant merchant;
  merchant.name = name;
  merchant.identity = "identity of " + name;
  merchant.fingerprint = SampleBytes(account_id, kFingerprintBytes);
  merchant.account_id = account_id;
  return merchant;
}

Order SampleOrder(int64_t seed, int64_t merchant_id, int64_t customer_id) {
  Order order;
  order.order_id = SampleBytes(seed, kOrderIdBytes);
  order.merchant_id = merchant_id;
  order.customer_id = customer_id;
  order.sid = SampleBytes(seed + 1, kSidBytes);
  order.price_minor = 1000;
  order.charge_minor = 25;
  order.total_minor = 1025;
  order.currency = "EUR";
  order.commitment = SampleBytes(seed + 2, kCommitmentBytes);
  order.merchant_signature = SampleBytes(seed + 3, 64);
  order.created_at_ms = 2000;
  order.expires_at_ms = 5000;
  return order;
}

SampleWorld AddSampleWorld(Store& store) {
  SampleWorld world;
  absl::Status status = store.Write([&](Transaction& transaction) -> absl::Status {
    struct {
      AccountKind kind;
      const char* number;
      int64_t* id;
    } accounts[] = {{AccountKind::kCustomer, "C-1", &world.customer_account},
                    {AccountKind::kMerchant, "M-1", &world.merchant_account},
                    {AccountKind::kBroker, "B-1", &world.broker_account},
                    {AccountKind::kExternal, "X-1", &world.external_account}};
    for (const auto& account : accounts) {
      absl::StatusOr<int64_t> id =
          transaction.accounts().Insert(SampleAccount(account.kind, account.number));
      if (!id.ok()) return id.status();
      *account.id = *id;
    }
    absl::StatusOr<int64_t> customer =
        transaction.customers().Insert(SampleCustomer("alice", world.customer_account));
    if (!customer.ok()) return customer.status();
    world.customer = *customer;
    absl::StatusOr<int64_t> merchant =
        transaction.merchants().Insert(SampleMerchant("books", world.merchant_account));
    if (!merchant.ok()) return merchant.status();
    world.merchant = *merchant;
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return world;
}

void AddPaidOrder(Store& store, const SampleWorld& world) {
  const absl::Status added = store.Write([&](Transaction& t) -> absl::Status {
    const Order order = SampleOrder(10, world.merchant, world.customer);
    absl::Status status = t.orders().Insert(order);
    if (!status.ok()) return status;
    Transfer transfer;
    transfer.transfer_id = SampleBytes(20, kTransferIdBytes);
    transfer.kind = TransferKind::kPayment;
    transfer.order_id = order.order_id;
    Entry from, to;
    from.account_id = world.external_account;
    from.amount_minor = -1025;
    to.account_id = world.merchant_account;
    to.amount_minor = 1025;
    status = t.transfers().Insert(transfer, {from, to});
    if (!status.ok()) return status;
    status = t.orders().MarkPaid(order.order_id, transfer.transfer_id, "r", 1);
    if (!status.ok()) return status;
    RequestAnswer answer;
    answer.customer_id = world.customer;
    answer.request_id = SampleBytes(1, kRequestIdBytes);
    answer.request_digest = SampleBytes(2, kRequestDigestBytes);
    return t.requests().Insert(answer);
  });
  ASSERT_TRUE(added.ok()) << added;
}

}  // namespace blindcart::storage::testing
