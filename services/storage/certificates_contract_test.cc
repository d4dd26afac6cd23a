// Certificates, revocations and the revocation list, for every backend.
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "services/storage/store_contract_test.h"

namespace blindcart::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::SampleBytes;

std::string Serial(int64_t seed) { return SampleBytes(seed, kCertificateSerialBytes); }

IssuedCertificate Sample(int64_t seed, int64_t customer_id, int64_t expires_at_ms = 9'000) {
  IssuedCertificate certificate;
  certificate.serial = Serial(seed);
  certificate.customer_id = customer_id;
  certificate.kind = seed % 2 == 0 ? CertificateKind::kSigning : CertificateKind::kEncryption;
  certificate.der = SampleBytes(seed, 700);
  certificate.issued_at_ms = 1'000;
  certificate.expires_at_ms = expires_at_ms;
  return certificate;
}

template <typename Call>
absl::Status Write(Store& store, Call call) {
  return store.Write(
      [&](Transaction& transaction) -> absl::Status { return call(transaction.certificates()); });
}

absl::Status Insert(Store& store, const IssuedCertificate& certificate) {
  return Write(store, [&](Certificates& c) { return c.Insert(certificate).status(); });
}

absl::Status Revoke(Store& store, const std::string& serial, int64_t at_ms) {
  return Write(store, [&](Certificates& c) { return c.Revoke(serial, at_ms); });
}

// What `call` gives, in a snapshot; fails the test on an error.
template <typename Value, typename Call>
Value Read(Store& store, Call call) {
  absl::StatusOr<Value> value = absl::UnknownError("the body did not run");
  EXPECT_TRUE(store
                  .Read([&](Transaction& transaction) {
                    value = call(transaction.certificates());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *std::move(value) : Value();
}

std::vector<std::string> SerialsOfCustomer(Store& store, int64_t customer_id, int64_t time_ms) {
  std::vector<std::string> serials;
  for (const IssuedCertificate& certificate : Read<std::vector<IssuedCertificate>>(
           store, [&](Certificates& c) { return c.ListOfCustomer(customer_id, time_ms); })) {
    serials.push_back(certificate.serial);
  }
  return serials;
}

std::vector<std::string> Revoked(Store& store, int64_t time_ms, int64_t after_id, int64_t limit) {
  std::vector<std::string> serials;
  for (const Revocation& revocation : Read<std::vector<Revocation>>(
           store, [&](Certificates& c) { return c.ListRevocations(time_ms, after_id, limit); })) {
    serials.push_back(revocation.serial);
  }
  return serials;
}

TEST_P(StoreContractTest, CertificatesAreKeptAsIssued) {
  ASSERT_TRUE(Insert(*store_, Sample(1, world_.customer)).ok());
  ASSERT_TRUE(Insert(*store_, Sample(2, world_.customer)).ok());
  const auto all =
      Read<std::vector<IssuedCertificate>>(*store_, [](Certificates& c) { return c.List(0, 10); });
  ASSERT_EQ(all.size(), 2u);
  const IssuedCertificate expected = Sample(1, world_.customer);
  EXPECT_EQ(all[0].serial, expected.serial);
  EXPECT_EQ(all[0].customer_id, expected.customer_id);
  EXPECT_EQ(all[0].kind, expected.kind);
  EXPECT_EQ(all[0].der, expected.der);
  EXPECT_EQ(all[0].issued_at_ms, expected.issued_at_ms);
  EXPECT_EQ(all[0].expires_at_ms, expected.expires_at_ms);
  EXPECT_EQ(all[0].revoked_at_ms, 0);
  EXPECT_EQ(all[1].kind, CertificateKind::kSigning);
  EXPECT_LT(all[0].certificate_id, all[1].certificate_id);
  const auto page = Read<std::vector<IssuedCertificate>>(
      *store_, [&](Certificates& c) { return c.List(all[0].certificate_id, 1); });
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].serial, Serial(2));
}

TEST_P(StoreContractTest, CertificatesOfOneCustomerThatHaveNotExpired) {
  ASSERT_TRUE(Insert(*store_, Sample(1, world_.customer, 2'000)).ok());
  ASSERT_TRUE(Insert(*store_, Sample(2, world_.customer, 3'000)).ok());
  EXPECT_THAT(SerialsOfCustomer(*store_, world_.customer, 0), ElementsAre(Serial(1), Serial(2)));
  EXPECT_THAT(SerialsOfCustomer(*store_, world_.customer, 2'000), ElementsAre(Serial(2)));
  EXPECT_THAT(SerialsOfCustomer(*store_, world_.customer + 1, 0), IsEmpty());
}

TEST_P(StoreContractTest, CertificatesThatBreakTheRulesAreRefused) {
  ASSERT_TRUE(Insert(*store_, Sample(1, world_.customer)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Insert(*store_, Sample(1, world_.customer))));
  const auto refused = [&](auto change) {
    IssuedCertificate certificate = Sample(2, world_.customer);
    change(certificate);
    return !Insert(*store_, certificate).ok();
  };
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.serial.pop_back(); }));
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.customer_id = 99; }));
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.kind = CertificateKind::kInvalid; }));
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.der.clear(); }));
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.der.assign(kMaxCertificateBytes + 1, 'x'); }));
  EXPECT_TRUE(refused([](IssuedCertificate& c) { c.expires_at_ms = c.issued_at_ms; }));
}

TEST_P(StoreContractTest, RevocationsHappenOnceAndStay) {
  for (int64_t seed : {1, 2, 3}) {
    ASSERT_TRUE(Insert(*store_, Sample(seed, world_.customer, 1'000 * seed + 1'000)).ok());
  }
  const auto last = [&] {
    return Read<int64_t>(*store_, [](Certificates& c) { return c.LastRevocationId(); });
  };
  EXPECT_EQ(last(), 0);
  EXPECT_TRUE(absl::IsNotFound(Revoke(*store_, Serial(9), 100)));
  EXPECT_FALSE(Revoke(*store_, Serial(1), 0).ok());
  ASSERT_TRUE(Revoke(*store_, Serial(3), 100).ok());
  const int64_t first_id = last();
  EXPECT_GT(first_id, 0);
  ASSERT_TRUE(Revoke(*store_, Serial(1), 200).ok());
  EXPECT_GT(last(), first_id);
  EXPECT_TRUE(absl::IsAlreadyExists(Revoke(*store_, Serial(3), 300)));

  EXPECT_THAT(Revoked(*store_, 0, 0, 10), ElementsAre(Serial(3), Serial(1)));
  EXPECT_THAT(Revoked(*store_, 0, 0, 1), ElementsAre(Serial(3)));
  EXPECT_THAT(Revoked(*store_, 0, first_id, 10), ElementsAre(Serial(1)));
  EXPECT_THAT(Revoked(*store_, 2'000, 0, 10), ElementsAre(Serial(3)));  // 1 has expired.
  const auto all = Read<std::vector<IssuedCertificate>>(
      *store_, [&](Certificates& c) { return c.ListOfCustomer(world_.customer, 0); });
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].revoked_at_ms, 200);
  EXPECT_EQ(all[1].revoked_at_ms, 0);
  EXPECT_EQ(all[2].revoked_at_ms, 100);
}

TEST_P(StoreContractTest, TheLatestDecisionSaysWhoGetsNoCertificates) {
  const auto blocked = [&](int64_t customer_id) {
    return Read<bool>(*store_, [&](Certificates& c) { return c.IsBlocked(customer_id); });
  };
  const auto set = [&](int64_t customer_id, bool value, int64_t at_ms) {
    return Write(*store_, [&](Certificates& c) { return c.SetBlocked(customer_id, value, at_ms); });
  };
  EXPECT_FALSE(blocked(world_.customer));
  ASSERT_TRUE(set(world_.customer, true, 100).ok());
  EXPECT_TRUE(blocked(world_.customer));
  ASSERT_TRUE(set(world_.customer, true, 200).ok());
  EXPECT_TRUE(blocked(world_.customer));
  // The order counts, whatever the clock says.
  ASSERT_TRUE(set(world_.customer, false, 50).ok());
  EXPECT_FALSE(blocked(world_.customer));
  EXPECT_FALSE(set(world_.customer, true, 0).ok());
  EXPECT_FALSE(set(99, true, 100).ok()) << "nobody";
  EXPECT_FALSE(blocked(99));
}

TEST_P(StoreContractTest, RevocationListsOnlyMoveForward) {
  const auto list = [](int64_t number) {
    StoredRevocationList list;
    list.number = number;
    list.last_revocation_id = 4;
    list.made_at_ms = 1'000;
    list.next_update_ms = 2'000;
    list.der = SampleBytes(number, 300);
    return list;
  };
  const auto set = [&](const StoredRevocationList& stored) {
    return Write(*store_, [&](Certificates& c) { return c.SetRevocationList(stored); });
  };
  EXPECT_TRUE(absl::IsNotFound(
      Write(*store_, [](Certificates& c) { return c.GetRevocationList().status(); })));
  ASSERT_TRUE(set(list(5)).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(set(list(5))));
  EXPECT_TRUE(absl::IsFailedPrecondition(set(list(4))));
  ASSERT_TRUE(set(list(6)).ok());
  const auto read =
      Read<StoredRevocationList>(*store_, [](Certificates& c) { return c.GetRevocationList(); });
  EXPECT_EQ(read.number, 6);
  EXPECT_EQ(read.last_revocation_id, 4);
  EXPECT_EQ(read.made_at_ms, 1'000);
  EXPECT_EQ(read.next_update_ms, 2'000);
  EXPECT_EQ(read.der, SampleBytes(6, 300));
  StoredRevocationList wrong = list(7);
  wrong.next_update_ms = wrong.made_at_ms;
  EXPECT_FALSE(set(wrong).ok());
}

}  // namespace
}  // namespace blindcart::storage
