#include "services/broker/session_table.h"

#include <algorithm>
#include <utility>

namespace blindcart::broker {

absl::optional<LinkId> SessionTable::Add(Kind kind, std::weak_ptr<Session> session) {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t& links = kind == Kind::kCustomer ? customer_links_ : merchant_links_;
  const size_t most =
      kind == Kind::kCustomer ? options_.max_customer_links : options_.max_merchant_links;
  if (!adding_ || links >= most) return absl::nullopt;
  ++links;
  const LinkId id = next_id_++;
  Entry entry;
  entry.kind = kind;
  entry.session = std::move(session);
  entries_.emplace(id, std::move(entry));
  return id;
}

void SessionTable::Remove(LinkId link_id) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = entries_.find(link_id);
  if (found == entries_.end()) return;
  --(found->second.kind == Kind::kCustomer ? customer_links_ : merchant_links_);
  if (const auto links = links_of_customer_.find(found->second.customer_id);
      links != links_of_customer_.end()) {
    links->second.erase(std::remove(links->second.begin(), links->second.end(), link_id),
                        links->second.end());
    if (links->second.empty()) links_of_customer_.erase(links);
  }
  entries_.erase(found);
}

void SessionTable::BindCustomer(LinkId link_id, int64_t customer_id) {
  std::shared_ptr<Session> oldest;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = entries_.find(link_id);
    if (found == entries_.end()) return;
    found->second.customer_id = customer_id;
    std::deque<LinkId>& links = links_of_customer_[customer_id];
    links.push_back(link_id);
    if (links.size() > options_.max_links_per_customer) {
      oldest = entries_[links.front()].session.lock();
      links.pop_front();
    }
  }
  if (oldest != nullptr) oldest->Close(absl::UnavailableError("replaced by a newer link"));
}

void SessionTable::Sweep() {
  for (const std::shared_ptr<Session>& session : All()) session->Sweep();
}

void SessionTable::CloseAll(const absl::Status& status) {
  for (const std::shared_ptr<Session>& session : All()) session->Close(status);
}

void SessionTable::StopAdding() {
  std::lock_guard<std::mutex> lock(mutex_);
  adding_ = false;
}

void SessionTable::Drain(Kind kind, const absl::Status& status) {
  for (const std::shared_ptr<Session>& session : All(kind)) session->Drain(status);
}

size_t SessionTable::count(Kind kind) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return kind == Kind::kCustomer ? customer_links_ : merchant_links_;
}

std::vector<std::shared_ptr<Session>> SessionTable::All(absl::optional<Kind> kind) {
  std::vector<std::shared_ptr<Session>> sessions;
  std::lock_guard<std::mutex> lock(mutex_);
  sessions.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) {
    if (kind.has_value() && entry.kind != *kind) continue;
    if (std::shared_ptr<Session> session = entry.session.lock()) {
      sessions.push_back(std::move(session));
    }
  }
  return sessions;
}

}  // namespace blindcart::broker
