#include "protocol/mail_content.h"

#include "absl/strings/str_cat.h"
#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const CodePoint point = FirstCodePoint(text);
    if (!point.valid) return false;
    text.remove_prefix(point.bytes);
  }
  return true;
}

absl::Status CheckText(const std::string& text) {
  if (text.empty()) return absl::InvalidArgumentError("the message is empty");
  if (text.size() > kMaxMessageTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the text is longer than ",
                                                   kMaxMessageTextBytes / 1024,
                                                   " KiB. Send it as a file, or in parts"));
  }
  if (!IsUtf8(text)) {
    return absl::InvalidArgumentError("the text is not UTF-8. Send it as a file");
  }
  return absl::OkStatus();
}

absl::Status CheckFile(const v1::MailFile& file) {
  if (file.name().empty() || file.name().size() > kMaxMessageFileNameBytes) {
    return absl::InvalidArgumentError("the file's name is empty or longer than 255 bytes");
  }
  if (!IsUtf8(file.name())) return absl::InvalidArgumentError("the file's name is not UTF-8");
  if (file.content().size() > kMaxMessageFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the file is larger than ", kMaxMessageFileBytes / 1024,
                     " KiB. Send it over a direct session instead: blindcart peer send-file"));
  }
  return absl::OkStatus();
}

absl::Status CheckUnreadable(const v1::MailUnreadable& unreadable) {
  if (unreadable.message_ids().empty() ||
      static_cast<size_t>(unreadable.message_ids_size()) > kMaxUnreadableIds) {
    return absl::InvalidArgumentError("number of message ids out of bounds");
  }
  for (const std::string& id : unreadable.message_ids()) {
    if (id.size() != kMessageIdBytes) return absl::InvalidArgumentError("message id not 16 bytes");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateContent(const v1::MailContent& content) {
  if (content.message_id().size() != kMessageIdBytes) {
    return absl::InvalidArgumentError("message id not 16 bytes");
  }
  if (!content.reply_to().empty() && content.reply_to().size() != kMessageIdBytes) {
    return absl::InvalidArgumentError("message id not 16 bytes");
  }
  if (content.sent_at_ms() <= 0) return absl::InvalidArgumentError("no time of sending");
  switch (content.body_case()) {
    case v1::MailContent::kText:
      return CheckText(content.text());
    case v1::MailContent::kFile:
      return CheckFile(content.file());
    case v1::MailContent::kUnreadable:
      return CheckUnreadable(content.unreadable());
    case v1::MailContent::BODY_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message without a body");
}

absl::StatusOr<v1::MailContent> ParseContent(absl::string_view serialized) {
  v1::MailContent content;
  if (serialized.size() > kMaxMessagePlaintextBytes ||
      !content.ParseFromArray(serialized.data(), static_cast<int>(serialized.size()))) {
    return absl::InvalidArgumentError("not a message's content");
  }
  content.DiscardUnknownFields();
  if (content.SerializeAsString() != serialized) {
    return absl::InvalidArgumentError("not a message's content as this version writes it");
  }
  const absl::Status valid = ValidateContent(content);
  if (!valid.ok()) return valid;
  return content;
}

}  // namespace blindcart::protocol
