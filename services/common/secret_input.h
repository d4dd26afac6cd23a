// Where pass phrases, passwords and PINs come from: a file, an environment variable or the terminal
// without echo, in this order. A file's last line end is not part of the secret.
//
// Errors: InvalidArgument (empty, over 1,024 bytes, the two entries differ), FailedPrecondition
// when there is neither file nor variable nor terminal, with a message that says which flag to use;
// FailedPrecondition for a secret file that others may read; Cancelled when the person interrupts.
// Not thread-safe (the terminal).
#ifndef BLINDCART_SERVICES_COMMON_SECRET_INPUT_H_
#define BLINDCART_SERVICES_COMMON_SECRET_INPUT_H_

#include <string>

#include "absl/status/statusor.h"
#include "crypto/secret_bytes.h"

namespace blindcart {

struct SecretSource {
  std::string what;         // "pass phrase", "password", "PIN": for prompts and errors.
  std::string file;         // Path, or empty.
  std::string file_flag;    // The flag that names the file, for the error: "--passphrase-file".
  std::string environment;  // Variable's name, or empty.
  bool confirm = false;     // Ask twice on a terminal (a new secret).
};

absl::StatusOr<crypto::SecretBytes> ReadSecret(const SecretSource& source);

// The environment variable of every service's key pass phrase.
inline constexpr char kPassphraseEnvironment[] = "BLINDCART_PASSPHRASE";

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_SECRET_INPUT_H_
