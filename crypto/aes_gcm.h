// AES-256-GCM (NIST SP 800-38D) with 12-byte nonces and 16-byte tags, OpenSSL's.
//
// Output layout: ciphertext (as long as the plaintext) ‖ tag (16 bytes).
// The caller answers for never using a nonce twice under a key.
//
// Speed: the key schedule is set up once per object and direction (on first use, so that an object
// that only seals carries one context); a message sets its nonce alone.
//
// Errors: InvalidArgument for wrong sizes, Unauthenticated when the tag does not fit.
// Thread safety: none; one object per direction of a session.
#ifndef BLINDCART_CRYPTO_AES_GCM_H_
#define BLINDCART_CRYPTO_AES_GCM_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/internal/openssl_ptr.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

inline constexpr size_t kAesGcmKeyBytes = 32;
inline constexpr size_t kAesGcmNonceBytes = 12;
inline constexpr size_t kAesGcmTagBytes = 16;

class Aes256Gcm {
 public:
  static absl::StatusOr<Aes256Gcm> Create(absl::string_view key);

  // Appends ciphertext ‖ tag to `out`, which must not hold `plaintext` or `ad`.
  absl::Status Seal(absl::string_view nonce, absl::string_view ad, absl::string_view plaintext,
                    std::string* out);
  // Appends the plaintext to `out`, which must not hold the inputs. On failure nothing is appended
  // and what had been decrypted is wiped.
  absl::Status Open(absl::string_view nonce, absl::string_view ad,
                    absl::string_view ciphertext_and_tag, std::string* out);

  // The same into memory of the caller's, without clearing it first, for bulk. `out` either does
  // not overlap the input or begins exactly where the input begins (in place).
  // SealTo writes plaintext.size() + 16 bytes.
  absl::Status SealTo(absl::string_view nonce, absl::string_view ad, absl::string_view plaintext,
                      uint8_t* out);
  // OpenTo writes ciphertext_and_tag.size() - 16 bytes; on failure they are wiped.
  absl::Status OpenTo(absl::string_view nonce, absl::string_view ad,
                      absl::string_view ciphertext_and_tag, uint8_t* out);

 private:
  explicit Aes256Gcm(SecretBytes key);
  SecretBytes key_;
  internal::CipherContextPtr seal_context_;
  internal::CipherContextPtr open_context_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_AES_GCM_H_
