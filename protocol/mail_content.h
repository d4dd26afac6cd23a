// What a message between users may hold (proto/message.proto, MailContent), and the bounds that both
// ends, the mailbox and the agent's API share. A content that fails here is neither sent nor shown.
//
// Pure functions. Errors: InvalidArgument, with words for the person who writes it.
#ifndef BLINDCART_PROTOCOL_MAIL_CONTENT_H_
#define BLINDCART_PROTOCOL_MAIL_CONTENT_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/message.pb.h"

namespace blindcart::protocol {

inline constexpr size_t kMessageIdBytes = 16;
inline constexpr size_t kMaxMessageTextBytes = 63 * 1024;
inline constexpr size_t kMaxMessageFileBytes = 255 * 1024;
inline constexpr size_t kMaxMessageFileNameBytes = 255;
inline constexpr size_t kMaxUnreadableIds = 64;
// The largest padding bucket that a message takes, and all that can lie around it: what the mailbox
// has to take. With its routing it fits one frame of S1 (protocol/channel.h).
inline constexpr size_t kMaxMessagePlaintextBytes = 256 * 1024;
inline constexpr size_t kMaxSealedBytes = kMaxMessagePlaintextBytes + 2 * 1024;

absl::Status ValidateContent(const v1::MailContent& content);
// Strict: exactly what serialising gives, and valid.
absl::StatusOr<v1::MailContent> ParseContent(absl::string_view serialized);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_MAIL_CONTENT_H_
