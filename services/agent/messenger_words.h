// What the messenger says to people, in notices and in errors: what happened, and the whole command that
// helps. Pure functions.
#ifndef BLINDCART_SERVICES_AGENT_MESSENGER_WORDS_H_
#define BLINDCART_SERVICES_AGENT_MESSENGER_WORDS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "services/agent/mail_guard.h"

namespace blindcart::agent {

// ---- Errors

// FailedPrecondition: another identity waits for the user's decision; was handed out again although it
// was rejected; the user is blocked.
absl::Status IdentityChanged(absl::string_view username, const crypto::PublicIdentity& offered);
absl::Status IdentityRejected(absl::string_view username, const crypto::PublicIdentity& rejected);
absl::Status RecipientBlocked(absl::string_view username);
// DataLoss: of the broker's answers.
absl::Status Nonsense();
absl::Status KeysNotAuthentic(absl::string_view username);

// ---- Notices

std::string UnreadableHere(absl::string_view username);
std::string UnreadableThere(absl::string_view username, size_t count);
std::string ChangedNotice(absl::string_view username, const crypto::PublicIdentity& offered);
// Of `count` events, beyond `limit`.
std::string CountedNotice(absl::string_view username, MailGuard::Topic topic, int64_t count,
                          int64_t limit);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSENGER_WORDS_H_
