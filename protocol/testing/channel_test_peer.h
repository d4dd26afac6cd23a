// Sets a channel's counters, so that tests reach the last of its 2^32 frames.
#ifndef BLINDCART_PROTOCOL_TESTING_CHANNEL_TEST_PEER_H_
#define BLINDCART_PROTOCOL_TESTING_CHANNEL_TEST_PEER_H_

#include <cstdint>

#include "protocol/channel.h"

namespace blindcart::protocol {

class ChannelTestPeer {
 public:
  static void SetSendSeq(Channel& channel, uint64_t seq) { channel.send_seq_ = seq; }
  static void SetReceiveSeq(Channel& channel, uint64_t seq) { channel.receive_seq_ = seq; }
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_TESTING_CHANNEL_TEST_PEER_H_
