#include "services/broker/notices.h"

#include <utility>
#include <vector>

#include "services/common/log.h"

namespace blindcart::broker {

absl::StatusOr<Notices::Written> Notices::Write(storage::Transaction& transaction,
                                                int64_t merchant_id, absl::string_view order_id,
                                                v1::OrderStatus status, const v1::Receipt* receipt,
                                                int64_t now_ms) {
  Written written;
  written.merchant_id = merchant_id;
  written.notice.set_order_id(std::string(order_id));
  written.notice.set_status(status);
  if (receipt != nullptr) *written.notice.mutable_receipt() = *receipt;
  const absl::StatusOr<int64_t> id =
      transaction.notices().Append(merchant_id, written.notice.SerializeAsString(), now_ms);
  if (!id.ok()) return id.status();
  written.notice_id = *id;
  return written;
}

void Notices::OnCommitted(const Written& written) {
  if (written.notice_id == 0) return;
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = outboxes_.find(written.merchant_id);
    if (found == outboxes_.end()) return;
    Outbox& outbox = found->second;
    if (written.notice_id <= outbox.last_sent_id) return;
    if (outbox.behind || outbox.under_way.size() >= kWindow) {
      outbox.behind = true;
      outbox.reload = true;
      return;
    }
    if (outbox.under_way.empty()) outbox.last_progress_ms = clock_.NowMonotonicMs();
    outbox.last_sent_id = written.notice_id;
    outbox.under_way.insert(written.notice_id);
    link = outbox.link;
  }
  link->Send(Encode(written.notice, written.notice_id)).IgnoreError();
}

void Notices::AddLink(int64_t merchant_id, LinkId link_id, std::shared_ptr<Link> link) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Outbox& outbox = outboxes_[merchant_id];
    outbox = Outbox();
    outbox.link_id = link_id;
    outbox.link = std::move(link);
    outbox.last_progress_ms = clock_.NowMonotonicMs();
  }
  Load(merchant_id, link_id);
}

void Notices::RemoveLink(int64_t merchant_id, LinkId link_id) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = outboxes_.find(merchant_id);
  if (found != outboxes_.end() && found->second.link_id == link_id) outboxes_.erase(found);
}

void Notices::OnAck(int64_t merchant_id, LinkId link_id, int64_t notice_id) {
  bool load = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = outboxes_.find(merchant_id);
    // Only what was sent on this link can be acknowledged on it; a repeat is dropped here.
    if (found == outboxes_.end() || found->second.link_id != link_id ||
        found->second.under_way.erase(notice_id) == 0) {
      return;
    }
    found->second.last_progress_ms = clock_.NowMonotonicMs();
    load = found->second.behind && found->second.under_way.size() <= kWindow / 2;
  }
  // When the queue is full, the notice is sent again later and acknowledged again.
  commits_
      .Submit(
          [merchant_id, notice_id](storage::Transaction& transaction) {
            return transaction.notices().Acknowledge(merchant_id, notice_id);
          },
          [](absl::Status status) {
            if (!status.ok()) {
              LogWarning("notice.acknowledge_failed", {{"code", static_cast<int>(status.code())}});
            }
          })
      .IgnoreError();
  if (load) Load(merchant_id, link_id);
}

void Notices::Sweep() {
  std::vector<std::pair<int64_t, LinkId>> stale;
  const int64_t now_ms = clock_.NowMonotonicMs();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto& [merchant_id, outbox] : outboxes_) {
      const bool overdue =
          !outbox.under_way.empty() && now_ms - outbox.last_progress_ms >= kResendAfterMs;
      // Behind without anything under way: a read of the store failed.
      const bool stuck = outbox.behind && outbox.under_way.empty();
      if (outbox.loading || (!overdue && !stuck)) continue;
      outbox.last_sent_id = 0;
      outbox.under_way.clear();
      outbox.behind = true;
      outbox.last_progress_ms = now_ms;
      stale.emplace_back(merchant_id, outbox.link_id);
    }
  }
  for (const auto& [merchant_id, link_id] : stale) Load(merchant_id, link_id);
}

size_t Notices::under_way_count() const {
  size_t count = 0;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [merchant_id, outbox] : outboxes_) count += outbox.under_way.size();
  return count;
}

void Notices::Load(int64_t merchant_id, LinkId link_id) {
  while (true) {
    int64_t after_id = 0;
    size_t room = 0;
    std::shared_ptr<Link> link;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = outboxes_.find(merchant_id);
      if (found == outboxes_.end() || found->second.link_id != link_id) return;
      Outbox& outbox = found->second;
      if (outbox.loading || outbox.under_way.size() >= kWindow) return;
      outbox.loading = true;
      outbox.reload = false;
      after_id = outbox.last_sent_id;
      room = kWindow - outbox.under_way.size();
      link = outbox.link;
    }
    std::vector<storage::Notice> waiting;
    const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
      absl::StatusOr<std::vector<storage::Notice>> listed =
          transaction.notices().List(merchant_id, after_id, static_cast<int64_t>(room));
      if (!listed.ok()) return listed.status();
      waiting = *std::move(listed);
      return absl::OkStatus();
    });
    bool again = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = outboxes_.find(merchant_id);
      if (found == outboxes_.end() || found->second.link_id != link_id) return;
      Outbox& outbox = found->second;
      outbox.loading = false;
      if (!read.ok()) {
        // The sweep tries again.
        LogWarning("notice.read_failed", {{"code", static_cast<int>(read.code())}});
        return;
      }
      if (outbox.under_way.empty()) outbox.last_progress_ms = clock_.NowMonotonicMs();
      for (const storage::Notice& notice : waiting) {
        outbox.last_sent_id = notice.notice_id;
        outbox.under_way.insert(notice.notice_id);
      }
      const bool all_read = waiting.size() < room;
      again = all_read && outbox.reload;
      outbox.behind = !all_read || outbox.reload;
    }
    for (const storage::Notice& notice : waiting) {
      v1::PaymentNotice message;
      if (!message.ParseFromString(notice.payload)) {
        LogError("notice.damaged");
        continue;
      }
      link->Send(Encode(message, notice.notice_id)).IgnoreError();
    }
    if (!again) return;
  }
}

std::string Notices::Encode(const v1::PaymentNotice& notice, int64_t notice_id) {
  v1::BrokerToMerchant message;
  *message.mutable_payment_notice() = notice;
  message.mutable_payment_notice()->set_notice_id(notice_id);
  return message.SerializeAsString();
}

}  // namespace blindcart::broker
