// One logged-in link to the broker (docs/protocol.md sections 1b and 2): the handshake, calls told
// apart by call_id, and frames of shop sessions handed to whom they belong. Knows no gRPC.
//
// A BrokerLink ends with its stream and never comes back; broker_session.h opens the next one.
//
// Errors of calls: Unavailable when the link is closed or breaks before the answer (open() is false
// then), DeadlineExceeded when the broker does not answer in time, DataLoss for an answer of
// another kind than asked for.
// Thread safety: every method may be called from any thread. AwaitLogin and Call block, so never from a
// network thread.
#ifndef BLINDCART_SERVICES_AGENT_BROKER_LINK_H_
#define BLINDCART_SERVICES_AGENT_BROKER_LINK_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "proto/customer.pb.h"
#include "protocol/clock.h"
#include "protocol/login_handshake.h"
#include "services/common/link.h"
#include "services/common/pinned_broker.h"

namespace blindcart::agent {

// Dials the broker at its address number `address`. The handler that `make_handler` returns gets what
// arrives; the link may be used from within `make_handler` on.
using MakeLinkHandler = std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link>)>;
using DialLink =
    std::function<absl::StatusOr<std::shared_ptr<Link>>(size_t address, const MakeLinkHandler&)>;

// Who talks to whom, and with what. Shared by every link, so that a late callback of an old one
// finds it alive; what it points to must outlive them all.
struct BrokerPeer {
  const crypto::Identity* customer = nullptr;
  PinnedBroker* broker = nullptr;
  crypto::RandomSource* random = nullptr;
  const protocol::Clock* clock = nullptr;
  // Called before each dial of that address; follows the broker when its identity has changed. May
  // block.
  std::function<absl::Status(size_t address)> follow = [](size_t) { return absl::OkStatus(); };
  DialLink dial;
  size_t addresses = 1;  // One market's brokers: whichever is dialled serves the customer alike.
};

// Where the frames of one shop session go. Called on the link's thread, one call at a time.
class ShopFrameSink {
 public:
  virtual ~ShopFrameSink() = default;
  virtual void OnShopFrame(const std::string& frame) = 0;
  // Nothing more comes: the broker closed the session, or (UNSPECIFIED) the link is gone.
  virtual void OnShopClosed(v1::ShopState state) = 0;
};

// Takes what the broker sends by itself (call_id 0) and that belongs to no shop session. Called on the
// link's thread; must not block.
using OnBrokerPush = std::function<void(v1::BrokerToCustomer message)>;

class BrokerLink : public std::enable_shared_from_this<BrokerLink> {
 public:
  struct LoginAnswer {
    bool accepted = false;
    int64_t retry_after_ms = 0;  // What the broker said with a no; 0 when it said nothing.
  };
  // Dials and begins to log in. `on_closed` is called once, when a link that was logged in ends.
  static absl::StatusOr<std::shared_ptr<BrokerLink>> Dial(
      std::shared_ptr<const BrokerPeer> peer, size_t address, const std::string& username,
      absl::string_view password_hash, std::function<void()> on_closed, OnBrokerPush on_push);
  // Waits until the login is over; once, before anything else. Unavailable when there is no answer
  // in time, the stream breaks or the link is closed; the link is closed then, and after a no.
  absl::StatusOr<LoginAnswer> AwaitLogin(int64_t timeout_ms);

  // Sends `message`, whose call_id is set here, and waits for the answer, which is of the kind
  // `expected`.
  absl::StatusOr<v1::BrokerToCustomer> Call(v1::CustomerMessage message,
                                            v1::BrokerToCustomer::BodyCase expected,
                                            int64_t timeout_ms);
  // Sends without waiting; an answer, if one comes, is dropped.
  absl::Status Notify(v1::CustomerMessage message);

  // `sink` gets the frames of session `sid` from now on. AlreadyExists when another one does.
  absl::Status AddSink(const std::string& sid, std::weak_ptr<ShopFrameSink> sink);
  void RemoveSink(const std::string& sid);

  // Where it was dialled; goods come from there too.
  size_t address() const { return address_; }
  bool open() const;
  // Ends the link; Ok writes first what is queued. Idempotent.
  void Close(absl::Status status);
  // Waits until nothing more can be called back, or the time is up.
  void AwaitClosed(int64_t timeout_ms);
  // For a periodic sweep: closes the link when its session has ended.
  void CloseIfExpired();

 private:
  class Handler;
  struct Waiting {
    bool done = false;
    v1::BrokerToCustomer answer;
  };

  BrokerLink(std::shared_ptr<const BrokerPeer> peer, size_t address,
             absl::string_view password_hash, std::function<void()> on_closed,
             OnBrokerPush on_push);

  absl::StatusOr<LoginAnswer> LoginAnswered(int64_t timeout_ms);
  void OnHandshake(const v1::HandshakeMessage& message);
  absl::Status AnswerChallenge(const v1::HandshakeMessage& message);
  void OnMessages(std::vector<std::string> messages);
  void OnClosed(const absl::Status& status);
  void Dispatch(v1::BrokerToCustomer message);
  std::shared_ptr<Link> CurrentLink() const;

  const std::shared_ptr<const BrokerPeer> peer_;
  const size_t address_;
  const std::shared_ptr<const crypto::PublicIdentity> broker_;  // Who has to be at the other end.
  const OnBrokerPush on_push_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  std::shared_ptr<Link> link_;
  std::unique_ptr<protocol::CustomerLogin> login_;  // Until the challenge is answered.
  crypto::SecretBytes password_hash_;               // Likewise.
  Waiting login_answer_;                            // Call 1, which travels with the handshake.
  bool opened_ = false;
  bool closing_ = false;  // This side asked for the end.
  bool closed_ = false;
  bool refused_ = false;  // Either side refused.
  std::function<void()> on_closed_;
  uint64_t next_call_id_ = 2;  // 1 is the login.
  std::map<uint64_t, Waiting*> waiting_;
  std::map<std::string, std::weak_ptr<ShopFrameSink>> sinks_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BROKER_LINK_H_
