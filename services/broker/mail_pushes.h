// New mail on its way to recipients who are connected here: what this broker has stored itself at
// once, and what other brokers of the market have stored as soon as a look at the store shows it.
//
// Known of each recipient is the number up to which everything was pushed, beginning with the highest
// one before the login: what was there before, the agent fetches by itself. A recipient may get a
// message twice, and two of one moment in either order; all of it can be fetched until acknowledged.
//
// Thread-safe, but Poll is for one thread at a time. Links are called without a lock held.
#ifndef BLINDCART_SERVICES_BROKER_MAIL_PUSHES_H_
#define BLINDCART_SERVICES_BROKER_MAIL_PUSHES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/mail.pb.h"
#include "protocol/clock.h"
#include "services/broker/relay.h"
#include "services/common/link.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// As the recipient gets it.
absl::StatusOr<v1::MailItem> ToMailItem(storage::Transaction& transaction, storage::Mail mail);

// The highest number of the customer's mail so far.
absl::StatusOr<int64_t> LastMailNumber(storage::Transaction& transaction, int64_t customer_id);

class MailPushes {
 public:
  // To one recipient with one look, whichever is reached first; the rest comes with the next one.
  static constexpr int kMaxItemsPerLook = 32;
  static constexpr size_t kMaxBytesPerLook = 640 * 1024;
  // Recipients asked about in one query.
  static constexpr size_t kRecipientsPerQuery = 4'096;

  // Both must outlive the object.
  MailPushes(storage::Store& store, const protocol::Clock& clock) : store_(store), clock_(clock) {}

  // New mail for the customer goes to this link too: all above `last_number`.
  void AddLink(int64_t customer_id, LinkId link_id, std::shared_ptr<Link> link,
               int64_t last_number);
  void RemoveLink(int64_t customer_id, LinkId link_id);

  // This broker has just stored it.
  void Push(int64_t recipient_id, v1::MailItem item);

  // Looks for what others have stored.
  void Poll();

 private:
  struct Recipient {
    absl::flat_hash_map<LinkId, std::shared_ptr<Link>> links;
    int64_t pushed_number = 0;
  };

  void PushNew(int64_t recipient_id, int64_t after_number);
  void Send(int64_t recipient_id, v1::MailItem item);

  storage::Store& store_;
  const protocol::Clock& clock_;
  std::mutex mutex_;
  absl::flat_hash_map<int64_t, Recipient> recipients_;  // Under mutex_.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_MAIL_PUSHES_H_
