#include "services/agent/broker_link.h"

#include <chrono>
#include <utility>

#include "absl/types/span.h"
#include "protocol/channel.h"
#include "protocol/refusal.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

constexpr uint64_t kLoginCallId = 1;

absl::Status LinkBroken() { return absl::UnavailableError("the link to the broker is broken"); }

}  // namespace

// What the transport owns; it goes when the stream has ended.
class BrokerLink::Handler : public LinkHandler {
 public:
  explicit Handler(std::shared_ptr<BrokerLink> owner) : owner_(std::move(owner)) {}
  void OnHandshake(const v1::HandshakeMessage& message) override { owner_->OnHandshake(message); }
  void OnMessages(std::vector<std::string> messages) override {
    owner_->OnMessages(std::move(messages));
  }
  void OnClosed(const absl::Status& status) override { owner_->OnClosed(status); }

 private:
  const std::shared_ptr<BrokerLink> owner_;
};

BrokerLink::BrokerLink(std::shared_ptr<const BrokerPeer> peer, size_t address,
                       absl::string_view password_hash, std::function<void()> on_closed,
                       OnBrokerPush on_push)
    : peer_(std::move(peer)),
      address_(address),
      broker_(peer_->broker->current()),
      on_push_(std::move(on_push)),
      password_hash_(crypto::SecretBytes::CopyOf(password_hash)),
      on_closed_(std::move(on_closed)) {}

absl::StatusOr<std::shared_ptr<BrokerLink>> BrokerLink::Dial(
    std::shared_ptr<const BrokerPeer> peer, size_t address, const std::string& username,
    absl::string_view password_hash, std::function<void()> on_closed, OnBrokerPush on_push) {
  const absl::Status asked = peer->follow(address);
  if (!asked.ok()) return asked;
  const std::shared_ptr<BrokerLink> self(new BrokerLink(std::move(peer), address, password_hash,
                                                        std::move(on_closed), std::move(on_push)));
  auto login = std::make_unique<protocol::CustomerLogin>(*self->peer_->customer, *self->broker_,
                                                         *self->peer_->random);
  const absl::StatusOr<v1::HandshakeMessage> hello = login->Start(username);
  if (!hello.ok()) return hello.status();
  self->login_ = std::move(login);
  self->waiting_[kLoginCallId] = &self->login_answer_;

  const absl::StatusOr<std::shared_ptr<Link>> dialled =
      self->peer_->dial(address, [self, hello](std::shared_ptr<Link> link) {
        {
          std::lock_guard<std::mutex> lock(self->mutex_);
          self->link_ = link;
        }
        Narration().Say("login",
                        "hello sent, encrypted to the broker's pinned RSA key: the user name, a "
                        "random number and two fresh X25519 keys");
        link->SendHandshake(*hello);
        return std::make_unique<Handler>(self);
      });
  if (!dialled.ok()) return dialled.status();
  return self;
}

absl::StatusOr<BrokerLink::LoginAnswer> BrokerLink::AwaitLogin(int64_t timeout_ms) {
  const absl::StatusOr<LoginAnswer> answer = LoginAnswered(timeout_ms);
  if (!answer.ok()) {
    Narration().Say("login", "no answer from the broker");
  } else {
    Narration().Say("login", answer->accepted
                                 ? "the broker's answer opened: logged in, and the session stands"
                                 : "the broker does not accept the login, and does not say why");
    if (answer->accepted) return answer;
  }
  Close(absl::CancelledError("the login is over"));
  return answer;
}

absl::StatusOr<BrokerLink::LoginAnswer> BrokerLink::LoginAnswered(int64_t timeout_ms) {
  absl::StatusOr<LoginAnswer> answer =
      absl::UnavailableError("the broker cannot be reached or does not answer");
  {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                      [&] { return login_answer_.done || closing_ || closed_; });
    waiting_.erase(kLoginCallId);
    password_hash_ = crypto::SecretBytes();
    const v1::LoginResult& result = login_answer_.answer.login();
    if (login_answer_.done && result.success()) {
      if (!closing_ && !closed_) {
        opened_ = true;
        return LoginAnswer{true, 0};
      }
    } else if (login_answer_.done || refused_) {
      // A wrong key, user name or password ends in a refusal or in an answer that says no.
      answer = LoginAnswer{false, result.retry_after_ms()};
    }
    on_closed_ = nullptr;
  }
  return answer;
}

void BrokerLink::OnHandshake(const v1::HandshakeMessage& message) {
  const absl::Status answered = AnswerChallenge(message);
  if (answered.ok()) return;
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    refused_ = true;
    link = link_;
  }
  changed_.notify_all();
  link->Close(protocol::Refused());
}

absl::Status BrokerLink::AnswerChallenge(const v1::HandshakeMessage& message) {
  std::unique_ptr<protocol::CustomerLogin> login;
  crypto::SecretBytes password_hash;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    login = std::move(login_);
    password_hash = std::move(password_hash_);
  }
  if (login == nullptr || password_hash.empty()) return protocol::Refused();
  Narration().Say("login", "the broker's challenge received, encrypted to our RSA key");
  absl::StatusOr<v1::HandshakeMessage> answer = login->OnChallenge(message);
  if (!answer.ok()) {
    Narration().Say("login",
                    "the challenge failed its check: nothing more is said to whoever sent it");
  }
  if (!answer.ok()) return answer.status();
  Narration().Say("login",
                  "challenge verified: it returns our random number, so the broker holds its key");
  Narration().Say(
      "login",
      "keys established: one X25519 exchange to encrypt with, one to authenticate with, "
      "both bound to all that was said (S1, A1)");
  Narration().Say("login", "the broker's Finished checked");
  absl::StatusOr<protocol::SessionKeys> keys = login->TakeKeys();
  if (!keys.ok()) return keys.status();
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel =
      protocol::Channel::Create(*std::move(keys), protocol::Role::kInitiator, *peer_->clock, {});
  if (!channel.ok()) return channel.status();

  v1::CustomerMessage first;
  first.set_call_id(kLoginCallId);
  first.mutable_login()->set_password_hash(password_hash.data(), password_hash.size());
  std::string plaintext = first.SerializeAsString();
  crypto::Wipe(*first.mutable_login()->mutable_password_hash());
  const absl::Status sealed =
      (*channel)->Seal(absl::MakeConstSpan(&plaintext, 1), answer->mutable_frame());
  crypto::Wipe(plaintext);
  if (!sealed.ok()) return sealed;

  const std::shared_ptr<Link> link = CurrentLink();
  Narration().Say("login",
                  "our Finished sent, and with it, sealed under S1, the hash of the password");
  link->Establish(*std::move(channel));
  link->SendHandshake(*std::move(answer));
  return absl::OkStatus();
}

void BrokerLink::OnMessages(std::vector<std::string> messages) {
  for (const std::string& bytes : messages) {
    v1::BrokerToCustomer message;
    if (!message.ParseFromString(bytes)) {
      Close(protocol::Refused());
      return;
    }
    Dispatch(std::move(message));
  }
}

void BrokerLink::Dispatch(v1::BrokerToCustomer message) {
  if (message.call_id() != 0) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = waiting_.find(message.call_id());
      // An answer that nobody waits for any more is dropped.
      if (found == waiting_.end() || found->second->done) return;
      found->second->done = true;
      found->second->answer = std::move(message);
    }
    changed_.notify_all();
    return;
  }
  if (!message.has_shop_frame() && !message.has_shop_closed()) return on_push_(std::move(message));
  const std::string& sid =
      message.has_shop_frame() ? message.shop_frame().sid() : message.shop_closed().sid();
  std::shared_ptr<ShopFrameSink> sink;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = sinks_.find(sid);
    if (found == sinks_.end()) return;
    sink = found->second.lock();
    if (message.has_shop_closed()) sinks_.erase(found);
  }
  if (sink == nullptr) return;
  if (message.has_shop_frame()) {
    sink->OnShopFrame(message.shop_frame().frame());
  } else {
    sink->OnShopClosed(message.shop_closed().state());
  }
}

void BrokerLink::OnClosed(const absl::Status& status) {
  std::map<std::string, std::weak_ptr<ShopFrameSink>> sinks;
  std::function<void()> on_closed;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    refused_ = refused_ || protocol::IsRefusal(status);
    link_.reset();
    sinks.swap(sinks_);
    on_closed.swap(on_closed_);
  }
  changed_.notify_all();
  for (const auto& [sid, weak] : sinks) {
    if (const std::shared_ptr<ShopFrameSink> sink = weak.lock()) {
      sink->OnShopClosed(v1::SHOP_STATE_UNSPECIFIED);
    }
  }
  if (on_closed) on_closed();
}

absl::StatusOr<v1::BrokerToCustomer> BrokerLink::Call(v1::CustomerMessage message,
                                                      v1::BrokerToCustomer::BodyCase expected,
                                                      int64_t timeout_ms) {
  Waiting waiting;
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_ || link_ == nullptr) return LinkBroken();
    link = link_;
    message.set_call_id(next_call_id_++);
    waiting_[message.call_id()] = &waiting;
  }
  const absl::Status sent = link->Send(message.SerializeAsString());
  std::unique_lock<std::mutex> lock(mutex_);
  if (sent.ok()) {
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                      [&] { return waiting.done || closed_; });
  }
  waiting_.erase(message.call_id());
  if (!sent.ok()) return sent;
  if (waiting.done) {
    if (waiting.answer.body_case() != expected) {
      return absl::DataLossError("the broker's answer is not one to what was asked");
    }
    return std::move(waiting.answer);
  }
  if (closed_) return LinkBroken();
  return absl::DeadlineExceededError("the broker did not answer in time");
}

absl::Status BrokerLink::Notify(v1::CustomerMessage message) {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_ || link_ == nullptr) return LinkBroken();
    link = link_;
    message.set_call_id(next_call_id_++);
  }
  return link->Send(message.SerializeAsString());
}

absl::Status BrokerLink::AddSink(const std::string& sid, std::weak_ptr<ShopFrameSink> sink) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return LinkBroken();
  if (!sinks_.emplace(sid, std::move(sink)).second) {
    return absl::AlreadyExistsError("that session id is in use");
  }
  return absl::OkStatus();
}

void BrokerLink::RemoveSink(const std::string& sid) {
  std::lock_guard<std::mutex> lock(mutex_);
  sinks_.erase(sid);
}

bool BrokerLink::open() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return opened_ && !closing_ && !closed_;
}

void BrokerLink::Close(absl::Status status) {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    link = link_;
  }
  changed_.notify_all();
  if (link != nullptr) link->Close(std::move(status));
}

void BrokerLink::AwaitClosed(int64_t timeout_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return closed_; });
}

void BrokerLink::CloseIfExpired() {
  const std::shared_ptr<Link> link = CurrentLink();
  if (link != nullptr) link->CloseIfExpired();
}

std::shared_ptr<Link> BrokerLink::CurrentLink() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return link_;
}

}  // namespace blindcart::agent
