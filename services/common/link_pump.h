// The half of a link that knows no transport: queueing, batching, sealing and opening (see link.h).
// Adapters own one, tell it of arrivals and finished writes, and give it a way to write.
//
// Thread safety: every method may be called from any thread, but the adapter must not call
// OnReceived concurrently with itself. `transport` is called with the pump's lock held and must not
// call back synchronously.
#ifndef BLINDCART_SERVICES_COMMON_LINK_PUMP_H_
#define BLINDCART_SERVICES_COMMON_LINK_PUMP_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/frame.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/common/link.h"

namespace blindcart {

class LinkPump {
 public:
  // A peer that has not taken what was queued before a Close by then is cut off.
  static constexpr int64_t kFlushLimitMs = 10'000;

  class Transport {
   public:
    virtual ~Transport() = default;
    // Begins to write `message`, which stays valid until OnWritten. One write at a time.
    virtual void StartWrite(const v1::LinkMessage& message) = 0;
    // Nothing more will be written; ends the stream with `status`. Called once.
    virtual void Finish(const absl::Status& status) = 0;
    // Breaks the stream now, whatever is in flight.
    virtual void Abort() = 0;
  };

  // Both must outlive the pump's last call. `counters` counts refusals by reason.
  LinkPump(Transport& transport, protocol::RefusalCounters& counters)
      : transport_(transport), counters_(counters) {}

  void SendHandshake(v1::HandshakeMessage message);
  void Establish(std::unique_ptr<protocol::Channel> channel);
  absl::Status Send(std::string message);
  void Close(absl::Status status);
  void CloseIfExpired();

  // From the adapter: a message arrived; a write ended; the stream broke or the peer closed it.
  void OnReceived(const v1::LinkMessage& message, LinkHandler& handler);
  void OnWritten(bool ok);
  void OnPeerClosed() { Close(absl::OkStatus()); }
  // The stream is over: `transport` is not called any more.
  void OnDone();

  // What this side closed with; Ok when it did not.
  absl::Status close_status() const;

 private:
  // The methods named ...Locked need mutex_.
  void WriteNextLocked();
  void SealBatchLocked(v1::LinkMessage* out);
  void CloseLocked(absl::Status status);

  Transport& transport_;
  protocol::RefusalCounters& counters_;

  mutable std::mutex mutex_;
  std::deque<v1::HandshakeMessage> handshakes_;
  std::deque<std::string> messages_;
  size_t queued_bytes_ = 0;
  v1::LinkMessage writing_;
  bool write_in_flight_ = false;
  bool closing_ = false;
  bool finished_ = false;
  bool done_ = false;
  int64_t closing_since_ms_ = 0;
  absl::Status close_status_;
  // Sealing happens under mutex_, opening only in the adapter's serial OnReceived: a channel's two
  // halves share nothing (channel.h).
  std::shared_ptr<protocol::Channel> channel_;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_LINK_PUMP_H_
