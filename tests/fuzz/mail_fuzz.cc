// Mail comes from a broker that is not trusted, its content from an authenticated but perhaps hostile user:
// what parses must be exactly what is written again, and no envelope may open under a session that
// stands, nor change it.
#include <cstddef>
#include <cstdint>
#include <string>

#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/x25519.h"
#include "protocol/double_ratchet.h"
#include "protocol/mail_content.h"
#include "protocol/mail_session.h"

namespace {

namespace crypto = blindcart::crypto;
namespace protocol = blindcart::protocol;
namespace v1 = blindcart::v1;

// A session of fixed keys, of which the fuzzer knows nothing.
const std::string& SessionState() {
  static const std::string* const state = [] {
    const crypto::SecretBytes secret = crypto::SecretBytes::CopyOf(crypto::Sha256("secret"));
    const auto own = crypto::X25519KeyPair::FromPrivate(crypto::Sha256("own"));
    const auto ratchet = protocol::DoubleRatchet::Respond(secret, *own, "associated data");
    v1::MailSessionState written;
    written.set_version(1);
    written.set_session_id(std::string(16, 's'));
    ratchet->ToProto(written.mutable_ratchet());
    return new std::string(written.SerializeAsString());
  }();
  return *state;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  auto envelope = protocol::ParseEnvelope(input);
  if (envelope.ok()) {
    if (envelope->SerializeAsString() != input) __builtin_trap();
    if (envelope->has_initial()) protocol::CheckInitial(envelope->initial()).status().IgnoreError();
    auto session = protocol::MailSession::Parse(SessionState());
    if (!session.ok()) __builtin_trap();
    envelope->set_session_id(session->id());
    if (session->Open(*envelope, crypto::SystemRandom()).ok()) __builtin_trap();
    if (session->Serialize().view() != SessionState()) __builtin_trap();
  }
  const auto content = protocol::ParseContent(input);
  if (content.ok() && content->SerializeAsString() != input) __builtin_trap();
  const auto state = protocol::MailSession::Parse(input);
  if (state.ok() && protocol::MailSession::Parse(state->Serialize().view())->Serialize().view() !=
                        state->Serialize().view()) {
    __builtin_trap();
  }
  return 0;
}
