#include "protocol/mail_content.h"

#include <string>

#include "gtest/gtest.h"

namespace blindcart::protocol {
namespace {

v1::MailContent Text(const std::string& text) {
  v1::MailContent content;
  content.set_message_id(std::string(16, 'i'));
  content.set_sent_at_ms(1);
  content.set_text(text);
  return content;
}

v1::MailContent File(const std::string& name, size_t bytes) {
  v1::MailContent content = Text("x");
  content.mutable_file()->set_name(name);
  content.mutable_file()->set_content(std::string(bytes, 'c'));
  return content;
}

TEST(MailContentTest, TakesWhatIsWithinBounds) {
  for (const v1::MailContent& content :
       {Text("x"), Text("Grüße,\n\tzwei Zeilen"), Text(std::string(kMaxMessageTextBytes, 'x')),
        File("notes.txt", 0), File(std::string(255, 'n'), kMaxMessageFileBytes)}) {
    EXPECT_TRUE(ValidateContent(content).ok());
    const auto parsed = ParseContent(content.SerializeAsString());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->SerializeAsString(), content.SerializeAsString());
    EXPECT_LT(content.ByteSizeLong(), kMaxMessagePlaintextBytes);
  }
  v1::MailContent unreadable = Text("x");
  for (size_t i = 0; i < kMaxUnreadableIds; ++i) {
    unreadable.mutable_unreadable()->add_message_ids(std::string(16, 'u'));
  }
  EXPECT_TRUE(ParseContent(unreadable.SerializeAsString()).ok());
  unreadable.mutable_unreadable()->add_message_ids(std::string(16, 'u'));
  EXPECT_FALSE(ValidateContent(unreadable).ok());
}

TEST(MailContentTest, RefusesWhatIsNot) {
  v1::MailContent no_id = Text("x");
  no_id.set_message_id("short");
  v1::MailContent no_time = Text("x");
  no_time.set_sent_at_ms(0);
  v1::MailContent no_body = Text("x");
  no_body.clear_text();
  v1::MailContent reply = Text("x");
  reply.set_reply_to("short");
  v1::MailContent unreadable = Text("x");
  unreadable.mutable_unreadable();
  v1::MailContent short_id = unreadable;
  short_id.mutable_unreadable()->add_message_ids("short");
  for (const v1::MailContent& content :
       {no_id, no_time, no_body, reply, unreadable, short_id, Text(""),
        Text(std::string(kMaxMessageTextBytes + 1, 'x')), File("", 1),
        File(std::string(256, 'n'), 1), File("n", kMaxMessageFileBytes + 1)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ValidateContent(content)));
    EXPECT_FALSE(ParseContent(content.SerializeAsString()).ok());
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateContent(Text("\xff\xfe"))));
  EXPECT_TRUE(absl::IsInvalidArgument(ValidateContent(File("\xff", 1))));
}

TEST(MailContentTest, ParsesOneEncodingOnly) {
  const std::string good = Text("x").SerializeAsString();
  EXPECT_FALSE(ParseContent("").ok());
  EXPECT_FALSE(ParseContent(good + good).ok());                         // Every field twice.
  EXPECT_FALSE(ParseContent(good + std::string("\x98\x06\x01")).ok());  // A field of tomorrow.
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseContent(good.substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace blindcart::protocol
