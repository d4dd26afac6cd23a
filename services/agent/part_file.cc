#include "services/agent/part_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blindcart::agent {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;
constexpr int kMaxNames = 10'000;

absl::Status FileError(int error, absl::string_view what) {
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(
        "the disk is full. Free some space and download again; what came so far is kept");
  }
  if (error == ENOENT) {
    return absl::NotFoundError(absl::StrCat(what, ": it is not there"));
  }
  return absl::InternalError(absl::StrCat(what, ": ", absl::ErrnoToStatus(error, "").message()));
}

// Digests up to `limit` bytes from the descriptor's position; returns how many there were.
absl::StatusOr<uint64_t> DigestBytes(int descriptor, uint64_t limit, crypto::Sha256Hasher* hasher) {
  std::vector<char> buffer(kBufferBytes);
  uint64_t done = 0;
  while (done < limit) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(limit - done, buffer.size()));
    const ssize_t got = read(descriptor, buffer.data(), wanted);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "a file cannot be read");
    if (got == 0) break;
    hasher->Update(absl::string_view(buffer.data(), static_cast<size_t>(got)));
    done += static_cast<uint64_t>(got);
  }
  return done;
}

// Renames unless `to` exists (EEXIST).
int RenameWithoutReplacing(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // This file system cannot; a hard link fails on an existing name just as well.
  if (link(from.c_str(), to.c_str()) != 0) return errno;
  return unlink(from.c_str()) == 0 ? 0 : errno;
}

std::string NumberedName(const std::string& name, int number) {
  if (number == 1) return name;
  const size_t dot = name.rfind('.');
  const bool has_extension = dot != std::string::npos && dot > 0;
  const std::string stem = has_extension ? name.substr(0, dot) : name;
  const std::string extension = has_extension ? name.substr(dot) : "";
  return absl::StrCat(stem, " (", number, ")", extension);
}

}  // namespace

absl::StatusOr<PartFile> PartFile::Open(const std::string& folder, const std::string& name) {
  const std::string path = absl::StrCat(folder, "/", name);
  const int descriptor =
      open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
  if (descriptor < 0) return FileError(errno, "the purchases folder cannot be written to");
  PartFile file(folder, name, descriptor);
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 1) {
    return absl::InternalError("what stands in the place of the unfinished download is no file");
  }
  return file;
}

PartFile::PartFile(PartFile&& other) noexcept
    : folder_(std::move(other.folder_)),
      name_(std::move(other.name_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

PartFile::~PartFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<crypto::Sha256Hasher> PartFile::KeepFirst(uint64_t bytes) {
  crypto::Sha256Hasher hasher;
  if (lseek(descriptor_, 0, SEEK_SET) != 0) {
    return FileError(errno, "the unfinished download cannot be read");
  }
  const absl::StatusOr<uint64_t> done = DigestBytes(descriptor_, bytes, &hasher);
  if (!done.ok()) return done.status();
  const bool complete = *done == bytes;
  const off_t kept = complete ? static_cast<off_t>(bytes) : 0;
  if (ftruncate(descriptor_, kept) != 0 || lseek(descriptor_, kept, SEEK_SET) != kept) {
    return FileError(errno, "the unfinished download cannot be written");
  }
  if (!complete) return absl::OutOfRangeError("the unfinished download is shorter than noted");
  return hasher;
}

absl::Status PartFile::Append(absl::string_view content) {
  while (!content.empty()) {
    const ssize_t written = write(descriptor_, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "the download cannot be written");
    content.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status PartFile::Sync() {
  if (fsync(descriptor_) != 0) return FileError(errno, "the download cannot be written");
  return absl::OkStatus();
}

absl::Status PartFile::Remove() {
  if (unlink(absl::StrCat(folder_, "/", name_).c_str()) != 0 && errno != ENOENT) {
    return FileError(errno, "the unfinished download cannot be removed");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PartFile::Publish(const std::string& file_name) {
  const absl::Status synced = Sync();
  if (!synced.ok()) return synced;
  const std::string from = absl::StrCat(folder_, "/", name_);
  for (int number = 1; number <= kMaxNames; ++number) {
    const std::string to = absl::StrCat(folder_, "/", NumberedName(file_name, number));
    const int error = RenameWithoutReplacing(from, to);
    if (error == EEXIST) continue;
    if (error != 0) return FileError(error, "the download cannot be moved into its place");
    // The new name is durable with its folder.
    const int folder = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return FileError(errno, "the purchases folder cannot be opened");
    const int result = fsync(folder);
    const int sync_error = errno;
    close(folder);
    if (result != 0) return FileError(sync_error, "the purchases folder cannot be written to");
    return to;
  }
  return absl::ResourceExhaustedError(
      "too many files of that name are in the purchases folder. Move some elsewhere");
}

absl::StatusOr<FileDigest> DigestFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return FileError(errno, "the file cannot be opened");
  const auto closer = absl::MakeCleanup([descriptor] { close(descriptor); });
  struct stat info;
  if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::NotFoundError("what stands in the file's place is no file");
  }
  crypto::Sha256Hasher hasher;
  const absl::StatusOr<uint64_t> size = DigestBytes(descriptor, UINT64_MAX, &hasher);
  if (!size.ok()) return size.status();
  return FileDigest{hasher.Finish(), *size};
}

}  // namespace blindcart::agent
