#include "services/common/secret_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "crypto/constant_time.h"

namespace blindcart {
namespace {

constexpr size_t kMaxSecretBytes = 1024;

void StripLineEnd(std::string& text) {
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
}

absl::StatusOr<crypto::SecretBytes> Checked(std::string& text, const std::string& what) {
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat("the ", what, " is empty"));
  if (text.size() > kMaxSecretBytes) {
    crypto::Wipe(text);
    return absl::InvalidArgumentError(
        absl::StrCat("the ", what, " is longer than ", kMaxSecretBytes, " bytes"));
  }
  return crypto::SecretBytes::TakeFrom(text);
}

constexpr int kNoChar = -1;

// Reads to the end, or to the first line end when `one_line`; never more than just over the limit.
// Cancelled when `interrupt` is read.
absl::StatusOr<std::string> ReadAll(int fd, bool one_line, int interrupt, const std::string& from) {
  std::string text;
  text.reserve(kMaxSecretBytes + 2);  // So that no copy of the secret is left behind by growing.
  while (text.size() < kMaxSecretBytes + 2) {
    char c;
    const ssize_t got = read(fd, &c, 1);
    if (got < 0) {
      if (errno == EINTR) continue;
      crypto::Wipe(text);
      return absl::UnavailableError(absl::StrCat("cannot read ", from, ": ", strerror(errno)));
    }
    if (got == 0) break;
    if (one_line && static_cast<unsigned char>(c) == interrupt) {
      crypto::Wipe(text);
      return absl::CancelledError("interrupted. Nothing was done");
    }
    text.push_back(c);
    if (one_line && c == '\n') break;
  }
  StripLineEnd(text);
  return text;
}

absl::StatusOr<crypto::SecretBytes> FromFile(const SecretSource& source) {
  const int fd = open(source.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::NotFoundError(absl::StrCat("cannot open the ", source.what, " file ", source.file,
                                            ": ", strerror(errno)));
  }
  absl::Cleanup close_fd = [fd] { close(fd); };
  struct stat info;
  if (fstat(fd, &info) != 0) return absl::UnavailableError(strerror(errno));
  if (S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("others may read the ", source.what, " file ",
                                                      source.file, "; run: chmod 600 ",
                                                      source.file));
  }
  absl::StatusOr<std::string> text = ReadAll(fd, /*one_line=*/false, kNoChar, source.file);
  if (!text.ok()) return text.status();
  return Checked(*text, source.what);
}

absl::StatusOr<crypto::SecretBytes> AskOnce(int terminal, const std::string& prompt,
                                            const std::string& what) {
  termios shown;
  if (tcgetattr(terminal, &shown) != 0) return absl::UnavailableError(strerror(errno));
  termios hidden = shown;
  // The interrupt key is read as a character that ends the line: a signal would end the process and
  // leave the terminal without echo, or, in a service that blocks signals, do nothing at all.
  hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
  hidden.c_cc[VEOL] = shown.c_cc[VINTR];
  hidden.c_lflag |= ECHONL;
  if (tcsetattr(terminal, TCSAFLUSH, &hidden) != 0) return absl::UnavailableError(strerror(errno));
  absl::Cleanup show_again = [terminal, &shown] { tcsetattr(terminal, TCSAFLUSH, &shown); };
  if (write(terminal, prompt.data(), prompt.size()) < 0) {
    return absl::UnavailableError(strerror(errno));
  }
  absl::StatusOr<std::string> text =
      ReadAll(terminal, /*one_line=*/true, shown.c_cc[VINTR], "the terminal");
  if (!text.ok()) return text.status();
  return Checked(*text, what);
}

absl::StatusOr<crypto::SecretBytes> FromTerminal(const SecretSource& source) {
  const int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0) {
    std::string how =
        absl::StrCat("no ", source.what, ": give it with ", source.file_flag, " FILE");
    if (!source.environment.empty()) {
      absl::StrAppend(&how, ", in the environment as ", source.environment);
    }
    absl::StrAppend(&how, ", or run this on a terminal to be asked");
    return absl::FailedPreconditionError(how);
  }
  absl::Cleanup close_terminal = [terminal] { close(terminal); };
  absl::StatusOr<crypto::SecretBytes> secret =
      AskOnce(terminal, absl::StrCat(source.confirm ? "New " : "", source.what, ": "), source.what);
  if (!secret.ok() || !source.confirm) return secret;
  absl::StatusOr<crypto::SecretBytes> again =
      AskOnce(terminal, absl::StrCat("The same ", source.what, " again: "), source.what);
  if (!again.ok()) return again;
  if (!crypto::ConstantTimeEquals(secret->view(), again->view())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the two entries of the ", source.what, " differ; nothing was changed"));
  }
  return secret;
}

}  // namespace

absl::StatusOr<crypto::SecretBytes> ReadSecret(const SecretSource& source) {
  if (!source.file.empty()) return FromFile(source);
  if (!source.environment.empty()) {
    const char* value = std::getenv(source.environment.c_str());
    if (value != nullptr && *value != '\0') {
      std::string text = value;
      return Checked(text, source.what);
    }
  }
  return FromTerminal(source);
}

}  // namespace blindcart
