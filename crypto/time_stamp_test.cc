#include "crypto/time_stamp.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kDayMs = 86'400'000;
constexpr char kDocument[] = "The last will of a quiet person.\n";
const std::string& Nonce() {
  static const auto* const nonce = new std::string("\0\x81nonce 16 bytes", kTimeStampNonceBytes);
  return *nonce;
}

int64_t NowMs() { return static_cast<int64_t>(std::time(nullptr)) * 1000; }

// A CA and what it certifies, right and wrong, made with OpenSSL by hand.
class TestCa {
 public:
  explicit TestCa(const std::string& name) : key_(EVP_EC_gen("P-384")), certificate_(X509_new()) {
    Fill(certificate_, name, name, key_, -30 * kDayMs, 20 * 365 * kDayMs);
    Extend(certificate_, certificate_, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    Extend(certificate_, certificate_, NID_key_usage, "critical,keyCertSign,cRLSign");
    Extend(certificate_, certificate_, NID_subject_key_identifier, "hash");
    EXPECT_GT(X509_sign(certificate_, key_, EVP_sha384()), 0);
    name_ = name;
  }
  ~TestCa() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestCa(const TestCa&) = delete;
  TestCa& operator=(const TestCa&) = delete;

  std::string pem() const { return ToPem(certificate_); }

  struct Wish {
    const char* extended_key_usage = "critical,timeStamping";
    const char* key_usage = "critical,digitalSignature,nonRepudiation";
    int64_t from_ms = -kDayMs;  // From now.
    int64_t to_ms = 365 * kDayMs;
  };
  std::string Certify(const TimeStampKey& key, const Wish& wish) const {
    const std::string spki = key.SpkiDer();
    const auto* in = reinterpret_cast<const unsigned char*>(spki.data());
    EVP_PKEY* const subject = d2i_PUBKEY(nullptr, &in, static_cast<long>(spki.size()));
    X509* const certificate = X509_new();
    Fill(certificate, "Time stamps", name_, subject, wish.from_ms, wish.to_ms);
    Extend(certificate, certificate_, NID_basic_constraints, "critical,CA:FALSE");
    Extend(certificate, certificate_, NID_key_usage, wish.key_usage);
    if (wish.extended_key_usage != nullptr) {
      Extend(certificate, certificate_, NID_ext_key_usage, wish.extended_key_usage);
    }
    Extend(certificate, certificate_, NID_subject_key_identifier, "hash");
    Extend(certificate, certificate_, NID_authority_key_identifier, "keyid:always");
    EXPECT_GT(X509_sign(certificate, key_, EVP_sha384()), 0);
    const std::string pem = ToPem(certificate);
    X509_free(certificate);
    EVP_PKEY_free(subject);
    return pem;
  }

 private:
  static void Fill(X509* certificate, const std::string& subject, const std::string& issuer,
                   EVP_PKEY* key, int64_t from_ms, int64_t to_ms) {
    static int serial = 1000;
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    for (auto [name, text] : {std::make_pair(X509_get_subject_name(certificate), subject),
                              std::make_pair(X509_get_issuer_name(certificate), issuer)}) {
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(text.data()),
                                 static_cast<int>(text.size()), -1, 0);
    }
    ASN1_TIME_set(X509_getm_notBefore(certificate), (NowMs() + from_ms) / 1000);
    ASN1_TIME_set(X509_getm_notAfter(certificate), (NowMs() + to_ms) / 1000);
    X509_set_pubkey(certificate, key);
  }
  static void Extend(X509* certificate, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static std::string ToPem(X509* certificate) {
    BIO* const bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string pem(data, static_cast<size_t>(size));
    BIO_free(bio);
    return pem;
  }

  EVP_PKEY* key_;
  X509* certificate_;
  std::string name_;
};

const TimeStampKey& Key() {
  static const auto* const key = new TimeStampKey(TimeStampKey::Generate());
  return *key;
}
const TestCa& Ca() {
  static const auto* const ca = new TestCa("A broker");
  return *ca;
}
const TestCa& OtherCa() {
  static const auto* const ca = new TestCa("Another broker");
  return *ca;
}

TimeStampResponder Responder(const TestCa& ca, const TestCa::Wish& wish = TestCa::Wish()) {
  return *TimeStampResponder::Create(Key(), ca.Certify(Key(), wish));
}

std::string Request(const std::string& document = kDocument) {
  return *MakeTimeStampRequest(Sha256(document), Nonce());
}

// A token under a certificate that the responder itself would not take: by OpenSSL's hand.
std::string StampByHand(const std::string& certificate_pem, const char* policy = kTimeStampPolicy) {
  BIO* const pem =
      BIO_new_mem_buf(certificate_pem.data(), static_cast<int>(certificate_pem.size()));
  X509* const certificate = PEM_read_bio_X509(pem, nullptr, nullptr, nullptr);
  BIO_free(pem);
  // The library looks at the purpose of the certificate that it is told to sign with, and at nothing
  // that is put in its place afterwards; so the token is signed anew with the low-level functions.
  const TimeStampResponder right = Responder(Ca());
  const std::string request = Request();
  const std::string good = right.Issue(request, 77, NowMs())->response;
  const auto* in = reinterpret_cast<const unsigned char*>(good.data());
  TS_RESP* const response = d2i_TS_RESP(nullptr, &in, static_cast<long>(good.size()));
  TS_TST_INFO* const info = TS_TST_INFO_dup(TS_RESP_get_tst_info(response));
  ASN1_OBJECT* const object = OBJ_txt2obj(policy, 1);
  TS_TST_INFO_set_policy_id(info, object);
  ASN1_OBJECT_free(object);

  const SecretBytes der = Key().Pkcs8Der();
  const auto* key_in = der.data();
  EVP_PKEY* const key = d2i_AutoPrivateKey(nullptr, &key_in, static_cast<long>(der.size()));
  PKCS7* const token = PKCS7_new();
  PKCS7_set_type(token, NID_pkcs7_signed);
  ASN1_INTEGER_set(token->d.sign->version, 3);
  PKCS7_add_certificate(token, certificate);
  PKCS7_SIGNER_INFO* const signer = PKCS7_add_signature(token, certificate, key, EVP_sha256());
  PKCS7_add_signed_attribute(signer, NID_pkcs9_contentType, V_ASN1_OBJECT,
                             OBJ_nid2obj(NID_id_smime_ct_TSTInfo));
  unsigned char digest[32];
  unsigned int digest_size = 0;
  X509_digest(certificate, EVP_sha256(), digest, &digest_size);
  // ESSCertIDv2 { hashAlgorithm DEFAULT sha256, certHash }, by hand.
  std::string attribute("\x30\x26\x30\x24\x30\x22\x04\x20", 8);
  attribute.append(reinterpret_cast<const char*>(digest), digest_size);
  ASN1_STRING* const sequence = ASN1_STRING_new();
  ASN1_STRING_set(sequence, attribute.data(), static_cast<int>(attribute.size()));
  PKCS7_add_signed_attribute(signer, NID_id_smime_aa_signingCertificateV2, V_ASN1_SEQUENCE,
                             sequence);
  // The content: id-smime-ct-TSTInfo holding an octet string, which takes what is written below.
  PKCS7* const content = PKCS7_new();
  ASN1_OCTET_STRING* const octets = ASN1_OCTET_STRING_new();
  unsigned char* tst = nullptr;
  const int tst_size = i2d_TS_TST_INFO(info, &tst);
  content->type = OBJ_nid2obj(NID_id_smime_ct_TSTInfo);
  content->d.other = ASN1_TYPE_new();
  ASN1_TYPE_set(content->d.other, V_ASN1_OCTET_STRING, octets);
  PKCS7_set_content(token, content);
  BIO* const data = PKCS7_dataInit(token, nullptr);
  BIO_write(data, tst, tst_size);
  EXPECT_EQ(PKCS7_dataFinal(token, data), 1);
  BIO_free_all(data);
  OPENSSL_free(tst);

  TS_RESP_set_tst_info(response, token, info);
  unsigned char* out = nullptr;
  const int size = i2d_TS_RESP(response, &out);
  std::string made(reinterpret_cast<char*>(out), static_cast<size_t>(size));
  OPENSSL_free(out);
  TS_RESP_free(response);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

absl::StatusOr<TimeStamp> Verify(const std::string& response, const TestCa& ca = Ca(),
                                 const std::string& document = kDocument,
                                 int64_t now_ms = NowMs()) {
  return VerifyTimeStamp(response, {Sha256(document), absl::nullopt, ca.pem(), now_ms});
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// What Debian's own tool says to the same.
bool OpenSslAccepts(const std::string& response, const TestCa& ca = Ca(),
                    const std::string& document = kDocument) {
  const std::string folder = ::testing::TempDir();
  WriteFile(folder + "/r.tsr", response);
  WriteFile(folder + "/ca.pem", ca.pem());
  WriteFile(folder + "/document", document);
  return std::system(absl::StrCat("/usr/bin/openssl ts -verify -data ", folder, "/document -in ",
                                  folder, "/r.tsr -CAfile ", folder, "/ca.pem > ", folder,
                                  "/out 2>&1")
                         .c_str()) == 0;
}

// Refused by both, and by ours for this reason.
void ExpectBothRefuse(const std::string& response, const std::string& reason,
                      const TestCa& ca = Ca(), const std::string& document = kDocument) {
  const auto verified = Verify(response, ca, document);
  ASSERT_FALSE(verified.ok());
  EXPECT_THAT(std::string(verified.status().message()), HasSubstr(reason));
  EXPECT_FALSE(OpenSslAccepts(response, ca, document));
}

TEST(TimeStampTest, VerifiesHereAndWithOpenSsl) {
  const int64_t time_ms = NowMs() - 1'000 + 250;
  const auto issued = Responder(Ca()).Issue(Request(), 0x1234567890, time_ms);
  ASSERT_TRUE(issued.ok()) << issued.status();
  const auto verified =
      VerifyTimeStamp(issued->response, {Sha256(kDocument), Nonce(), Ca().pem(), NowMs()});
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->time_ms, time_ms);
  EXPECT_EQ(verified->accuracy_ms, 1'000);
  EXPECT_EQ(verified->serial_hex, "1234567890");
  EXPECT_EQ(verified->sha256, Sha256(kDocument));
  EXPECT_EQ(verified->authority, "CN=Time stamps");
  EXPECT_EQ(issued->token_sha256.size(), kSha256Bytes);
  EXPECT_LE(issued->response.size(), 4096u);
  EXPECT_TRUE(OpenSslAccepts(issued->response));
  EXPECT_EQ(ReadTimeStamp(issued->response)->serial_hex, "1234567890");
}

TEST(TimeStampTest, TimesKeepTheirMilliseconds) {
  const TimeStampResponder responder = Responder(Ca());
  const int64_t second_ms = NowMs() - 10'000;
  for (int64_t ms : {0, 1, 10, 100, 120, 999}) {
    const auto issued = responder.Issue(Request(), 1, second_ms + ms);
    ASSERT_TRUE(issued.ok());
    const auto verified = Verify(issued->response);
    ASSERT_TRUE(verified.ok()) << verified.status();
    EXPECT_EQ(verified->time_ms, second_ms + ms);
  }
}

TEST(TimeStampTest, RefusesAnotherDocument) {
  const std::string response = Responder(Ca()).Issue(Request(), 5, NowMs())->response;
  ExpectBothRefuse(response, "another document", Ca(), std::string(kDocument) + " ");
  ExpectBothRefuse(response, "another document", Ca(), "");
}

TEST(TimeStampTest, RefusesAnotherBrokersToken) {
  const std::string response = Responder(OtherCa()).Issue(Request(), 5, NowMs())->response;
  EXPECT_TRUE(Verify(response, OtherCa()).ok());
  ExpectBothRefuse(response, "not from this broker");
  // Nor does a CA of the same name help.
  const TestCa namesake("A broker");
  ExpectBothRefuse(Responder(namesake).Issue(Request(), 5, NowMs())->response,
                   "not from this broker");
}

TEST(TimeStampTest, RefusesTheAnswerToAnotherRequest) {
  const std::string response = Responder(Ca()).Issue(Request(), 5, NowMs())->response;
  const auto verified = VerifyTimeStamp(
      response, {Sha256(kDocument), std::string(kTimeStampNonceBytes, 'x'), Ca().pem(), NowMs()});
  ASSERT_FALSE(verified.ok());
  EXPECT_THAT(std::string(verified.status().message()), HasSubstr("another request"));
}

TEST(TimeStampTest, RefusesEveryByteChanged) {
  const std::string response = Responder(Ca()).Issue(Request(), 5, NowMs())->response;
  const TimeStampExpectation expectation = {Sha256(kDocument), absl::nullopt, Ca().pem(), NowMs()};
  ASSERT_TRUE(VerifyTimeStamp(response, expectation).ok());
  for (size_t i = 0; i < response.size(); ++i) {
    // One bit of each, and the one that tells small letters from capitals.
    for (size_t bit : {i % 8, size_t{5}}) {
      std::string changed = response;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      ASSERT_FALSE(VerifyTimeStamp(changed, expectation).ok()) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(TimeStampTest, RefusesEveryByteLeftOutOrAdded) {
  const std::string response = Responder(Ca()).Issue(Request(), 5, NowMs())->response;
  for (size_t i = 0; i < response.size(); ++i) {
    ASSERT_FALSE(Verify(response.substr(0, i)).ok());
    ASSERT_FALSE(Verify(std::string(response).erase(i, 1)).ok());
  }
  for (size_t i = 0; i <= response.size(); i += 7) {
    ASSERT_FALSE(Verify(std::string(response).insert(i, 1, '\0')).ok());
  }
  EXPECT_FALSE(Verify(response + response).ok());
  EXPECT_FALSE(Verify(std::string(kMaxTimeStampResponseBytes + 1, '\x30')).ok());
}

TEST(TimeStampTest, AChangedTokenIsRefusedByOpenSslToo) {
  std::string response = Responder(Ca()).Issue(Request(), 5, NowMs())->response;
  response[response.size() - 10] = static_cast<char>(response[response.size() - 10] ^ 1);
  ExpectBothRefuse(response, "it was changed");
}

TEST(TimeStampTest, TheHandMadeTokenIsRightWhenItsCertificateIs) {
  const std::string response = StampByHand(Ca().Certify(Key(), TestCa::Wish()));
  const auto verified = Verify(response);
  EXPECT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(OpenSslAccepts(response));
}

TEST(TimeStampTest, RefusesACertificateThatIsNotForTimeStampingAlone) {
  for (const char* usage : {static_cast<const char*>(nullptr), "critical,serverAuth",
                            "timeStamping", "critical,timeStamping,serverAuth"}) {
    TestCa::Wish wish;
    wish.extended_key_usage = usage;
    const std::string certificate = Ca().Certify(Key(), wish);
    EXPECT_FALSE(TimeStampResponder::Create(Key(), certificate).ok());
    ExpectBothRefuse(StampByHand(certificate), "not one for time stamping");
  }
}

TEST(TimeStampTest, RefusesWhatIsNotValidNow) {
  TestCa::Wish expired;
  expired.from_ms = -10 * kDayMs;
  expired.to_ms = -kDayMs;
  const std::string past =
      Responder(Ca(), expired).Issue(Request(), 5, NowMs() - 5 * kDayMs)->response;
  ExpectBothRefuse(past, "has expired");
  // At its time it was right.
  EXPECT_TRUE(Verify(past, Ca(), kDocument, NowMs() - 2 * kDayMs).ok());

  TestCa::Wish later;
  later.from_ms = kDayMs;
  ExpectBothRefuse(Responder(Ca(), later).Issue(Request(), 5, NowMs() + 2 * kDayMs)->response,
                   "not valid yet");
}

TEST(TimeStampTest, RefusesATimeOutsideTheCertificatesOrAhead) {
  const TimeStampResponder responder = Responder(Ca());
  const auto before = Verify(responder.Issue(Request(), 5, NowMs() - 3 * kDayMs)->response);
  ASSERT_FALSE(before.ok());
  EXPECT_THAT(std::string(before.status().message()), HasSubstr("not valid at the time"));
  const auto ahead = Verify(responder.Issue(Request(), 5, NowMs() + 600'000)->response);
  ASSERT_FALSE(ahead.ok());
  EXPECT_THAT(std::string(ahead.status().message()), HasSubstr("lies ahead"));
}

TEST(TimeStampTest, RefusesAnotherPolicy) {
  const auto verified =
      Verify(StampByHand(Ca().Certify(Key(), TestCa::Wish()), "1.3.6.1.4.1.13762.3"));
  ASSERT_FALSE(verified.ok());
  EXPECT_THAT(std::string(verified.status().message()), HasSubstr("policy"));
}

TEST(TimeStampTest, RequestsAreOfOneShape) {
  const std::string request = Request();
  EXPECT_TRUE(CheckTimeStampRequest(request).ok());
  EXPECT_LE(request.size(), kMaxTimeStampRequestBytes);
  EXPECT_FALSE(MakeTimeStampRequest("short", Nonce()).ok());
  EXPECT_FALSE(MakeTimeStampRequest(Sha256(kDocument), "short").ok());
  EXPECT_FALSE(CheckTimeStampRequest("").ok());
  EXPECT_FALSE(CheckTimeStampRequest(request + "x").ok());
  EXPECT_FALSE(CheckTimeStampRequest(std::string(1'000'000, '0')).ok());
  for (size_t i = 0; i < request.size(); ++i) {
    EXPECT_FALSE(CheckTimeStampRequest(request.substr(0, i)).ok());
  }
  // What openssl ts -query makes is such a request, unless it lacks nonce or certificate.
  const std::string folder = ::testing::TempDir();
  WriteFile(folder + "/d", kDocument);
  const auto query = [&folder](const std::string& options) {
    EXPECT_EQ(std::system(absl::StrCat("/usr/bin/openssl ts -query -data ", folder, "/d ", options,
                                       " -out ", folder, "/q 2>/dev/null")
                              .c_str()),
              0);
    std::ifstream file(folder + "/q", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_TRUE(CheckTimeStampRequest(query("-sha256 -cert")).ok());
  EXPECT_FALSE(CheckTimeStampRequest(query("-sha256")).ok());
  EXPECT_FALSE(CheckTimeStampRequest(query("-sha256 -cert -no_nonce")).ok());
  EXPECT_FALSE(CheckTimeStampRequest(query("-sha512 -cert")).ok());
  EXPECT_FALSE(CheckTimeStampRequest(query("-sha256 -cert -tspolicy 1.2.3")).ok());
}

TEST(TimeStampTest, TheAuthorityIsParticular) {
  const TimeStampResponder responder = Responder(Ca());
  EXPECT_FALSE(responder.Issue("no request", 1, NowMs()).ok());
  EXPECT_FALSE(responder.Issue(Request(), 0, NowMs()).ok());
  EXPECT_FALSE(responder.Issue(Request(), 1, 0).ok());
  EXPECT_FALSE(TimeStampResponder::Create(Key(), "no certificate").ok());
  const TimeStampKey other = TimeStampKey::Generate();
  EXPECT_FALSE(TimeStampResponder::Create(other, Ca().Certify(Key(), TestCa::Wish())).ok());
  EXPECT_NEAR(static_cast<double>(responder.not_after_ms()),
              static_cast<double>(NowMs() + 365 * kDayMs), 60'000.0);
  EXPECT_EQ(*CertificateEndMs(Ca().Certify(Key(), TestCa::Wish())) / 60'000,
            responder.not_after_ms() / 60'000);
}

TEST(TimeStampTest, KeysAreKeptAndOfOneSize) {
  const SecretBytes der = Key().Pkcs8Der();
  const auto again = TimeStampKey::FromPkcs8Der(der.view());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SpkiDer(), Key().SpkiDer());
  EXPECT_FALSE(TimeStampKey::FromPkcs8Der("").ok());
  EVP_PKEY* const small = EVP_RSA_gen(3072);
  PKCS8_PRIV_KEY_INFO* const info = EVP_PKEY2PKCS8(small);
  unsigned char* out = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, &out);
  EXPECT_FALSE(
      TimeStampKey::FromPkcs8Der(std::string(reinterpret_cast<char*>(out), size_t(size))).ok());
  OPENSSL_free(out);
  PKCS8_PRIV_KEY_INFO_free(info);
  EVP_PKEY_free(small);
}

}  // namespace
}  // namespace blindcart::crypto
