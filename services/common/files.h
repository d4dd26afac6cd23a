// Small file helpers for configs, cards and secrets. Errors name the path and what to do about it.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_FILES_H_
#define BLINDCART_SERVICES_COMMON_FILES_H_

#include <sys/types.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}

namespace blindcart {

// Reads at most `max_bytes`; a larger file is InvalidArgument, a missing one NotFound.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = 1024 * 1024);

// Writes beside its place, syncs, renames; never half a file. With `replace` false an existing file
// is AlreadyExists.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view content, mode_t mode,
                                 bool replace);

// Makes the folder (and parents) for its owner only; OK when it is there.
absl::Status MakePrivateDirectory(const std::string& path);

// Protobuf text format; an error names the line and column. The message's own validation is the
// caller's.
absl::Status ReadTextProto(const std::string& path, google::protobuf::Message* message);
std::string ToTextProto(const google::protobuf::Message& message);

// `path` itself when absolute, else below `folder`.
std::string ResolvePath(const std::string& folder, const std::string& path);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_FILES_H_
