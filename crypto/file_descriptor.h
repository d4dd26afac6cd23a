// A file descriptor that closes itself, for the few places that need one rather than a stream: keys
// whose file must be synced, documents that may turn out not to be files.
//
// Thread safety: as the descriptor's own. What close() says is not asked for: whoever writes has to
// sync before.
#ifndef BLINDCART_CRYPTO_FILE_DESCRIPTOR_H_
#define BLINDCART_CRYPTO_FILE_DESCRIPTOR_H_

#include <unistd.h>

namespace blindcart::crypto {

class FileDescriptor {
 public:
  // Takes over `fd`; a negative one is what a failed open() gave, and nothing to close.
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_FILE_DESCRIPTOR_H_
