// A link as use cases see it: one long-lived stream between two processes, on which a handshake
// runs and then sealed frames flow (docs/protocol.md section 2). Knows no gRPC: grpc_link.h carries
// it over the network and testing/memory_link.h within a test.
//
// Order of use: handshake messages go to and fro; one side's handler calls Establish with the
// channel that the handshake made; from then on Send queues messages, and the handler gets those of
// each frame that opened. A busy link drains up to 64 waiting messages into one frame.
//
// Thread safety: every method of Link may be called from any thread, also from within the handler's
// callbacks. The handler's callbacks come one at a time, OnClosed last and exactly once.
#ifndef BLINDCART_SERVICES_COMMON_LINK_H_
#define BLINDCART_SERVICES_COMMON_LINK_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/frame.pb.h"
#include "protocol/channel.h"

namespace blindcart {

class LinkHandler {
 public:
  virtual ~LinkHandler() = default;
  // A handshake message, before or (never legitimately) after Establish.
  virtual void OnHandshake(const v1::HandshakeMessage& message) = 0;
  // The messages of one opened frame, 1 to 64.
  virtual void OnMessages(std::vector<std::string> messages) = 0;
  // The stream is gone. Refused() when either side refused; Ok after a clean Close by either side.
  virtual void OnClosed(const absl::Status& status) = 0;
};

class Link {
 public:
  // What may wait to be written; a peer that does not read that much is cut off.
  static constexpr size_t kMaxQueuedBytes = 32 * 1024 * 1024;

  virtual ~Link() = default;
  virtual void SendHandshake(v1::HandshakeMessage message) = 0;
  // To be called from within OnHandshake, before the peer may send its first frame: a frame that
  // comes sooner is refused.
  virtual void Establish(std::unique_ptr<protocol::Channel> channel) = 0;
  // Queues a serialised message of the conversation. FailedPrecondition before Establish,
  // InvalidArgument for one too large for a frame, Unavailable once closed, ResourceExhausted when
  // the queue is full (the link is then closed).
  virtual absl::Status Send(std::string message) = 0;
  // Writes what is queued, then ends the stream. Idempotent.
  virtual void Close(absl::Status status) = 0;
  // Closes the link when its session has ended (idle, too old); cheap, for a periodic sweep.
  virtual void CloseIfExpired() = 0;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_LINK_H_
