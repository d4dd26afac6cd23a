#include "services/common/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"

namespace blindcart {
namespace {

absl::Status FileError(absl::string_view doing, const std::string& path, int error) {
  const std::string text = absl::StrCat(doing, " ", path, ": ", std::strerror(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case EEXIST:
      return absl::AlreadyExistsError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

absl::Status WriteAll(int fd, absl::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return FileError("cannot write", path, errno);
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  if (fsync(fd) != 0) return FileError("cannot sync", path, errno);
  return absl::OkStatus();
}

absl::Status SyncFolderOf(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError("cannot open", folder, errno);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (fsync(fd) != 0) return FileError("cannot sync", folder, errno);
  return absl::OkStatus();
}

// Keeps the first error of a text-format parse: the ones after it follow from it.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) {
      text_ = absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError("cannot open", path, errno);
  absl::Cleanup close_fd = [fd] { close(fd); };
  std::string content;
  char buffer[16 * 1024];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0) {
      if (errno == EINTR) continue;
      return FileError("cannot read", path, errno);
    }
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
    if (content.size() > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is larger than the ", max_bytes, " bytes that are allowed"));
    }
  }
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content, mode_t mode,
                                 bool replace) {
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  std::vector<char> name(temporary.begin(), temporary.end());
  name.push_back('\0');
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return FileError("cannot create a file beside", path, errno);
  absl::Cleanup remove_temporary = [&name] { unlink(name.data()); };
  {
    absl::Cleanup close_fd = [fd] { close(fd); };
    if (fchmod(fd, mode) != 0) return FileError("cannot set the mode of", path, errno);
    const absl::Status written = WriteAll(fd, content, path);
    if (!written.ok()) return written;
  }
  if (replace) {
    if (rename(name.data(), path.c_str()) != 0) return FileError("cannot write", path, errno);
    std::move(remove_temporary).Cancel();
  } else if (link(name.data(), path.c_str()) != 0) {
    // link(2), unlike rename(2), never replaces.
    return FileError("cannot create", path, errno);
  }
  return SyncFolderOf(path);
}

absl::Status MakePrivateDirectory(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) {
    std::filesystem::create_directories(parent, error);
    if (error) return FileError("cannot create", parent.string(), error.value());
  }
  if (mkdir(path.c_str(), 0700) == 0) return absl::OkStatus();
  if (errno != EEXIST) return FileError("cannot create", path, errno);
  if (!std::filesystem::is_directory(path, error)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is no folder"));
  }
  return absl::OkStatus();
}

absl::Status ReadTextProto(const std::string& path, google::protobuf::Message* message) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  google::protobuf::io::ArrayInputStream stream(text->data(), static_cast<int>(text->size()));
  if (!parser.Parse(&stream, message)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.text()));
  }
  return absl::OkStatus();
}

std::string ToTextProto(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

std::string ResolvePath(const std::string& folder, const std::string& path) {
  return (std::filesystem::path(folder) / path).string();
}

}  // namespace blindcart
