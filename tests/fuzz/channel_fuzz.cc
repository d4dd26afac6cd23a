// A peer that owns the session's keys' other half may send any frame: nothing but a refusal or messages may
// come of it. Half of the runs get a valid MAC and seal around the input, so that what lies behind
// them is reached, too.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "crypto/aes_gcm.h"
#include "crypto/hmac.h"
#include "crypto/secret_bytes.h"
#include "proto/frame.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/frame_header.h"
#include "protocol/key_schedule.h"

namespace {

using blindcart::crypto::SecretBytes;
namespace protocol = blindcart::protocol;

protocol::SessionKeys Keys() {
  protocol::SessionKeys keys;
  keys.session_id = std::string(protocol::kSessionIdBytes, 'i');
  keys.seal = SecretBytes::CopyOf(std::string(protocol::kKeyBytes, 's'));
  keys.mac = SecretBytes::CopyOf(std::string(protocol::kKeyBytes, 'm'));
  return keys;
}

blindcart::v1::Frame Sealed(const std::string& plaintext) {
  const auto direction = protocol::Direction::kInitiatorToResponder;
  const auto keys = protocol::DeriveDirectionKeys(Keys(), direction);
  protocol::FrameHeader header(Keys().session_id, direction, protocol::FrameKind::kChannel);
  const std::string encoded(header.Encode(/*seq=*/0, /*final=*/false));
  auto gcm = blindcart::crypto::Aes256Gcm::Create(keys->seal.view());
  std::string ciphertext;
  (void)gcm->Seal(protocol::FrameNonce(direction, protocol::FrameKind::kChannel, 0).view(), encoded,
                  plaintext, &ciphertext);
  blindcart::v1::Frame frame;
  frame.set_session_id(Keys().session_id);
  frame.set_mac(blindcart::crypto::HmacSha256(keys->mac.view(), encoded + ciphertext));
  frame.set_ciphertext(std::move(ciphertext));
  return frame;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  for (const bool sealed : {false, true}) {
    auto channel =
        protocol::Channel::Create(Keys(), protocol::Role::kResponder, protocol::SystemClock(), {});
    blindcart::v1::Frame frame;
    if (sealed) {
      std::string padded = input.substr(0, 1023) + '\x80';
      padded.resize(1024);
      frame = Sealed(padded);
    } else if (!frame.ParseFromString(input)) {
      continue;
    }
    const auto opened = (*channel)->Open(frame);
    if (opened.ok() && (opened->empty() || opened->size() > protocol::kMaxBatch)) __builtin_trap();
    if (!opened.ok() && !(*channel)->ended()) __builtin_trap();
  }
  return 0;
}
