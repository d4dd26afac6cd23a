#include "services/agent/messenger_words.h"

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"

namespace blindcart::agent {
namespace {

using crypto::PublicIdentity;

// What to do about an identity in place of the pinned one.
std::string HowToDecide(absl::string_view username, const PublicIdentity& offered) {
  return absl::StrCat("Compare safety numbers over another way (blindcart contacts verify ",
                      username, "). If the new one is theirs: blindcart contacts accept ", username,
                      " --fingerprint ", crypto::HexEncode(offered.fingerprint()),
                      ". If not: blindcart contacts accept ", username, " --keep");
}

}  // namespace

absl::Status IdentityChanged(absl::string_view username, const PublicIdentity& offered) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the identity of ", username,
      " has changed since you first met it. That is so after a new installation, and also when "
      "somebody stands in between. Nothing was sent. ",
      HowToDecide(username, offered)));
}

absl::Status IdentityRejected(absl::string_view username, const PublicIdentity& rejected) {
  return absl::FailedPreconditionError(
      absl::StrCat("the broker hands out for ", username,
                   " the identity that you have rejected. Nothing was sent. If it is theirs after "
                   "all: blindcart contacts accept ",
                   username, " --fingerprint ", crypto::HexEncode(rejected.fingerprint())));
}

absl::Status Nonsense() {
  return absl::DataLossError("the broker's answer about mail makes no sense. Nothing was accepted");
}

absl::Status KeysNotAuthentic(absl::string_view username) {
  return absl::DataLossError(
      absl::StrCat("the keys that the broker handed out for ", username,
                   " are not signed by the identity that came with them. Nothing was sent"));
}

std::string UnreadableHere(absl::string_view username) {
  return absl::StrCat("A message from ", username,
                      " could not be read: this agent has lost the keys for it, or it was damaged "
                      "on its way. Ask for it again; the agent of ",
                      username, " hears of it too, unless it has before.");
}

std::string UnreadableThere(absl::string_view username, size_t count) {
  return absl::StrCat("The agent of ", username, " could not read ",
                      count == 1 ? std::string("a message") : absl::StrCat(count, " messages"),
                      " of yours: it has lost its keys, or the mail was damaged on its way. Marked "
                      "as undelivered; send again what still matters.");
}

std::string ChangedNotice(absl::string_view username, const PublicIdentity& offered) {
  return absl::StrCat(
      "The identity of ", username,
      " has changed. Nothing is sent to the new one and nothing of it is read until "
      "you decide. ",
      HowToDecide(username, offered));
}

std::string CountedNotice(absl::string_view username, MailGuard::Topic topic, int64_t count,
                          int64_t limit) {
  const std::string messages =
      count == 1 ? std::string("1 more message") : absl::StrCat(count, " more messages");
  switch (topic) {
    case MailGuard::Topic::kUnreadable:
      return absl::StrCat(messages, " from ", username, " could not be read, beyond the ", limit,
                          " notices of an hour.");
    case MailGuard::Topic::kChanged:
      return absl::StrCat(
          "The identity of ", username, " has changed ", count, " more times, beyond the ", limit,
          " notices of an hour. Which one shows now: blindcart contacts verify ", username);
    case MailGuard::Topic::kNoRoom:
      return absl::StrCat(
          "There is no room for more of ", username,
          ": this agent keeps so much of one contact, and of all, and deletes nothing by itself. "
          "What comes waits at the broker until it expires. To make room: blindcart message delete "
          "--contact ",
          username, " --before DATE. To have no more of it: blindcart contacts block ", username);
    case MailGuard::Topic::kNotHeld:
      return absl::StrCat(messages, " under a changed identity of ", username, " came than the ",
                          limit,
                          " that wait for you to decide about it, and went unread. To decide: "
                          "blindcart contacts verify ",
                          username);
  }
  return "";
}

absl::Status RecipientBlocked(absl::string_view username) {
  return absl::FailedPreconditionError(absl::StrCat(
      "you have blocked ", username,
      ". Nothing was sent. To write to each other again: blindcart contacts unblock ", username));
}

}  // namespace blindcart::agent
