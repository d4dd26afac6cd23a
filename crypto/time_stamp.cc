#include "crypto/time_stamp.h"

#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>
#include <openssl/ts.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "crypto/constant_time.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/internal/library.h"
#include "crypto/rsa.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::BioPtr;
using internal::CheckLibrary;

constexpr size_t kMaxCertificateBytes = 16 * 1024;
constexpr int kMaxNonceBytes = 20;
constexpr int kMaxSerialBytes = 20;  // RFC 3161, 2.4.2: up to 160 bits.
constexpr int kAccuracySeconds = 1;
constexpr int kMillisecondDigits = 3;
constexpr int kTimeStampReqVersion = 1;
constexpr int kTstInfoVersion = 1;
constexpr int kSignedDataVersion = 3;
constexpr int kSignerInfoVersion = 1;

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
template <typename T, void (*Free)(T*)>
using Ptr = std::unique_ptr<T, Deleter<T, Free>>;
using RequestPtr = Ptr<TS_REQ, TS_REQ_free>;
using ImprintPtr = Ptr<TS_MSG_IMPRINT, TS_MSG_IMPRINT_free>;
using AlgorithmPtr = Ptr<X509_ALGOR, X509_ALGOR_free>;
using IntegerPtr = Ptr<ASN1_INTEGER, ASN1_INTEGER_free>;
using ObjectPtr = Ptr<ASN1_OBJECT, ASN1_OBJECT_free>;
using BignumPtr = Ptr<BIGNUM, BN_free>;
using ResponsePtr = Ptr<TS_RESP, TS_RESP_free>;
using ResponderPtr = Ptr<TS_RESP_CTX, TS_RESP_CTX_free>;
using VerifierPtr = Ptr<TS_VERIFY_CTX, TS_VERIFY_CTX_free>;
using X509Ptr = Ptr<X509, X509_free>;
using StorePtr = Ptr<X509_STORE, X509_STORE_free>;
using StoreContextPtr = Ptr<X509_STORE_CTX, X509_STORE_CTX_free>;
using Pkcs8Ptr = Ptr<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("this is no time stamp: ", what));
}

absl::Status False(absl::string_view what) { return absl::DataLossError(what); }

// Leaves no error behind for the thread's next caller.
class ErrorScope {
 public:
  ErrorScope() = default;
  ErrorScope(const ErrorScope&) = delete;
  ErrorScope& operator=(const ErrorScope&) = delete;
  ~ErrorScope() { ERR_clear_error(); }
};

// The value's DER, by an i2d function.
template <typename T, typename Encode>
std::string ToDer(T* value, Encode encode) {
  const int size = encode(value, nullptr);
  if (size <= 0) return "";
  std::string der(static_cast<size_t>(size), '\0');
  auto* out = reinterpret_cast<unsigned char*>(&der[0]);
  encode(value, &out);
  return der;
}

std::string BytesOf(const ASN1_STRING* text) {
  return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                     static_cast<size_t>(ASN1_STRING_length(text)));
}

// A non-negative integer's bytes, most significant first, without leading zeros. Empty: negative.
std::string MagnitudeOf(const ASN1_INTEGER* integer) {
  const BignumPtr number(ASN1_INTEGER_to_BN(integer, nullptr));
  if (number == nullptr || BN_is_negative(number.get())) return "";
  std::string bytes(static_cast<size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(&bytes[0]));
  return bytes.empty() ? std::string(1, '\0') : bytes;
}

std::string WithoutLeadingZeros(absl::string_view bytes) {
  while (bytes.size() > 1 && bytes.front() == '\0') bytes.remove_prefix(1);
  return std::string(bytes);
}

IntegerPtr ToInteger(absl::string_view bytes) {
  const BignumPtr number(BN_bin2bn(AsBytes(bytes), static_cast<int>(bytes.size()), nullptr));
  CheckLibrary(number != nullptr, "BN_bin2bn");
  IntegerPtr integer(BN_to_ASN1_INTEGER(number.get(), nullptr));
  CheckLibrary(integer != nullptr, "BN_to_ASN1_INTEGER");
  return integer;
}

// The algorithm with the parameters NULL, or with none where those may be left out.
bool Is(const X509_ALGOR* algorithm, int nid, bool may_lack_parameters) {
  const ASN1_OBJECT* object = nullptr;
  int type = V_ASN1_UNDEF;
  X509_ALGOR_get0(&object, &type, nullptr, algorithm);
  return OBJ_obj2nid(object) == nid &&
         (type == V_ASN1_NULL || (may_lack_parameters && type == V_ASN1_UNDEF));
}

// The hash of a SHA-256 imprint; empty for any other imprint.
std::string Sha256Of(TS_MSG_IMPRINT* imprint) {
  if (imprint == nullptr ||
      !Is(TS_MSG_IMPRINT_get_algo(imprint), NID_sha256, /*may_lack_parameters=*/true)) {
    return "";
  }
  std::string hash = BytesOf(TS_MSG_IMPRINT_get_msg(imprint));
  return hash.size() == kSha256Bytes ? hash : "";
}

absl::StatusOr<X509Ptr> ParseCertificate(absl::string_view pem) {
  if (pem.empty() || pem.size() > kMaxCertificateBytes) {
    return absl::InvalidArgumentError("not a certificate");
  }
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CheckLibrary(bio != nullptr, "BIO_new_mem_buf");
  X509Ptr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return absl::InvalidArgumentError("not a certificate");
  return certificate;
}

absl::StatusOr<int64_t> ToUnixMs(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return absl::InvalidArgumentError("a certificate's time cannot be read");
  }
  return absl::ToUnixMillis(absl::FromTM(parts, absl::UTCTimeZone()));
}

// "YYYYMMDDhhmmss[.f]Z" with up to three digits of a second and no zero at their end.
absl::optional<int64_t> ParseGenTime(const ASN1_GENERALIZEDTIME* time) {
  const std::string bytes = BytesOf(time);
  absl::string_view text = bytes;
  constexpr size_t kWhole = 14;
  if (text.size() < kWhole + 1 || text.back() != 'Z') return absl::nullopt;
  text.remove_suffix(1);
  int digits[kWhole];
  for (size_t i = 0; i < kWhole; ++i) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(text[i]))) return absl::nullopt;
    digits[i] = text[i] - '0';
  }
  const auto two = [&digits](size_t at) { return 10 * digits[at] + digits[at + 1]; };
  const absl::CivilSecond second(100 * two(0) + two(2), two(4), two(6), two(8), two(10), two(12));
  // A day or minute that does not exist would have been carried over.
  if (second.month() != two(4) || second.day() != two(6) || second.hour() != two(8) ||
      second.minute() != two(10) || second.second() != two(12)) {
    return absl::nullopt;
  }
  int64_t ms = absl::ToUnixMillis(absl::FromCivil(second, absl::UTCTimeZone()));
  text.remove_prefix(kWhole);
  if (!text.empty()) {
    if (text.size() < 2 || text.size() > 1 + kMillisecondDigits || text[0] != '.' ||
        text.back() == '0') {
      return absl::nullopt;
    }
    int64_t scale = 100;
    for (char c : text.substr(1)) {
      if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return absl::nullopt;
      ms += scale * (c - '0');
      scale /= 10;
    }
  }
  return ms;
}

absl::StatusOr<RequestPtr> ParseRequest(absl::string_view der) {
  const absl::Status refused = absl::InvalidArgumentError("not a time-stamp request");
  if (der.empty() || der.size() > kMaxTimeStampRequestBytes) return refused;
  const unsigned char* in = AsBytes(der);
  RequestPtr request(d2i_TS_REQ(nullptr, &in, static_cast<long>(der.size())));
  if (request == nullptr || ToDer(request.get(), i2d_TS_REQ) != der) return refused;
  const ASN1_INTEGER* nonce = TS_REQ_get_nonce(request.get());
  if (TS_REQ_get_version(request.get()) != kTimeStampReqVersion ||
      Sha256Of(TS_REQ_get_msg_imprint(request.get())).empty() ||
      TS_REQ_get_policy_id(request.get()) != nullptr || nonce == nullptr ||
      MagnitudeOf(nonce).empty() || ASN1_STRING_length(nonce) > kMaxNonceBytes ||
      TS_REQ_get_cert_req(request.get()) != 1 || TS_REQ_get_ext_count(request.get()) > 0) {
    return refused;
  }
  return request;
}

// A response in the one shape, taken apart. Points into `response`.
struct Parsed {
  ResponsePtr response;
  PKCS7* token = nullptr;
  TS_TST_INFO* info = nullptr;
  X509* certificate = nullptr;
  TimeStamp content;
};

absl::Status CheckSignedData(PKCS7* token, X509** certificate) {
  if (token == nullptr || PKCS7_type_is_signed(token) != 1) return Malformed("it holds no token");
  const PKCS7_SIGNED* data = token->d.sign;
  if (data == nullptr || data->contents == nullptr ||
      ASN1_INTEGER_get(data->version) != kSignedDataVersion ||
      OBJ_obj2nid(data->contents->type) != NID_id_smime_ct_TSTInfo ||
      sk_X509_ALGOR_num(data->md_algs) != 1 ||
      !Is(sk_X509_ALGOR_value(data->md_algs, 0), NID_sha256, /*may_lack_parameters=*/true) ||
      data->crl != nullptr) {
    return Malformed("its token is of another kind");
  }
  if (sk_X509_num(data->cert) != 1) {
    return Malformed("it does not hold its authority's certificate");
  }
  if (sk_PKCS7_SIGNER_INFO_num(data->signer_info) != 1) {
    return Malformed("its token is not signed once");
  }
  PKCS7_SIGNER_INFO* const signer = sk_PKCS7_SIGNER_INFO_value(data->signer_info, 0);
  *certificate = sk_X509_value(data->cert, 0);
  if (ASN1_INTEGER_get(signer->version) != kSignerInfoVersion ||
      !Is(signer->digest_alg, NID_sha256, /*may_lack_parameters=*/true) ||
      !Is(signer->digest_enc_alg, NID_rsaEncryption, /*may_lack_parameters=*/false) ||
      sk_X509_ATTRIBUTE_num(signer->auth_attr) <= 0 || signer->unauth_attr != nullptr ||
      // X509_NAME_cmp would let capitals stand for small letters.
      ToDer(signer->issuer_and_serial->issuer, i2d_X509_NAME) !=
          ToDer(X509_get_issuer_name(*certificate), i2d_X509_NAME) ||
      ASN1_INTEGER_cmp(signer->issuer_and_serial->serial, X509_get0_serialNumber(*certificate)) !=
          0) {
    return Malformed("its signature is of another kind");
  }
  return absl::OkStatus();
}

absl::Status ReadInfo(TS_TST_INFO* info, TimeStamp* content) {
  const absl::Status other = Malformed("its token has another content");
  if (info == nullptr || TS_TST_INFO_get_version(info) != kTstInfoVersion ||
      TS_TST_INFO_get_ext_count(info) > 0) {
    return other;
  }
  const ObjectPtr policy(OBJ_txt2obj(kTimeStampPolicy, 1));
  CheckLibrary(policy != nullptr, "OBJ_txt2obj");
  if (OBJ_cmp(TS_TST_INFO_get_policy_id(info), policy.get()) != 0) {
    return Malformed("its policy is not that of a Blindcart broker");
  }
  content->sha256 = Sha256Of(TS_TST_INFO_get_msg_imprint(info));
  const absl::optional<int64_t> time_ms = ParseGenTime(TS_TST_INFO_get_time(info));
  const std::string serial = MagnitudeOf(TS_TST_INFO_get_serial(info));
  const ASN1_INTEGER* nonce = TS_TST_INFO_get_nonce(info);
  if (content->sha256.empty() || !time_ms.has_value() || serial.empty() ||
      serial.size() > kMaxSerialBytes || nonce == nullptr) {
    return other;
  }
  content->time_ms = *time_ms;
  content->serial_hex = HexEncode(serial);
  content->nonce = MagnitudeOf(nonce);
  if (TS_ACCURACY* const accuracy = TS_TST_INFO_get_accuracy(info)) {
    const auto part = [](const ASN1_INTEGER* value, int64_t unit_ms) -> int64_t {
      const long number = value == nullptr ? 0 : ASN1_INTEGER_get(value);
      return number < 0 || number > 1'000'000 ? 0 : number * unit_ms;
    };
    content->accuracy_ms =
        part(TS_ACCURACY_get_seconds(accuracy), 1'000) + part(TS_ACCURACY_get_millis(accuracy), 1);
  }
  return absl::OkStatus();
}

std::string SubjectOf(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  CheckLibrary(bio != nullptr, "BIO_new");
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0,
                     XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : "";
}

absl::StatusOr<Parsed> ParseResponse(absl::string_view der) {
  if (der.empty() || der.size() > kMaxTimeStampResponseBytes) return Malformed("its size is wrong");
  Parsed parsed;
  const unsigned char* in = AsBytes(der);
  parsed.response.reset(d2i_TS_RESP(nullptr, &in, static_cast<long>(der.size())));
  if (parsed.response == nullptr) return Malformed("it is no RFC 3161 response");
  TS_STATUS_INFO* const status = TS_RESP_get_status_info(parsed.response.get());
  if (ASN1_INTEGER_get(TS_STATUS_INFO_get0_status(status)) != TS_STATUS_GRANTED) {
    return Malformed("the notary refused the request");
  }
  if (TS_STATUS_INFO_get0_text(status) != nullptr ||
      TS_STATUS_INFO_get0_failure_info(status) != nullptr ||
      ToDer(parsed.response.get(), i2d_TS_RESP) != der) {
    return Malformed("it is not in the one right encoding");
  }
  parsed.token = TS_RESP_get_token(parsed.response.get());
  absl::Status checked = CheckSignedData(parsed.token, &parsed.certificate);
  if (!checked.ok()) return checked;
  parsed.info = TS_RESP_get_tst_info(parsed.response.get());
  checked = ReadInfo(parsed.info, &parsed.content);
  if (!checked.ok()) return checked;
  parsed.content.authority = SubjectOf(parsed.certificate);
  return parsed;
}

StorePtr StoreOf(X509* ca, int64_t now_ms) {
  StorePtr store(X509_STORE_new());
  CheckLibrary(store != nullptr && X509_STORE_add_cert(store.get(), ca) == 1, "X509_STORE_new");
  X509_VERIFY_PARAM* const parameters = X509_STORE_get0_param(store.get());
  X509_VERIFY_PARAM_set_time(parameters, static_cast<time_t>(now_ms / 1000));
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  return store;
}

absl::Status CheckCertificate(X509* certificate, X509_STORE* store) {
  const StoreContextPtr context(X509_STORE_CTX_new());
  CheckLibrary(
      context != nullptr && X509_STORE_CTX_init(context.get(), store, certificate, nullptr) == 1,
      "X509_STORE_CTX_init");
  X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_TIMESTAMP_SIGN);
  if (X509_verify_cert(context.get()) == 1) return absl::OkStatus();
  const int error = X509_STORE_CTX_get_error(context.get());
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return False("the certificate that the time stamp rests on has expired");
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return False("the certificate that the time stamp rests on is not valid yet");
    case X509_V_ERR_INVALID_PURPOSE:
      return False("the certificate of the signer is not one for time stamping");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return False("the time stamp is not from this broker: its CA did not issue the certificate");
    default:
      return False(absl::StrCat("the certificate that the time stamp rests on is refused: ",
                                X509_verify_cert_error_string(error)));
  }
}

int IssueTime(TS_RESP_CTX* /*context*/, void* data, long* seconds, long* microseconds) {
  const int64_t time_ms = *static_cast<const int64_t*>(data);
  *seconds = static_cast<long>(time_ms / 1000);
  *microseconds = static_cast<long>(time_ms % 1000 * 1000);
  return 1;
}

ASN1_INTEGER* IssueSerial(TS_RESP_CTX* /*context*/, void* data) {
  ASN1_INTEGER* const serial = ASN1_INTEGER_new();
  CheckLibrary(
      serial != nullptr && ASN1_INTEGER_set_int64(serial, *static_cast<const int64_t*>(data)) == 1,
      "ASN1_INTEGER_set_int64");
  return serial;
}

}  // namespace

TimeStampKey TimeStampKey::Generate() {
  internal::PkeyPtr key(EVP_RSA_gen(kTimeStampKeyBits));
  CheckLibrary(key != nullptr, "EVP_RSA_gen");
  return TimeStampKey(std::move(key));
}

absl::StatusOr<TimeStampKey> TimeStampKey::FromPkcs8Der(absl::string_view der) {
  const ErrorScope scope;
  const absl::StatusOr<RsaPrivateKey> rsa = RsaPrivateKey::FromPkcs8Der(der);
  if (!rsa.ok()) return rsa.status();
  if (rsa->public_key().modulus_bytes() != kTimeStampKeyBits / 8) {
    return absl::InvalidArgumentError("a time-stamping key is an RSA key of 4096 bits");
  }
  const unsigned char* in = AsBytes(der);
  const Pkcs8Ptr info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &in, static_cast<long>(der.size())));
  internal::PkeyPtr key(info == nullptr ? nullptr : EVP_PKCS82PKEY(info.get()));
  if (key == nullptr) return absl::InvalidArgumentError("not an RSA private key");
  return TimeStampKey(std::move(key));
}

SecretBytes TimeStampKey::Pkcs8Der() const {
  const Pkcs8Ptr info(EVP_PKEY2PKCS8(key_.get()));
  CheckLibrary(info != nullptr, "EVP_PKEY2PKCS8");
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
  CheckLibrary(size > 0, "i2d_PKCS8_PRIV_KEY_INFO");
  SecretBytes der(static_cast<size_t>(size));
  unsigned char* out = der.data();
  CheckLibrary(i2d_PKCS8_PRIV_KEY_INFO(info.get(), &out) == size, "i2d_PKCS8_PRIV_KEY_INFO");
  return der;
}

std::string TimeStampKey::SpkiDer() const {
  const std::string der = ToDer(key_.get(), i2d_PUBKEY);
  CheckLibrary(!der.empty(), "i2d_PUBKEY");
  return der;
}

absl::StatusOr<std::string> MakeTimeStampRequest(absl::string_view sha256,
                                                 absl::string_view nonce) {
  if (sha256.size() != kSha256Bytes || nonce.size() != kTimeStampNonceBytes) {
    return absl::InvalidArgumentError("a time-stamp request takes a SHA-256 and 16 bytes of nonce");
  }
  const ErrorScope scope;
  const RequestPtr request(TS_REQ_new());
  const ImprintPtr imprint(TS_MSG_IMPRINT_new());
  const AlgorithmPtr algorithm(X509_ALGOR_new());
  const IntegerPtr integer = ToInteger(nonce);
  CheckLibrary(
      request != nullptr && imprint != nullptr && algorithm != nullptr &&
          X509_ALGOR_set0(algorithm.get(), OBJ_nid2obj(NID_sha256), V_ASN1_NULL, nullptr) == 1 &&
          TS_MSG_IMPRINT_set_algo(imprint.get(), algorithm.get()) == 1 &&
          TS_MSG_IMPRINT_set_msg(imprint.get(), const_cast<unsigned char*>(AsBytes(sha256)),
                                 static_cast<int>(sha256.size())) == 1 &&
          TS_REQ_set_version(request.get(), kTimeStampReqVersion) == 1 &&
          TS_REQ_set_msg_imprint(request.get(), imprint.get()) == 1 &&
          TS_REQ_set_nonce(request.get(), integer.get()) == 1 &&
          TS_REQ_set_cert_req(request.get(), 1) == 1,
      "TS_REQ_new");
  return ToDer(request.get(), i2d_TS_REQ);
}

absl::Status CheckTimeStampRequest(absl::string_view request) {
  const ErrorScope scope;
  return ParseRequest(request).status();
}

absl::StatusOr<TimeStampResponder> TimeStampResponder::Create(const TimeStampKey& key,
                                                              absl::string_view certificate_pem) {
  const ErrorScope scope;
  absl::StatusOr<X509Ptr> certificate = ParseCertificate(certificate_pem);
  if (!certificate.ok()) return certificate.status();
  if (X509_check_private_key(certificate->get(), key.key_.get()) != 1) {
    return absl::InvalidArgumentError("the time-stamping certificate is of another key");
  }
  if (X509_check_purpose(certificate->get(), X509_PURPOSE_TIMESTAMP_SIGN, 0) != 1) {
    return absl::InvalidArgumentError("the certificate is not one for time stamping");
  }
  const absl::StatusOr<int64_t> not_after_ms = ToUnixMs(X509_get0_notAfter(certificate->get()));
  if (!not_after_ms.ok()) return not_after_ms.status();
  return TimeStampResponder(key.key_, std::shared_ptr<x509_st>(*std::move(certificate)),
                            *not_after_ms);
}

absl::StatusOr<IssuedTimeStamp> TimeStampResponder::Issue(absl::string_view request, int64_t serial,
                                                          int64_t time_ms) const {
  if (serial <= 0 || time_ms <= 0) {
    return absl::InvalidArgumentError("serial and time are positive");
  }
  const ErrorScope scope;
  const absl::Status checked = ParseRequest(request).status();
  if (!checked.ok()) return checked;
  const BioPtr in(BIO_new_mem_buf(request.data(), static_cast<int>(request.size())));
  const ResponderPtr context(TS_RESP_CTX_new());
  const ObjectPtr policy(OBJ_txt2obj(kTimeStampPolicy, 1));
  CheckLibrary(in != nullptr && context != nullptr && policy != nullptr &&
                   TS_RESP_CTX_set_signer_cert(context.get(), certificate_.get()) == 1 &&
                   TS_RESP_CTX_set_signer_key(context.get(), key_.get()) == 1 &&
                   TS_RESP_CTX_set_signer_digest(context.get(), EVP_sha256()) == 1 &&
                   TS_RESP_CTX_set_ess_cert_id_digest(context.get(), EVP_sha256()) == 1 &&
                   TS_RESP_CTX_set_def_policy(context.get(), policy.get()) == 1 &&
                   TS_RESP_CTX_add_md(context.get(), EVP_sha256()) == 1 &&
                   TS_RESP_CTX_set_accuracy(context.get(), kAccuracySeconds, 0, 0) == 1 &&
                   TS_RESP_CTX_set_clock_precision_digits(context.get(), kMillisecondDigits) == 1,
               "TS_RESP_CTX_new");
  TS_RESP_CTX_set_serial_cb(context.get(), IssueSerial, &serial);
  TS_RESP_CTX_set_time_cb(context.get(), IssueTime, &time_ms);
  const ResponsePtr response(TS_RESP_create_response(context.get(), in.get()));
  PKCS7* const token = response == nullptr ? nullptr : TS_RESP_get_token(response.get());
  if (token == nullptr) return absl::InternalError("the time stamp could not be made");
  return IssuedTimeStamp{ToDer(response.get(), i2d_TS_RESP), Sha256(ToDer(token, i2d_PKCS7))};
}

absl::StatusOr<int64_t> CertificateEndMs(absl::string_view certificate_pem) {
  const ErrorScope scope;
  const absl::StatusOr<X509Ptr> certificate = ParseCertificate(certificate_pem);
  if (!certificate.ok()) return certificate.status();
  return ToUnixMs(X509_get0_notAfter(certificate->get()));
}

absl::StatusOr<TimeStamp> ReadTimeStamp(absl::string_view response) {
  const ErrorScope scope;
  absl::StatusOr<Parsed> parsed = ParseResponse(response);
  if (!parsed.ok()) return parsed.status();
  return std::move(parsed->content);
}

absl::StatusOr<TimeStamp> VerifyTimeStamp(absl::string_view response,
                                          const TimeStampExpectation& expectation) {
  const ErrorScope scope;
  if (expectation.sha256.size() != kSha256Bytes) {
    return absl::InvalidArgumentError("a SHA-256 has 32 bytes");
  }
  const absl::StatusOr<X509Ptr> ca = ParseCertificate(expectation.ca_certificate_pem);
  if (!ca.ok()) {
    return absl::InvalidArgumentError("the broker's CA certificate is no certificate");
  }
  absl::StatusOr<Parsed> parsed = ParseResponse(response);
  if (!parsed.ok()) return parsed.status();
  TimeStamp& content = parsed->content;
  if (!ConstantTimeEquals(content.sha256, expectation.sha256)) {
    return False("the time stamp is for another document, or the document was changed");
  }
  if (expectation.nonce.has_value() && content.nonce != WithoutLeadingZeros(*expectation.nonce)) {
    return False("the time stamp answers another request");
  }
  StorePtr store = StoreOf(ca->get(), expectation.now_ms);
  const absl::Status certified = CheckCertificate(parsed->certificate, store.get());
  if (!certified.ok()) return certified;

  const VerifierPtr verifier(TS_VERIFY_CTX_new());
  CheckLibrary(verifier != nullptr, "TS_VERIFY_CTX_new");
  TS_VERIFY_CTX_set_flags(verifier.get(), TS_VFY_SIGNATURE | TS_VFY_VERSION);
  TS_VERIFY_CTX_set_store(verifier.get(), store.release());  // Takes it over.
  if (TS_RESP_verify_response(verifier.get(), parsed->response.get()) != 1) {
    return False("the signature of the time stamp is wrong: it was changed");
  }

  const absl::StatusOr<int64_t> from_ms = ToUnixMs(X509_get0_notBefore(parsed->certificate));
  const absl::StatusOr<int64_t> to_ms = ToUnixMs(X509_get0_notAfter(parsed->certificate));
  if (!from_ms.ok() || !to_ms.ok() || content.time_ms < *from_ms || content.time_ms > *to_ms) {
    return False("the certificate was not valid at the time that the time stamp names");
  }
  if (content.time_ms > expectation.now_ms + kTimeStampFutureToleranceMs) {
    return False("the time stamp names a time that lies ahead. Check this machine's clock");
  }
  return std::move(content);
}

}  // namespace blindcart::crypto
