// RSAES-OAEP (RFC 8017, section 7.1) with SHA-256, MGF1-SHA-256 and a label, OpenSSL's, for keys of
// 3072 or 4096 bits: P_X{m; label} of protocol.md.
//
// No oracle: decryption never says why it failed. A ciphertext of the wrong length or range, wrong
// padding and a wrong label all run the private operation and all give random bytes with ok =
// false; the caller goes on to the same end (protocol.md, "The one refusal"). Blinding is on.
//
// Thread safety: const methods are safe to call concurrently on one object. Copies share the key.
#ifndef BLINDCART_CRYPTO_RSA_H_
#define BLINDCART_CRYPTO_RSA_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/internal/openssl_ptr.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

inline constexpr int kDefaultRsaBits = 3072;
// A SubjectPublicKeyInfo of 4096 bits takes 550 bytes.
inline constexpr size_t kMaxRsaSpkiBytes = 600;

class RsaPublicKey {
 public:
  // A DER SubjectPublicKeyInfo (RFC 5280, 4.1) as OpenSSL writes it, byte for byte: rsaEncryption,
  // a modulus of exactly 3072 or 4096 bits, an odd exponent of at least 65537 and at most 64 bits.
  // InvalidArgument for anything else.
  static absl::StatusOr<RsaPublicKey> FromSpkiDer(absl::string_view der);

  const std::string& SpkiDer() const { return spki_der_; }
  // Also the length of every ciphertext.
  size_t modulus_bytes() const;
  // modulus_bytes() - 66.
  size_t max_plaintext_bytes() const;
  // InvalidArgument when the plaintext is longer than max_plaintext_bytes().
  absl::StatusOr<std::string> EncryptOaep(absl::string_view label,
                                          absl::string_view plaintext) const;

 private:
  friend class RsaPrivateKey;
  RsaPublicKey(internal::PkeyPtr key, std::string spki_der);
  // Any size of key.
  static absl::StatusOr<RsaPublicKey> ParseSpki(absl::string_view der);

  std::shared_ptr<const evp_pkey_st> key_;
  std::string spki_der_;
};

struct OaepResult {
  // The plaintext, or max_plaintext_bytes() random bytes when !ok.
  SecretBytes plaintext;
  bool ok = false;
};

class RsaPrivateKey {
 public:
  // `bits` is 3072 or 4096, the exponent 65537; InvalidArgument otherwise. Takes up to seconds.
  static absl::StatusOr<RsaPrivateKey> Generate(int bits = kDefaultRsaBits);
  // An unencrypted PKCS#8 PrivateKeyInfo (RFC 5208), for key files. The same limits as
  // RsaPublicKey::FromSpkiDer.
  static absl::StatusOr<RsaPrivateKey> FromPkcs8Der(absl::string_view der);
  SecretBytes Pkcs8Der() const;

  const RsaPublicKey& public_key() const { return public_key_; }
  OaepResult DecryptOaep(absl::string_view label, absl::string_view ciphertext) const;

 private:
  friend class RsaTestPeer;
  RsaPrivateKey(internal::PkeyPtr key, RsaPublicKey public_key, std::string modulus);
  // Any size of key.
  static absl::StatusOr<RsaPrivateKey> ParsePkcs8(absl::string_view der);
  static absl::StatusOr<RsaPrivateKey> FromKey(internal::PkeyPtr key);

  internal::PkeyPtr key_;
  RsaPublicKey public_key_;  // holds a key of its own, without the private half
  std::string modulus_;      // big-endian, public_key_.modulus_bytes() long
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_RSA_H_
