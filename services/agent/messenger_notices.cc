// Notices: what the agent itself tells its user about a contact, so many an hour.
#include <string>
#include <utility>
#include <vector>

#include "protocol/mail_content.h"
#include "services/agent/messenger_state.h"
#include "services/agent/messenger_words.h"

namespace blindcart::agent {
namespace {

// What the events that a counted notice stands for go beyond.
int64_t LimitOf(MailGuard::Topic topic) {
  return topic == MailGuard::Topic::kNotHeld ? Messenger::kMaxHeldPerContact
                                             : Messenger::kMaxNoticesPerHour;
}

}  // namespace

// Whether another notice about the contact may be made within the hour.
absl::StatusOr<bool> Messenger::State::RoomForNotice(MessageStore& store,
                                                     const std::string& contact) {
  const absl::StatusOr<int64_t> noticed = store.CountNotices(contact, Now() - kNoticeHourMs);
  if (!noticed.ok()) return noticed.status();
  return *noticed < kMaxNoticesPerHour;
}

absl::StatusOr<int64_t> Messenger::State::AddNotice(MessageStore& store, const std::string& contact,
                                                    const std::string& message_id, std::string body,
                                                    std::vector<MessageRecord>* shown) {
  MessageRecord notice;
  notice.contact = contact;
  notice.message_id = message_id;
  notice.kind = MessageKind::kNotice;
  notice.body = std::move(body);
  notice.size_bytes = static_cast<int64_t>(notice.body.size());
  notice.sent_at_ms = Now();
  notice.stored_at_ms = notice.sent_at_ms;
  const absl::StatusOr<int64_t> id = store.AddMessage(notice);
  if (!id.ok()) return id.status();
  notice.id = *id;
  shown->push_back(std::move(notice));
  return id;
}

// One more event, in a notice that says how many there were since it was begun; in a new one when that
// was before `not_before_ms`, or the user has deleted it.
absl::Status Messenger::State::CountInNotice(MessageStore& store, const std::string& contact,
                                             MailGuard::Topic topic, int64_t not_before_ms,
                                             std::vector<MessageRecord>* shown) {
  const auto counted = store.guard().FindCounted(contact, topic);
  if (!counted.ok()) return counted.status();
  if (counted->has_value() && (*counted)->begun_at_ms >= not_before_ms) {
    MailGuard::CountedNotice more = **counted;
    ++more.count;
    const absl::StatusOr<bool> renewed =
        store.RenewNotice(more.message, CountedNotice(contact, topic, more.count, LimitOf(topic)));
    if (!renewed.ok()) return renewed.status();
    if (*renewed) return store.guard().SaveCounted(contact, topic, more);
  }
  const absl::StatusOr<int64_t> id =
      AddNotice(store, contact, use.random->Bytes(protocol::kMessageIdBytes),
                CountedNotice(contact, topic, 1, LimitOf(topic)), shown);
  if (!id.ok()) return id.status();
  return store.guard().SaveCounted(contact, topic, {*id, 1, Now()});
}

}  // namespace blindcart::agent
