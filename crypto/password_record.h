// Password and PIN records: Argon2id (RFC 9106), libsodium's, over a hash that is made first so
// that the secret itself never travels (protocol.md, 1b).
//
// A record is the usual text "$argon2id$v=19$m=...,t=...,p=1$salt$hash", below 128 bytes. The cost
// stands in the record, so it can be raised later without touching old ones.
//
// Thread safety: all functions are safe to call concurrently; each call takes the memory of its
// cost.
#ifndef BLINDCART_CRYPTO_PASSWORD_RECORD_H_
#define BLINDCART_CRYPTO_PASSWORD_RECORD_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

// The default is the production cost: 19 MiB, two passes (about 17 ms). Tests may hand in less.
struct Argon2Cost {
  uint32_t memory_kib = 19 * 1024;
  uint32_t passes = 2;
};

// SHA-256("blindcart/v1 password" ‖ username ‖ password), 32 bytes.
SecretBytes PasswordHash(absl::string_view username, absl::string_view password);
// SHA-256("blindcart/v1 pin" ‖ account number ‖ PIN), 32 bytes.
SecretBytes PinHash(absl::string_view account_number, absl::string_view pin);

// InvalidArgument for a cost outside [8 KiB, 1 GiB] or [1, 16] passes; ResourceExhausted without
// memory.
absl::StatusOr<std::string> MakePasswordRecord(absl::string_view secret,
                                               RandomSource& random = SystemRandom(),
                                               const Argon2Cost& cost = Argon2Cost());

// False for a wrong secret and for a record that is malformed or above the bounds of the cost.
bool VerifyPasswordRecord(absl::string_view record, absl::string_view secret);

// A record at production cost that nothing opens, for users who do not exist: verifying against it
// costs what a real one costs. Made once per process, from random bytes.
const std::string& DecoyPasswordRecord();
// The same at another cost, where the real records are made at that cost.
std::string MakeDecoyPasswordRecord(RandomSource& random, const Argon2Cost& cost = Argon2Cost());

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_PASSWORD_RECORD_H_
