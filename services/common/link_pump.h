// The half of a link that knows no transport: queueing, batching, sealing and opening (see link.h).
// Adapters own one, tell it of arrivals and finished writes, and give it a way to write.
//
// Thread safety: every method may be called from any thread. The adapter must not call OnReceived
// concurrently with itself. `transport` is called with the pump's lock held and must not call back
// synchronously.
#ifndef BLINDCART_SERVICES_COMMON_LINK_PUMP_H_
#define BLINDCART_SERVICES_COMMON_LINK_PUMP_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "proto/frame.pb.h"
#include "protocol/channel.h"
#include "protocol/refusal.h"
#include "services/common/link.h"

namespace blindcart {

class LinkPump {
 public:
  class Transport {
   public:
    virtual ~Transport() = default;
    // Begins to write `message`, which stays valid until OnWritten. One write at a time.
    virtual void StartWrite(const v1::LinkMessage& message) = 0;
    // Nothing more will be written; ends the stream with `status`. Called once.
    virtual void Finish(const absl::Status& status) = 0;
  };

  // Both must outlive the pump's last call. `counters` counts refusals by reason.
  LinkPump(Transport& transport, protocol::RefusalCounters& counters)
      : transport_(transport), counters_(counters) {}

  void SendHandshake(v1::HandshakeMessage message);
  void Establish(std::unique_ptr<protocol::Channel> channel, LinkHandler& handler);
  absl::Status Send(std::string message);
  void Close(absl::Status status);
  void CloseIfExpired();

  // From the adapter: a message arrived; a write ended (`ok` false: the stream is broken).
  void OnReceived(const v1::LinkMessage& message, LinkHandler& handler);
  void OnWritten(bool ok);

 private:
  // Opens a frame and hands its messages on; closes the link on a refusal.
  void Open(const v1::Frame& frame, LinkHandler& handler);
  void WriteNextLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Transport& transport_;
  protocol::RefusalCounters& counters_;

  absl::Mutex mutex_;
  std::deque<v1::HandshakeMessage> handshakes_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<v1::Frame> early_frames_ ABSL_GUARDED_BY(mutex_);
  v1::LinkMessage writing_ ABSL_GUARDED_BY(mutex_);
  bool write_in_flight_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status close_status_ ABSL_GUARDED_BY(mutex_);
  // Sealing happens under mutex_; opening only in the adapter's serial OnReceived, or in Establish
  // before it: a channel's two halves share nothing (channel.h).
  std::shared_ptr<protocol::Channel> channel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_LINK_PUMP_H_
