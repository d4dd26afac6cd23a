// The file that a download grows in, beside the finished ones: hidden, its owner's alone, renamed
// into its place when it is complete, and never over another file.
//
// Thread safety: none. Errors: ResourceExhausted when the disk is full, Internal for other failures
// of the file system, each with words for people.
#ifndef BLINDCART_SERVICES_AGENT_PART_FILE_H_
#define BLINDCART_SERVICES_AGENT_PART_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/hash.h"

namespace blindcart::agent {

class PartFile {
 public:
  // Opens `folder`/`name` or makes it. A link there is refused.
  static absl::StatusOr<PartFile> Open(const std::string& folder, const std::string& name);
  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;
  ~PartFile();  // Leaves the file where it is.

  // Cuts the file to its first `bytes` bytes and digests them; what is appended follows them.
  // OutOfRange when it has fewer; it is empty then.
  absl::StatusOr<crypto::Sha256Hasher> KeepFirst(uint64_t bytes);
  absl::Status Append(absl::string_view content);
  // Durable when Ok.
  absl::Status Sync();
  absl::Status Remove();

  // Syncs, then renames to `file_name` in the same folder or, when that is taken, "NAME (2).EXT" and
  // so on. Returns the path.
  absl::StatusOr<std::string> Publish(const std::string& file_name);

 private:
  PartFile(std::string folder, std::string name, int descriptor)
      : folder_(std::move(folder)), name_(std::move(name)), descriptor_(descriptor) {}

  std::string folder_;
  std::string name_;
  int descriptor_;
};

// SHA-256 and size of a regular file; NotFound when there is none.
struct FileDigest {
  std::string sha256;
  uint64_t size_bytes = 0;
};
absl::StatusOr<FileDigest> DigestFile(const std::string& path);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PART_FILE_H_
