#include "crypto/hash.h"

#include <openssl/evp.h>

#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

using internal::CheckLibrary;

// Fetched once: looking the algorithm up costs more than hashing a short message.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  CheckLibrary(algorithm != nullptr, "EVP_MD_fetch");
  return algorithm;
}

uint8_t* Bytes(std::string& text) { return reinterpret_cast<uint8_t*>(&text[0]); }

}  // namespace

std::string Sha256(absl::string_view data) {
  std::string digest(kSha256Bytes, '\0');
  CheckLibrary(
      EVP_Digest(data.data(), data.size(), Bytes(digest), nullptr, Algorithm(), nullptr) == 1,
      "EVP_Digest");
  return digest;
}

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  CheckLibrary(context_ != nullptr && EVP_DigestInit_ex2(context_.get(), Algorithm(), nullptr) == 1,
               "EVP_DigestInit_ex2");
}

void Sha256Hasher::Update(absl::string_view data) {
  CheckLibrary(EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1, "EVP_DigestUpdate");
}

std::string Sha256Hasher::Finish() {
  std::string digest(kSha256Bytes, '\0');
  CheckLibrary(EVP_DigestFinal_ex(context_.get(), Bytes(digest), nullptr) == 1 &&
                   EVP_DigestInit_ex2(context_.get(), Algorithm(), nullptr) == 1,
               "EVP_DigestFinal_ex");
  return digest;
}

}  // namespace blindcart::crypto
