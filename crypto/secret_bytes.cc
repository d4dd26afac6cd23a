#include "crypto/secret_bytes.h"

#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cstring>
#include <utility>

namespace blindcart::crypto {

void Wipe(void* data, size_t size) {
  if (size > 0) sodium_memzero(data, size);
}

void Wipe(std::string& text) {
  // Growing to the capacity allocates nothing and makes every byte that the string owns its own.
  text.resize(text.capacity());
  Wipe(&text[0], text.size());
  text.clear();
}

SecretBytes::SecretBytes(size_t size)
    : data_(size > 0 ? std::make_unique<uint8_t[]>(size) : nullptr), size_(size) {}

SecretBytes SecretBytes::CopyOf(absl::string_view bytes) {
  SecretBytes copy(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
  return copy;
}

SecretBytes SecretBytes::TakeFrom(std::string& source) {
  SecretBytes copy = CopyOf(source);
  Wipe(source);
  return copy;
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this != &other) {
    Wipe(data_.get(), size_);
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

SecretBytes::~SecretBytes() { Wipe(data_.get(), size_); }

void DisableCoreDumps() {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__)
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

}  // namespace blindcart::crypto
