#include "tests/support/test_customer.h"

#include <algorithm>
#include <utility>

#include "crypto/password_record.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "protocol/login_handshake.h"
#include "protocol/order.h"
#include "protocol/shop_handshake.h"

namespace blindcart::testing {

absl::StatusOr<std::unique_ptr<TestCustomer>> TestCustomer::LogIn(RawBroker& broker,
                                                                  const crypto::Identity& identity,
                                                                  const CustomerSpec& spec) {
  auto customer = std::unique_ptr<TestCustomer>(new TestCustomer(spec));
  customer->link_ = broker.OpenLink(Door::kCustomer);
  RawLink& link = *customer->link_;

  protocol::CustomerLogin login(identity, broker.identity(), crypto::SystemRandom());
  auto hello = login.Start(spec.username);
  if (!hello.ok()) return hello.status();
  customer->login_messages_.push_back(*hello);
  link.WriteHandshake(*std::move(hello));
  const auto challenge = link.ReadHandshake();
  if (!challenge.has_value()) return link.AwaitEnd();
  auto finished = login.OnChallenge(*challenge);
  if (!finished.ok()) return finished.status();
  auto keys = login.TakeKeys();
  if (!keys.ok()) return keys.status();
  link.Establish(*std::move(keys), protocol::Role::kInitiator);

  v1::CustomerMessage password;
  password.set_call_id(customer->next_call_id_++);
  const crypto::SecretBytes hash = crypto::PasswordHash(spec.username, spec.password);
  password.mutable_login()->set_password_hash(hash.data(), hash.size());
  const absl::Status sealed =
      link.channel()->Seal({password.SerializeAsString()}, finished->mutable_frame());
  if (!sealed.ok()) return sealed;
  customer->login_messages_.push_back(*finished);
  link.WriteHandshake(*std::move(finished));
  const auto result = customer->Next();
  if (!result.has_value()) return link.AwaitEnd();
  if (!result->login().success()) return absl::PermissionDeniedError("the login failed");
  return customer;
}

absl::optional<v1::BrokerToCustomer> TestCustomer::Next() {
  const absl::optional<std::string> bytes = link_->Receive();
  v1::BrokerToCustomer message;
  if (!bytes.has_value() || !message.ParseFromString(*bytes)) return absl::nullopt;
  return message;
}

bool TestCustomer::Send(const v1::CustomerMessage& message) {
  return link_->Send({message.SerializeAsString()});
}

absl::optional<v1::BrokerToCustomer> TestCustomer::Call(v1::CustomerMessage message) {
  if (message.call_id() == 0) message.set_call_id(next_call_id_++);
  if (!Send(message)) return absl::nullopt;
  while (true) {
    absl::optional<v1::BrokerToCustomer> answer = Next();
    if (!answer.has_value() || answer->call_id() == message.call_id()) return answer;
    pushes_.push_back(*std::move(answer));
  }
}

absl::optional<crypto::PublicIdentity> TestCustomer::FindShop(const std::string& name) {
  v1::CustomerMessage message;
  message.mutable_get_shop()->set_name(name);
  const auto answer = Call(message);
  if (!answer.has_value()) return absl::nullopt;
  auto identity = crypto::PublicIdentity::Parse(answer->get_shop().shop().identity());
  if (!identity.ok()) return absl::nullopt;
  return *std::move(identity);
}

v1::ShopState TestCustomer::OpenShop(const crypto::PublicIdentity& shop, ShopTalk* talk) {
  protocol::ShopCustomer handshake(shop, crypto::SystemRandom());
  const auto hello = handshake.Start();
  if (!hello.ok()) return v1::SHOP_STATE_UNSPECIFIED;
  talk->sid = hello->sid;
  talk->hello = hello->ciphertext;
  v1::CustomerMessage message;
  message.mutable_open_shop()->set_merchant_fingerprint(shop.fingerprint());
  message.mutable_open_shop()->set_sid(talk->sid);
  message.mutable_open_shop()->set_hello(talk->hello);
  const auto reply = Call(message);
  if (!reply.has_value()) return v1::SHOP_STATE_UNSPECIFIED;
  if (reply->open_shop().state() != v1::SHOP_STATE_OPEN) return reply->open_shop().state();
  v1::ShopAnswer answer;
  if (!answer.ParseFromString(reply->open_shop().answer())) return v1::SHOP_STATE_UNSPECIFIED;
  auto finished = handshake.OnAnswer(answer);
  auto keys = handshake.TakeKeys();
  if (!finished.ok() || !keys.ok()) return v1::SHOP_STATE_UNSPECIFIED;
  talk->finished = *std::move(finished);
  protocol::Channel::Options options;
  options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
  talk->channel = *protocol::Channel::Create(*std::move(keys), protocol::Role::kInitiator,
                                             protocol::SystemClock(), options);
  return v1::SHOP_STATE_OPEN;
}

v1::ShopWire TestCustomer::Seal(ShopTalk& talk, const std::string& message) {
  v1::ShopWire wire;
  talk.channel->Seal({message}, wire.mutable_frame()).IgnoreError();
  wire.set_finished(talk.finished);
  talk.finished.clear();
  return wire;
}

absl::optional<v1::ShopReply> TestCustomer::Ask(ShopTalk& talk, v1::ShopRequest request) {
  request.set_call_id(talk.next_call_id++);
  return SendWire(talk, Seal(talk, request.SerializeAsString()));
}

absl::optional<v1::ShopReply> TestCustomer::SendWire(ShopTalk& talk, const v1::ShopWire& wire) {
  v1::CustomerMessage message;
  message.mutable_shop_frame()->set_sid(talk.sid);
  message.mutable_shop_frame()->set_frame(wire.SerializeAsString());
  if (!Send(message)) return absl::nullopt;
  while (true) {
    const auto push = std::find_if(pushes_.begin(), pushes_.end(),
                                   [&talk](const v1::BrokerToCustomer& candidate) {
                                     return candidate.shop_frame().sid() == talk.sid ||
                                            candidate.shop_closed().sid() == talk.sid;
                                   });
    if (push == pushes_.end()) {
      absl::optional<v1::BrokerToCustomer> next = Next();
      if (!next.has_value()) return absl::nullopt;
      pushes_.push_back(*std::move(next));
      continue;
    }
    const v1::BrokerToCustomer found = std::move(*push);
    pushes_.erase(push);
    v1::ShopWire answer;
    if (!found.has_shop_frame() || !answer.ParseFromString(found.shop_frame().frame())) {
      return absl::nullopt;
    }
    const auto opened = talk.channel->Open(answer.frame());
    v1::ShopReply reply;
    if (!opened.ok() || !reply.ParseFromString(opened->front())) return absl::nullopt;
    return reply;
  }
}

v1::PayCall TestCustomer::NewPayment(const std::string& order_id,
                                     int64_t agreed_total_minor) const {
  v1::PayCall call;
  call.set_request_id(crypto::SystemRandom().Bytes(protocol::kRequestIdBytes));
  call.set_order_id(order_id);
  call.set_account_number(spec_.account);
  const crypto::SecretBytes pin = crypto::PinHash(spec_.account, spec_.pin);
  call.set_pin_hash(pin.data(), pin.size());
  call.set_agreed_total_minor(agreed_total_minor);
  return call;
}

absl::optional<v1::PayResult> TestCustomer::Pay(const v1::PayCall& call) {
  v1::CustomerMessage message;
  *message.mutable_pay() = call;
  const auto answer = Call(message);
  if (!answer.has_value() || !answer->has_pay()) return absl::nullopt;
  return answer->pay();
}

}  // namespace blindcart::testing
