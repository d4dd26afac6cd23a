#include "services/broker/goods_relay.h"

#include <utility>

namespace blindcart::broker {

Delivery::Delivery(const protocol::Clock& clock, std::function<void()> on_end)
    : clock_(clock), on_end_(std::move(on_end)), last_progress_ms_(clock.NowMonotonicMs()) {}

bool Delivery::AttachSource(GoodsSource* source) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (ended_ || source_attached_) return false;
  source_attached_ = true;
  source_ = source;
  last_progress_ms_ = clock_.NowMonotonicMs();
  PumpLocked();
  return true;
}

bool Delivery::AttachSink(GoodsSink* sink) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (ended_ || sink_attached_) return false;
  sink_attached_ = true;
  sink_ = sink;
  last_progress_ms_ = clock_.NowMonotonicMs();
  PumpLocked();
  return true;
}

void Delivery::DetachSource() {
  std::lock_guard<std::mutex> lock(mutex_);
  source_ = nullptr;
  EndLocked(absl::CancelledError("the merchant's stream is gone"));
}

void Delivery::DetachSink() {
  std::lock_guard<std::mutex> lock(mutex_);
  sink_ = nullptr;
  EndLocked(absl::CancelledError("the agent's stream is gone"));
}

void Delivery::OnPiece(std::unique_ptr<GoodsPiece> piece) {
  std::lock_guard<std::mutex> lock(mutex_);
  reading_ = false;
  if (ended_) return;
  waiting_.push_back(std::move(piece));
  last_progress_ms_ = clock_.NowMonotonicMs();
  PumpLocked();
}

void Delivery::OnSourceEnded(const absl::Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  reading_ = false;
  if (!status.ok()) {
    EndLocked(status);
    return;
  }
  source_done_ = true;
  PumpLocked();
}

void Delivery::OnWritten() {
  std::lock_guard<std::mutex> lock(mutex_);
  writing_ = false;
  last_progress_ms_ = clock_.NowMonotonicMs();
  PumpLocked();
}

void Delivery::OnSinkEnded() {
  std::lock_guard<std::mutex> lock(mutex_);
  writing_ = false;
  EndLocked(absl::CancelledError("the agent's stream broke"));
}

bool Delivery::moving() {
  std::lock_guard<std::mutex> lock(mutex_);
  return source_attached_ && sink_attached_ && !ended_;
}

void Delivery::EndIfStale(int64_t attach_limit_ms, int64_t stall_limit_ms) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool joined = source_attached_ && sink_attached_;
  const int64_t limit_ms = joined ? stall_limit_ms : attach_limit_ms;
  if (clock_.NowMonotonicMs() - last_progress_ms_ < limit_ms) return;
  EndLocked(absl::DeadlineExceededError("the delivery stood still"));
}

void Delivery::PumpLocked() {
  if (ended_) return;
  if (sink_ != nullptr && !writing_ && !waiting_.empty()) {
    writing_ = true;
    std::unique_ptr<GoodsPiece> piece = std::move(waiting_.front());
    waiting_.pop_front();
    sink_->Write(std::move(piece));
  }
  if (source_ != nullptr && !reading_ && !source_done_ && waiting_.size() < kLookAhead) {
    reading_ = true;
    source_->ReadNext();
  }
  if (source_done_ && sink_ != nullptr && !writing_ && waiting_.empty()) {
    EndLocked(absl::OkStatus());
  }
}

void Delivery::EndLocked(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  waiting_.clear();
  // First, so that who sees its stream end finds the delivery gone.
  on_end_();
  if (source_ != nullptr) source_->Finish(status);
  if (sink_ != nullptr) sink_->Finish(status);
}

GoodsRelay::GoodsRelay(const Options& options, const protocol::Clock& clock)
    : options_(options), clock_(clock) {}

bool GoodsRelay::Open(int64_t customer_id, absl::string_view delivery_id) {
  const std::string id(delivery_id);
  std::lock_guard<std::mutex> lock(table_->mutex);
  if (table_->deliveries.size() >= options_.max_open || table_->deliveries.contains(id)) {
    return false;
  }
  const auto count = table_->of_customer.find(customer_id);
  if (count != table_->of_customer.end() && count->second >= options_.max_per_customer) {
    return false;
  }
  ++table_->of_customer[customer_id];
  Entry entry;
  entry.customer_id = customer_id;
  entry.delivery = std::make_shared<Delivery>(clock_, [weak = std::weak_ptr<Table>(table_), id] {
    if (const std::shared_ptr<Table> table = weak.lock()) table->Erase(id);
  });
  table_->deliveries.emplace(id, std::move(entry));
  return true;
}

std::shared_ptr<Delivery> GoodsRelay::Find(absl::string_view delivery_id) {
  std::lock_guard<std::mutex> lock(table_->mutex);
  const auto found = table_->deliveries.find(delivery_id);
  return found == table_->deliveries.end() ? nullptr : found->second.delivery;
}

void GoodsRelay::Sweep() {
  for (const std::shared_ptr<Delivery>& delivery : All()) {
    delivery->EndIfStale(options_.attach_limit_ms, options_.stall_limit_ms);
  }
}

std::vector<std::shared_ptr<Delivery>> GoodsRelay::All() const {
  std::vector<std::shared_ptr<Delivery>> open;
  std::lock_guard<std::mutex> lock(table_->mutex);
  open.reserve(table_->deliveries.size());
  for (const auto& [id, entry] : table_->deliveries) open.push_back(entry.delivery);
  return open;
}

size_t GoodsRelay::moving_count() const {
  size_t count = 0;
  for (const std::shared_ptr<Delivery>& delivery : All()) count += delivery->moving() ? 1 : 0;
  return count;
}

size_t GoodsRelay::open_count() const {
  std::lock_guard<std::mutex> lock(table_->mutex);
  return table_->deliveries.size();
}

void GoodsRelay::Table::Erase(const std::string& delivery_id) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = deliveries.find(delivery_id);
  if (found == deliveries.end()) return;
  const auto count = of_customer.find(found->second.customer_id);
  if (--count->second == 0) of_customer.erase(count);
  deliveries.erase(found);
}

}  // namespace blindcart::broker
