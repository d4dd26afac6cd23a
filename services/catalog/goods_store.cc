#include "services/catalog/goods_store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "services/common/files.h"

namespace blindcart::catalog {
namespace {

constexpr char kUnfinishedPrefix[] = "unfinished.";
constexpr size_t kCopyBytes = 1024 * 1024;

absl::Status Failed(absl::string_view doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(doing, " ", path));
}

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return Failed("cannot write", path);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("cannot open", folder);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (fsync(fd) != 0) return Failed("cannot sync", folder);
  return absl::OkStatus();
}

}  // namespace

GoodsFile::~GoodsFile() { close(fd_); }

absl::Status GoodsFile::ReadAt(uint64_t offset, size_t size, char* out) const {
  while (size > 0) {
    const ssize_t got = pread(fd_, out, size, static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      return absl::ErrnoToStatus(errno, "cannot read goods");
    }
    if (got == 0) return absl::DataLossError("goods are shorter than they were");
    offset += static_cast<uint64_t>(got);
    size -= static_cast<size_t>(got);
    out += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<GoodsStore>> GoodsStore::Open(const std::string& folder) {
  const absl::Status made = MakePrivateDirectory(folder);
  if (!made.ok()) return made;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (absl::StartsWith(entry.path().filename().string(), kUnfinishedPrefix)) {
      std::error_code ignored;  // The next start tries again.
      std::filesystem::remove(entry.path(), ignored);
    }
  }
  if (error) return absl::UnavailableError(absl::StrCat("cannot read ", folder));
  return std::unique_ptr<GoodsStore>(new GoodsStore(folder));
}

absl::StatusOr<GoodsStore::Added> GoodsStore::Add(const std::string& path, uint64_t max_bytes,
                                                  const Progress& progress) {
  // Not to hang on a pipe that nobody writes to.
  const int source = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (source < 0) return Failed("cannot open", path);
  absl::Cleanup close_source = [source] { close(source); };
  struct stat info;
  if (fstat(source, &info) != 0) return Failed("cannot examine", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  const uint64_t total_bytes = static_cast<uint64_t>(info.st_size);
  if (total_bytes > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", total_bytes, " bytes; at most ",
                                                   max_bytes, " can be delivered"));
  }

  const std::string pattern = absl::StrCat(folder_, "/", kUnfinishedPrefix, "XXXXXX");
  std::vector<char> name(pattern.c_str(), pattern.c_str() + pattern.size() + 1);
  const int target = mkostemp(name.data(), O_CLOEXEC);  // Mode 0600.
  if (target < 0) return Failed("cannot create a file in", folder_);
  absl::Cleanup remove_unfinished = [&name] { unlink(name.data()); };
  absl::Cleanup close_target = [target] { close(target); };

  crypto::Sha256Hasher hasher;
  std::vector<char> buffer(kCopyBytes);
  Added added;
  while (true) {
    const ssize_t got = read(source, buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      return Failed("cannot read", path);
    }
    if (got == 0) break;
    const absl::string_view bytes(buffer.data(), static_cast<size_t>(got));
    added.size_bytes += bytes.size();
    if (added.size_bytes > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " grew while it was being copied, beyond what can be delivered"));
    }
    hasher.Update(bytes);
    const absl::Status written = WriteAll(target, bytes, folder_);
    if (!written.ok()) return written;
    if (progress && !progress(added.size_bytes, total_bytes)) {
      return absl::CancelledError("adding the product was cancelled");
    }
  }
  added.content_hash = hasher.Finish();
  if (fsync(target) != 0) return Failed("cannot sync a file in", folder_);
  const std::string place = absl::StrCat(folder_, "/", crypto::HexEncode(added.content_hash));
  if (rename(name.data(), place.c_str()) != 0) return Failed("cannot create", place);
  std::move(remove_unfinished).Cancel();
  const absl::Status synced = SyncFolder(folder_);
  if (!synced.ok()) return synced;
  return added;
}

absl::StatusOr<std::unique_ptr<GoodsFile>> GoodsStore::OpenContent(
    absl::string_view content_hash) const {
  const std::string path = absl::StrCat(folder_, "/", crypto::HexEncode(content_hash));
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return Failed("cannot open", path);
  struct stat info;
  if (fstat(fd, &info) != 0) {
    const absl::Status failed = Failed("cannot examine", path);
    close(fd);
    return failed;
  }
  return std::make_unique<GoodsFile>(fd, static_cast<uint64_t>(info.st_size));
}

}  // namespace blindcart::catalog
