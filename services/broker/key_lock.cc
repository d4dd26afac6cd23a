#include "services/broker/key_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blindcart::broker {

absl::StatusOr<std::unique_ptr<KeyLock>> KeyLock::Take(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", folder));
  auto lock = std::unique_ptr<KeyLock>(new KeyLock(fd));
  while (flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", folder));
  }
  return lock;
}

KeyLock::~KeyLock() { close(fd_); }

}  // namespace blindcart::broker
