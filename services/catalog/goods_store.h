// The goods themselves: files named by the SHA-256 of their content, in one folder that only the
// merchant may read. A new version of a product is a new file and old ones stay, so that whoever
// bought an earlier version can fetch it again.
//
// Layout: FOLDER/<64 hexadecimal digits>, mode 0600. A file comes into being complete: it is copied
// beside its place while being hashed, synced, then renamed.
//
// Thread safety: every method may be called from any thread; Add and Open block on the disk.
#ifndef BLINDCART_SERVICES_CATALOG_GOODS_STORE_H_
#define BLINDCART_SERVICES_CATALOG_GOODS_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::catalog {

// An open file of goods. Thread-safe (pread).
class GoodsFile {
 public:
  explicit GoodsFile(int fd, uint64_t size_bytes) : fd_(fd), size_bytes_(size_bytes) {}
  ~GoodsFile();
  GoodsFile(const GoodsFile&) = delete;
  GoodsFile& operator=(const GoodsFile&) = delete;

  uint64_t size_bytes() const { return size_bytes_; }
  // Reads exactly `size` bytes; DataLoss when the file has become shorter.
  absl::Status ReadAt(uint64_t offset, size_t size, char* out) const;

 private:
  const int fd_;
  const uint64_t size_bytes_;
};

class GoodsStore {
 public:
  struct Added {
    std::string content_hash;  // 32 bytes.
    uint64_t size_bytes = 0;
  };
  // Bytes copied so far, of how many. Returning false stops the copy (Cancelled).
  using Progress = std::function<bool(uint64_t copied_bytes, uint64_t total_bytes)>;

  // Makes the folder when it is missing and removes what an interrupted copy left behind.
  static absl::StatusOr<std::unique_ptr<GoodsStore>> Open(const std::string& folder);

  // Copies the file in. OK means durable. Errors name the path and say what is wrong with it: only
  // regular files are taken, of at most `max_bytes`.
  absl::StatusOr<Added> Add(const std::string& path, uint64_t max_bytes, const Progress& progress);

  // NotFound when there is no such content.
  absl::StatusOr<std::unique_ptr<GoodsFile>> OpenContent(absl::string_view content_hash) const;

 private:
  explicit GoodsStore(std::string folder) : folder_(std::move(folder)) {}
  const std::string folder_;
};

}  // namespace blindcart::catalog

#endif  // BLINDCART_SERVICES_CATALOG_GOODS_STORE_H_
