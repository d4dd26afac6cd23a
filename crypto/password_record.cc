#include "crypto/password_record.h"

#include <sodium.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

constexpr size_t kSaltBytes = crypto_pwhash_argon2id_SALTBYTES;
constexpr size_t kHashBytes = 32;
constexpr size_t kMaxRecordBytes = crypto_pwhash_argon2id_STRBYTES - 1;

constexpr uint32_t kMinMemoryKib = 8;
constexpr uint32_t kMaxMemoryKib = 1024 * 1024;
constexpr uint32_t kMaxPasses = 16;

bool IsAllowed(const Argon2Cost& cost) {
  return cost.memory_kib >= kMinMemoryKib && cost.memory_kib <= kMaxMemoryKib && cost.passes >= 1 &&
         cost.passes <= kMaxPasses;
}

// The form of the reference implementation: base64 without padding.
std::string Base64(absl::string_view bytes) {
  constexpr int kVariant = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), kVariant), '\0');
  sodium_bin2base64(&text[0], text.size(), internal::AsBytes(bytes), bytes.size(), kVariant);
  text.pop_back();  // the terminating zero
  return text;
}

std::string Encode(const Argon2Cost& cost, absl::string_view salt, absl::string_view hash) {
  return absl::StrCat("$argon2id$v=19$m=", cost.memory_kib, ",t=", cost.passes, ",p=1$",
                      Base64(salt), "$", Base64(hash));
}

// Reads the cost out of "$argon2id$v=19$m=M,t=T,p=1$...", to bound what a record can ask for.
bool HasAllowedCost(absl::string_view record) {
  if (!absl::ConsumePrefix(&record, "$argon2id$v=19$")) return false;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(record, absl::MaxSplits('$', 1));
  const std::vector<absl::string_view> numbers = absl::StrSplit(parts.first, ',');
  if (numbers.size() != 3 || numbers[2] != "p=1") return false;
  absl::string_view memory = numbers[0];
  absl::string_view passes = numbers[1];
  Argon2Cost cost;
  return absl::ConsumePrefix(&memory, "m=") && absl::ConsumePrefix(&passes, "t=") &&
         absl::SimpleAtoi(memory, &cost.memory_kib) && absl::SimpleAtoi(passes, &cost.passes) &&
         IsAllowed(cost);
}

// libsodium 1.0.18 reads a byte above 127 as if it were a '/' of the base64.
bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isascii(static_cast<unsigned char>(c)); });
}

SecretBytes HashOf(absl::string_view purpose, absl::string_view name, absl::string_view secret) {
  std::string joined = LengthPrefixed({purpose, name, secret});
  std::string hash = Sha256(joined);
  Wipe(joined);
  return SecretBytes::TakeFrom(hash);
}

}  // namespace

SecretBytes PasswordHash(absl::string_view username, absl::string_view password) {
  return HashOf("blindcart/v1 password", username, password);
}

SecretBytes PinHash(absl::string_view account_number, absl::string_view pin) {
  return HashOf("blindcart/v1 pin", account_number, pin);
}

absl::StatusOr<std::string> MakePasswordRecord(absl::string_view secret, RandomSource& random,
                                               const Argon2Cost& cost) {
  if (!IsAllowed(cost)) return absl::InvalidArgumentError("Argon2id cost out of range");
  internal::EnsureSodium();
  const std::string salt = random.Bytes(kSaltBytes);
  SecretBytes hash(kHashBytes);
  if (crypto_pwhash_argon2id(hash.data(), hash.size(), secret.data(), secret.size(),
                             internal::AsBytes(salt), cost.passes,
                             static_cast<size_t>(cost.memory_kib) * 1024,
                             crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0) {
    return absl::ResourceExhaustedError("no memory for Argon2id");
  }
  return Encode(cost, salt, hash.view());
}

bool VerifyPasswordRecord(absl::string_view record, absl::string_view secret) {
  if (record.size() > kMaxRecordBytes || !IsAscii(record) || !HasAllowedCost(record)) return false;
  internal::EnsureSodium();
  const std::string terminated(record);
  return crypto_pwhash_argon2id_str_verify(terminated.c_str(), secret.data(), secret.size()) == 0;
}

std::string MakeDecoyPasswordRecord(RandomSource& random, const Argon2Cost& cost) {
  // A random hash has no known preimage; verifying costs the same work and ends in "no".
  return Encode(cost, random.Bytes(kSaltBytes), random.Bytes(kHashBytes));
}

const std::string& DecoyPasswordRecord() {
  static const std::string* const record = new std::string(MakeDecoyPasswordRecord(SystemRandom()));
  return *record;
}

}  // namespace blindcart::crypto
