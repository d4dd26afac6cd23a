#include "crypto/hmac.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <utility>

#include "crypto/constant_time.h"
#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::CheckLibrary;

internal::MacContextPtr NewContext(absl::string_view key) {
  static EVP_MAC* const algorithm = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  CheckLibrary(algorithm != nullptr, "EVP_MAC_fetch");
  internal::MacContextPtr context(EVP_MAC_CTX_new(algorithm));
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
  // A null key would mean "the key of before": an empty one points somewhere.
  const uint8_t* key_bytes = key.empty() ? AsBytes("") : AsBytes(key);
  CheckLibrary(
      context != nullptr && EVP_MAC_init(context.get(), key_bytes, key.size(), parameters) == 1,
      "EVP_MAC_init");
  return context;
}

void Update(EVP_MAC_CTX* context, absl::string_view data) {
  CheckLibrary(EVP_MAC_update(context, AsBytes(data), data.size()) == 1, "EVP_MAC_update");
}

void Final(EVP_MAC_CTX* context, uint8_t* out) {
  size_t written = 0;
  CheckLibrary(
      EVP_MAC_final(context, out, &written, kHmacSha256Bytes) == 1 && written == kHmacSha256Bytes,
      "EVP_MAC_final");
}

}  // namespace

std::string HmacSha256(absl::string_view key, absl::string_view data) {
  const internal::MacContextPtr context = NewContext(key);
  Update(context.get(), data);
  std::string mac(kHmacSha256Bytes, '\0');
  Final(context.get(), reinterpret_cast<uint8_t*>(&mac[0]));
  return mac;
}

absl::StatusOr<HmacKey> HmacKey::Create(absl::string_view key) {
  if (key.empty()) return absl::InvalidArgumentError("empty MAC key");
  return HmacKey(NewContext(key));
}

HmacKey::HmacKey(internal::MacContextPtr context) : context_(std::move(context)) {}

void HmacKey::Sign(absl::Span<const absl::string_view> parts, uint8_t out[kHmacSha256Bytes]) {
  // Without a key this starts again under the key that the context holds.
  CheckLibrary(EVP_MAC_init(context_.get(), nullptr, 0, nullptr) == 1, "EVP_MAC_init");
  for (absl::string_view part : parts) Update(context_.get(), part);
  Final(context_.get(), out);
}

bool HmacKey::Verify(absl::Span<const absl::string_view> parts, absl::string_view mac) {
  uint8_t expected[kHmacSha256Bytes];
  Sign(parts, expected);
  return ConstantTimeEquals(
      absl::string_view(reinterpret_cast<const char*>(expected), sizeof(expected)), mac);
}

}  // namespace blindcart::crypto
