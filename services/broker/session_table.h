// The links that stand or are being made: how many, whose, and which are overdue.
//
// Thread safety: every method may be called from any thread; sessions are called without the lock.
#ifndef BLINDCART_SERVICES_BROKER_SESSION_TABLE_H_
#define BLINDCART_SERVICES_BROKER_SESSION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "services/broker/relay.h"

namespace blindcart::broker {

// One link's conversation, as the table sees it.
class Session {
 public:
  virtual ~Session() = default;
  // Closes the link when its handshake is overdue or its session has expired.
  virtual void Sweep() = 0;
  virtual void Close(const absl::Status& status) = 0;
  // Takes nothing new from now on, and closes the link with `status` unless something that was asked
  // for over it is still under way. To be called again until the link is gone.
  virtual void Drain(const absl::Status& status) = 0;
};

class SessionTable {
 public:
  enum class Kind { kCustomer, kMerchant };

  struct Options {
    size_t max_customer_links = 12'000;
    size_t max_merchant_links = 1'000;
    size_t max_links_per_customer = 4;
  };

  explicit SessionTable(const Options& options) : options_(options) {}

  // The new link's id, unless there are too many of its kind or no more are wanted.
  absl::optional<LinkId> Add(Kind kind, std::weak_ptr<Session> session);
  // Idempotent.
  void Remove(LinkId link_id);

  // The link has logged in. A customer's oldest link is closed when there are too many: an owner who
  // comes back gets in.
  void BindCustomer(LinkId link_id, int64_t customer_id);

  void Sweep();
  void CloseAll(const absl::Status& status);
  // From now on every further link is one too many.
  void StopAdding();
  // Session::Drain of all of a kind.
  void Drain(Kind kind, const absl::Status& status);
  size_t count(Kind kind) const;

 private:
  struct Entry {
    Kind kind = Kind::kCustomer;
    int64_t customer_id = 0;  // 0: not logged in.
    std::weak_ptr<Session> session;
  };

  std::vector<std::shared_ptr<Session>> All(absl::optional<Kind> kind = absl::nullopt);

  const Options options_;
  mutable std::mutex mutex_;
  LinkId next_id_ = 1;
  bool adding_ = true;
  size_t customer_links_ = 0;
  size_t merchant_links_ = 0;
  absl::flat_hash_map<LinkId, Entry> entries_;
  absl::flat_hash_map<int64_t, std::deque<LinkId>> links_of_customer_;  // The oldest first.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_SESSION_TABLE_H_
