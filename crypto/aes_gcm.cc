#include "crypto/aes_gcm.h"

#include <openssl/evp.h>

#include <limits>
#include <utility>

#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::CheckLibrary;

// OpenSSL counts in int.
constexpr size_t kMaxInputBytes = std::numeric_limits<int>::max();

const EVP_CIPHER* Algorithm() {
  static const EVP_CIPHER* const algorithm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  CheckLibrary(algorithm != nullptr, "EVP_CIPHER_fetch");
  return algorithm;
}

// A context that holds the key schedule; messages set their nonces.
internal::CipherContextPtr NewContext(const SecretBytes& key, bool encrypt) {
  internal::CipherContextPtr context(EVP_CIPHER_CTX_new());
  CheckLibrary(context != nullptr && EVP_CipherInit_ex2(context.get(), Algorithm(), key.data(),
                                                        nullptr, encrypt ? 1 : 0, nullptr) == 1,
               "EVP_CipherInit_ex2");
  return context;
}

// Sets the nonce (12 bytes is the default length) and feeds the associated data.
void Begin(EVP_CIPHER_CTX* context, absl::string_view nonce, absl::string_view ad) {
  CheckLibrary(
      EVP_CipherInit_ex2(context, nullptr, nullptr, AsBytes(nonce), /*enc=*/-1, nullptr) == 1,
      "EVP_CipherInit_ex2");
  int written = 0;
  if (!ad.empty()) {
    CheckLibrary(
        EVP_CipherUpdate(context, nullptr, &written, AsBytes(ad), static_cast<int>(ad.size())) == 1,
        "EVP_CipherUpdate");
  }
}

void Update(EVP_CIPHER_CTX* context, absl::string_view input, uint8_t* out) {
  int written = 0;
  if (input.empty()) return;
  CheckLibrary(EVP_CipherUpdate(context, out, &written, AsBytes(input),
                                static_cast<int>(input.size())) == 1 &&
                   static_cast<size_t>(written) == input.size(),
               "EVP_CipherUpdate");
}

absl::Status CheckSizes(absl::string_view nonce, absl::string_view ad, size_t input_bytes) {
  if (nonce.size() != kAesGcmNonceBytes) return absl::InvalidArgumentError("nonce not 12 bytes");
  if (ad.size() > kMaxInputBytes || input_bytes > kMaxInputBytes - kAesGcmTagBytes) {
    return absl::InvalidArgumentError("input too long");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Aes256Gcm> Aes256Gcm::Create(absl::string_view key) {
  if (key.size() != kAesGcmKeyBytes) return absl::InvalidArgumentError("key not 32 bytes");
  return Aes256Gcm(SecretBytes::CopyOf(key));
}

Aes256Gcm::Aes256Gcm(SecretBytes key) : key_(std::move(key)) {}

absl::Status Aes256Gcm::Seal(absl::string_view nonce, absl::string_view ad,
                             absl::string_view plaintext, std::string* out) {
  const absl::Status sizes = CheckSizes(nonce, ad, plaintext.size());
  if (!sizes.ok()) return sizes;
  const size_t before = out->size();
  out->resize(before + plaintext.size() + kAesGcmTagBytes);
  return SealTo(nonce, ad, plaintext, reinterpret_cast<uint8_t*>(&(*out)[before]));
}

absl::Status Aes256Gcm::Open(absl::string_view nonce, absl::string_view ad,
                             absl::string_view ciphertext_and_tag, std::string* out) {
  if (ciphertext_and_tag.size() < kAesGcmTagBytes) {
    return absl::InvalidArgumentError("ciphertext shorter than its tag");
  }
  const size_t before = out->size();
  out->resize(before + ciphertext_and_tag.size() - kAesGcmTagBytes);
  absl::Status status =
      OpenTo(nonce, ad, ciphertext_and_tag, reinterpret_cast<uint8_t*>(&(*out)[before]));
  if (!status.ok()) out->resize(before);
  return status;
}

absl::Status Aes256Gcm::SealTo(absl::string_view nonce, absl::string_view ad,
                               absl::string_view plaintext, uint8_t* out) {
  const absl::Status sizes = CheckSizes(nonce, ad, plaintext.size());
  if (!sizes.ok()) return sizes;
  if (seal_context_ == nullptr) seal_context_ = NewContext(key_, /*encrypt=*/true);
  EVP_CIPHER_CTX* context = seal_context_.get();
  Begin(context, nonce, ad);
  Update(context, plaintext, out);
  uint8_t* tag = out + plaintext.size();
  int written = 0;
  CheckLibrary(EVP_CipherFinal_ex(context, tag, &written) == 1 &&
                   EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kAesGcmTagBytes, tag) == 1,
               "EVP_CipherFinal_ex");
  return absl::OkStatus();
}

absl::Status Aes256Gcm::OpenTo(absl::string_view nonce, absl::string_view ad,
                               absl::string_view ciphertext_and_tag, uint8_t* out) {
  if (ciphertext_and_tag.size() < kAesGcmTagBytes) {
    return absl::InvalidArgumentError("ciphertext shorter than its tag");
  }
  const absl::string_view ciphertext =
      ciphertext_and_tag.substr(0, ciphertext_and_tag.size() - kAesGcmTagBytes);
  const absl::Status sizes = CheckSizes(nonce, ad, ciphertext.size());
  if (!sizes.ok()) return sizes;
  if (open_context_ == nullptr) open_context_ = NewContext(key_, /*encrypt=*/false);
  EVP_CIPHER_CTX* context = open_context_.get();
  Begin(context, nonce, ad);
  Update(context, ciphertext, out);
  // Copied, since OpenSSL takes the tag as memory that it might write to.
  uint8_t tag[kAesGcmTagBytes];
  ciphertext_and_tag.copy(reinterpret_cast<char*>(tag), kAesGcmTagBytes, ciphertext.size());
  CheckLibrary(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kAesGcmTagBytes, tag) == 1,
               "EVP_CTRL_AEAD_SET_TAG");
  uint8_t no_output[kAesGcmTagBytes];
  int written = 0;
  if (EVP_CipherFinal_ex(context, no_output, &written) != 1) {
    Wipe(out, ciphertext.size());
    return absl::UnauthenticatedError("authentication failed");
  }
  return absl::OkStatus();
}

}  // namespace blindcart::crypto
