// The broker without its network: every use case put together over one store. broker_service.h gives
// it links; tests give it links in memory.
//
// Destroy it after the last link is closed (after the server's shutdown).
// Thread-safe after Create.
#ifndef BLINDCART_SERVICES_BROKER_BROKER_CORE_H_
#define BLINDCART_SERVICES_BROKER_BROKER_CORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "crypto/certificate_authority.h"
#include "crypto/identity.h"
#include "crypto/password_record.h"
#include "crypto/random.h"
#include "crypto/time_stamp.h"
#include "proto/config.pb.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/broker/bank.h"
#include "services/broker/certificates.h"
#include "services/broker/goods_relay.h"
#include "services/broker/mail.h"
#include "services/broker/notary.h"
#include "services/broker/notices.h"
#include "services/broker/orders.h"
#include "services/broker/parts.h"
#include "services/broker/payments.h"
#include "services/broker/relay.h"
#include "services/broker/session_table.h"
#include "services/broker/source_throttle.h"
#include "services/common/call_stats.h"
#include "services/common/link.h"
#include "services/common/metrics.h"
#include "services/common/worker_pool.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// What single parts of the broker sign with; null: that part is not there.
struct Signers {
  const crypto::CertificateAuthority* authority = nullptr;
  const crypto::TimeStampResponder* time_stamps = nullptr;
};

class BrokerCore {
 public:
  // How often Sweep wants to be called.
  static constexpr int64_t kSweepIntervalMs = 500;

  // Everything handed in must outlive the broker. `config` is complete (CompleteConfig). The cost is
  // that of the enrolled records. FailedPrecondition when the store does not fit the configuration
  // (accounts, decoy): it names what is missing.
  static absl::StatusOr<std::unique_ptr<BrokerCore>> Create(
      const v1::BrokerConfig& config, const crypto::Identity& identity, storage::Store& store,
      const protocol::Clock& clock, crypto::RandomSource& random,
      const crypto::Argon2Cost& cost = crypto::Argon2Cost(), const Signers& signers = Signers());
  ~BrokerCore();
  BrokerCore(const BrokerCore&) = delete;
  BrokerCore& operator=(const BrokerCore&) = delete;

  // Handlers of links just accepted. `source` as in source_throttle.h.
  std::unique_ptr<LinkHandler> AcceptCustomer(std::shared_ptr<Link> link, std::string source);
  std::unique_ptr<LinkHandler> AcceptMerchant(std::shared_ptr<Link> link, std::string source);

  GoodsRelay& goods() { return goods_; }
  protocol::RefusalCounters& counters() { return counters_; }
  SessionTable& sessions() { return sessions_; }
  Mail& mail() { return mail_; }
  Notary& notary() { return notary_; }
  Relay& relay() { return relay_; }

  // Ends what is overdue: handshakes, sessions, shop answers, orders, deliveries; sends notices
  // again; removes expired mail.
  void Sweep();
  // Looks in the store for what other brokers of the market have left there for merchants and
  // customers who are connected here. For one thread at a time.
  void Poll();
  // Asks every link to end.
  void CloseLinks();

  // The way to a quiet end: from the first call on no link is taken, customers' links end as soon as
  // nothing that was asked for over them is under way, then merchants'. True once no link is left and
  // no delivery moves; to be called until then.
  bool Drain();

  // The use cases' figures at this moment (docs/operating.md).
  void AddMetrics(MetricPage& page) const;

 private:
  BrokerCore(const v1::BrokerConfig& config, const crypto::Identity& identity,
             storage::Store& store, const protocol::Clock& clock, crypto::RandomSource& random,
             const crypto::Argon2Cost& cost, const Signers& signers, std::string decoy_identity,
             const Notary::History& notary_history, std::unique_ptr<storage::CommitQueue> commits);

  const std::string decoy_identity_;
  storage::Store& store_;
  protocol::RefusalCounters counters_;
  CallStats customer_calls_;
  CallStats merchant_calls_;
  SourceThrottle sources_;
  SessionTable sessions_;
  Relay relay_;
  GoodsRelay goods_;
  std::unique_ptr<storage::CommitQueue> commits_;
  WorkerPool password_workers_;
  WorkerPool notary_workers_;
  Notices notices_;
  Orders orders_;
  Payments payments_;
  Bank bank_;
  Mail mail_;
  Certificates certificates_;
  Notary notary_;
  const Parts parts_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BROKER_CORE_H_
