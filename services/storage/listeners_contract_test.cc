// Who listens for direct sessions where, for every backend.
#include <string>
#include <vector>

#include "services/storage/store_contract_test.h"

namespace blindcart::storage {
namespace {

using testing::SampleBytes;

const std::string& FirstRun() {
  static const auto* const run = new std::string(SampleBytes(1, kBrokerRunBytes));
  return *run;
}
const std::string& SecondRun() {
  static const auto* const run = new std::string(SampleBytes(2, kBrokerRunBytes));
  return *run;
}

template <typename Call>
absl::Status Write(Store& store, Call call) {
  return store.Write([&](Transaction& t) -> absl::Status { return call(t.listeners()); });
}

absl::Status Set(Store& store, int64_t customer, const std::string& address, const std::string& run,
                 int64_t link_id, int64_t expires_at_ms = 1'000) {
  return Write(store, [&](Listeners& l) {
    return l.Set({customer, address, run, link_id, expires_at_ms});
  });
}

// "" when there is none.
std::string Address(Store& store, int64_t customer) {
  std::string address;
  EXPECT_TRUE(store
                  .Read([&](Transaction& t) -> absl::Status {
                    const absl::StatusOr<Listener> listener = t.listeners().Get(customer);
                    if (absl::IsNotFound(listener.status())) return absl::OkStatus();
                    if (!listener.ok()) return listener.status();
                    EXPECT_EQ(listener->customer_id, customer);
                    address = listener->address;
                    return absl::OkStatus();
                  })
                  .ok());
  return address;
}

TEST_P(StoreContractTest, TheLatestListenersLinkCountsAndOnlyItIsRemoved) {
  EXPECT_EQ(Address(*store_, world_.customer), "");
  ASSERT_TRUE(Set(*store_, world_.customer, "192.0.2.1:9000", FirstRun(), 7).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "192.0.2.1:9000");
  ASSERT_TRUE(Set(*store_, world_.customer, "192.0.2.2:9000", SecondRun(), 7).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "192.0.2.2:9000");
  // The end of the link before, which comes late, and what is no end of it.
  const auto remove = [&](const std::string& run, const std::vector<int64_t>& links) {
    return Write(*store_, [&](Listeners& l) { return l.Remove(run, links); });
  };
  ASSERT_TRUE(remove(FirstRun(), {7}).ok());
  ASSERT_TRUE(remove(SecondRun(), {8, 6}).ok());
  ASSERT_TRUE(remove(SecondRun(), {}).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "192.0.2.2:9000");
  ASSERT_TRUE(remove(SecondRun(), {6, 7, 8}).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "");
}

TEST_P(StoreContractTest, ListenersWhoseBrokerIsGoneExpire) {
  ASSERT_TRUE(Set(*store_, world_.customer, "192.0.2.1:9000", FirstRun(), 7, 1'000).ok());
  ASSERT_TRUE(Write(*store_, [](Listeners& l) { return l.Prolong(SecondRun(), 5'000); }).ok());
  ASSERT_TRUE(Write(*store_, [](Listeners& l) { return l.RemoveExpired(999); }).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "192.0.2.1:9000");
  ASSERT_TRUE(Write(*store_, [](Listeners& l) { return l.Prolong(FirstRun(), 2'000); }).ok());
  ASSERT_TRUE(Write(*store_, [](Listeners& l) { return l.RemoveExpired(1'999); }).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "192.0.2.1:9000");
  ASSERT_TRUE(Write(*store_, [](Listeners& l) { return l.RemoveExpired(2'000); }).ok());
  EXPECT_EQ(Address(*store_, world_.customer), "");
}

TEST_P(StoreContractTest, ListenersAreBounded) {
  EXPECT_TRUE(absl::IsInvalidArgument(Set(*store_, world_.customer, "", FirstRun(), 7)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Set(*store_, world_.customer, std::string(kMaxNameBytes + 10, 'x'), FirstRun(), 7)));
  EXPECT_TRUE(absl::IsInvalidArgument(Set(*store_, world_.customer, "a:1", "short", 7)));
  EXPECT_TRUE(absl::IsInvalidArgument(Set(*store_, world_.customer, "a:1", FirstRun(), 0)));
  world_.customer += 100;
  EXPECT_TRUE(absl::IsInvalidArgument(Set(*store_, world_.customer, "a:1", FirstRun(), 7)))
      << "nobody listens";
}

}  // namespace
}  // namespace blindcart::storage
