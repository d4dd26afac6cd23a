// Identities (protocol.md, "Keys and trust"): an RSA key that decrypts challenges and an Ed25519
// key that signs; one key never does both.
//
// Serialised public identity: LengthPrefixed{RSA SubjectPublicKeyInfo (DER), Ed25519 key (32)}.
// Fingerprint: SHA-256 of exactly those bytes.
// Text form, for files and mail:
//   -----BEGIN BLINDCART PUBLIC IDENTITY-----
//   base64 of the serialised form, 64 characters a line
//   -----END BLINDCART PUBLIC IDENTITY-----
//
// A signature is Ed25519 over LengthPrefixed{context, message}; the context names its purpose, such
// as "blindcart/v1 order", so that a signature made for one purpose never serves another.
//
// Thread safety: const methods are safe to call concurrently on one object; every service shares
// one Identity among its threads.
#ifndef BLINDCART_CRYPTO_IDENTITY_H_
#define BLINDCART_CRYPTO_IDENTITY_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/ed25519.h"
#include "crypto/random.h"
#include "crypto/rsa.h"

namespace blindcart::crypto {

inline constexpr size_t kFingerprintBytes = 32;
inline constexpr size_t kMaxPublicIdentityBytes = kMaxRsaSpkiBytes + 40;
inline constexpr size_t kMaxPublicIdentityPemBytes = 2048;

// Copyable; copies share the RSA key.
class PublicIdentity {
 public:
  // InvalidArgument when `ed25519_public` is no valid key.
  static absl::StatusOr<PublicIdentity> Create(RsaPublicKey rsa, absl::string_view ed25519_public);
  // Bounded and strict: exactly what Serialize gives, else InvalidArgument.
  static absl::StatusOr<PublicIdentity> Parse(absl::string_view serialized);
  // The text form; white space around it and either kind of line end are accepted.
  static absl::StatusOr<PublicIdentity> ParsePem(absl::string_view pem);

  const std::string& Serialize() const { return serialized_; }
  std::string ToPem() const;

  const RsaPublicKey& rsa() const { return rsa_; }
  absl::string_view ed25519() const { return ed25519_; }
  // 32 raw bytes; HexEncode prints it.
  const std::string& fingerprint() const { return fingerprint_; }

  // Ok or Unauthenticated.
  absl::Status VerifySignature(absl::string_view context, absl::string_view message,
                               absl::string_view signature) const;

 private:
  PublicIdentity(RsaPublicKey rsa, std::string ed25519);
  RsaPublicKey rsa_;
  std::string ed25519_;
  std::string serialized_;
  std::string fingerprint_;
};

// The private half. Move-only.
class Identity {
 public:
  // `bits` is 3072 or 4096. The RSA key's randomness is OpenSSL's (see random.h).
  static absl::StatusOr<Identity> Generate(int bits = kDefaultRsaBits,
                                           RandomSource& random = SystemRandom());
  static absl::StatusOr<Identity> Create(RsaPrivateKey rsa, Ed25519PrivateKey ed25519);

  const PublicIdentity& public_identity() const { return public_identity_; }
  const RsaPrivateKey& rsa() const { return rsa_; }
  const Ed25519PrivateKey& ed25519() const { return ed25519_; }

  // See RsaPrivateKey::DecryptOaep: a failure goes on with random bytes and ok = false.
  OaepResult Decrypt(absl::string_view label, absl::string_view ciphertext) const;
  // 64 bytes.
  std::string Sign(absl::string_view context, absl::string_view message) const;

 private:
  Identity(RsaPrivateKey rsa, Ed25519PrivateKey ed25519, PublicIdentity public_identity);
  RsaPrivateKey rsa_;
  Ed25519PrivateKey ed25519_;
  PublicIdentity public_identity_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_IDENTITY_H_
