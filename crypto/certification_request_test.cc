#include "crypto/certification_request.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "crypto/certificate_authority.h"
#include "crypto/internal/x509.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

// A request as somebody with other tools may make it: named after `username`, with one person's
// signature key, signed by another's, with the RSA key of a third.
std::string Forge(absl::string_view username, const Identity& named, const Identity& signer,
                  const std::string& rsa_key, int attributes = 1) {
  const internal::X509ReqPtr request(X509_REQ_new());
  const auto private_key = [](const Identity& identity) {
    const SecretBytes& seed = identity.ed25519().seed();
    return internal::PkeyPtr(
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  };
  X509_REQ_set_version(request.get(), 0);
  X509_REQ_set_pubkey(request.get(), private_key(named).get());
  internal::SetCommonName(X509_REQ_get_subject_name(request.get()), username);
  // The second and later ones have other identifiers: OpenSSL itself refuses to make two of a kind.
  for (int i = 0; i < attributes; ++i) {
    const std::string name = i == 0 ? kRequestRsaKeyOid : absl::StrCat(kRequestRsaKeyOid, ".", i);
    const internal::Asn1ObjectPtr oid(OBJ_txt2obj(name.c_str(), 1));
    EXPECT_EQ(
        X509_REQ_add1_attr_by_OBJ(request.get(), oid.get(), V_ASN1_OCTET_STRING,
                                  internal::AsBytes(rsa_key), static_cast<int>(rsa_key.size())),
        1);
  }
  X509_REQ_sign(request.get(), private_key(signer).get(), nullptr);
  return internal::ToDer(request.get(), i2d_X509_REQ);
}

TEST(CertificationRequestTest, NamesTheUserAndBothKeys) {
  const Identity& alice = TestIdentity(0);
  const auto der = MakeCertificationRequest("alice", alice);
  ASSERT_TRUE(der.ok()) << der.status();
  const auto request = ParseCertificationRequest(*der);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->subject, "alice");
  EXPECT_EQ(request->identity.fingerprint(), alice.public_identity().fingerprint());
}

TEST(CertificationRequestTest, ForgedTheRightWayIsTheSameRequest) {
  const Identity& alice = TestIdentity(0);
  EXPECT_EQ(Forge("alice", alice, alice, alice.rsa().public_key().SpkiDer()),
            MakeCertificationRequest("alice", alice).value());
}

TEST(CertificationRequestTest, AnotherPersonsSignatureIsRefused) {
  const Identity& alice = TestIdentity(0);
  const Identity& mallory = TestIdentity(1);
  const auto request =
      ParseCertificationRequest(Forge("alice", alice, mallory, alice.rsa().public_key().SpkiDer()));
  EXPECT_EQ(request.status().code(), absl::StatusCode::kUnauthenticated);
}

TEST(CertificationRequestTest, AttributesOtherThanTheOneKeyAreRefused) {
  const Identity& alice = TestIdentity(0);
  const std::string key = alice.rsa().public_key().SpkiDer();
  EXPECT_FALSE(ParseCertificationRequest(Forge("alice", alice, alice, key, 0)).ok());
  EXPECT_FALSE(ParseCertificationRequest(Forge("alice", alice, alice, key, 2)).ok());
  EXPECT_FALSE(ParseCertificationRequest(Forge("alice", alice, alice, "no key")).ok());
}

TEST(CertificationRequestTest, ChangedByteAnywhereIsRefused) {
  const std::string der = MakeCertificationRequest("alice", TestIdentity(0)).value();
  for (size_t at = 0; at < der.size(); ++at) {
    std::string changed = der;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_FALSE(ParseCertificationRequest(changed).ok()) << "byte " << at;
    EXPECT_FALSE(ParseCertificationRequest(der.substr(0, at)).ok());
  }
  EXPECT_FALSE(ParseCertificationRequest(der + "x").ok());
  EXPECT_FALSE(ParseCertificationRequest(std::string(kMaxCertificationRequestBytes + 1, '0')).ok());
}

TEST(CertificationRequestTest, NameThatCannotStandInACertificateIsRefused) {
  EXPECT_FALSE(MakeCertificationRequest("", TestIdentity(0)).ok());
  EXPECT_FALSE(MakeCertificationRequest("a\nb", TestIdentity(0)).ok());
}

}  // namespace
}  // namespace blindcart::crypto
