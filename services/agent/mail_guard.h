// What keeps the authors of mail from filling this agent's database or its owner's attention: rows of
// the agent's database about mail that is held back, dropped, or only counted. Used within one
// AgentDatabase::Transact or Read, as MessageStore, to whose rows it belongs.
//
// Thread safety: that of the transaction. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_MAIL_GUARD_H_
#define BLINDCART_SERVICES_AGENT_MAIL_GUARD_H_

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "services/storage/sqlite.h"

namespace blindcart::agent {

class MailGuard {
 public:
  // Rejected identities of one contact that are remembered; beyond it the oldest go.
  static constexpr int64_t kRejectedPerContact = 64;
  // Ids of dropped mail of one contact that are remembered; beyond it the oldest go.
  static constexpr int64_t kDroppedPerContact = 256;

  // Sessions of one contact for which it was told what could not be read; beyond it the oldest go.
  static constexpr int64_t kAnsweredPerContact = 64;

  explicit MailGuard(storage::SqliteDatabase& database) : database_(database) {}

  // ---- Mail that was dropped: handed out again it is known, and not counted twice.

  absl::Status AddDropped(absl::string_view contact, absl::string_view message_id);
  absl::StatusOr<bool> Dropped(absl::string_view contact, absl::string_view message_id);

  // ---- Blocked senders, whose mail is dropped unseen

  absl::Status Block(absl::string_view contact);
  absl::Status Unblock(absl::string_view contact);
  absl::StatusOr<bool> IsBlocked(absl::string_view contact);
  // One more message of a blocked sender was dropped.
  absl::Status CountBlocked(absl::string_view contact);

  // ---- What is kept of what others sent, notices apart

  struct Use {
    int64_t items = 0;
    int64_t bytes = 0;  // Of bodies.
  };
  absl::StatusOr<Use> UseOf(absl::string_view contact);
  absl::StatusOr<Use> TotalUse();

  // ---- Mail of changed identities, which waits at the broker for the user's decision

  absl::StatusOr<bool> IsHeld(absl::string_view contact, absl::string_view message_id);
  absl::StatusOr<int64_t> CountHeld(absl::string_view contact);
  absl::Status Hold(absl::string_view contact, absl::string_view message_id);
  // The user has decided.
  absl::Status ForgetHeld(absl::string_view contact);
  // Of all rows, ascending; 0 when there is none.
  absl::StatusOr<int64_t> LastHeld();
  // Forgets the rows up to `last` of what is not in `waiting` (contact, message id): the broker holds
  // it no more.
  absl::Status RetainHeld(int64_t last,
                          const std::set<std::pair<std::string, std::string>>& waiting);

  // ---- Identities that the user has rejected

  // `fingerprint` is that of the serialised `identity`.
  absl::Status Reject(absl::string_view contact, absl::string_view fingerprint,
                      absl::string_view identity);
  // The serialised identity, if it was rejected.
  absl::StatusOr<absl::optional<std::string>> FindRejected(absl::string_view contact,
                                                           absl::string_view fingerprint);
  absl::Status ForgetRejected(absl::string_view contact, absl::string_view fingerprint);

  // ---- Answers to what could not be read, by the session that it was sealed under (empty: none)

  absl::Status AddAnswered(absl::string_view contact, absl::string_view session_id, int64_t now_ms);
  absl::StatusOr<bool> Answered(absl::string_view contact, absl::string_view session_id,
                                int64_t since_ms);
  // Of all sessions.
  absl::StatusOr<int64_t> CountAnswered(absl::string_view contact, int64_t since_ms);

  // ---- Notices that stand for several events

  // Stored as these numbers: they never change.
  enum class Topic {
    kUnreadable = 1,  // Mail that could not be read, beyond the notices of an hour.
    kChanged = 2,     // Changes of the identity, likewise.
    kNotHeld = 3,     // Mail of a changed identity, beyond what is held.
    kNoRoom = 4,      // Mail that waits since this agent keeps no more; one notice, not counted.
  };
  struct CountedNotice {
    int64_t message = 0;  // Row of the notice.
    int64_t count = 0;
    int64_t begun_at_ms = 0;
  };
  absl::StatusOr<absl::optional<CountedNotice>> FindCounted(absl::string_view contact, Topic topic);
  absl::Status SaveCounted(absl::string_view contact, Topic topic, const CountedNotice& notice);
  // The next event of the kind begins a new notice.
  absl::Status ForgetCounted(absl::string_view contact, Topic topic);
  absl::Status ForgetCountedOfAll(Topic topic);

 private:
  storage::SqliteDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MAIL_GUARD_H_
