// What sessions are made of: the broker's one set of use cases, put together by broker_core.h and handed
// to every session.
#ifndef BLINDCART_SERVICES_BROKER_PARTS_H_
#define BLINDCART_SERVICES_BROKER_PARTS_H_

#include <cstdint>
#include <string>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/broker/bank.h"
#include "services/broker/certificates.h"
#include "services/broker/goods_relay.h"
#include "services/broker/mail.h"
#include "services/broker/notary.h"
#include "services/broker/notices.h"
#include "services/broker/orders.h"
#include "services/broker/payments.h"
#include "services/broker/relay.h"
#include "services/broker/session_table.h"
#include "services/broker/source_throttle.h"
#include "services/common/call_stats.h"
#include "services/common/worker_pool.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// References are to what outlives every session.
struct Parts {
  const crypto::Identity& identity;
  // Serialised public identity whose private key nobody has: strangers are answered under it.
  const std::string& decoy_identity;
  storage::Store& store;
  storage::CommitQueue& commits;
  Executor& password_workers;
  SourceThrottle& sources;
  SessionTable& sessions;
  Relay& relay;
  Orders& orders;
  Payments& payments;
  Bank& bank;
  Notices& notices;
  GoodsRelay& goods;
  Mail& mail;
  Certificates& certificates;
  Notary& notary;
  const protocol::Clock& clock;
  crypto::RandomSource& random;
  protocol::RefusalCounters& counters;
  CallStats& customer_calls;
  CallStats& merchant_calls;
  int64_t handshake_timeout_ms;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_PARTS_H_
