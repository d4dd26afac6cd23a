#include "services/storage/store_contract_test.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

namespace blindcart::storage {

using testing::AddSampleWorld;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::SampleAccount;
using testing::SampleBytes;
using testing::SampleCustomer;
using testing::SampleMerchant;
using testing::SampleOrder;
using ::testing::SizeIs;

void StoreContractTest::SetUp() {
  backend_ = GetParam()();
  absl::StatusOr<std::unique_ptr<Store>> store = backend_->Open();
  ASSERT_TRUE(store.ok()) << store.status();
  store_ = *std::move(store);
  world_ = AddSampleWorld(*store_);
}

namespace {

constexpr int64_t kAll = 1000;

// Runs one accessor call in a transaction of its own.
template <typename Call>
absl::Status WriteOne(Store& store, Call call) {
  return store.Write([&](Transaction& transaction) -> absl::Status { return call(transaction); });
}

template <typename Row, typename Call>
absl::StatusOr<Row> ReadOne(Store& store, Call call) {
  absl::StatusOr<Row> row = absl::UnknownError("the body did not run");
  absl::Status status = store.Read([&](Transaction& transaction) {
    row = call(transaction);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return row;
}

absl::StatusCode CodeOf(const absl::Status& status) { return status.code(); }

Transfer MakeTransfer(int64_t seed, TransferKind kind, const std::string& order_id = "") {
  Transfer transfer;
  transfer.transfer_id = SampleBytes(seed, kTransferIdBytes);
  transfer.kind = kind;
  transfer.order_id = order_id;
  transfer.created_at_ms = 3000;
  return transfer;
}

Entry MakeEntry(int64_t account_id, int64_t amount_minor) {
  Entry entry;
  entry.account_id = account_id;
  entry.amount_minor = amount_minor;
  return entry;
}

absl::StatusOr<std::string> ReadMeta(Store& store, const std::string& key) {
  return ReadOne<std::string>(store, [&](Transaction& t) { return t.meta().Get(key); });
}

absl::Status SetMeta(Store& store, const std::string& key, const std::string& value) {
  return WriteOne(store, [&](Transaction& t) { return t.meta().Set(key, value); });
}

absl::Status IncrementMeta(Transaction& transaction, const std::string& key) {
  int64_t count = 0;
  absl::StatusOr<std::string> value = transaction.meta().Get(key);
  if (value.ok()) {
    if (!absl::SimpleAtoi(*value, &count)) return absl::InternalError("not a number");
  } else if (!absl::IsNotFound(value.status())) {
    return value.status();
  }
  return transaction.meta().Set(key, absl::StrCat(count + 1));
}

absl::Status AddOrder(Store& store, const Order& order) {
  return WriteOne(store, [&](Transaction& t) { return t.orders().Insert(order); });
}

absl::StatusOr<Order> GetOrder(Store& store, const std::string& order_id) {
  return ReadOne<Order>(store, [&](Transaction& t) { return t.orders().Get(order_id); });
}

// Inserts the payment of an order and marks the order with it.
absl::Status PayOrder(Store& store, const testing::SampleWorld& world, const Order& order,
                      int64_t seed) {
  return store.Write([&](Transaction& t) -> absl::Status {
    absl::Status inserted =
        t.transfers().Insert(MakeTransfer(seed, TransferKind::kPayment, order.order_id),
                             {MakeEntry(world.external_account, -order.total_minor),
                              MakeEntry(world.merchant_account, order.total_minor)});
    if (!inserted.ok()) return inserted;
    return t.orders().MarkPaid(order.order_id, SampleBytes(seed, kTransferIdBytes), "receipt",
                               4000);
  });
}

TEST_P(StoreContractTest, AccountsKeepEveryField) {
  Account account = SampleAccount(AccountKind::kCustomer, "C-2");
  account.currency = "USD";
  account.balance_minor = 500;
  account.pin_record = std::string("pin\0record", 10);
  account.pin_failures = 2;
  account.pin_blocked_until_ms = 77;
  int64_t id = 0;
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) -> absl::Status {
                absl::StatusOr<int64_t> inserted = t.accounts().Insert(account);
                if (!inserted.ok()) return inserted.status();
                id = *inserted;
                return absl::OkStatus();
              }).ok());
  for (bool by_number : {false, true}) {
    absl::StatusOr<Account> read = ReadOne<Account>(*store_, [&](Transaction& t) {
      return by_number ? t.accounts().FindByNumber("C-2") : t.accounts().Get(id);
    });
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->id, id);
    EXPECT_EQ(read->number, "C-2");
    EXPECT_EQ(read->kind, AccountKind::kCustomer);
    EXPECT_EQ(read->currency, "USD");
    EXPECT_EQ(read->balance_minor, 0) << "money enters only by a transfer";
    EXPECT_EQ(read->pin_record, account.pin_record);
    EXPECT_EQ(read->pin_failures, 2);
    EXPECT_EQ(read->pin_blocked_until_ms, 77);
  }
}

TEST_P(StoreContractTest, AccountsRefuseWhatBreaksTheirRules) {
  auto insert = [&](const Account& account) {
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.accounts().Insert(account).status(); }));
  };
  const Account good = SampleAccount(AccountKind::kCustomer, "C-2");
  Account bad = good;
  bad.number = "C-1";
  EXPECT_EQ(insert(bad), absl::StatusCode::kAlreadyExists);
  bad = good;
  bad.number = "";
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad.number = std::string(kMaxNameBytes + 1, 'n');
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad = good;
  bad.kind = AccountKind::kInvalid;
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  for (const char* currency : {"", "EU", "eur", "EURO", "E1R"}) {
    bad = good;
    bad.currency = currency;
    EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument) << currency;
  }
  bad = good;
  bad.pin_record = std::string(kMaxRecordBytes + 1, 'p');
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad = good;
  bad.pin_failures = -1;
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  Account longest = good;
  longest.number = std::string(kMaxNameBytes, 'n');
  EXPECT_EQ(insert(longest), absl::StatusCode::kOk);
}

TEST_P(StoreContractTest, ThereIsOneSystemAccountPerCurrencyAndKind) {
  auto insert = [&](AccountKind kind, const char* number, const char* currency) {
    Account account = SampleAccount(kind, number);
    account.currency = currency;
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.accounts().Insert(account).status(); }));
  };
  EXPECT_EQ(insert(AccountKind::kBroker, "B-2", "EUR"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(insert(AccountKind::kExternal, "X-2", "EUR"), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(insert(AccountKind::kBroker, "B-2", "USD"), absl::StatusCode::kOk);
  EXPECT_EQ(insert(AccountKind::kCustomer, "C-2", "EUR"), absl::StatusCode::kOk);

  auto find = [&](AccountKind kind, const char* currency) {
    return ReadOne<Account>(
        *store_, [&](Transaction& t) { return t.accounts().FindSystem(kind, currency); });
  };
  EXPECT_EQ(find(AccountKind::kBroker, "EUR")->id, world_.broker_account);
  EXPECT_EQ(find(AccountKind::kBroker, "USD")->number, "B-2");
  EXPECT_EQ(find(AccountKind::kExternal, "EUR")->id, world_.external_account);
  EXPECT_EQ(CodeOf(find(AccountKind::kExternal, "USD").status()), absl::StatusCode::kNotFound);
  EXPECT_EQ(CodeOf(find(AccountKind::kCustomer, "EUR").status()),
            absl::StatusCode::kInvalidArgument);
}

// More of them than one statement takes.
TEST_P(StoreContractTest, ManyAccountsAtOnce) {
  std::vector<int64_t> ids;
  for (int i = 0; i < 9; ++i) {
    ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                  const auto id = t.accounts().Insert(
                      SampleAccount(AccountKind::kCustomer, absl::StrCat("many-", i)));
                  if (id.ok()) ids.push_back(*id);
                  return id.status();
                }).ok());
  }
  const auto balances = [&] {
    std::vector<int64_t> found;
    EXPECT_TRUE(store_
                    ->Read([&](Transaction& t) {
                      const auto accounts = t.accounts().GetAll(ids);
                      if (!accounts.ok()) return accounts.status();
                      found.clear();
                      for (size_t i = 0; i < accounts->size(); ++i) {
                        EXPECT_EQ((*accounts)[i].id, ids[i]);
                        found.push_back((*accounts)[i].balance_minor);
                      }
                      return absl::OkStatus();
                    })
                    .ok());
    return found;
  };
  const auto set = [&](std::vector<AccountBalance> wanted) {
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.accounts().SetBalances(wanted); }));
  };
  std::vector<AccountBalance> wanted;
  for (size_t i = 0; i < ids.size(); ++i) {
    wanted.push_back({ids[i], static_cast<int64_t>(i) * 10 + INT32_MAX});
  }
  EXPECT_EQ(set(wanted), absl::StatusCode::kOk);
  std::vector<int64_t> expected;
  for (const AccountBalance& balance : wanted) expected.push_back(balance.balance_minor);
  EXPECT_EQ(balances(), expected);

  // One that is wrong or missing, and nothing has changed.
  for (AccountBalance& balance : wanted) balance.balance_minor = 1;
  wanted[6].balance_minor = -1;
  EXPECT_EQ(set(wanted), absl::StatusCode::kInvalidArgument);
  wanted[6] = {999, 1};
  EXPECT_EQ(set(wanted), absl::StatusCode::kNotFound);
  EXPECT_EQ(balances(), expected);
  EXPECT_EQ(set({}), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf(store_->Read([&](Transaction& t) {
              return t.accounts().GetAll({ids[0], ids[1], 999}).status();
            })),
            absl::StatusCode::kNotFound);
  ids.clear();
  EXPECT_TRUE(balances().empty());
}

TEST_P(StoreContractTest, BalancesAndPinStatesChange) {
  auto set = [&](int64_t id, int64_t balance) {
    return CodeOf(WriteOne(*store_, [&](Transaction& t) {
      return t.accounts().SetBalances({{id, balance}});
    }));
  };
  EXPECT_EQ(set(world_.customer_account, INT64_MAX), absl::StatusCode::kOk);
  EXPECT_EQ(set(world_.customer_account, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set(world_.broker_account, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set(world_.external_account, INT64_MIN), absl::StatusCode::kOk);
  EXPECT_EQ(set(999, 1), absl::StatusCode::kNotFound);
  auto get = [&](int64_t id) {
    return ReadOne<Account>(*store_, [&](Transaction& t) { return t.accounts().Get(id); });
  };
  EXPECT_EQ(get(world_.customer_account)->balance_minor, INT64_MAX);
  EXPECT_EQ(get(world_.external_account)->balance_minor, INT64_MIN);

  EXPECT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.accounts().SetPinState(world_.customer_account, 3, 9000);
              }).ok());
  EXPECT_EQ(get(world_.customer_account)->pin_failures, 3);
  EXPECT_EQ(get(world_.customer_account)->pin_blocked_until_ms, 9000);
  EXPECT_EQ(CodeOf(WriteOne(*store_,
                            [&](Transaction& t) { return t.accounts().SetPinState(999, 1, 1); })),
            absl::StatusCode::kNotFound);
}

TEST_P(StoreContractTest, ListsPageByKey) {
  auto list = [&](int64_t after, int64_t limit) {
    return ReadOne<std::vector<Account>>(
        *store_, [&](Transaction& t) { return t.accounts().List(after, limit); });
  };
  ASSERT_THAT(*list(0, kAll), SizeIs(4));
  const std::vector<Account> first = *list(0, 3);
  ASSERT_THAT(first, SizeIs(3));
  EXPECT_LT(first[0].id, first[1].id);
  EXPECT_LT(first[1].id, first[2].id);
  const std::vector<Account> second = *list(first[2].id, 3);
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_GT(second[0].id, first[2].id);
  EXPECT_EQ(CodeOf(list(0, 0).status()), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(list(0, -1).status()), absl::StatusCode::kInvalidArgument);
}

TEST_P(StoreContractTest, CustomersKeepEveryField) {
  Customer customer;
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) -> absl::Status {
                absl::StatusOr<int64_t> account =
                    t.accounts().Insert(SampleAccount(AccountKind::kCustomer, "C-2"));
                if (!account.ok()) return account.status();
                customer = SampleCustomer("bob", *account);
                customer.login_failures = 4;
                customer.login_blocked_until_ms = 88;
                absl::StatusOr<int64_t> id = t.customers().Insert(customer);
                if (!id.ok()) return id.status();
                customer.id = *id;
                return absl::OkStatus();
              }).ok());
  for (int way = 0; way < 3; ++way) {
    absl::StatusOr<Customer> read = ReadOne<Customer>(*store_, [&](Transaction& t) {
      if (way == 0) return t.customers().Get(customer.id);
      if (way == 1) return t.customers().FindByUsername("bob");
      return t.customers().FindByFingerprint(customer.fingerprint);
    });
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->id, customer.id);
    EXPECT_EQ(read->username, "bob");
    EXPECT_EQ(read->identity, customer.identity);
    EXPECT_EQ(read->fingerprint, customer.fingerprint);
    EXPECT_EQ(read->password_record, customer.password_record);
    EXPECT_EQ(read->account_id, customer.account_id);
    EXPECT_EQ(read->login_failures, 4);
    EXPECT_EQ(read->login_blocked_until_ms, 88);
    EXPECT_EQ(read->created_at_ms, 1000);
  }
  EXPECT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.customers().SetLoginState(customer.id, 0, 0);
              }).ok());
  EXPECT_EQ(
      ReadOne<Customer>(*store_, [&](Transaction& t) { return t.customers().Get(customer.id); })
          ->login_failures,
      0);
  EXPECT_THAT(*ReadOne<std::vector<Customer>>(
                  *store_, [&](Transaction& t) { return t.customers().List(0, kAll); }),
              SizeIs(2));
  EXPECT_EQ(CodeOf(ReadOne<Customer>(
                       *store_, [&](Transaction& t) { return t.customers().FindByUsername("BOB"); })
                       .status()),
            absl::StatusCode::kNotFound)
      << "names are compared exactly";
}

TEST_P(StoreContractTest, PartiesRefuseWhatBreaksTheirRules) {
  int64_t account = 0;
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) -> absl::Status {
                absl::StatusOr<int64_t> id =
                    t.accounts().Insert(SampleAccount(AccountKind::kCustomer, "C-2"));
                if (id.ok()) account = *id;
                return id.status();
              }).ok());
  auto insert = [&](const Customer& customer) {
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.customers().Insert(customer).status(); }));
  };
  const Customer good = SampleCustomer("bob", account);
  Customer bad = good;
  bad.username = "alice";
  EXPECT_EQ(insert(bad), absl::StatusCode::kAlreadyExists);
  bad = good;
  bad.fingerprint = SampleBytes(world_.customer_account, kFingerprintBytes);
  EXPECT_EQ(insert(bad), absl::StatusCode::kAlreadyExists);
  bad = good;
  bad.account_id = world_.customer_account;
  EXPECT_EQ(insert(bad), absl::StatusCode::kAlreadyExists);
  bad = good;
  bad.account_id = world_.broker_account;
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument) << "not a customer account";
  bad.account_id = 999;
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument) << "no account at all";
  bad = good;
  bad.fingerprint.pop_back();
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad = good;
  bad.username = "";
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad = good;
  bad.identity = std::string(kMaxRecordBytes + 1, 'i');
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(insert(good), absl::StatusCode::kOk);

  auto insert_merchant = [&](const Merchant& merchant) {
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.merchants().Insert(merchant).status(); }));
  };
  EXPECT_EQ(insert_merchant(SampleMerchant("music", world_.customer_account)),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(insert_merchant(SampleMerchant("books", world_.merchant_account)),
            absl::StatusCode::kAlreadyExists);
}

// Names come from outside; what no database could hold is nobody's.
TEST_P(StoreContractTest, OddNamesAreFoundNowhereAndHarmNothing) {
  for (const std::string& name :
       {std::string("\0", 1), std::string("alice\0", 6), std::string("C-1\0x", 5),
        std::string("\xff\xfe"), std::string("\xed\xa0\x80"), std::string("' OR 1=1 --"),
        std::string(100'000, 'a')}) {
    const absl::Status status = store_->Write([&](Transaction& t) -> absl::Status {
      EXPECT_TRUE(absl::IsNotFound(t.customers().FindByUsername(name).status()));
      EXPECT_TRUE(absl::IsNotFound(t.merchants().FindByName(name).status()));
      EXPECT_TRUE(absl::IsNotFound(t.accounts().FindByNumber(name).status()));
      EXPECT_TRUE(absl::IsNotFound(t.meta().Get(name).status()));
      return t.meta().Set("still", "usable");
    });
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST_P(StoreContractTest, MerchantsKeepEveryField) {
  for (int way = 0; way < 3; ++way) {
    absl::StatusOr<Merchant> read = ReadOne<Merchant>(*store_, [&](Transaction& t) {
      if (way == 0) return t.merchants().Get(world_.merchant);
      if (way == 1) return t.merchants().FindByName("books");
      return t.merchants().FindByFingerprint(
          SampleBytes(world_.merchant_account, kFingerprintBytes));
    });
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->id, world_.merchant);
    EXPECT_EQ(read->name, "books");
    EXPECT_EQ(read->identity, "identity of books");
    EXPECT_EQ(read->account_id, world_.merchant_account);
  }
  EXPECT_THAT(*ReadOne<std::vector<Merchant>>(
                  *store_, [&](Transaction& t) { return t.merchants().List(0, kAll); }),
              SizeIs(1));
}

TEST_P(StoreContractTest, OrdersKeepEveryField) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  ASSERT_TRUE(PayOrder(*store_, world_, order, 20).ok());
  absl::StatusOr<Order> read = GetOrder(*store_, order.order_id);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->order_id, order.order_id);
  EXPECT_EQ(read->merchant_id, world_.merchant);
  EXPECT_EQ(read->customer_id, world_.customer);
  EXPECT_EQ(read->sid, order.sid);
  EXPECT_EQ(read->price_minor, 1000);
  EXPECT_EQ(read->charge_minor, 25);
  EXPECT_EQ(read->total_minor, 1025);
  EXPECT_EQ(read->currency, "EUR");
  EXPECT_EQ(read->commitment, order.commitment);
  EXPECT_EQ(read->merchant_signature, order.merchant_signature);
  EXPECT_EQ(read->created_at_ms, 2000);
  EXPECT_EQ(read->expires_at_ms, 5000);
  EXPECT_EQ(read->status, OrderStatus::kPaid);
  EXPECT_EQ(read->paid_at_ms, 4000);
  EXPECT_EQ(read->transfer_id, SampleBytes(20, kTransferIdBytes));
  EXPECT_EQ(read->receipt, "receipt");
}

TEST_P(StoreContractTest, OrdersRefuseWhatBreaksTheirRules) {
  const Order good = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, good).ok());
  EXPECT_EQ(CodeOf(AddOrder(*store_, good)), absl::StatusCode::kAlreadyExists);
  const std::vector<std::pair<const char*, void (*)(Order&)>> changes = {
      {"short id", [](Order& o) { o.order_id.pop_back(); }},
      {"long id", [](Order& o) { o.order_id.push_back('x'); }},
      {"no merchant", [](Order& o) { o.merchant_id = 999; }},
      {"no customer", [](Order& o) { o.customer_id = 999; }},
      {"short sid", [](Order& o) { o.sid.pop_back(); }},
      {"price of zero", [](Order& o) { o.price_minor = 0, o.total_minor = o.charge_minor; }},
      {"negative price", [](Order& o) { o.price_minor = -25, o.total_minor = 0; }},
      {"negative charge", [](Order& o) { o.charge_minor = -1, o.total_minor = 999; }},
      {"wrong total", [](Order& o) { o.total_minor += 1; }},
      {"overflowing total",
       [](Order& o) { o.price_minor = INT64_MAX, o.charge_minor = 1, o.total_minor = INT64_MIN; }},
      {"no currency", [](Order& o) { o.currency = ""; }},
      {"short commitment", [](Order& o) { o.commitment.pop_back(); }},
      {"no signature", [](Order& o) { o.merchant_signature.clear(); }},
      {"negative time", [](Order& o) { o.created_at_ms = -1; }},
      {"paid at once", [](Order& o) { o.status = OrderStatus::kPaid; }},
      {"declined at once", [](Order& o) { o.status = OrderStatus::kDeclined; }},
      {"receipt at once", [](Order& o) { o.receipt = "receipt"; }},
      {"transfer at once", [](Order& o) { o.transfer_id = std::string(kTransferIdBytes, 't'); }},
      {"time of payment at once", [](Order& o) { o.paid_at_ms = 1; }},
  };
  for (const auto& [what, change] : changes) {
    Order bad = SampleOrder(11, world_.merchant, world_.customer);
    change(bad);
    EXPECT_EQ(CodeOf(AddOrder(*store_, bad)), absl::StatusCode::kInvalidArgument) << what;
  }
  EXPECT_TRUE(AddOrder(*store_, SampleOrder(11, world_.merchant, world_.customer)).ok());
}

// Every pair of an expected and a new status, tried on an order in every status.
TEST_P(StoreContractTest, OrdersTakeOnlyTheirSteps) {
  const std::vector<OrderStatus> all = {OrderStatus::kCreated,   OrderStatus::kDeclined,
                                        OrderStatus::kExpired,   OrderStatus::kPaid,
                                        OrderStatus::kDelivered, OrderStatus::kRefunded};
  auto is_step = [](OrderStatus from, OrderStatus to) {
    return (from == OrderStatus::kCreated &&
            (to == OrderStatus::kDeclined || to == OrderStatus::kExpired)) ||
           (from == OrderStatus::kPaid &&
            (to == OrderStatus::kDelivered || to == OrderStatus::kRefunded)) ||
           (from == OrderStatus::kDelivered && to == OrderStatus::kRefunded);
  };
  auto update = [&](const std::string& id, OrderStatus expected, OrderStatus to) {
    return WriteOne(*store_,
                    [&](Transaction& t) { return t.orders().UpdateStatus(id, expected, to); });
  };
  int64_t seed = 1000;
  for (OrderStatus start : all) {
    for (OrderStatus expected : all) {
      for (OrderStatus to : all) {
        const Order order = SampleOrder(seed += 10, world_.merchant, world_.customer);
        ASSERT_TRUE(AddOrder(*store_, order).ok());
        if (start == OrderStatus::kDeclined || start == OrderStatus::kExpired) {
          ASSERT_TRUE(update(order.order_id, OrderStatus::kCreated, start).ok());
        } else if (start != OrderStatus::kCreated) {
          ASSERT_TRUE(PayOrder(*store_, world_, order, seed).ok());
          if (start != OrderStatus::kPaid) {
            ASSERT_TRUE(update(order.order_id, OrderStatus::kPaid, start).ok());
          }
        }
        const absl::StatusCode code = CodeOf(update(order.order_id, expected, to));
        const std::string what = absl::StrCat(
            OrderStatusName(start), ": ", OrderStatusName(expected), " to ", OrderStatusName(to));
        OrderStatus end = start;
        if (!is_step(expected, to)) {
          EXPECT_EQ(code, absl::StatusCode::kInvalidArgument) << what;
        } else if (expected != start) {
          EXPECT_EQ(code, absl::StatusCode::kFailedPrecondition) << what;
        } else {
          EXPECT_EQ(code, absl::StatusCode::kOk) << what;
          end = to;
        }
        EXPECT_EQ(GetOrder(*store_, order.order_id)->status, end) << what;
      }
    }
  }
  EXPECT_EQ(
      CodeOf(update(SampleBytes(1, kOrderIdBytes), OrderStatus::kCreated, OrderStatus::kExpired)),
      absl::StatusCode::kNotFound);
}

TEST_P(StoreContractTest, AnOrderIsPaidOnceAndOnlyByAKnownTransfer) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  auto mark = [&](const std::string& order_id, const std::string& transfer_id,
                  const std::string& receipt) {
    return CodeOf(WriteOne(*store_, [&](Transaction& t) {
      return t.orders().MarkPaid(order_id, transfer_id, receipt, 4000);
    }));
  };
  EXPECT_EQ(mark(order.order_id, SampleBytes(77, kTransferIdBytes), "receipt"),
            absl::StatusCode::kInvalidArgument)
      << "unknown transfer";
  EXPECT_EQ(mark(SampleBytes(1, kOrderIdBytes), SampleBytes(77, kTransferIdBytes), "receipt"),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.transfers().Insert(
                    MakeTransfer(20, TransferKind::kPayment, order.order_id),
                    {MakeEntry(world_.external_account, -5), MakeEntry(world_.broker_account, 5)});
              }).ok());
  const std::string transfer_id = SampleBytes(20, kTransferIdBytes);
  EXPECT_EQ(mark(order.order_id, transfer_id, ""), absl::StatusCode::kInvalidArgument)
      << "no receipt";
  EXPECT_EQ(mark(order.order_id, transfer_id, "receipt"), absl::StatusCode::kOk);
  EXPECT_EQ(mark(order.order_id, transfer_id, "receipt"), absl::StatusCode::kFailedPrecondition);

  const Order declined = SampleOrder(30, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, declined).ok());
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.orders().UpdateStatus(declined.order_id, OrderStatus::kCreated,
                                               OrderStatus::kDeclined);
              }).ok());
  EXPECT_EQ(mark(declined.order_id, transfer_id, "receipt"), absl::StatusCode::kFailedPrecondition);
}

TEST_P(StoreContractTest, ExpirableOrdersAreThoseStillOpen) {
  auto add = [&](int64_t seed, int64_t expires_at_ms) {
    Order order = SampleOrder(seed, world_.merchant, world_.customer);
    order.expires_at_ms = expires_at_ms;
    EXPECT_TRUE(AddOrder(*store_, order).ok());
    return order;
  };
  const Order late = add(10, 9000);
  const Order early = add(20, 7000);
  const Order middle = add(30, 8000);
  const Order closed = add(40, 7000);
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.orders().UpdateStatus(closed.order_id, OrderStatus::kCreated,
                                               OrderStatus::kDeclined);
              }).ok());
  auto expirable = [&](int64_t now_ms, int64_t limit) {
    return *ReadOne<std::vector<std::string>>(
        *store_, [&](Transaction& t) { return t.orders().ListExpirable(now_ms, limit); });
  };
  EXPECT_THAT(expirable(6999, kAll), IsEmpty());
  EXPECT_THAT(expirable(7000, kAll), ElementsAre(early.order_id));
  EXPECT_THAT(expirable(9000, kAll), ElementsAre(early.order_id, middle.order_id, late.order_id));
  EXPECT_THAT(expirable(9000, 2), ElementsAre(early.order_id, middle.order_id));
}

TEST_P(StoreContractTest, OrdersPageByTheirId) {
  for (int64_t seed = 10; seed < 60; seed += 10) {
    ASSERT_TRUE(AddOrder(*store_, SampleOrder(seed, world_.merchant, world_.customer)).ok());
  }
  std::string after;
  std::vector<std::string> ids;
  for (;;) {
    const std::vector<Order> page = *ReadOne<std::vector<Order>>(
        *store_, [&](Transaction& t) { return t.orders().List(after, 2); });
    for (const Order& order : page) ids.push_back(order.order_id);
    if (page.size() < 2) break;
    after = page.back().order_id;
  }
  ASSERT_THAT(ids, SizeIs(5));
  EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
}

TEST_P(StoreContractTest, TransfersKeepTheirEntries) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  const Transfer payment = MakeTransfer(20, TransferKind::kPayment, order.order_id);
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.transfers().Insert(payment, {MakeEntry(world_.customer_account, -1025),
                                                      MakeEntry(world_.merchant_account, 1000),
                                                      MakeEntry(world_.broker_account, 25)});
              }).ok());
  absl::StatusOr<Transfer> read = ReadOne<Transfer>(
      *store_, [&](Transaction& t) { return t.transfers().Get(payment.transfer_id); });
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->kind, TransferKind::kPayment);
  EXPECT_EQ(read->order_id, order.order_id);
  EXPECT_EQ(read->created_at_ms, 3000);
  const std::vector<Entry> entries = *ReadOne<std::vector<Entry>>(
      *store_, [&](Transaction& t) { return t.transfers().ListEntries(payment.transfer_id); });
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_EQ(entries[0].account_id, world_.customer_account);
  EXPECT_EQ(entries[0].amount_minor, -1025);
  EXPECT_EQ(entries[2].account_id, world_.broker_account);
  EXPECT_EQ(entries[2].transfer_id, payment.transfer_id);
  EXPECT_LT(entries[0].entry_id, entries[1].entry_id);

  auto find = [&](TransferKind kind) {
    return ReadOne<Transfer>(
        *store_, [&](Transaction& t) { return t.transfers().FindByOrder(order.order_id, kind); });
  };
  EXPECT_EQ(find(TransferKind::kPayment)->transfer_id, payment.transfer_id);
  EXPECT_EQ(CodeOf(find(TransferKind::kRefund).status()), absl::StatusCode::kNotFound);
  EXPECT_THAT(
      *ReadOne<std::vector<Entry>>(
          *store_,
          [&](Transaction& t) { return t.transfers().ListAllEntries(entries[0].entry_id, kAll); }),
      SizeIs(2));
  EXPECT_THAT(*ReadOne<std::vector<Transfer>>(
                  *store_, [&](Transaction& t) { return t.transfers().List("", kAll); }),
              SizeIs(1));
  EXPECT_THAT(*ReadOne<std::vector<Entry>>(*store_,
                                           [&](Transaction& t) {
                                             return t.transfers().ListEntries(
                                                 SampleBytes(1, kTransferIdBytes));
                                           }),
              IsEmpty());
}

TEST_P(StoreContractTest, TransfersRefuseWhatBreaksTheirRules) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  const std::vector<Entry> entries = {MakeEntry(world_.external_account, -5),
                                      MakeEntry(world_.customer_account, 5)};
  auto insert = [&](const Transfer& transfer, const std::vector<Entry>& with) {
    return CodeOf(
        WriteOne(*store_, [&](Transaction& t) { return t.transfers().Insert(transfer, with); }));
  };
  const Transfer deposit = MakeTransfer(20, TransferKind::kDeposit);
  EXPECT_EQ(insert(deposit, entries), absl::StatusCode::kOk);
  EXPECT_EQ(insert(deposit, entries), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(insert(MakeTransfer(21, TransferKind::kPayment), entries),
            absl::StatusCode::kInvalidArgument)
      << "a payment without an order";
  EXPECT_EQ(insert(MakeTransfer(21, TransferKind::kDeposit, order.order_id), entries),
            absl::StatusCode::kInvalidArgument)
      << "a deposit with an order";
  EXPECT_EQ(insert(MakeTransfer(21, TransferKind::kInvalid), entries),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(insert(MakeTransfer(21, TransferKind::kDeposit), {MakeEntry(999, 5)}),
            absl::StatusCode::kInvalidArgument)
      << "an unknown account";
  EXPECT_EQ(
      insert(MakeTransfer(21, TransferKind::kDeposit), {MakeEntry(world_.customer_account, 0)}),
      absl::StatusCode::kInvalidArgument)
      << "an amount of zero";
  Transfer bad = MakeTransfer(21, TransferKind::kDeposit);
  bad.transfer_id.pop_back();
  EXPECT_EQ(insert(bad, entries), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(insert(MakeTransfer(22, TransferKind::kPayment, order.order_id), entries),
            absl::StatusCode::kOk);
  EXPECT_EQ(insert(MakeTransfer(23, TransferKind::kPayment, order.order_id), entries),
            absl::StatusCode::kAlreadyExists)
      << "a second payment of one order";
  EXPECT_EQ(insert(MakeTransfer(24, TransferKind::kRefund, order.order_id), entries),
            absl::StatusCode::kOk);
  // Nothing of a refused transfer stays, entries included.
  EXPECT_THAT(*ReadOne<std::vector<Entry>>(
                  *store_, [&](Transaction& t) { return t.transfers().ListAllEntries(0, kAll); }),
              SizeIs(6));
}

TEST_P(StoreContractTest, ListsTheEntriesOfOneAccountInTheirOrder) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  // The clock of the third runs behind.
  const std::vector<int64_t> times = {1000, 2000, 1500, 4000};
  for (size_t i = 0; i < times.size(); ++i) {
    Transfer transfer = MakeTransfer(20 + static_cast<int64_t>(i), TransferKind::kDeposit);
    transfer.created_at_ms = times[i];
    ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                  return t.transfers().Insert(
                      transfer, {MakeEntry(world_.customer_account, 100 + static_cast<int64_t>(i)),
                                 MakeEntry(world_.external_account, -100)});
                }).ok());
  }
  Transfer payment = MakeTransfer(30, TransferKind::kPayment, order.order_id);
  payment.created_at_ms = 5000;
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) {
                return t.transfers().Insert(payment, {MakeEntry(world_.customer_account, -50),
                                                      MakeEntry(world_.merchant_account, 50)});
              }).ok());

  const auto list = [&](int64_t account_id, int64_t after, int64_t limit) {
    return *ReadOne<std::vector<AccountEntry>>(*store_, [&](Transaction& t) {
      return t.transfers().ListOfAccount(account_id, after, limit);
    });
  };
  const std::vector<AccountEntry> all = list(world_.customer_account, 0, kAll);
  ASSERT_THAT(all, SizeIs(5));
  EXPECT_EQ(all[0].transfer_id, SampleBytes(20, kTransferIdBytes));
  EXPECT_EQ(all[0].amount_minor, 100);
  EXPECT_EQ(all[0].kind, TransferKind::kDeposit);
  EXPECT_EQ(all[0].order_id, "");
  EXPECT_EQ(all[0].created_at_ms, 1000);
  EXPECT_EQ(all[4].amount_minor, -50);
  EXPECT_EQ(all[4].kind, TransferKind::kPayment);
  EXPECT_EQ(all[4].order_id, order.order_id);
  for (size_t i = 1; i < all.size(); ++i) EXPECT_LT(all[i - 1].entry_id, all[i].entry_id);
  const std::vector<AccountEntry> page = list(world_.customer_account, all[1].entry_id, 2);
  ASSERT_THAT(page, SizeIs(2));
  EXPECT_EQ(page[0].entry_id, all[2].entry_id);
  EXPECT_EQ(page[1].entry_id, all[3].entry_id);
  EXPECT_THAT(list(world_.customer_account, all[4].entry_id, kAll), IsEmpty());
  EXPECT_THAT(list(world_.merchant_account, 0, kAll), SizeIs(1));
  EXPECT_THAT(list(world_.broker_account, 0, kAll), IsEmpty());

  const auto find = [&](int64_t account_id, const std::string& transfer_id) {
    return ReadOne<Entry>(
        *store_, [&](Transaction& t) { return t.transfers().FindEntry(account_id, transfer_id); });
  };
  EXPECT_EQ(find(world_.customer_account, all[2].transfer_id)->entry_id, all[2].entry_id);
  EXPECT_EQ(CodeOf(find(world_.merchant_account, all[2].transfer_id).status()),
            absl::StatusCode::kNotFound)
      << "another's transfer";
}

TEST_P(StoreContractTest, AnswersAreKeptPerCustomerAndRequest) {
  RequestAnswer answer;
  answer.customer_id = world_.customer;
  answer.request_id = SampleBytes(10, kRequestIdBytes);
  answer.request_digest = SampleBytes(11, kRequestDigestBytes);
  answer.answer = std::string(256, '\0');
  for (int i = 0; i < 256; ++i) answer.answer[i] = static_cast<char>(i);
  answer.created_at_ms = 6000;
  auto insert = [&](const RequestAnswer& row) {
    return CodeOf(WriteOne(*store_, [&](Transaction& t) { return t.requests().Insert(row); }));
  };
  ASSERT_EQ(insert(answer), absl::StatusCode::kOk);
  EXPECT_EQ(insert(answer), absl::StatusCode::kAlreadyExists);
  absl::StatusOr<RequestAnswer> read = ReadOne<RequestAnswer>(*store_, [&](Transaction& t) {
    return t.requests().Get(world_.customer, answer.request_id);
  });
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->customer_id, world_.customer);
  EXPECT_EQ(read->request_id, answer.request_id);
  EXPECT_EQ(read->request_digest, answer.request_digest);
  EXPECT_EQ(read->answer, answer.answer);
  EXPECT_EQ(read->created_at_ms, 6000);
  EXPECT_EQ(CodeOf(ReadOne<RequestAnswer>(*store_,
                                          [&](Transaction& t) {
                                            return t.requests().Get(world_.customer + 1,
                                                                    answer.request_id);
                                          })
                       .status()),
            absl::StatusCode::kNotFound)
      << "another customer's request ids are another's";
  RequestAnswer bad = answer;
  bad.request_id = "short";
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad = answer;
  bad.request_id = SampleBytes(12, kRequestIdBytes);
  bad.customer_id = 999;
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad.customer_id = world_.customer;
  bad.answer = std::string(kMaxPayloadBytes + 1, 'a');
  EXPECT_EQ(insert(bad), absl::StatusCode::kInvalidArgument);
  bad.answer = std::string(kMaxPayloadBytes, 'a');
  EXPECT_EQ(insert(bad), absl::StatusCode::kOk);
}

TEST_P(StoreContractTest, NoticesStayUntilTheirMerchantAcknowledges) {
  int64_t other = 0;
  ASSERT_TRUE(WriteOne(*store_, [&](Transaction& t) -> absl::Status {
                absl::StatusOr<int64_t> account =
                    t.accounts().Insert(SampleAccount(AccountKind::kMerchant, "M-2"));
                if (!account.ok()) return account.status();
                absl::StatusOr<int64_t> id =
                    t.merchants().Insert(SampleMerchant("music", *account));
                if (id.ok()) other = *id;
                return id.status();
              }).ok());
  auto append = [&](int64_t merchant, const std::string& payload) {
    int64_t id = 0;
    EXPECT_TRUE(WriteOne(*store_, [&](Transaction& t) -> absl::Status {
                  absl::StatusOr<int64_t> appended = t.notices().Append(merchant, payload, 7000);
                  if (appended.ok()) id = *appended;
                  return appended.status();
                }).ok());
    return id;
  };
  const int64_t first = append(world_.merchant, "first");
  const int64_t foreign = append(other, "foreign");
  const int64_t second = append(world_.merchant, "second");
  EXPECT_LT(first, foreign);
  EXPECT_LT(foreign, second);
  auto list = [&](int64_t merchant, int64_t after, int64_t limit) {
    std::vector<std::string> payloads;
    const std::vector<Notice> notices = *ReadOne<std::vector<Notice>>(
        *store_, [&](Transaction& t) { return t.notices().List(merchant, after, limit); });
    for (const Notice& notice : notices) {
      EXPECT_EQ(notice.merchant_id, merchant);
      EXPECT_EQ(notice.created_at_ms, 7000);
      payloads.push_back(notice.payload);
    }
    return payloads;
  };
  auto acknowledge = [&](int64_t merchant, int64_t id) {
    return WriteOne(*store_, [&](Transaction& t) { return t.notices().Acknowledge(merchant, id); });
  };
  EXPECT_THAT(list(world_.merchant, 0, kAll), ElementsAre("first", "second"));
  EXPECT_THAT(list(world_.merchant, 0, 1), ElementsAre("first"));
  EXPECT_THAT(list(world_.merchant, first, kAll), ElementsAre("second"));
  EXPECT_THAT(list(other, 0, kAll), ElementsAre("foreign"));

  auto keys = [&](int64_t after, int64_t limit) {
    std::vector<std::pair<int64_t, int64_t>> found;
    const std::vector<NoticeKey> rows = *ReadOne<std::vector<NoticeKey>>(
        *store_, [&](Transaction& t) { return t.notices().ListKeys(after, limit); });
    for (const NoticeKey& key : rows) found.emplace_back(key.notice_id, key.merchant_id);
    return found;
  };
  EXPECT_THAT(keys(0, 2),
              ElementsAre(std::pair(first, world_.merchant), std::pair(foreign, other)));
  EXPECT_THAT(keys(foreign, kAll), ElementsAre(std::pair(second, world_.merchant)));
  auto highest = [&] {
    return *ReadOne<int64_t>(*store_, [](Transaction& t) { return t.notices().HighestId(); });
  };
  EXPECT_EQ(highest(), second);

  EXPECT_TRUE(acknowledge(world_.merchant, foreign).ok());
  EXPECT_THAT(list(other, 0, kAll), ElementsAre("foreign")) << "not this merchant's to delete";
  EXPECT_TRUE(acknowledge(world_.merchant, first).ok());
  EXPECT_TRUE(acknowledge(world_.merchant, first).ok()) << "acknowledgements repeat";
  EXPECT_TRUE(acknowledge(world_.merchant, second).ok());
  EXPECT_THAT(list(world_.merchant, 0, kAll), IsEmpty());
  EXPECT_EQ(highest(), foreign);
  EXPECT_GT(append(world_.merchant, "third"), second) << "an id is never used twice";
  EXPECT_EQ(
      CodeOf(WriteOne(*store_,
                      [&](Transaction& t) { return t.notices().Append(999, "lost", 0).status(); })),
      absl::StatusCode::kInvalidArgument);
}

TEST_P(StoreContractTest, SettingsAreReplaced) {
  EXPECT_EQ(CodeOf(ReadMeta(*store_, "key").status()), absl::StatusCode::kNotFound);
  ASSERT_TRUE(SetMeta(*store_, "key", "one").ok());
  ASSERT_TRUE(SetMeta(*store_, "key", std::string("two\0\xff", 5)).ok());
  EXPECT_EQ(*ReadMeta(*store_, "key"), std::string("two\0\xff", 5));
  EXPECT_EQ(CodeOf(SetMeta(*store_, "", "value")), absl::StatusCode::kInvalidArgument);
}

TEST_P(StoreContractTest, AFailedWriteLeavesNothing) {
  absl::Status status = store_->Write([](Transaction& t) -> absl::Status {
    absl::Status set = t.meta().Set("key", "value");
    if (!set.ok()) return set;
    return absl::AbortedError("changed my mind");
  });
  EXPECT_EQ(status, absl::AbortedError("changed my mind"));
  EXPECT_EQ(CodeOf(ReadMeta(*store_, "key").status()), absl::StatusCode::kNotFound);
  EXPECT_TRUE(SetMeta(*store_, "key", "value").ok()) << "the store still works";
}

TEST_P(StoreContractTest, AWriteSeesItsOwnChanges) {
  EXPECT_TRUE(store_
                  ->Write([](Transaction& t) -> absl::Status {
                    absl::Status set = t.meta().Set("key", "value");
                    if (!set.ok()) return set;
                    return t.meta().Get("key").status();
                  })
                  .ok());
}

TEST_P(StoreContractTest, NothingCanBeWrittenInsideRead) {
  absl::Status status =
      store_->Read([](Transaction& t) -> absl::Status { return t.meta().Set("key", "value"); });
  EXPECT_EQ(CodeOf(status), absl::StatusCode::kPermissionDenied) << status;
  EXPECT_EQ(CodeOf(ReadMeta(*store_, "key").status()), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Read([](Transaction&) { return absl::AbortedError("mine"); }),
            absl::AbortedError("mine"));
}

TEST_P(StoreContractTest, ReadNeitherWaitsForAWriterNorSeesItsWork) {
  ASSERT_TRUE(SetMeta(*store_, "key", "old").ok());
  absl::StatusOr<std::string> seen = std::string();
  ASSERT_TRUE(store_
                  ->Write([&](Transaction& t) -> absl::Status {
                    absl::Status set = t.meta().Set("key", "new");
                    std::thread reader([&] { seen = ReadMeta(*store_, "key"); });
                    reader.join();
                    return set;
                  })
                  .ok());
  EXPECT_EQ(*seen, "old");
  EXPECT_EQ(*ReadMeta(*store_, "key"), "new");
}

TEST_P(StoreContractTest, ReadSeesOneSnapshot) {
  ASSERT_TRUE(SetMeta(*store_, "key", "old").ok());
  ASSERT_TRUE(store_
                  ->Read([&](Transaction& t) -> absl::Status {
                    EXPECT_EQ(*t.meta().Get("key"), "old");
                    std::thread writer([&] { EXPECT_TRUE(SetMeta(*store_, "key", "new").ok()); });
                    writer.join();
                    EXPECT_EQ(*t.meta().Get("key"), "old");
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(*ReadMeta(*store_, "key"), "new");
}

TEST_P(StoreContractTest, EverythingSurvivesReopening) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  ASSERT_TRUE(PayOrder(*store_, world_, order, 20).ok());
  ASSERT_TRUE(SetMeta(*store_, "key", "value").ok());
  store_.reset();
  absl::StatusOr<std::unique_ptr<Store>> again = backend_->Open();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*ReadMeta(**again, "key"), "value");
  EXPECT_EQ(GetOrder(**again, order.order_id)->status, OrderStatus::kPaid);
  EXPECT_THAT(*ReadOne<std::vector<Account>>(
                  **again, [&](Transaction& t) { return t.accounts().List(0, kAll); }),
              SizeIs(4));
}

WriteJob MetaJob(const std::string& key, absl::Status end = absl::OkStatus()) {
  return {[key, end](Transaction& t) -> absl::Status {
            absl::Status incremented = IncrementMeta(t, key);
            return incremented.ok() ? end : incremented;
          },
          absl::OkStatus()};
}

TEST_P(StoreContractTest, AFailingJobRollsBackAlone) {
  std::vector<WriteJob> jobs;
  jobs.push_back(MetaJob("key"));
  jobs.push_back(MetaJob("key", absl::AbortedError("mine")));
  jobs.push_back({[](Transaction& t) -> absl::Status {
                    absl::Status set = t.meta().Set("other", "x");
                    return set.ok() ? t.meta().Set("", "refused by the schema") : set;
                  },
                  absl::OkStatus()});
  jobs.push_back(MetaJob("key"));
  ASSERT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
  EXPECT_TRUE(jobs[0].status.ok());
  EXPECT_EQ(jobs[1].status, absl::AbortedError("mine"));
  EXPECT_EQ(CodeOf(jobs[2].status), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(jobs[3].status.ok());
  EXPECT_EQ(*ReadMeta(*store_, "key"), "2") << "jobs see the ones before, not the failed ones";
  EXPECT_EQ(CodeOf(ReadMeta(*store_, "other").status()), absl::StatusCode::kNotFound);
}

TEST_P(StoreContractTest, JobsThatReadAheadAndDeferTheirWritesEndAsAllOthersDo) {
  const Order first = SampleOrder(10, world_.merchant, world_.customer);
  const Order second = SampleOrder(11, world_.merchant, world_.customer);
  const auto insert = [](const Order& order) {
    return WriteJob{[order](Transaction& t) -> absl::Status {
                      t.ReadAhead([&](Transaction& ahead) {
                        ahead.orders().Get(order.order_id).IgnoreError();
                      });
                      t.DeferWrites();
                      const absl::Status inserted = t.orders().Insert(order);
                      if (!inserted.ok()) return inserted;
                      const absl::StatusOr<Order> read = t.orders().Get(order.order_id);
                      if (!read.ok()) return read.status();
                      return IncrementMeta(t, "inserted");
                    },
                    absl::OkStatus()};
  };
  std::vector<WriteJob> jobs = {insert(first), insert(first), insert(second)};
  ASSERT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
  EXPECT_TRUE(jobs[0].status.ok()) << jobs[0].status;
  EXPECT_EQ(CodeOf(jobs[1].status), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(jobs[2].status.ok()) << jobs[2].status;
  EXPECT_EQ(*ReadMeta(*store_, "inserted"), "2");
  EXPECT_TRUE(GetOrder(*store_, second.order_id).ok());
}

// Nothing in it reads after the write, so that only the commit can tell.
TEST_P(StoreContractTest, ADeferredWriteThatFailsAtTheEndIsTold) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  const absl::Status status = store_->Write([&](Transaction& t) {
    t.DeferWrites();
    return t.orders().Insert(order);
  });
  EXPECT_EQ(CodeOf(status), absl::StatusCode::kAlreadyExists);
  std::vector<WriteJob> jobs = {MetaJob("key"),
                                {[&](Transaction& t) {
                                   t.DeferWrites();
                                   return t.orders().Insert(order);
                                 },
                                 absl::OkStatus()}};
  ASSERT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
  EXPECT_TRUE(jobs[0].status.ok()) << jobs[0].status;
  EXPECT_EQ(CodeOf(jobs[1].status), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadMeta(*store_, "key"), "1");
}

TEST_P(StoreContractTest, BatchesOfNothingAndOfFailuresAreFine) {
  EXPECT_TRUE(store_->WriteBatch({}).ok());
  std::vector<WriteJob> jobs = {MetaJob("key", absl::AbortedError("mine")),
                                MetaJob("key", absl::AbortedError("mine"))};
  EXPECT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
  EXPECT_EQ(CodeOf(ReadMeta(*store_, "key").status()), absl::StatusCode::kNotFound);
  EXPECT_TRUE(SetMeta(*store_, "key", "value").ok());
}

TEST_P(StoreContractTest, ABatchSurvivesReopening) {
  std::vector<WriteJob> jobs = {MetaJob("key"), MetaJob("key"), MetaJob("key")};
  ASSERT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
  store_.reset();
  absl::StatusOr<std::unique_ptr<Store>> again = backend_->Open();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*ReadMeta(**again, "key"), "3");
}

TEST_P(StoreContractTest, SixtyFourThreadsLoseNoIncrement) {
  constexpr int kThreads = 64;
  constexpr int kEach = 12;
  absl::StatusOr<std::unique_ptr<Store>> second = backend_->Open();
  ASSERT_TRUE(second.ok()) << second.status();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    // Half of them through another Store over the same database, as another broker would.
    Store& store = i % 2 == 0 ? *store_ : **second;
    threads.emplace_back([&store, &failures, i] {
      for (int n = 0; n < kEach; ++n) {
        if (i % 4 == 3) {
          std::vector<WriteJob> jobs = {MetaJob("key")};
          if (!store.WriteBatch(absl::MakeSpan(jobs)).ok()) ++failures;
        } else if (!WriteOne(store, [](Transaction& t) { return IncrementMeta(t, "key"); }).ok()) {
          ++failures;
        }
        if (!ReadMeta(store, "key").ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(*ReadMeta(*store_, "key"), absl::StrCat(kThreads * kEach));
}

TEST_P(StoreContractTest, OneOfManyPaymentsOfAnOrderWins) {
  const Order order = SampleOrder(10, world_.merchant, world_.customer);
  ASSERT_TRUE(AddOrder(*store_, order).ok());
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      absl::Status status = PayOrder(*store_, world_, order, 100 + i);
      if (status.ok()) {
        ++won;
      } else {
        EXPECT_EQ(CodeOf(status), absl::StatusCode::kAlreadyExists) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
}

TEST_P(StoreContractTest, AHealthyStoreHasNoFindings) {
  ASSERT_TRUE(AddOrder(*store_, SampleOrder(10, world_.merchant, world_.customer)).ok());
  absl::StatusOr<std::vector<std::string>> findings = store_->CheckIntegrity();
  ASSERT_TRUE(findings.ok()) << findings.status();
  EXPECT_THAT(*findings, IsEmpty());
}

}  // namespace
}  // namespace blindcart::storage
