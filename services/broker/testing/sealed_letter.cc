#include "services/broker/testing/sealed_letter.h"

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "protocol/mail_session.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

// A ciphertext is longer than its tag.
constexpr size_t kPaddingBytes = 17;

}  // namespace

v1::MailEnvelope EnvelopeAround(const std::string& text) {
  v1::MailEnvelope envelope;
  envelope.set_version(1);
  envelope.set_session_id(Id("session"));
  envelope.set_ratchet_key(Id("ratchet", 32));
  envelope.set_ciphertext(text + std::string(kPaddingBytes, '.'));
  return envelope;
}

std::string SealedLetter(const std::string& text) {
  return EnvelopeAround(text).SerializeAsString();
}

std::string TextOfLetter(absl::string_view sealed) {
  const absl::StatusOr<v1::MailEnvelope> envelope = protocol::ParseEnvelope(sealed);
  EXPECT_TRUE(envelope.ok()) << envelope.status();
  if (!envelope.ok()) return "";
  return envelope->ciphertext().substr(0, envelope->ciphertext().size() - kPaddingBytes);
}

}  // namespace blindcart::broker
