// Login of a customer at the broker (docs/protocol.md section 1b), up to the session's keys. The
// password follows as the first sealed message and is the services' business.
//
//   C->B  P_B{ username, R_C, C1, C2 ; login }                    CustomerLogin::Start
//   B->C  P_C{ R_C, R_B, B1, B2 ; login-challenge }, Finished     BrokerLogin::OnHello, Answer
//   C->B  Finished (with the first sealed frame)                  CustomerLogin::OnChallenge
//                                                                 BrokerLogin::OnFinished
// The bodies of the three messages are: an RSA-OAEP ciphertext as long as the broker's modulus;
// kLoginChallengeBytes, see below; nothing. T covers the first two. The nonces of the key
// derivation are R_C, R_B. The customer is the initiator. Only the last message may carry a frame.
//
// The login-challenge goes to whoever sent a name, so it must not tell whether the name is
// enrolled. Its ciphertext shows neither the key's size (random bytes fill it up to the longest
// modulus) nor, over many tries, the key's modulus (it is made again until its first bit is 0,
// which leaves it evenly spread below a power of two whatever the modulus).
//
// The broker's half: OnHello decrypts and tells the username to look up; Answer replies under the
// enrolled identity or, for an unknown user or a message that did not decrypt, under `decoy` after
// the same work, and such a run is refused at its Finished. Nobody is logged in before OnFinished.
// A call out of order is FailedPrecondition and ends the machine: every later call is
// FailedPrecondition, too, as it is after a refusal. Failed checks are Refused(), with the reason
// in refusal(). Thread safety: none. The machine's own identity, CustomerLogin's `broker` and
// `random` must outlive it; what Answer is given need not.
#ifndef BLINDCART_PROTOCOL_LOGIN_HANDSHAKE_H_
#define BLINDCART_PROTOCOL_LOGIN_HANDSHAKE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class HandshakeMessage;
}

namespace blindcart::protocol {

inline constexpr size_t kMaxUsernameBytes = 64;
inline constexpr size_t kLoginChallengeBytes = 512;  // The longest modulus, 4096 bits.

// 1 to 64 bytes of [a-z0-9._-], beginning with a letter or digit.
bool IsValidUsername(absl::string_view username);

class CustomerLogin {
 public:
  CustomerLogin(const crypto::Identity& customer, const crypto::PublicIdentity& broker,
                crypto::RandomSource& random);
  ~CustomerLogin();

  // InvalidArgument for a name that is no username; that, too, ends the machine.
  absl::StatusOr<v1::HandshakeMessage> Start(absl::string_view username);
  // The answer carries Finished; the caller adds the first sealed frame to it.
  absl::StatusOr<v1::HandshakeMessage> OnChallenge(const v1::HandshakeMessage& challenge);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class BrokerLogin {
 public:
  BrokerLogin(const crypto::Identity& broker, crypto::RandomSource& random);
  ~BrokerLogin();

  // The username to look up. Refused() only for what is out of bounds on the wire; a message that
  // does not decrypt yields a random username that nobody has.
  absl::StatusOr<std::string> OnHello(const v1::HandshakeMessage& hello);
  absl::StatusOr<v1::HandshakeMessage> Answer(const crypto::PublicIdentity* customer,
                                              const crypto::PublicIdentity& decoy);
  // Checks Finished. The frame beside it is for the channel that is made of TakeKeys().
  absl::Status OnFinished(const v1::HandshakeMessage& finished);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_LOGIN_HANDSHAKE_H_
