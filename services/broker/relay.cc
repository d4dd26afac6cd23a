#include "services/broker/relay.h"

#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::broker {
namespace {

// A link that cannot take a message closes itself; the session ends when that is reported.
template <typename Message>
void Send(const std::shared_ptr<Link>& link, const Message& message) {
  link->Send(message.SerializeAsString()).IgnoreError();
}

void SendOpenResult(const std::shared_ptr<Link>& link, uint64_t call_id, v1::ShopState state,
                    absl::string_view answer = "") {
  v1::BrokerToCustomer message;
  message.set_call_id(call_id);
  message.mutable_open_shop()->set_state(state);
  message.mutable_open_shop()->set_answer(std::string(answer));
  Send(link, message);
}

}  // namespace

Relay::Relay(const Options& options, const protocol::Clock& clock, crypto::RandomSource& random)
    : options_(options), clock_(clock), random_(random) {}

void Relay::AddMerchant(int64_t merchant_id, LinkId link_id, std::shared_ptr<Link> link) {
  std::shared_ptr<Link> older;
  std::vector<RoutePtr> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (const auto found = link_of_merchant_.find(merchant_id); found != link_of_merchant_.end()) {
      const LinkId older_id = found->second;
      older = merchant_ends_[older_id].link;
      ended = TakeRoutesOfMerchantLocked(older_id);
    }
    MerchantEnd& end = merchant_ends_[link_id];
    end.merchant_id = merchant_id;
    end.link = std::move(link);
    link_of_merchant_[merchant_id] = link_id;
  }
  for (const RoutePtr& route : ended) TellCustomer(*route, v1::SHOP_STATE_OFFLINE);
  if (older != nullptr) older->Close(absl::UnavailableError("replaced by a newer link"));
}

void Relay::RemoveMerchant(LinkId link_id) {
  std::vector<RoutePtr> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ended = TakeRoutesOfMerchantLocked(link_id);
  }
  for (const RoutePtr& route : ended) TellCustomer(*route, v1::SHOP_STATE_OFFLINE);
}

bool Relay::IsOnline(int64_t merchant_id) {
  std::lock_guard<std::mutex> lock(mutex_);
  return link_of_merchant_.contains(merchant_id);
}

absl::Status Relay::OpenShop(const CustomerEnd& customer, uint64_t call_id, int64_t merchant_id,
                             const v1::OpenShopCall& call) {
  if (call.sid().size() != protocol::kSessionIdBytes || call.hello().empty() ||
      call.hello().size() > kMaxShopHelloBytes) {
    return protocol::Refused();
  }
  auto route = std::make_shared<Route>();
  route->session = {customer.customer_id, merchant_id, call.sid()};
  route->handle = random_.Bytes(kHandleBytes);
  route->customer_link_id = customer.link_id;
  route->customer_link = customer.link;
  route->open_call_id = call_id;
  route->opened_at_ms = clock_.NowMonotonicMs();
  v1::ShopState failure = v1::SHOP_STATE_UNSPECIFIED;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const SidKey key(customer.link_id, call.sid());
    if (by_sid_.contains(key)) return protocol::Refused();
    const auto online = link_of_merchant_.find(merchant_id);
    if (online == link_of_merchant_.end()) {
      failure = v1::SHOP_STATE_OFFLINE;
    } else if (const auto count = sessions_of_customer_.find(customer.customer_id);
               count != sessions_of_customer_.end() &&
               count->second >= options_.max_sessions_per_customer) {
      failure = v1::SHOP_STATE_TOO_MANY;
    } else {
      MerchantEnd& end = merchant_ends_[online->second];
      route->merchant_link_id = online->second;
      route->merchant_link = end.link;
      end.handles.insert(route->handle);
      by_handle_[route->handle] = route;
      by_sid_[key] = route;
      sids_of_customer_link_[customer.link_id].insert(call.sid());
      ++sessions_of_customer_[customer.customer_id];
    }
  }
  if (failure != v1::SHOP_STATE_UNSPECIFIED) {
    SendOpenResult(customer.link, call_id, failure);
    return absl::OkStatus();
  }
  v1::BrokerToMerchant message;
  v1::SessionHello* hello = message.mutable_session_hello();
  hello->set_handle(route->handle);
  hello->set_sid(call.sid());
  hello->set_hello(call.hello());
  Send(route->merchant_link, message);
  return absl::OkStatus();
}

absl::Status Relay::FromCustomer(LinkId customer_link, v1::ShopFrame frame) {
  if (frame.sid().size() != protocol::kSessionIdBytes || frame.frame().empty() ||
      frame.frame().size() > kMaxShopRequestBytes) {
    return protocol::Refused();
  }
  RoutePtr route;
  bool ended = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_sid_.find(SidKey(customer_link, frame.sid()));
    if (found == by_sid_.end() || !found->second->open) return absl::OkStatus();
    route = found->second;
    if (++route->unanswered > kMaxUnanswered) {
      ended = true;
      EraseLocked(*route);
    }
  }
  if (ended) {
    TellCustomer(*route, v1::SHOP_STATE_TOO_MANY);
    TellMerchant(*route);
    return absl::OkStatus();
  }
  v1::BrokerToMerchant message;
  message.mutable_session_frame()->set_handle(route->handle);
  message.mutable_session_frame()->set_frame(std::move(*frame.mutable_frame()));
  Send(route->merchant_link, message);
  return absl::OkStatus();
}

void Relay::CloseShop(LinkId customer_link, absl::string_view sid) {
  RoutePtr route;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = by_sid_.find(SidKey(customer_link, std::string(sid)));
    if (found == by_sid_.end()) return;
    route = found->second;
    EraseLocked(*route);
  }
  TellMerchant(*route);
  if (!route->open) TellCustomer(*route, v1::SHOP_STATE_NO_ANSWER);
}

void Relay::RemoveCustomer(LinkId customer_link) {
  std::vector<RoutePtr> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sids_of_customer_link_.find(customer_link);
    if (found == sids_of_customer_link_.end()) return;
    for (const std::string& sid : found->second) {
      ended.push_back(by_sid_[SidKey(customer_link, sid)]);
    }
    for (const RoutePtr& route : ended) EraseLocked(*route);
  }
  for (const RoutePtr& route : ended) TellMerchant(*route);
}

absl::optional<int64_t> Relay::MerchantOf(LinkId customer_link, absl::string_view sid) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_sid_.find(SidKey(customer_link, std::string(sid)));
  if (found == by_sid_.end() || !found->second->open) return absl::nullopt;
  return found->second->session.merchant_id;
}

absl::Status Relay::OnAnswer(LinkId merchant_link, const v1::SessionAnswer& answer) {
  if (answer.handle().size() != kHandleBytes || answer.answer().empty() ||
      answer.answer().size() > kMaxShopAnswerBytes) {
    return protocol::Refused();
  }
  RoutePtr route;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    route = FindByHandleLocked(merchant_link, answer.handle());
    if (route == nullptr) return absl::OkStatus();
    if (route->open) return protocol::Refused();
    route->open = true;
    ++route->on_their_way;
  }
  open_seconds_.Observe(static_cast<double>(clock_.NowMonotonicMs() - route->opened_at_ms) / 1e3);
  SendOpenResult(route->customer_link, route->open_call_id, v1::SHOP_STATE_OPEN, answer.answer());
  --route->on_their_way;
  return absl::OkStatus();
}

absl::Status Relay::FromMerchant(LinkId merchant_link, v1::SessionFrame frame) {
  if (frame.handle().size() != kHandleBytes || frame.frame().empty() ||
      frame.frame().size() > kMaxShopReplyBytes) {
    return protocol::Refused();
  }
  RoutePtr route;
  bool ended = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    route = FindByHandleLocked(merchant_link, frame.handle());
    if (route == nullptr) return absl::OkStatus();
    if (!route->open) return protocol::Refused();
    if (--route->unanswered < -kMaxUnanswered) {
      ended = true;
      EraseLocked(*route);
    } else {
      ++route->on_their_way;
    }
  }
  if (ended) {
    TellCustomer(*route, v1::SHOP_STATE_TOO_MANY);
    TellMerchant(*route);
    return absl::OkStatus();
  }
  v1::BrokerToCustomer message;
  message.mutable_shop_frame()->set_sid(route->session.sid);
  message.mutable_shop_frame()->set_frame(std::move(*frame.mutable_frame()));
  Send(route->customer_link, message);
  --route->on_their_way;
  return absl::OkStatus();
}

void Relay::OnSessionClosed(LinkId merchant_link, absl::string_view handle) {
  RoutePtr route;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    route = FindByHandleLocked(merchant_link, handle);
    if (route == nullptr) return;
    EraseLocked(*route);
  }
  TellCustomer(*route, v1::SHOP_STATE_NO_ANSWER);
}

absl::optional<Relay::Session> Relay::Find(LinkId merchant_link, absl::string_view handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  const RoutePtr route = FindByHandleLocked(merchant_link, handle);
  if (route == nullptr || !route->open) return absl::nullopt;
  return route->session;
}

void Relay::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::vector<RoutePtr> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [handle, route] : by_handle_) {
      if (!route->open && now_ms - route->opened_at_ms >= options_.answer_timeout_ms) {
        ended.push_back(route);
      }
    }
    for (const RoutePtr& route : ended) EraseLocked(*route);
  }
  for (const RoutePtr& route : ended) {
    TellCustomer(*route, v1::SHOP_STATE_NO_ANSWER);
    TellMerchant(*route);
  }
}

size_t Relay::session_count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return by_handle_.size();
}

bool Relay::HasUnanswered(LinkId customer_link) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto sids = sids_of_customer_link_.find(customer_link);
  if (sids == sids_of_customer_link_.end()) return false;
  for (const std::string& sid : sids->second) {
    const RoutePtr& route = by_sid_[SidKey(customer_link, sid)];
    if (!route->open || route->unanswered > 0 || route->on_their_way > 0) return true;
  }
  return false;
}

void Relay::EraseLocked(const Route& route) {
  by_handle_.erase(route.handle);
  by_sid_.erase(SidKey(route.customer_link_id, route.session.sid));
  if (const auto sids = sids_of_customer_link_.find(route.customer_link_id);
      sids != sids_of_customer_link_.end()) {
    sids->second.erase(route.session.sid);
    if (sids->second.empty()) sids_of_customer_link_.erase(sids);
  }
  if (const auto end = merchant_ends_.find(route.merchant_link_id); end != merchant_ends_.end()) {
    end->second.handles.erase(route.handle);
  }
  if (const auto count = sessions_of_customer_.find(route.session.customer_id);
      count != sessions_of_customer_.end() && --count->second == 0) {
    sessions_of_customer_.erase(count);
  }
}

Relay::RoutePtr Relay::FindByHandleLocked(LinkId merchant_link, absl::string_view handle) {
  const auto found = by_handle_.find(handle);
  if (found == by_handle_.end() || found->second->merchant_link_id != merchant_link) return nullptr;
  return found->second;
}

std::vector<Relay::RoutePtr> Relay::TakeRoutesOfMerchantLocked(LinkId link_id) {
  std::vector<RoutePtr> routes;
  const auto end = merchant_ends_.find(link_id);
  if (end == merchant_ends_.end()) return routes;
  for (const std::string& handle : end->second.handles) routes.push_back(by_handle_[handle]);
  const auto current = link_of_merchant_.find(end->second.merchant_id);
  if (current != link_of_merchant_.end() && current->second == link_id) {
    link_of_merchant_.erase(current);
  }
  merchant_ends_.erase(end);
  for (const RoutePtr& route : routes) EraseLocked(*route);
  return routes;
}

void Relay::TellCustomer(const Route& route, v1::ShopState state) {
  if (!route.open) {
    SendOpenResult(route.customer_link, route.open_call_id, state);
    return;
  }
  v1::BrokerToCustomer message;
  message.mutable_shop_closed()->set_sid(route.session.sid);
  message.mutable_shop_closed()->set_state(state);
  Send(route.customer_link, message);
}

void Relay::TellMerchant(const Route& route) {
  v1::BrokerToMerchant message;
  message.mutable_session_closed()->set_handle(route.handle);
  Send(route.merchant_link, message);
}

}  // namespace blindcart::broker
