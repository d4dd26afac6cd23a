#include "services/broker/certificates.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "crypto/certificate.h"
#include "crypto/certificate_authority.h"
#include "crypto/certification_request.h"
#include "services/broker/revocation.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/storage/commit_queue.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::broker {
namespace {

using crypto::CertificatePurpose;
using crypto::CertificateVerdict;

constexpr int64_t kHourMs = 60 * 60 * 1000;
constexpr int64_t kDayMs = 24 * kHourMs;

class CertificatesTest : public BrokerFixture {
 protected:
  CertificatesTest()
      : authority_(crypto::CertificateAuthority::Create(
                       "A broker", {Now() - absl::Hours(1), Now() + absl::Hours(24 * 3650)})
                       .value()) {
    signers_.authority = &authority_;
    Restart();
  }

  absl::Time Now() const { return absl::FromUnixMillis(clock_.NowUnixMs()); }

  // Nothing: refused.
  static absl::optional<v1::CertificateResult> Ask(TestCustomer& customer,
                                                   const v1::CertificateCall& call) {
    v1::CustomerMessage message;
    *message.mutable_certificate() = call;
    const absl::optional<v1::BrokerToCustomer> reply = customer.Call(std::move(message));
    if (!reply.has_value()) return absl::nullopt;
    EXPECT_TRUE(reply->has_certificate());
    return reply->certificate();
  }
  static absl::optional<v1::CertificateResult> Request(TestCustomer& customer,
                                                       const std::string& request) {
    v1::CertificateCall call;
    call.mutable_request()->set_certification_request(request);
    return Ask(customer, call);
  }
  static v1::RequestCertificateResult Request(TestCustomer& customer, const std::string& username,
                                              const crypto::Identity& identity) {
    const auto result =
        Request(customer, crypto::MakeCertificationRequest(username, identity).value());
    EXPECT_TRUE(result.has_value());
    return result.has_value() ? result->request() : v1::RequestCertificateResult();
  }
  // When a request is no repetition of an earlier one.
  std::unique_ptr<TestCustomer> LoggedInLater(const std::string& username) {
    clock_.Advance(2 * kHourMs);
    return LoggedIn(username);
  }
  // As `broker revoke` does beside the broker that serves.
  void RevokeAsOperator(const std::string& username, bool lift = false) {
    EXPECT_TRUE(store_
                    ->Write([&](storage::Transaction& transaction) -> absl::Status {
                      const auto customer = transaction.customers().FindByUsername(username);
                      if (!customer.ok()) return customer.status();
                      const int64_t now_ms = clock_.NowUnixMs();
                      const absl::Status decided =
                          transaction.certificates().SetBlocked(customer->id, !lift, now_ms);
                      if (!decided.ok() || lift) return decided;
                      return RevokeAll(transaction, customer->id, now_ms).status();
                    })
                    .ok());
  }
  static uint32_t Revoke(TestCustomer& customer) {
    v1::CertificateCall call;
    call.mutable_revoke();
    const auto result = Ask(customer, call);
    EXPECT_TRUE(result.has_value());
    return result.has_value() ? result->revoke().revoked() : 0;
  }
  static crypto::RevocationList List(TestCustomer& customer) {
    v1::CertificateCall call;
    call.mutable_revocation_list();
    return crypto::RevocationList::Parse(Ask(customer, call)->revocation_list().revocation_list())
        .value();
  }
  static void Announce(TestCustomer& customer, const std::string& address) {
    v1::CertificateCall call;
    call.mutable_announce()->set_address(address);
    EXPECT_TRUE(Ask(customer, call).has_value());
  }
  static v1::FindPeerResult FindPeer(TestCustomer& customer, const std::string& username) {
    v1::CertificateCall call;
    call.mutable_find_peer()->set_username(username);
    const auto result = Ask(customer, call);
    EXPECT_TRUE(result.has_value());
    return result.has_value() ? result->find_peer() : v1::FindPeerResult();
  }
  CertificateVerdict Verdict(const std::string& der, CertificatePurpose purpose,
                             const crypto::RevocationList& list) const {
    return crypto::VerifyCertificate(der, authority_.certificate(), purpose, Now(), &list);
  }
  std::vector<storage::IssuedCertificate> Copies() {
    std::vector<storage::IssuedCertificate> copies;
    EXPECT_TRUE(store_
                    ->Read([&](storage::Transaction& transaction) {
                      auto rows = transaction.certificates().List(0, 100);
                      if (rows.ok()) copies = *std::move(rows);
                      return rows.status();
                    })
                    .ok());
    return copies;
  }

  const crypto::CertificateAuthority authority_;
};

TEST_F(CertificatesTest, CertifiesTheEnrolledKeysUnderTheLoginsName) {
  const auto alice = LoggedIn(kAlice);
  const v1::RequestCertificateResult result = Request(*alice, kAlice, alice_);
  ASSERT_TRUE(result.issued());
  EXPECT_EQ(result.authority_certificate(), authority_.certificate().der());
  const crypto::RevocationList list = List(*alice);
  EXPECT_EQ(Verdict(result.signing_certificate(), CertificatePurpose::kSigning, list),
            CertificateVerdict::kGood);
  EXPECT_EQ(Verdict(result.encryption_certificate(), CertificatePurpose::kEncryption, list),
            CertificateVerdict::kGood);
  const auto signing = crypto::Certificate::Parse(result.signing_certificate());
  const auto encryption = crypto::Certificate::Parse(result.encryption_certificate());
  EXPECT_EQ(signing->subject(), kAlice);
  EXPECT_EQ(encryption->subject(), kAlice);
  EXPECT_EQ(signing->Ed25519Key().value(), alice_.ed25519().public_key());
  EXPECT_EQ(encryption->RsaKey()->SpkiDer(), alice_.rsa().public_key().SpkiDer());
  EXPECT_EQ(signing->not_after(), Now() + absl::Hours(24 * 90));
  // A copy of each is kept.
  const auto copies = Copies();
  ASSERT_EQ(copies.size(), 2u);
  EXPECT_EQ(copies[0].der, result.signing_certificate());
  EXPECT_EQ(copies[0].serial, signing->serial());
  EXPECT_EQ(copies[1].der, result.encryption_certificate());
  EXPECT_EQ(copies[1].expires_at_ms, clock_.NowUnixMs() + 90 * kDayMs);
}

TEST_F(CertificatesTest, AnotherNameOrAnotherKeyIsRefused) {
  const auto refused = [&](const std::string& request) {
    const auto customer = LoggedIn(kAlice);
    return !Request(*customer, request).has_value();
  };
  EXPECT_TRUE(refused(crypto::MakeCertificationRequest(kBob, alice_).value()));
  EXPECT_TRUE(refused(crypto::MakeCertificationRequest("alice2", alice_).value()));
  EXPECT_TRUE(refused(crypto::MakeCertificationRequest(kAlice, bob_).value()));
  // Her signature, somebody else's RSA key beside it.
  const auto mixed = crypto::Identity::Create(
      crypto::RsaPrivateKey::FromPkcs8Der(bob_.rsa().Pkcs8Der().view()).value(),
      crypto::Ed25519PrivateKey::FromSeed(alice_.ed25519().seed().view()).value());
  EXPECT_TRUE(refused(crypto::MakeCertificationRequest(kAlice, *mixed).value()));
  std::string broken = crypto::MakeCertificationRequest(kAlice, alice_).value();
  broken.back() ^= 1;
  EXPECT_TRUE(refused(broken));
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused(std::string(4'000, 'x')));
  EXPECT_TRUE(Copies().empty());
}

TEST_F(CertificatesTest, RevocationIsInTheListOnceItIsAnswered) {
  auto alice = LoggedIn(kAlice);
  EXPECT_EQ(Revoke(*alice), 0u);
  const auto first = Request(*alice, kAlice, alice_);
  alice = LoggedInLater(kAlice);
  const auto bob = LoggedIn(kBob);
  const auto renewed = Request(*alice, kAlice, alice_);
  const auto bobs = Request(*bob, kBob, bob_);
  const crypto::RevocationList before = List(*bob);
  EXPECT_EQ(Revoke(*alice), 4u);
  const crypto::RevocationList after = List(*bob);
  EXPECT_GT(after.number(), before.number());
  EXPECT_EQ(after.size(), 4u);
  for (const auto& result : {first, renewed}) {
    EXPECT_EQ(Verdict(result.signing_certificate(), CertificatePurpose::kSigning, after),
              CertificateVerdict::kRevoked);
    EXPECT_EQ(Verdict(result.encryption_certificate(), CertificatePurpose::kEncryption, after),
              CertificateVerdict::kRevoked);
  }
  EXPECT_EQ(Verdict(bobs.signing_certificate(), CertificatePurpose::kSigning, after),
            CertificateVerdict::kGood);
  EXPECT_EQ(Revoke(*alice), 0u);
  // She may ask again; the new ones are good.
  const auto again = Request(*alice, kAlice, alice_);
  EXPECT_EQ(Verdict(again.signing_certificate(), CertificatePurpose::kSigning, List(*bob)),
            CertificateVerdict::kGood);
}

TEST_F(CertificatesTest, ListSurvivesARestart) {
  {
    const auto alice = LoggedIn(kAlice);
    Request(*alice, kAlice, alice_);
    Revoke(*alice);
  }
  Restart();
  const auto bob = LoggedIn(kBob);
  EXPECT_EQ(List(*bob).size(), 2u);
}

TEST_F(CertificatesTest, NumberOfCertificatesIsBounded) {
  auto alice = LoggedIn(kAlice);
  for (int i = 0; i < 8; ++i) {
    alice = LoggedInLater(kAlice);
    EXPECT_TRUE(Request(*alice, kAlice, alice_).issued());
    if (i == 3) Revoke(*alice);  // Revoked ones still take their place in the list.
  }
  alice = LoggedInLater(kAlice);
  const auto refused = Request(*alice, kAlice, alice_);
  EXPECT_FALSE(refused.issued());
  EXPECT_EQ(refused.refusal(), v1::CERTIFICATE_REFUSAL_TOO_MANY);
  EXPECT_EQ(Copies().size(), 16u);
  clock_.Advance(91 * kDayMs);
  alice = LoggedIn(kAlice);
  EXPECT_TRUE(Request(*alice, kAlice, alice_).issued());
}

TEST_F(CertificatesTest, ListIsRenewedInTimeAndAfterTheOperatorsRevocation) {
  const auto alice = LoggedIn(kAlice);
  Request(*alice, kAlice, alice_);
  const crypto::RevocationList first = List(*alice);
  EXPECT_EQ(first.next_update(), Now() + absl::Hours(24 * 7));
  RevokeAsOperator(kAlice);
  const crypto::RevocationList second = List(*alice);
  EXPECT_EQ(second.number(), first.number() + 1);
  EXPECT_EQ(second.size(), 2u);
}

TEST_F(CertificatesTest, ARequestThatIsRepeatedGetsWhatTheFirstGot) {
  auto alice = LoggedIn(kAlice);
  const auto first = Request(*alice, kAlice, alice_);
  for (int i = 0; i < 20; ++i) {
    const auto again = Request(*alice, kAlice, alice_);
    EXPECT_EQ(again.SerializeAsString(), first.SerializeAsString());
  }
  EXPECT_EQ(Copies().size(), 2u);
  alice.reset();
  clock_.Advance(kHourMs - 1'000);
  alice = LoggedIn(kAlice);
  EXPECT_EQ(Request(*alice, kAlice, alice_).signing_certificate(), first.signing_certificate());
  alice = LoggedInLater(kAlice);
  const auto later = Request(*alice, kAlice, alice_);
  EXPECT_TRUE(later.issued());
  EXPECT_NE(later.signing_certificate(), first.signing_certificate());
  EXPECT_EQ(Copies().size(), 4u);
  // What is revoked is not handed out again.
  Revoke(*alice);
  const auto anew = Request(*alice, kAlice, alice_);
  EXPECT_TRUE(anew.issued());
  EXPECT_NE(anew.signing_certificate(), later.signing_certificate());
}

TEST_F(CertificatesTest, WhomTheOperatorRevokedGetsNoNewOnes) {
  const auto alice = LoggedIn(kAlice);
  const auto bob = LoggedIn(kBob);
  ASSERT_TRUE(Request(*alice, kAlice, alice_).issued());
  RevokeAsOperator(kAlice);
  for (int i = 0; i < 2; ++i) {
    const auto refused = Request(*alice, kAlice, alice_);
    EXPECT_FALSE(refused.issued());
    EXPECT_EQ(refused.refusal(), v1::CERTIFICATE_REFUSAL_BLOCKED);
    EXPECT_EQ(refused.signing_certificate(), "");
    EXPECT_EQ(Revoke(*alice), 0u) << "nor does her own revocation lift it";
  }
  EXPECT_TRUE(Request(*bob, kBob, bob_).issued());
  RevokeAsOperator(kAlice, /*lift=*/true);
  EXPECT_TRUE(Request(*alice, kAlice, alice_).issued());
}

TEST_F(CertificatesTest, RevokedCertificatesAreListedForADayAfterTheirEnd) {
  auto alice = LoggedIn(kAlice);
  Request(*alice, kAlice, alice_);
  Revoke(*alice);
  alice.reset();
  clock_.Advance(90 * kDayMs + kHourMs);
  alice = LoggedIn(kAlice);
  EXPECT_EQ(List(*alice).size(), 2u);
  alice.reset();
  clock_.Advance(4 * kDayMs);
  alice = LoggedIn(kAlice);
  EXPECT_EQ(List(*alice).size(), 0u);
}

TEST_F(CertificatesTest, ARevocationIsKeptThoughTheListIsTooLargeToBeMade) {
  const auto alice = LoggedIn(kAlice);
  ASSERT_TRUE(Request(*alice, kAlice, alice_).issued());
  const crypto::RevocationList before = List(*alice);
  ASSERT_TRUE(store_
                  ->Write([&](storage::Transaction& transaction) -> absl::Status {
                    const auto customer = transaction.customers().FindByUsername(kAlice);
                    if (!customer.ok()) return customer.status();
                    storage::IssuedCertificate copy;
                    copy.customer_id = customer->id;
                    copy.kind = storage::CertificateKind::kSigning;
                    copy.der = "a certificate";
                    copy.issued_at_ms = clock_.NowUnixMs();
                    copy.expires_at_ms = clock_.NowUnixMs() + kDayMs;
                    for (size_t i = 0; i < crypto::kMaxRevokedInList; ++i) {
                      copy.serial = std::string(12, '\x7f') + std::string(4, '\0');
                      for (size_t byte = 0; byte < 4; ++byte) {
                        copy.serial[12 + byte] = static_cast<char>(i >> (8 * byte));
                      }
                      absl::Status status = transaction.certificates().Insert(copy).status();
                      if (status.ok()) {
                        status = transaction.certificates().Revoke(copy.serial, copy.issued_at_ms);
                      }
                      if (!status.ok()) return status;
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  // Nothing is issued that could not be revoked later.
  const auto bob = LoggedIn(kBob);
  const auto refused = Request(*bob, kBob, bob_);
  EXPECT_FALSE(refused.issued());
  EXPECT_EQ(refused.refusal(), v1::CERTIFICATE_REFUSAL_LIST_FULL);
  EXPECT_EQ(Revoke(*alice), 2u);
  const std::vector<storage::IssuedCertificate> copies = Copies();
  ASSERT_GE(copies.size(), 2u);
  for (size_t i : {0, 1}) EXPECT_GT(copies[i].revoked_at_ms, 0);
  EXPECT_EQ(List(*alice).number(), before.number());
  // There is room again once they have expired.
  clock_.Advance(2 * kDayMs + kHourMs);
  const auto later = LoggedIn(kAlice);
  EXPECT_EQ(List(*later).size(), 2u);
  EXPECT_TRUE(Request(*later, kAlice, alice_).issued());
}

TEST_F(CertificatesTest, ListIsRenewedBeforeItsEnd) {
  uint64_t number = 0;
  {
    const auto alice = LoggedIn(kAlice);
    number = List(*alice).number();
  }
  clock_.Advance(kDayMs);
  {
    const auto alice = LoggedIn(kAlice);
    EXPECT_EQ(List(*alice).number(), number);
  }
  clock_.Advance(3 * kDayMs);
  const auto alice = LoggedIn(kAlice);
  const crypto::RevocationList list = List(*alice);
  EXPECT_GT(list.number(), number);
  // Whatever lists this database knows: it may have been restored, and agents keep the highest number.
  EXPECT_EQ(list.number(), static_cast<uint64_t>(absl::ToUnixSeconds(Now())));
  EXPECT_EQ(list.next_update(), Now() + absl::Hours(24 * 7));
}

TEST_F(CertificatesTest, IntroducesWhoListensForAsLongAsTheLinkStands) {
  auto alice = LoggedIn(kAlice);
  const auto bob = LoggedIn(kBob);
  EXPECT_FALSE(FindPeer(*bob, kAlice).found());
  EXPECT_FALSE(FindPeer(*bob, "nobody").found());
  Announce(*alice, "192.0.2.7:9000");
  EXPECT_EQ(FindPeer(*bob, kAlice).address(), "192.0.2.7:9000");
  EXPECT_EQ(FindPeer(*bob, kAlice).signing_certificate(), "");
  const auto certificates = Request(*alice, kAlice, alice_);
  EXPECT_EQ(FindPeer(*bob, kAlice).signing_certificate(), certificates.signing_certificate());
  Announce(*alice, "192.0.2.7:9001");
  EXPECT_EQ(FindPeer(*bob, kAlice).address(), "192.0.2.7:9001");
  Announce(*alice, "");
  EXPECT_FALSE(FindPeer(*bob, kAlice).found());
  Announce(*alice, "192.0.2.7:9000");
  Revoke(*alice);
  EXPECT_EQ(FindPeer(*bob, kAlice).signing_certificate(), "");
  alice.reset();
  EXPECT_FALSE(FindPeer(*bob, kAlice).found());
}

TEST_F(CertificatesTest, AddressesThatAreNoneAreRefused) {
  for (const std::string& address : {std::string("a b:1"), std::string("a\n:1"),
                                     std::string(Certificates::kMaxAddressBytes + 1, 'a')}) {
    const auto alice = LoggedIn(kAlice);
    v1::CertificateCall call;
    call.mutable_announce()->set_address(address);
    EXPECT_FALSE(Ask(*alice, call).has_value());
  }
  const auto alice = LoggedIn(kAlice);
  EXPECT_FALSE(Ask(*alice, v1::CertificateCall()).has_value());
}

TEST_F(CertificatesTest, OneCustomerDoesNotFillTheQueue) {
  storage::testing::GatedStore gate(*store_);
  gate.Shut();
  auto commits = *storage::CommitQueue::Create(gate, storage::CommitQueue::Options());
  Certificates::Options options;
  options.lifetime_ms = kDayMs;
  options.revocation_list_lifetime_ms = kDayMs;
  options.max_per_customer = 16;
  Certificates certificates(options, &authority_, gate, *commits, clock_, crypto::SystemRandom());
  std::vector<v1::CertificateCall> calls(4);
  calls[0].mutable_announce()->set_address("192.0.2.7:9000");
  calls[1].mutable_revoke();
  calls[2].mutable_revocation_list();
  calls[3].mutable_request()->set_certification_request(
      crypto::MakeCertificationRequest(kAlice, alice_).value());
  int accepted = 0;
  std::atomic<int> answered{0};
  const auto ask = [&](int64_t customer_id, const v1::CertificateCall& call) {
    return certificates.Handle(customer_id, /*link_id=*/customer_id, call,
                               [&](const absl::StatusOr<v1::CertificateResult>& result) {
                                 EXPECT_TRUE(result.ok());
                                 ++answered;
                               });
  };
  for (int i = 0; i < 100; ++i) {
    const absl::Status asked = ask(/*customer_id=*/1, calls[i % calls.size()]);
    if (asked.ok()) ++accepted;
    EXPECT_FALSE(protocol::IsRefusal(asked));
  }
  EXPECT_EQ(accepted, Certificates::kMaxUnderWay);
  for (const v1::CertificateCall& call : {calls[0], calls[1], calls[2]}) {
    EXPECT_TRUE(ask(/*customer_id=*/2, call).ok()) << "nobody else is turned away";
  }
  gate.Open();
  while (answered < accepted + 3) std::this_thread::yield();
  EXPECT_TRUE(ask(/*customer_id=*/1, calls[0]).ok());
  commits->Shutdown();
  EXPECT_EQ(answered, accepted + 4);
}

TEST_F(CertificatesTest, BrokerWithoutAnAuthorityIssuesNothing) {
  signers_.authority = nullptr;
  Restart();
  const auto alice = LoggedIn(kAlice);
  const auto refused = Request(*alice, kAlice, alice_);
  EXPECT_FALSE(refused.issued());
  EXPECT_EQ(refused.refusal(), v1::CERTIFICATE_REFUSAL_NO_AUTHORITY);
  v1::CertificateCall call;
  call.mutable_revocation_list();
  EXPECT_EQ(Ask(*alice, call)->revocation_list().revocation_list(), "");
}

}  // namespace
}  // namespace blindcart::broker
