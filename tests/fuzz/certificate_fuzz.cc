// Certificates, revocation lists and certification requests come from files, peers and customers: what
// parses is encoded the one way, its fields are bounded, and judging it never fails.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "crypto/certificate.h"
#include "crypto/certification_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace crypto = blindcart::crypto;
  using crypto::CertificatePurpose;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto list = crypto::RevocationList::Parse(input);
  if (list.ok() && list->der() != input) __builtin_trap();
  const auto text_list = crypto::RevocationList::ParsePem(input);
  if (text_list.ok() &&
      crypto::RevocationList::ParsePem(text_list->ToPem())->der() != text_list->der()) {
    __builtin_trap();
  }
  const auto text = crypto::Certificate::ParsePem(input);
  const auto certificate = text.ok() ? text : crypto::Certificate::Parse(input);
  if (certificate.ok()) {
    if (!text.ok() && certificate->der() != input) __builtin_trap();
    if (certificate->serial().empty() || certificate->serial().size() > 20 ||
        certificate->subject().empty() || certificate->subject().size() > 256 ||
        certificate->subject().find('\0') != std::string::npos) {
      __builtin_trap();
    }
    for (const CertificatePurpose purpose :
         {CertificatePurpose::kAuthority, CertificatePurpose::kSigning,
          CertificatePurpose::kEncryption, CertificatePurpose::kTimeStamping}) {
      certificate->IsFor(purpose);
      // Under itself as its authority, which only an authority's own certificate can be.
      const auto verdict = crypto::VerifyCertificate(*certificate, *certificate, purpose,
                                                     absl::FromUnixSeconds(1'800'000'001), nullptr);
      if (verdict == crypto::CertificateVerdict::kGood &&
          purpose != CertificatePurpose::kAuthority) {
        __builtin_trap();
      }
    }
  }
  const auto request = crypto::ParseCertificationRequest(input);
  if (request.ok() && request->subject.empty()) __builtin_trap();
  return 0;
}
