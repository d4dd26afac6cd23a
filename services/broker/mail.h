// The mailbox (docs/messages.md): keeps what customers publish so that others can begin to write to
// them, and what they send to each other, sealed for the recipient alone, until it is acknowledged or
// expires. A recipient who is connected gets new mail at once (mail_pushes.h); all of it can be fetched again until it
// is acknowledged.
//
// Checked before anything is stored: sizes, that published keys are signed by the customer's enrolled
// identity, and that an envelope has the form of one and names no other identity as its sender's. A one-time pre-key is handed out once, and to one asker at most one a
// day of each owner's (pre_key_throttle.h); who asks more often gets the keys without one. A message id
// is stored once. A mailbox holds a bounded number of messages and bytes, and a sender has an allowance
// of both (mail_allowance.h).
//
// Thread-safe. Answers come once, on the caller's thread or the commit queue's.
#ifndef BLINDCART_SERVICES_BROKER_MAIL_H_
#define BLINDCART_SERVICES_BROKER_MAIL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/mail.pb.h"
#include "protocol/clock.h"
#include "services/broker/mail_allowance.h"
#include "services/broker/mail_pushes.h"
#include "services/broker/pre_key_throttle.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Mail {
 public:
  static constexpr int64_t kMaxPreKeys = 100;  // Of one customer; more are not kept.
  // One page of fetched mail stops before either.
  static constexpr int kMaxItemsPerPage = 64;
  static constexpr size_t kMaxBytesPerPage = 640 * 1024;
  static constexpr int kMaxNumbersAcknowledged = kMaxItemsPerPage;  // In one call.
  // Calls under way to the store: of one customer, and of all in bytes of messages. A further message
  // is BUSY; any other call cannot be done now.
  static constexpr int kMaxUnderWay = 8;
  static constexpr size_t kMaxBytesUnderWay = 32 * 1024 * 1024;
  static constexpr int64_t kSweepIntervalMs = 5'000;

  struct Options {
    int64_t max_items = 0;  // In one mailbox.
    int64_t max_bytes = 0;
    int64_t lifetime_ms = 0;
    MailAllowance::Options sender;
  };
  // An error: it could not be done now.
  using Answer = std::function<void(absl::StatusOr<v1::MailResult>)>;

  // All must outlive the object and every callback of the queue.
  Mail(const Options& options, storage::Store& store, storage::CommitQueue& commits,
       const protocol::Clock& clock);

  // Where new mail is pushed to.
  MailPushes& pushes() { return pushes_; }

  // Refused() for what no honest agent sends, any other error when it cannot be done now; `answer` is
  // not called then.
  absl::Status Handle(int64_t customer_id, v1::MailCall call, Answer answer);

  // Removes what has expired.
  void Sweep();

  // Calls that wait for the store, and the messages that they carry.
  size_t under_way_count() const;
  size_t bytes_under_way() const;

 private:
  absl::Status PublishKeys(int64_t customer_id, const v1::PublishKeysCall& call, Answer answer);
  absl::Status FetchKeys(int64_t customer_id, const v1::FetchKeysCall& call, Answer answer);
  // Of what is sealed, what the broker can see: its form, and that it begins a session only in its
  // sender's own name. Otherwise one customer could have the other's agent believe in a changed key.
  absl::Status CheckEnvelope(int64_t sender_id, absl::string_view sealed);
  absl::Status Send(int64_t customer_id, v1::SendMailCall call, Answer answer);
  absl::Status Fetch(int64_t customer_id, const v1::FetchMailCall& call, Answer answer);
  absl::Status Acknowledge(int64_t customer_id, const v1::AcknowledgeMailCall& call, Answer answer);

  // Runs `job` of the customer's, which fills its argument in, and answers once that is durable.
  absl::Status Commit(int64_t customer_id,
                      std::function<absl::Status(storage::Transaction&, v1::MailResult&)> job,
                      Answer answer);
  // False when too much is under way. `bytes` is 0 for what carries no message.
  bool Begin(int64_t customer_id, size_t bytes);
  void End(int64_t customer_id, size_t bytes);

  const Options options_;
  storage::Store& store_;
  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  PreKeyThrottle pre_keys_;
  MailAllowance allowance_;
  MailPushes pushes_;

  mutable std::mutex mutex_;
  // The rest is used under mutex_.
  absl::flat_hash_map<int64_t, int> under_way_;  // By customer.
  size_t bytes_under_way_ = 0;
  int64_t last_sweep_ms_ = 0;
  bool sweeping_ = false;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_MAIL_H_
