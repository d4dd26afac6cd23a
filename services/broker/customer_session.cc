#include "services/broker/customer_session.h"

#include <utility>

#include "absl/types/optional.h"
#include "crypto/hash.h"
#include "crypto/password_record.h"
#include "proto/customer.pb.h"
#include "protocol/login_handshake.h"
#include "services/broker/attempts.h"
#include "services/broker/session_handler.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

// The password message, or nothing when it is not exactly that. Wipes what it came in.
struct PasswordMessage {
  uint64_t call_id = 0;
  crypto::SecretBytes hash;
};
absl::optional<PasswordMessage> TakePassword(std::vector<std::string>& messages) {
  v1::CustomerMessage message;
  const bool parsed = messages.size() == 1 && message.ParseFromString(messages.front());
  for (std::string& bytes : messages) crypto::Wipe(bytes);
  if (!parsed || !message.has_login()) return absl::nullopt;
  PasswordMessage password;
  password.call_id = message.call_id();
  password.hash = crypto::SecretBytes::TakeFrom(*message.mutable_login()->mutable_password_hash());
  if (password.call_id == 0 || password.hash.size() != crypto::kSha256Bytes) return absl::nullopt;
  return password;
}

// When the broker cannot check a password now. Whether it was the right one does not matter, and this is
// no answer to it: an agent that is told "no" often enough forgets the password.
absl::Status Busy() { return absl::UnavailableError("passwords cannot be checked now"); }

}  // namespace

struct CustomerSession::Handshake {
  Handshake(const crypto::Identity& broker, crypto::RandomSource& random) : login(broker, random) {}

  protocol::BrokerLogin login;
  // The identities that `login` refers to.
  absl::optional<crypto::PublicIdentity> customer;
  absl::optional<crypto::PublicIdentity> decoy;
};

std::unique_ptr<LinkHandler> CustomerSession::Accept(const Parts& parts, std::shared_ptr<Link> link,
                                                     std::string source) {
  const bool blocked = parts.sources.IsBlocked(source);
  auto session = std::make_shared<CustomerSession>(parts, std::move(link), std::move(source));
  const absl::optional<LinkId> id = parts.sessions.Add(SessionTable::Kind::kCustomer, session);
  if (!id.has_value()) {
    session->Close(absl::UnavailableError("no further links are taken now"));
  } else {
    session->link_id_ = *id;
    if (blocked) session->Refuse(protocol::RefusalReason::kRateLimited);
  }
  return std::make_unique<SessionHandler>(std::move(session));
}

CustomerSession::CustomerSession(const Parts& parts, std::shared_ptr<Link> link, std::string source)
    : parts_(parts),
      link_(std::move(link)),
      source_(std::move(source)),
      started_ms_(parts.clock.NowMonotonicMs()),
      handshake_(std::make_unique<Handshake>(parts.identity, parts.random)) {}

CustomerSession::~CustomerSession() = default;

void CustomerSession::OnHandshake(const v1::HandshakeMessage& message) {
  switch (state_.load()) {
    case State::kHello:
      return Answer(message);
    case State::kFinished:
      return Establish(message);
    case State::kVerifying:
    case State::kServing:
      return Refuse(protocol::RefusalReason::kOutOfOrder);
    case State::kClosed:
      return;
  }
}

void CustomerSession::Answer(const v1::HandshakeMessage& hello) {
  const absl::StatusOr<std::string> username = handshake_->login.OnHello(hello);
  if (!username.ok()) return Refuse(handshake_->login.refusal());

  // A stranger costs what a customer costs: one lookup, two identities parsed, one of them used.
  std::string identity = parts_.decoy_identity;
  bool known = false;
  const absl::Status read = parts_.store.Read([&](storage::Transaction& transaction) {
    absl::StatusOr<storage::Customer> customer = transaction.customers().FindByUsername(*username);
    if (absl::IsNotFound(customer.status())) return absl::OkStatus();
    if (!customer.ok()) return customer.status();
    known = true;
    identity = std::move(customer->identity);
    customer_id_ = customer->id;
    password_record_ = std::move(customer->password_record);
    return absl::OkStatus();
  });
  absl::StatusOr<crypto::PublicIdentity> customer = crypto::PublicIdentity::Parse(identity);
  absl::StatusOr<crypto::PublicIdentity> decoy =
      crypto::PublicIdentity::Parse(parts_.decoy_identity);
  if (!read.ok() || !customer.ok() || !decoy.ok()) {
    LogError("login.lookup_failed", {{"code", static_cast<int>(read.code())}});
    return Close(absl::UnavailableError("cannot look customers up now"));
  }
  handshake_->customer = *std::move(customer);
  handshake_->decoy = *std::move(decoy);
  absl::StatusOr<v1::HandshakeMessage> answer =
      handshake_->login.Answer(known ? &*handshake_->customer : nullptr, *handshake_->decoy);
  if (!answer.ok()) return Refuse(handshake_->login.refusal());
  State expected = State::kHello;
  if (!state_.compare_exchange_strong(expected, State::kFinished)) return;
  link_->SendHandshake(*std::move(answer));
}

void CustomerSession::Establish(const v1::HandshakeMessage& finished) {
  protocol::BrokerLogin& login = handshake_->login;
  if (!login.OnFinished(finished).ok()) return Refuse(login.refusal());
  absl::StatusOr<protocol::SessionKeys> keys = login.TakeKeys();
  if (!keys.ok()) return Refuse(protocol::RefusalReason::kOutOfOrder);
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel = protocol::Channel::Create(
      *std::move(keys), protocol::Role::kResponder, parts_.clock, protocol::Channel::Options());
  if (!channel.ok()) return Close(absl::InternalError("cannot make a channel"));
  absl::StatusOr<std::vector<std::string>> messages = (*channel)->Open(finished.frame());
  if (!messages.ok()) return Refuse((*channel)->last_refusal());
  absl::optional<PasswordMessage> password = TakePassword(*messages);
  if (!password.has_value()) return Refuse(protocol::RefusalReason::kMalformed);

  State expected = State::kFinished;
  if (!state_.compare_exchange_strong(expected, State::kVerifying)) return;
  handshake_.reset();
  link_->Establish(*std::move(channel));
  CheckPassword(password->call_id, std::move(password->hash));
}

void CustomerSession::CheckPassword(uint64_t call_id, crypto::SecretBytes password_hash) {
  // std::function copies what it holds, so the hash travels in a shared box.
  auto hash = std::make_shared<crypto::SecretBytes>(std::move(password_hash));
  const absl::Status queued =
      parts_.password_workers.Run([self = shared_from_this(), call_id, hash] {
        const bool matches = crypto::VerifyPasswordRecord(self->password_record_, hash->view());
        *hash = crypto::SecretBytes();
        self->Judge(call_id, matches);
      });
  if (!queued.ok()) Close(Busy());
}

void CustomerSession::Judge(uint64_t call_id, bool matches) {
  auto verdict = std::make_shared<AttemptVerdict>();
  auto last_mail = std::make_shared<int64_t>(0);
  const absl::Status queued = parts_.commits.Submit(
      [customer_id = customer_id_, matches, &clock = parts_.clock, verdict,
       last_mail](storage::Transaction& transaction) {
        const absl::StatusOr<storage::Customer> customer = transaction.customers().Get(customer_id);
        if (!customer.ok()) return customer.status();
        const absl::StatusOr<int64_t> last = LastMailNumber(transaction, customer_id);
        if (!last.ok()) return last.status();
        *last_mail = *last;
        const AttemptState before = {customer->login_failures, customer->login_blocked_until_ms};
        *verdict = JudgeAttempt(before, matches, kFreePasswordFailures, clock.NowUnixMs());
        if (verdict->state.failures == before.failures &&
            verdict->state.blocked_until_ms == before.blocked_until_ms) {
          return absl::OkStatus();
        }
        return transaction.customers().SetLoginState(customer_id, verdict->state.failures,
                                                     verdict->state.blocked_until_ms);
      },
      [self = shared_from_this(), call_id, verdict, last_mail](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("login.commit_failed", {{"code", static_cast<int>(status.code())}});
          self->Close(Busy());
        } else if (verdict->outcome == AttemptOutcome::kAllowed) {
          self->Serve(call_id, *last_mail);
        } else {
          self->parts_.counters.Add(verdict->outcome == AttemptOutcome::kWrong
                                        ? protocol::RefusalReason::kPassword
                                        : protocol::RefusalReason::kRateLimited);
          self->parts_.sources.AddFailure(self->source_);
          self->Fail(call_id, verdict->retry_after_ms);
        }
      });
  if (!queued.ok()) Close(Busy());
}

void CustomerSession::Serve(uint64_t call_id, int64_t last_mail_number) {
  Relay::CustomerEnd end;
  end.link_id = link_id_;
  end.customer_id = customer_id_;
  end.link = link_;
  calls_ = std::make_unique<CustomerCalls>(parts_, std::move(end));
  State expected = State::kVerifying;
  if (!state_.compare_exchange_strong(expected, State::kServing)) return;
  parts_.sessions.BindCustomer(link_id_, customer_id_);
  parts_.mail.pushes().AddLink(customer_id_, link_id_, link_, last_mail_number);
  // It may have ended meanwhile, before there was anything to remove.
  if (state_ == State::kClosed) parts_.mail.pushes().RemoveLink(customer_id_, link_id_);
  v1::BrokerToCustomer message;
  message.set_call_id(call_id);
  message.mutable_login()->set_success(true);
  link_->Send(message.SerializeAsString()).IgnoreError();
}

void CustomerSession::Fail(uint64_t call_id, int64_t retry_after_ms) {
  State expected = State::kVerifying;
  if (!state_.compare_exchange_strong(expected, State::kClosed)) return;
  v1::BrokerToCustomer message;
  message.set_call_id(call_id);
  message.mutable_login()->set_retry_after_ms(retry_after_ms);
  link_->Send(message.SerializeAsString()).IgnoreError();
  link_->Close(absl::OkStatus());
}

void CustomerSession::OnMessages(std::vector<std::string> messages) {
  const State state = state_.load();
  if (state == State::kClosed) return;
  if (state != State::kServing) return Refuse(protocol::RefusalReason::kOutOfOrder);
  // The link ends soon; whoever asked sees that nothing came back, and asks again elsewhere.
  if (draining_) return;
  for (std::string& message : messages) {
    const absl::Status handled = calls_->Handle(std::move(message));
    if (handled.ok()) continue;
    if (protocol::IsRefusal(handled)) return Refuse(protocol::RefusalReason::kMalformed);
    LogWarning("call.failed", {{"code", static_cast<int>(handled.code())}});
    return Close(absl::UnavailableError("the store cannot be read now"));
  }
}

void CustomerSession::OnClosed(const absl::Status&) {
  // Who leaves after the challenge has had the same work done as who answers it wrongly.
  if (state_.exchange(State::kClosed) == State::kFinished) parts_.sources.AddFailure(source_);
  parts_.relay.RemoveCustomer(link_id_);
  parts_.mail.pushes().RemoveLink(customer_id_, link_id_);
  parts_.certificates.listeners().RemoveLink(link_id_);
  parts_.sessions.Remove(link_id_);
}

void CustomerSession::Sweep() {
  const State state = state_.load();
  if ((state == State::kHello || state == State::kFinished) &&
      parts_.clock.NowMonotonicMs() - started_ms_ >= parts_.handshake_timeout_ms) {
    Refuse(protocol::RefusalReason::kExpired);
  }
  link_->CloseIfExpired();
}

void CustomerSession::Close(const absl::Status& status) {
  state_ = State::kClosed;
  link_->Close(status);
}

void CustomerSession::Drain(const absl::Status& status) {
  draining_ = true;
  switch (state_.load()) {
    case State::kVerifying:  // The answer is on its way.
    case State::kClosed:
      return;
    case State::kServing:
      if (calls_->busy()) return;
      break;
    case State::kHello:
    case State::kFinished:
      break;
  }
  Close(status);
}

void CustomerSession::Refuse(protocol::RefusalReason reason) {
  parts_.counters.Add(reason);
  // A source that is turned away unheard has not failed: it would never be heard again.
  if (reason != protocol::RefusalReason::kRateLimited && state_.load() != State::kServing) {
    parts_.sources.AddFailure(source_);
  }
  Close(protocol::Refused());
}

}  // namespace blindcart::broker
