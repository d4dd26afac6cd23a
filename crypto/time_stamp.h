// Time stamps (RFC 3161, ESSCertIDv2 of RFC 5816), OpenSSL's TS_*: that a document with this SHA-256
// existed at this time, signed by a time-stamping authority whose certificate a CA issued. What is
// made here is what `openssl ts -verify` accepts.
//
//   request   TimeStampReq: version 1, SHA-256 of the document, no policy, a nonce, certReq TRUE
//   response  TimeStampResp: granted, and a token: CMS SignedData over a TSTInfo (policy
//             kTimeStampPolicy, the imprint, serial, genTime with milliseconds, accuracy of one
//             second, the nonce), RSA-4096 PKCS #1 v1.5 with SHA-256, the signer's certificate inside
//
// Only this one shape is accepted, in DER, so that a response of which any bit was changed is refused,
// also where a change would mean nothing.
//
// Errors: InvalidArgument for what is no such message or key; DataLoss, with words for people, for a
// time stamp that does not prove what it should.
#ifndef BLINDCART_CRYPTO_TIME_STAMP_H_
#define BLINDCART_CRYPTO_TIME_STAMP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/internal/openssl_ptr.h"
#include "crypto/secret_bytes.h"

struct x509_st;

namespace blindcart::crypto {

// "The time is the clock of a Blindcart broker." Below the arc of certificate_authority.h.
inline constexpr char kTimeStampPolicy[] = "2.25.109486286526708809435171363983258308998.2";
inline constexpr size_t kTimeStampNonceBytes = 16;
inline constexpr int kTimeStampKeyBits = 4096;
inline constexpr size_t kMaxTimeStampRequestBytes = 256;
inline constexpr size_t kMaxTimeStampResponseBytes = 16 * 1024;
// How far a token's time may lie ahead of the verifier's clock.
inline constexpr int64_t kTimeStampFutureToleranceMs = 120'000;

// The authority's key: RSA-4096, signs time stamps and nothing else. Thread-safe; copies share it.
class TimeStampKey {
 public:
  // Takes up to seconds.
  static TimeStampKey Generate();
  // A PKCS#8 PrivateKeyInfo as key files hold it.
  static absl::StatusOr<TimeStampKey> FromPkcs8Der(absl::string_view der);
  SecretBytes Pkcs8Der() const;
  // The public half, for its certificate.
  std::string SpkiDer() const;

 private:
  friend class TimeStampResponder;
  explicit TimeStampKey(internal::PkeyPtr key) : key_(std::move(key)) {}

  std::shared_ptr<evp_pkey_st> key_;
};

// DER. `sha256` is 32 bytes, `nonce` kTimeStampNonceBytes random bytes.
absl::StatusOr<std::string> MakeTimeStampRequest(absl::string_view sha256, absl::string_view nonce);
// Whether it is a request as above (any nonce of 1 to 20 bytes): what an authority checks first.
absl::Status CheckTimeStampRequest(absl::string_view request);

struct IssuedTimeStamp {
  std::string response;      // DER.
  std::string token_sha256;  // Of the token within, DER.
};

// The authority. Serial and time are the caller's: it alone knows what it has issued. Thread-safe.
class TimeStampResponder {
 public:
  // The certificate (PEM) has to be the key's and for time stamping alone (critical
  // extendedKeyUsage timeStamping).
  static absl::StatusOr<TimeStampResponder> Create(const TimeStampKey& key,
                                                   absl::string_view certificate_pem);

  // `serial` and `time_ms` (Unix milliseconds) are positive. InvalidArgument when the request is
  // none. Takes the time of one RSA-4096 signature, some 6 ms.
  absl::StatusOr<IssuedTimeStamp> Issue(absl::string_view request, int64_t serial,
                                        int64_t time_ms) const;

  // The certificate's last millisecond.
  int64_t not_after_ms() const { return not_after_ms_; }

 private:
  TimeStampResponder(std::shared_ptr<evp_pkey_st> key, std::shared_ptr<x509_st> certificate,
                     int64_t not_after_ms)
      : key_(std::move(key)), certificate_(std::move(certificate)), not_after_ms_(not_after_ms) {}

  std::shared_ptr<evp_pkey_st> key_;
  std::shared_ptr<x509_st> certificate_;
  int64_t not_after_ms_ = 0;
};

// The end of a certificate's (PEM) validity in Unix milliseconds.
absl::StatusOr<int64_t> CertificateEndMs(absl::string_view certificate_pem);

struct TimeStamp {
  std::string sha256;   // Of the document.
  int64_t time_ms = 0;  // Unix milliseconds.
  int64_t accuracy_ms = 0;
  std::string serial_hex;  // Of the token.
  std::string nonce;       // As the request had it, leading zeros gone.
  std::string authority;   // The subject of the certificate inside, as text.
};

// What a response says, believed by nobody: nothing is verified but its form.
absl::StatusOr<TimeStamp> ReadTimeStamp(absl::string_view response);

struct TimeStampExpectation {
  std::string sha256;                 // The document's.
  absl::optional<std::string> nonce;  // Of the own request.
  std::string ca_certificate_pem;     // Whose time stamps are believed.
  int64_t now_ms = 0;                 // Unix milliseconds.
};

// That the authority signed this document's hash, under a certificate of the CA for time stamping
// that was valid at the token's time and is valid now. (Later, nobody knows what became of the key.)
absl::StatusOr<TimeStamp> VerifyTimeStamp(absl::string_view response,
                                          const TimeStampExpectation& expectation);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TIME_STAMP_H_
