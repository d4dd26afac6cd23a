#include "services/broker/key_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blindcart::broker {
namespace {

constexpr std::chrono::milliseconds kPause(20);

}  // namespace

absl::StatusOr<std::unique_ptr<KeyLock>> KeyLock::Take(const std::string& folder,
                                                       int64_t patience_ms) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(patience_ms);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", folder));
  auto lock = std::unique_ptr<KeyLock>(new KeyLock(fd));
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", folder));
    }
    if (Clock::now() >= deadline) {
      return absl::UnavailableError(
          absl::StrCat("another command (serve, backup, rotate-key or join) is at work with the "
                       "keys in ",
                       folder, "; try again when it has ended"));
    }
    std::this_thread::sleep_for(kPause);
  }
  return lock;
}

KeyLock::~KeyLock() { close(fd_); }

}  // namespace blindcart::broker
