// Secret memory: byte buffers that are wiped when their owner lets go of them.
//
// Purpose: keys, pass phrases, PINs and decrypted secrets live in a SecretBytes, never in a plain
// std::string that frees its bytes unwiped. The bytes stand on the ordinary heap, not in
// sodium_malloc's guarded pages: a guarded allocation costs three pages and a locked one, and a
// broker holds ten thousand sessions. Mains call DisableCoreDumps() so that those bytes do not
// reach a core file.
//
// Thread safety: as a standard container; concurrent const use is safe.
#ifndef BLINDCART_CRYPTO_SECRET_BYTES_H_
#define BLINDCART_CRYPTO_SECRET_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace blindcart::crypto {

// Overwrites memory so that the compiler cannot leave it out.
void Wipe(void* data, size_t size);

// Overwrites the bytes of `text` (its whole capacity) and leaves it empty.
void Wipe(std::string& text);

// A fixed-size, move-only buffer that is wiped on destruction and on being assigned to. A
// moved-from object is empty; the bytes themselves move without being copied.
class SecretBytes {
 public:
  SecretBytes() = default;
  // `size` zero bytes.
  explicit SecretBytes(size_t size);
  static SecretBytes CopyOf(absl::string_view bytes);
  // Copies the bytes of `source`, then wipes it.
  static SecretBytes TakeFrom(std::string& source);

  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes();

  const uint8_t* data() const { return data_.get(); }
  uint8_t* data() { return data_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  absl::string_view view() const {
    return absl::string_view(reinterpret_cast<const char*>(data_.get()), size_);
  }
  absl::Span<uint8_t> mutable_span() { return absl::Span<uint8_t>(data_.get(), size_); }

  SecretBytes Clone() const { return CopyOf(view()); }

 private:
  std::unique_ptr<uint8_t[]> data_;
  size_t size_ = 0;
};

// Hardening for mains: no core file (RLIMIT_CORE 0) and no reading of this process's memory by
// other processes of the same user (PR_SET_DUMPABLE 0; left alone under AddressSanitizer, whose
// leak check attaches to its own process). Failures are ignored: nothing depends on them.
void DisableCoreDumps();

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_SECRET_BYTES_H_
