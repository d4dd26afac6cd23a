// Private keys at rest (protocol.md, "Keys and trust"): an identity in a folder, as two PEM files
// "ENCRYPTED PRIVATE KEY" (PKCS#8, RFC 5958; Ed25519 as RFC 8410) named rsa.pem and ed25519.pem,
// each encrypted under one pass phrase with PBES2 (RFC 8018): AES-256-CBC under scrypt (RFC 7914;
// N = 2^14, r = 8, p = 5, 16 MiB). `openssl pkey -in rsa.pem` opens them. Keys with one purpose (the
// time-stamping key, the certificate authority's) rest in one such file each.
//
// Files are written beside their place, synced and renamed into it, with mode 0600, and never over
// an existing file.
#ifndef BLINDCART_CRYPTO_KEY_FILE_H_
#define BLINDCART_CRYPTO_KEY_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

inline constexpr char kRsaKeyFileName[] = "rsa.pem";
inline constexpr char kEd25519KeyFileName[] = "ed25519.pem";

// The folder must exist. AlreadyExists when either file does; InvalidArgument for an empty pass
// phrase or one above 1,024 bytes.
absl::Status SaveIdentity(const std::string& folder, const Identity& identity,
                          absl::string_view pass_phrase);

// NotFound when a file is missing; FailedPrecondition when others than the owner may read it;
// PermissionDenied for a wrong pass phrase (or a damaged file: the format cannot tell them apart);
// InvalidArgument when the content is no such key.
absl::StatusOr<Identity> LoadIdentity(const std::string& folder, absl::string_view pass_phrase);

// One private key of any kind in a file of its own; its folder must exist. `pkcs8_der` is an
// unencrypted PKCS#8 PrivateKeyInfo (InvalidArgument when it is none). Errors as above.
absl::Status SavePrivateKey(const std::string& path, absl::string_view pkcs8_der,
                            absl::string_view pass_phrase);
absl::StatusOr<SecretBytes> LoadPrivateKey(const std::string& path, absl::string_view pass_phrase);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_KEY_FILE_H_
