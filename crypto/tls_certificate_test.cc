#include "crypto/tls_certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "crypto/internal/openssl_ptr.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

constexpr absl::Time kNow = absl::FromUnixSeconds(1800000000);

struct CertificateDeleter {
  void operator()(X509* p) const { X509_free(p); }
};
using CertificatePtr = std::unique_ptr<X509, CertificateDeleter>;

CertificatePtr Parse(const std::string& pem) {
  const internal::BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return CertificatePtr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

// What a TLS client does that has this certificate as its only root.
int VerifyAsServer(X509* certificate, absl::Time at) {
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, certificate);
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, certificate, nullptr);
  X509_STORE_CTX_set_default(context, "ssl_server");
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context), absl::ToTimeT(at));
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  ERR_clear_error();
  return error;
}

bool FitsHost(X509* certificate, const std::string& host) {
  return X509_check_host(certificate, host.data(), host.size(), 0, nullptr) == 1;
}

TEST(TlsCertificateTest, IsAcceptedForItsNamesAndAddresses) {
  const auto made = MakeSelfSignedCertificate(
      "Broker of example", {"broker.example", "localhost", "127.0.0.1", "::1"}, 365, kNow);
  ASSERT_TRUE(made.ok()) << made.status();
  const CertificatePtr certificate = Parse(made->certificate_pem);
  ASSERT_NE(certificate, nullptr);
  EXPECT_EQ(VerifyAsServer(certificate.get(), kNow), X509_V_OK);
  EXPECT_TRUE(FitsHost(certificate.get(), "broker.example"));
  EXPECT_TRUE(FitsHost(certificate.get(), "localhost"));
  EXPECT_FALSE(FitsHost(certificate.get(), "other.example"));
  EXPECT_FALSE(FitsHost(certificate.get(), "Broker of example"));
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "127.0.0.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "127.0.0.2", 0), 0);
}

TEST(TlsCertificateTest, HoldsAP256KeyThatFitsItsPrivateKey) {
  const auto made = MakeSelfSignedCertificate("broker", {"localhost"}, 1, kNow);
  ASSERT_TRUE(made.ok());
  const CertificatePtr certificate = Parse(made->certificate_pem);
  const std::string& pem = made->private_key_pem;
  EXPECT_EQ(pem.rfind("-----BEGIN PRIVATE KEY-----", 0), 0u);
  const internal::BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const internal::PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(X509_check_private_key(certificate.get(), key.get()), 1);
  char group[32];
  size_t size = 0;
  ASSERT_EQ(EVP_PKEY_get_group_name(key.get(), group, sizeof(group), &size), 1);
  EXPECT_STREQ(group, "prime256v1");
}

TEST(TlsCertificateTest, IsValidForTheDaysAskedFor) {
  const auto made = MakeSelfSignedCertificate("broker", {"localhost"}, 10, kNow);
  ASSERT_TRUE(made.ok());
  const CertificatePtr certificate = Parse(made->certificate_pem);
  EXPECT_EQ(VerifyAsServer(certificate.get(), kNow - absl::Minutes(59)), X509_V_OK);
  EXPECT_EQ(VerifyAsServer(certificate.get(), kNow - absl::Minutes(61)),
            X509_V_ERR_CERT_NOT_YET_VALID);
  EXPECT_EQ(VerifyAsServer(certificate.get(), kNow + absl::Hours(239)), X509_V_OK);
  EXPECT_EQ(VerifyAsServer(certificate.get(), kNow + absl::Hours(241)),
            X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST(TlsCertificateTest, DiffersEachTime) {
  const auto a = MakeSelfSignedCertificate("broker", {"localhost"}, 1, kNow);
  const auto b = MakeSelfSignedCertificate("broker", {"localhost"}, 1, kNow);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(a->private_key_pem, b->private_key_pem);
  EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(Parse(a->certificate_pem).get()),
                             X509_get0_serialNumber(Parse(b->certificate_pem).get())),
            0);
}

TEST(TlsCertificateTest, RefusesUnusableNamesAndDays) {
  const auto refused = [](const std::string& common_name, const std::vector<std::string>& names,
                          int days) {
    return MakeSelfSignedCertificate(common_name, names, days, kNow).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused("", {"localhost"}, 1));
  EXPECT_TRUE(refused(std::string(65, 'n'), {"localhost"}, 1));
  EXPECT_TRUE(refused("new\nline", {"localhost"}, 1));
  EXPECT_TRUE(refused("broker", {}, 1));
  EXPECT_TRUE(refused("broker", {"localhost"}, 0));
  EXPECT_TRUE(refused("broker", {"localhost"}, 36501));
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a,DNS:b"), std::string("*.example"),
        std::string(".example"), std::string("a..b"), std::string(64, 'a'), std::string("::g"),
        std::string("a\0b", 3), std::string(254, 'a')}) {
    EXPECT_TRUE(refused("broker", {"localhost", name}, 1)) << name;
  }
}

}  // namespace
}  // namespace blindcart::crypto
