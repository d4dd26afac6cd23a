// Letters as an agent seals them, as far as the broker can see: envelopes of the right form around
// bytes that nobody encrypted.
#ifndef BLINDCART_SERVICES_BROKER_TESTING_SEALED_LETTER_H_
#define BLINDCART_SERVICES_BROKER_TESTING_SEALED_LETTER_H_

#include <string>

#include "absl/strings/string_view.h"
#include "proto/message.pb.h"

namespace blindcart::broker {

v1::MailEnvelope EnvelopeAround(const std::string& text);
std::string SealedLetter(const std::string& text);
// What was put into it; "" and a failure of the test when it is no such letter.
std::string TextOfLetter(absl::string_view sealed);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_TESTING_SEALED_LETTER_H_
