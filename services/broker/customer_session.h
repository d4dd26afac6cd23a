// A customer's link, from its first message on (docs/protocol.md section 1b):
//
//   hello      -> the enrolled customer's key, or the decoy's, answers
//   Finished   -> checked; its frame opens to the password's hash
//   verifying  -> the hash is compared in the bounded pool, then the verdict is reached and stored
//   serving    -> customer_calls.h
//
// Whoever cannot finish the handshake is refused alike, whatever was wrong: an unknown name, a wrong
// key, a garbled message. A wrong password is answered within the seal, which only the holder of an
// enrolled key can read. Nobody is logged in before the verdict.
//
// Thread safety: as LinkHandler and Session.
#ifndef BLINDCART_SERVICES_BROKER_CUSTOMER_SESSION_H_
#define BLINDCART_SERVICES_BROKER_CUSTOMER_SESSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "protocol/refusal.h"
#include "services/broker/customer_calls.h"
#include "services/broker/parts.h"
#include "services/common/link.h"

namespace blindcart::broker {

class CustomerSession final : public LinkHandler,
                              public Session,
                              public std::enable_shared_from_this<CustomerSession> {
 public:
  // Wrong passwords in a row without a delay.
  static constexpr int64_t kFreePasswordFailures = 3;

  // The handler of a link that was just accepted. `source` as in source_throttle.h. `parts` must
  // outlive the session.
  static std::unique_ptr<LinkHandler> Accept(const Parts& parts, std::shared_ptr<Link> link,
                                             std::string source);

  CustomerSession(const Parts& parts, std::shared_ptr<Link> link, std::string source);
  ~CustomerSession() override;

  void OnHandshake(const v1::HandshakeMessage& message) override;
  void OnMessages(std::vector<std::string> messages) override;
  void OnClosed(const absl::Status& status) override;

  void Sweep() override;
  void Close(const absl::Status& status) override;
  void Drain(const absl::Status& status) override;

 private:
  enum class State { kHello, kFinished, kVerifying, kServing, kClosed };
  struct Handshake;

  void Answer(const v1::HandshakeMessage& hello);
  void Establish(const v1::HandshakeMessage& finished);
  void CheckPassword(uint64_t call_id, crypto::SecretBytes password_hash);
  void Judge(uint64_t call_id, bool matches);
  void Serve(uint64_t call_id, int64_t last_mail_number);
  void Fail(uint64_t call_id, int64_t retry_after_ms);
  // Ends the link with the one refusal.
  void Refuse(protocol::RefusalReason reason);

  const Parts& parts_;
  const std::shared_ptr<Link> link_;
  const std::string source_;
  const int64_t started_ms_;
  LinkId link_id_ = 0;
  std::atomic<State> state_{State::kHello};
  std::atomic<bool> draining_{false};
  std::unique_ptr<Handshake> handshake_;  // The link's thread only; gone once established.
  int64_t customer_id_ = 0;
  std::string password_record_;
  // Made before state_ becomes kServing.
  std::unique_ptr<CustomerCalls> calls_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CUSTOMER_SESSION_H_
