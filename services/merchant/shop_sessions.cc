#include "services/merchant/shop_sessions.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "protocol/channel.h"
#include "protocol/key_schedule.h"
#include "protocol/shop_handshake.h"

namespace blindcart::merchant {
namespace {

constexpr size_t kMinReplyBucketBytes = 4 * 1024;

}  // namespace

struct ShopSessions::Session {
  Session(const Deps& deps, std::string handle, std::string sid)
      : handle(std::move(handle)),
        sid(std::move(sid)),
        created_ms(deps.clock.NowMonotonicMs()),
        handshake(deps.merchant, deps.random) {}

  const std::string handle;
  const std::string sid;
  const int64_t created_ms;

  // Held while a reply is sealed and queued, so that frames leave in the order of their numbers. A
  // leaf: nothing is called under it that takes another session's or the table's lock.
  std::mutex mutex;
  protocol::ShopMerchant handshake;
  bool answered = false;
  std::unique_ptr<protocol::Channel> channel;  // Once the customer's Finished was checked.
  bool ended = false;
  size_t in_flight = 0;
  // Checkouts that are under way, and those that ended in an order: request id to order id.
  absl::flat_hash_set<std::string> ordering;
  absl::flat_hash_map<std::string, std::string> ordered;
  std::deque<std::string> ordered_since;  // The keys of `ordered`, oldest first.
  // A delivery id gives the delivery's keys: it must never serve twice.
  absl::flat_hash_set<std::string> delivery_ids;
};

ShopSessions::ShopSessions(Deps deps, std::weak_ptr<BrokerCalls> broker)
    : deps_(std::move(deps)), broker_(std::move(broker)) {}

ShopSessions::~ShopSessions() = default;

ShopSessions::SessionPtr ShopSessions::Find(const std::string& handle) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sessions_.find(handle);
  return found == sessions_.end() ? nullptr : found->second;
}

size_t ShopSessions::size() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return sessions_.size();
}

void ShopSessions::OnHello(const v1::SessionHello& hello) {
  if (hello.handle().size() != kHandleBytes || hello.sid().size() != protocol::kSessionIdBytes) {
    deps_.refusals.Add(protocol::RefusalReason::kBounds);
    TellClosed(hello.handle());
    return;
  }
  if (deps_.shop.closed()) {
    TellClosed(hello.handle());
    return;
  }
  auto session = std::make_shared<Session>(deps_, hello.handle(), hello.sid());
  protocol::RefusalReason refused = protocol::RefusalReason::kNone;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (sessions_.size() >= deps_.max_sessions) {
      refused = protocol::RefusalReason::kRateLimited;
    } else if (!sessions_.emplace(session->handle, session).second) {
      refused = protocol::RefusalReason::kOutOfOrder;
    }
  }
  if (refused == protocol::RefusalReason::kOutOfOrder) {
    // A handle that is in use: neither the old nor the new session can be trusted.
    Refuse(Find(session->handle), refused);
    return;
  }
  if (refused != protocol::RefusalReason::kNone) {
    deps_.refusals.Add(refused);
    TellClosed(session->handle);
    return;
  }
  const std::shared_ptr<ShopSessions> self = shared_from_this();
  const absl::Status accepted = deps_.workers.Run(
      [self, session, ciphertext = hello.hello()] { self->Answer(session, ciphertext); });
  if (!accepted.ok()) Refuse(session, protocol::RefusalReason::kRateLimited);
}

void ShopSessions::Answer(const SessionPtr& session, const std::string& hello) {
  protocol::RefusalReason refused = protocol::RefusalReason::kNone;
  v1::MerchantToBroker message;
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    if (session->ended) return;
    absl::StatusOr<v1::ShopAnswer> answer = session->handshake.OnHello(session->sid, hello);
    if (answer.ok()) {
      session->answered = true;
      message.mutable_session_answer()->set_handle(session->handle);
      message.mutable_session_answer()->set_answer(answer->SerializeAsString());
    } else {
      refused = session->handshake.refusal();
    }
  }
  if (refused != protocol::RefusalReason::kNone) {
    Refuse(session, refused);
  } else if (const std::shared_ptr<BrokerCalls> broker = broker_.lock()) {
    broker->Send(message);
  }
}

void ShopSessions::OnFrame(const v1::SessionFrame& frame) {
  const SessionPtr session = Find(frame.handle());
  if (session == nullptr) return;  // Closed here while the frame was on its way.
  // The link ends as soon as everything that came before is answered.
  if (deps_.shop.closed()) return;
  v1::ShopWire wire;
  if (frame.frame().size() > kMaxWireBytes || !wire.ParseFromString(frame.frame()) ||
      !wire.has_frame()) {
    Refuse(session, protocol::RefusalReason::kBounds);
    return;
  }
  protocol::RefusalReason refused = protocol::RefusalReason::kNone;
  std::vector<std::string> messages;
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    if (session->ended) return;
    if (session->channel == nullptr) {
      if (!session->answered) {
        refused = protocol::RefusalReason::kOutOfOrder;
      } else if (!session->handshake.OnFinished(wire.finished()).ok()) {
        refused = session->handshake.refusal();
      } else {
        protocol::Channel::Options options;
        options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
        options.min_bucket_bytes = kMinReplyBucketBytes;
        absl::StatusOr<protocol::SessionKeys> keys = session->handshake.TakeKeys();
        absl::StatusOr<std::unique_ptr<protocol::Channel>> channel =
            keys.ok() ? protocol::Channel::Create(*std::move(keys), protocol::Role::kResponder,
                                                  deps_.clock, options)
                      : keys.status();
        if (channel.ok()) {
          session->channel = *std::move(channel);
        } else {
          refused = protocol::RefusalReason::kOutOfOrder;
        }
      }
    } else if (!wire.finished().empty()) {
      refused = protocol::RefusalReason::kOutOfOrder;
    }
    if (refused == protocol::RefusalReason::kNone) {
      absl::StatusOr<std::vector<std::string>> opened = session->channel->Open(wire.frame());
      if (!opened.ok()) {
        refused = session->channel->last_refusal();
      } else if (session->in_flight + opened->size() > kMaxRequestsInFlight) {
        refused = protocol::RefusalReason::kRateLimited;
      } else {
        session->in_flight += opened->size();
        messages = *std::move(opened);
      }
    }
  }
  if (refused != protocol::RefusalReason::kNone) {
    Refuse(session, refused);
    return;
  }
  for (const std::string& message : messages) Handle(session, message);
}

void ShopSessions::Handle(const SessionPtr& session, const std::string& message) {
  v1::ShopRequest request;
  if (!request.ParseFromString(message)) {
    Refuse(session, protocol::RefusalReason::kMalformed);
    return;
  }
  const Call call = {request.call_id(), deps_.shop.calls().Begin(request.body_case())};
  switch (request.body_case()) {
    case v1::ShopRequest::kCatalogue:
      HandleCatalogue(session, call, request.catalogue().known_version());
      return;
    case v1::ShopRequest::kCheckout:
      HandleCheckout(session, call, request.checkout());
      return;
    case v1::ShopRequest::kDelivery:
      HandleDelivery(session, call, request.delivery());
      return;
    case v1::ShopRequest::BODY_NOT_SET:
      break;
  }
  Refuse(session, protocol::RefusalReason::kMalformed);
}

void ShopSessions::HandleCatalogue(const SessionPtr& session, const Call& call,
                                   uint64_t known_version) {
  const std::shared_ptr<ShopSessions> self = shared_from_this();
  deps_.shop.Catalogue(known_version,
                       [self, session, call](absl::StatusOr<v1::CataloguePage> page) {
                         if (!page.ok()) {
                           // There is no page to say it with; the agent opens a new session and
                           // asks again.
                           self->Refuse(session, protocol::RefusalReason::kRateLimited);
                           return;
                         }
                         v1::ShopReply reply;
                         reply.set_call_id(call.id);
                         *reply.mutable_catalogue() = *std::move(page);
                         self->Reply(session, reply);
                       });
}

void ShopSessions::HandleCheckout(const SessionPtr& session, const Call& call,
                                  const v1::CheckoutRequest& request) {
  if (!IsWellFormed(request)) {
    Refuse(session, protocol::RefusalReason::kBounds);
    return;
  }
  v1::ShopReply reply;
  reply.set_call_id(call.id);
  Checkout::Call checkout;
  checkout.request = request;
  checkout.handle = session->handle;
  checkout.sid = session->sid;
  checkout.broker = broker_.lock();
  bool busy = checkout.broker == nullptr;
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    const auto known = session->ordered.find(request.request_id());
    if (known != session->ordered.end()) {
      checkout.known_order_id = known->second;
    } else {
      busy = busy || !session->ordering.insert(request.request_id()).second;
    }
  }
  if (busy) {
    reply.mutable_checkout()->set_outcome(v1::CHECKOUT_OUTCOME_BUSY);
    Reply(session, reply);
    return;
  }
  const std::shared_ptr<ShopSessions> self = shared_from_this();
  const bool repeated = !checkout.known_order_id.empty();
  deps_.shop.CheckOut(std::move(checkout),
                      [self, session, call, repeated, request_id = request.request_id(),
                       reply = std::move(reply)](v1::CheckoutResult result) mutable {
                        if (!repeated) {
                          std::lock_guard<std::mutex> lock(session->mutex);
                          session->ordering.erase(request_id);
                          if (result.outcome() == v1::CHECKOUT_OUTCOME_ORDERED) {
                            if (session->ordered.size() >= kMaxRememberedOrders) {
                              session->ordered.erase(session->ordered_since.front());
                              session->ordered_since.pop_front();
                            }
                            session->ordered.emplace(request_id, result.terms().order_id());
                            session->ordered_since.push_back(request_id);
                          }
                        }
                        *reply.mutable_checkout() = std::move(result);
                        self->Reply(session, reply);
                      });
}

void ShopSessions::HandleDelivery(const SessionPtr& session, const Call& call,
                                  const v1::DeliveryRequest& request) {
  if (!IsWellFormed(request)) {
    Refuse(session, protocol::RefusalReason::kBounds);
    return;
  }
  const std::shared_ptr<ShopSessions> self = shared_from_this();
  deps_.shop.PlanDelivery(
      request, [self, session, call, delivery_id = request.delivery_id()](DeliveryPlan plan) {
        self->Deliver(session, call, delivery_id, std::move(plan));
      });
}

void ShopSessions::Deliver(const SessionPtr& session, const Call& call,
                           const std::string& delivery_id, DeliveryPlan plan) {
  v1::ShopReply reply;
  reply.set_call_id(call.id);
  *reply.mutable_delivery() = plan.result;
  if (plan.result.outcome() != v1::DELIVERY_OUTCOME_COMING) {
    Reply(session, reply);
    return;
  }
  GoodsSender::Job job;
  protocol::RefusalReason refused = protocol::RefusalReason::kNone;
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    if (session->ended) return;
    if (session->delivery_ids.size() >= kMaxDeliveryIds ||
        !session->delivery_ids.insert(delivery_id).second) {
      refused = protocol::RefusalReason::kOutOfOrder;
    } else {
      absl::StatusOr<protocol::SessionKeys> keys = session->channel->DeliveryKeys(delivery_id);
      if (keys.ok()) {
        job.keys = *std::move(keys);
      } else {
        refused = protocol::RefusalReason::kExpired;
      }
    }
  }
  if (refused != protocol::RefusalReason::kNone) {
    Refuse(session, refused);
    return;
  }
  job.delivery_id = delivery_id;
  job.params = plan.params;
  job.file = std::move(plan.file);
  job.transport = deps_.goods_transport;
  Payments& payments = deps_.shop.payments();
  job.done = [&payments, order_id = plan.params.order_id](bool complete) {
    if (complete) payments.OnDelivered(order_id);
  };
  absl::StatusOr<std::function<void()>> begin = deps_.goods.Prepare(std::move(job));
  if (!begin.ok()) {
    {
      std::lock_guard<std::mutex> lock(session->mutex);
      session->delivery_ids.erase(delivery_id);  // Nothing was sealed under its keys.
    }
    reply.mutable_delivery()->Clear();
    reply.mutable_delivery()->set_outcome(absl::IsResourceExhausted(begin.status())
                                              ? v1::DELIVERY_OUTCOME_BUSY
                                              : v1::DELIVERY_OUTCOME_UNAVAILABLE);
    Reply(session, reply);
    return;
  }
  // The answer first: the customer needs it to open the first piece.
  Reply(session, reply);
  (*begin)();
}

void ShopSessions::Reply(const SessionPtr& session, const v1::ShopReply& reply) {
  const std::shared_ptr<BrokerCalls> broker = broker_.lock();
  protocol::RefusalReason refused = protocol::RefusalReason::kNone;
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    if (session->in_flight > 0) --session->in_flight;
    if (session->ended || broker == nullptr) return;
    v1::ShopWire wire;
    if (session->channel->Seal({reply.SerializeAsString()}, wire.mutable_frame()).ok()) {
      v1::MerchantToBroker message;
      message.mutable_session_frame()->set_handle(session->handle);
      message.mutable_session_frame()->set_frame(wire.SerializeAsString());
      broker->Send(message);
    } else {
      refused = protocol::RefusalReason::kExpired;
    }
  }
  if (refused != protocol::RefusalReason::kNone) Refuse(session, refused);
}

void ShopSessions::OnClosed(const v1::SessionClosed& closed) {
  const SessionPtr session = Find(closed.handle());
  if (session != nullptr) End(session);
}

void ShopSessions::Refuse(const SessionPtr& session, protocol::RefusalReason reason) {
  if (session == nullptr) return;
  deps_.refusals.Add(reason);
  End(session);
  TellClosed(session->handle);
}

void ShopSessions::End(const SessionPtr& session) {
  {
    std::lock_guard<std::mutex> lock(session->mutex);
    session->ended = true;
    if (session->channel != nullptr) session->channel->End();
  }
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sessions_.find(session->handle);
  if (found != sessions_.end() && found->second == session) sessions_.erase(found);
}

void ShopSessions::TellClosed(const std::string& handle) {
  const std::shared_ptr<BrokerCalls> broker = broker_.lock();
  if (broker == nullptr) return;
  v1::MerchantToBroker message;
  message.mutable_session_closed()->set_handle(handle);
  broker->Send(message);
}

void ShopSessions::Sweep() {
  std::vector<SessionPtr> all;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    all.reserve(sessions_.size());
    for (const auto& [handle, session] : sessions_) all.push_back(session);
  }
  const int64_t now_ms = deps_.clock.NowMonotonicMs();
  for (const SessionPtr& session : all) {
    bool over = false;
    {
      std::lock_guard<std::mutex> lock(session->mutex);
      over = session->channel != nullptr ? session->channel->ended()
                                         : now_ms - session->created_ms > kHandshakeLimitMs;
    }
    if (over) Refuse(session, protocol::RefusalReason::kExpired);
  }
}

void ShopSessions::CloseAll() {
  std::vector<SessionPtr> all;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [handle, session] : sessions_) all.push_back(session);
  }
  for (const SessionPtr& session : all) End(session);
}

}  // namespace blindcart::merchant
