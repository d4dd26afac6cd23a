#include "services/broker/mail_pushes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "proto/customer.pb.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMailPerRead = 8;

void LogReadFailure(const absl::Status& status) {
  LogWarning("mail.read_failed", {{"code", static_cast<int>(status.code())}});
}

}  // namespace

absl::StatusOr<v1::MailItem> ToMailItem(storage::Transaction& transaction, storage::Mail mail) {
  absl::StatusOr<storage::Customer> sender = transaction.customers().Get(mail.sender_id);
  if (!sender.ok()) return sender.status();
  v1::MailItem item;
  item.set_mail_number(static_cast<uint64_t>(mail.mail_number));
  item.set_message_id(std::move(mail.message_id));
  item.set_sender(std::move(sender->username));
  item.set_stored_at_ms(mail.stored_at_ms);
  item.set_sealed(std::move(mail.sealed));
  return item;
}

absl::StatusOr<int64_t> LastMailNumber(storage::Transaction& transaction, int64_t customer_id) {
  const absl::StatusOr<std::vector<storage::LastMailNumber>> numbers =
      transaction.mailboxes().LastNumbers(absl::MakeConstSpan(&customer_id, 1));
  if (!numbers.ok()) return numbers.status();
  return numbers->empty() ? 0 : numbers->front().mail_number;
}

void MailPushes::AddLink(int64_t customer_id, LinkId link_id, std::shared_ptr<Link> link,
                         int64_t last_number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool first = !recipients_.contains(customer_id);
  Recipient& recipient = recipients_[customer_id];
  recipient.links[link_id] = std::move(link);
  recipient.pushed_number = first ? last_number : std::min(recipient.pushed_number, last_number);
}

void MailPushes::RemoveLink(int64_t customer_id, LinkId link_id) {
  std::shared_ptr<Link> removed;  // Goes after the lock.
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = recipients_.find(customer_id);
  if (found == recipients_.end()) return;
  const auto link = found->second.links.find(link_id);
  if (link == found->second.links.end()) return;
  removed = std::move(link->second);
  found->second.links.erase(link);
  if (found->second.links.empty()) recipients_.erase(found);
}

void MailPushes::Push(int64_t recipient_id, v1::MailItem item) {
  const auto number = static_cast<int64_t>(item.mail_number());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = recipients_.find(recipient_id);
    if (found == recipients_.end()) return;
    int64_t& pushed = found->second.pushed_number;
    if (number <= pushed) return;  // A look at the store was quicker.
    // Otherwise another broker has stored what lies between, and the next look pushes that.
    if (number == pushed + 1) pushed = number;
  }
  Send(recipient_id, std::move(item));
}

void MailPushes::Send(int64_t recipient_id, v1::MailItem item) {
  std::vector<std::shared_ptr<Link>> links;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = recipients_.find(recipient_id);
    if (found == recipients_.end()) return;
    for (const auto& [link_id, link] : found->second.links) links.push_back(link);
  }
  v1::BrokerToCustomer message;
  *message.mutable_mail()->mutable_push() = std::move(item);
  const std::string bytes = message.SerializeAsString();
  for (const std::shared_ptr<Link>& link : links) link->Send(bytes).IgnoreError();
}

void MailPushes::Poll() {
  absl::flat_hash_map<int64_t, int64_t> pushed;
  std::vector<int64_t> ids;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ids.reserve(recipients_.size());
    for (const auto& [id, recipient] : recipients_) {
      pushed[id] = recipient.pushed_number;
      ids.push_back(id);
    }
  }
  for (size_t begin = 0; begin < ids.size(); begin += kRecipientsPerQuery) {
    const absl::Span<const int64_t> some =
        absl::MakeConstSpan(ids).subspan(begin, kRecipientsPerQuery);
    std::vector<storage::LastMailNumber> last;
    const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
      absl::StatusOr<std::vector<storage::LastMailNumber>> numbers =
          transaction.mailboxes().LastNumbers(some);
      if (numbers.ok()) last = *std::move(numbers);
      return numbers.status();
    });
    if (!read.ok()) return LogReadFailure(read);
    for (const storage::LastMailNumber& number : last) {
      const int64_t known = pushed[number.customer_id];
      if (number.mail_number > known) PushNew(number.customer_id, known);
    }
  }
}

void MailPushes::PushNew(int64_t recipient_id, int64_t after_number) {
  std::vector<v1::MailItem> items;
  int64_t reached = after_number;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    items.clear();
    reached = after_number;
    const int64_t now_ms = clock_.NowUnixMs();
    const absl::StatusOr<int64_t> last = LastMailNumber(transaction, recipient_id);
    if (!last.ok()) return last.status();
    size_t bytes = 0;
    while (true) {
      absl::StatusOr<std::vector<storage::Mail>> mails =
          transaction.mailboxes().List(recipient_id, reached, kMailPerRead);
      if (!mails.ok()) return mails.status();
      if (mails->empty()) {
        reached = *last;  // What is missing was acknowledged or removed.
        return absl::OkStatus();
      }
      for (storage::Mail& mail : *mails) {
        if (items.size() >= static_cast<size_t>(kMaxItemsPerLook) ||
            (!items.empty() && bytes + mail.sealed.size() > kMaxBytesPerLook)) {
          return absl::OkStatus();
        }
        reached = mail.mail_number;
        if (mail.expires_at_ms <= now_ms) continue;
        bytes += mail.sealed.size();
        absl::StatusOr<v1::MailItem> item = ToMailItem(transaction, std::move(mail));
        if (!item.ok()) return item.status();
        items.push_back(*std::move(item));
      }
    }
  });
  if (!read.ok()) return LogReadFailure(read);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = recipients_.find(recipient_id);
    if (found == recipients_.end()) return;
    // Another link may have come meanwhile, which needs more than this.
    int64_t& pushed = found->second.pushed_number;
    if (pushed >= after_number) pushed = std::max(pushed, reached);
  }
  for (v1::MailItem& item : items) Send(recipient_id, std::move(item));
}

}  // namespace blindcart::broker
