#include "services/broker/notices.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "services/common/log.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kKeysPerRead = 1'024;

}  // namespace

Notices::Notices(storage::Store& store, storage::CommitQueue& commits, const protocol::Clock& clock)
    : store_(store), commits_(commits), clock_(clock) {
  // Every link that comes later reads all that is there now. Should this fail, the first look reads
  // the same from the beginning.
  store_
      .Read([&](storage::Transaction& transaction) {
        const absl::StatusOr<int64_t> highest = transaction.notices().HighestId();
        seen_id_ = highest.value_or(0);
        return highest.status();
      })
      .IgnoreError();
  settled_id_ = seen_id_;
}

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
          [](const absl::Status& status) {
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

void Notices::Poll() {
  absl::flat_hash_map<int64_t, std::vector<int64_t>> overdue;  // By merchant.
  int64_t newest_id = seen_id_;
  int64_t after_id = settled_id_;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    overdue.clear();
    newest_id = seen_id_;
    after_id = settled_id_;
    while (true) {
      const absl::StatusOr<std::vector<storage::NoticeKey>> keys =
          transaction.notices().ListKeys(after_id, kKeysPerRead);
      if (!keys.ok()) return keys.status();
      for (const storage::NoticeKey& key : *keys) {
        after_id = key.notice_id;
        newest_id = std::max(newest_id, key.notice_id);
        if (key.notice_id <= seen_id_) overdue[key.merchant_id].push_back(key.notice_id);
      }
      if (keys->size() < static_cast<size_t>(kKeysPerRead)) return absl::OkStatus();
    }
  });
  if (!read.ok()) {
    LogWarning("notice.read_failed", {{"code", static_cast<int>(read.code())}});
    return;
  }
  settled_id_ = seen_id_;
  seen_id_ = newest_id;

  std::vector<std::pair<int64_t, LinkId>> behind;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [merchant_id, ids] : overdue) {
      const auto found = outboxes_.find(merchant_id);
      if (found == outboxes_.end()) continue;  // Its next link reads all of it.
      Outbox& outbox = found->second;
      for (const int64_t id : ids) {
        if (outbox.under_way.contains(id)) continue;
        outbox.rewind_id = std::min(outbox.rewind_id.value_or(id - 1), id - 1);
        outbox.behind = true;
        outbox.reload = true;
        behind.emplace_back(merchant_id, outbox.link_id);
        break;  // They ascend.
      }
    }
  }
  for (const auto& [merchant_id, link_id] : behind) Load(merchant_id, link_id);
}

void Notices::Load(int64_t merchant_id, LinkId link_id) {
  while (true) {
    int64_t after_id = 0;
    std::shared_ptr<Link> link;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = outboxes_.find(merchant_id);
      if (found == outboxes_.end() || found->second.link_id != link_id) return;
      Outbox& outbox = found->second;
      if (outbox.loading || outbox.under_way.size() >= kWindow) return;
      outbox.loading = true;
      outbox.reload = false;
      if (outbox.rewind_id.has_value()) {
        outbox.last_sent_id = std::min(outbox.last_sent_id, *outbox.rewind_id);
        outbox.rewind_id.reset();
      }
      after_id = outbox.last_sent_id;
      link = outbox.link;
    }
    std::vector<storage::Notice> waiting;
    const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
      absl::StatusOr<std::vector<storage::Notice>> listed =
          transaction.notices().List(merchant_id, after_id, static_cast<int64_t>(kWindow));
      if (!listed.ok()) return listed.status();
      waiting = *std::move(listed);
      return absl::OkStatus();
    });
    bool again = false;
    std::vector<storage::Notice> to_send;
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
      bool all_read = waiting.size() < kWindow;
      for (storage::Notice& notice : waiting) {
        if (outbox.under_way.size() >= kWindow) {
          all_read = false;
          break;
        }
        outbox.last_sent_id = notice.notice_id;
        // Read anew from further down, there are those among it that are under way.
        if (outbox.under_way.insert(notice.notice_id).second) to_send.push_back(std::move(notice));
      }
      // There is room again as merchants acknowledge; a page of what is under way alone leaves some.
      again = all_read ? outbox.reload : outbox.under_way.size() < kWindow;
      outbox.behind = !all_read || outbox.reload;
    }
    for (const storage::Notice& notice : to_send) {
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
