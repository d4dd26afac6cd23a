// Joins the two ends of a delivery: the merchant's stream of sealed pieces and the agent's
// (docs/protocol.md section 6). Pure joining logic: a piece is opaque, the streams are interfaces,
// and goods_reactors.h carries both over gRPC.
//
// A delivery is opened under S1 by the customer for an id of 16 random bytes, which merchant and
// agent then name. Each end attaches once; the id is good for that. At most kLookAhead pieces wait
// here: the merchant is asked for the next one only when there is room, so a slow agent slows the
// merchant and memory stays flat. Either end breaking ends the other; so does time (nobody attached,
// or no piece moved).
//
// Thread safety: every method may be called from any thread. Streams are called with the delivery's
// lock held and must not call back synchronously; the relay's lock is taken after a delivery's.
#ifndef BLINDCART_SERVICES_BROKER_GOODS_RELAY_H_
#define BLINDCART_SERVICES_BROKER_GOODS_RELAY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "protocol/clock.h"

namespace blindcart::broker {

// One sealed message on its way.
class GoodsPiece {
 public:
  virtual ~GoodsPiece() = default;
};

// The merchant's stream.
class GoodsSource {
 public:
  virtual ~GoodsSource() = default;
  // Begins to read the next piece; Delivery::OnPiece or OnSourceEnded follows.
  virtual void ReadNext() = 0;
  // Ends the stream. Called once.
  virtual void Finish(const absl::Status& status) = 0;
};

// The agent's stream.
class GoodsSink {
 public:
  virtual ~GoodsSink() = default;
  // Begins to write; Delivery::OnWritten or OnSinkEnded follows.
  virtual void Write(std::unique_ptr<GoodsPiece> piece) = 0;
  virtual void Finish(const absl::Status& status) = 0;
};

class Delivery {
 public:
  static constexpr size_t kLookAhead = 4;

  // `on_end` is called once, before the streams are ended and with the lock held: it must not call
  // back. `clock` must outlive the delivery. Who calls a method holds a reference to the delivery.
  Delivery(const protocol::Clock& clock, std::function<void()> on_end);

  // False when this end was attached before or the delivery is over. An attached stream must detach
  // before it goes; after that it is not called any more.
  bool AttachSource(GoodsSource* source);
  bool AttachSink(GoodsSink* sink);
  void DetachSource();
  void DetachSink();

  void OnPiece(std::unique_ptr<GoodsPiece> piece);
  // Ok: all pieces were sent. Anything else ends the delivery at once.
  void OnSourceEnded(const absl::Status& status);
  void OnWritten();
  void OnSinkEnded();

  // Whether both ends are there and it goes on.
  bool moving();

  // Ends the delivery when an end has been missing or nothing has moved for that long.
  void EndIfStale(int64_t attach_limit_ms, int64_t stall_limit_ms);

 private:
  // Both need mutex_.
  void PumpLocked();
  void EndLocked(const absl::Status& status);

  const protocol::Clock& clock_;
  const std::function<void()> on_end_;
  std::mutex mutex_;
  GoodsSource* source_ = nullptr;
  GoodsSink* sink_ = nullptr;
  bool source_attached_ = false;  // Ever.
  bool sink_attached_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool source_done_ = false;
  bool ended_ = false;
  std::deque<std::unique_ptr<GoodsPiece>> waiting_;
  int64_t last_progress_ms_ = 0;
};

class GoodsRelay {
 public:
  struct Options {
    int max_per_customer = 8;
    // Of all customers: each may hold kLookAhead pieces in memory.
    size_t max_open = 1'024;
    // An opened delivery that lacks an end for so long is over.
    int64_t attach_limit_ms = 30'000;
    // One in which no piece moves for so long is over.
    int64_t stall_limit_ms = 120'000;
  };

  // `clock` must outlive the relay and every delivery.
  GoodsRelay(const Options& options, const protocol::Clock& clock);

  // False when too many deliveries are open, of this customer or in all, or when the id is in use.
  bool Open(int64_t customer_id, absl::string_view delivery_id);
  // Null for an id that is not open.
  std::shared_ptr<Delivery> Find(absl::string_view delivery_id);
  void Sweep();

  size_t open_count() const;
  // Of those, the ones with both ends.
  size_t moving_count() const;

 private:
  struct Entry {
    int64_t customer_id = 0;
    std::shared_ptr<Delivery> delivery;
  };
  struct Table {
    std::mutex mutex;
    absl::flat_hash_map<std::string, Entry> deliveries;
    absl::flat_hash_map<int64_t, int> of_customer;
    void Erase(const std::string& delivery_id);
  };

  std::vector<std::shared_ptr<Delivery>> All() const;

  const Options options_;
  const protocol::Clock& clock_;
  // Known to the deliveries, which may outlive the relay in their streams.
  const std::shared_ptr<Table> table_ = std::make_shared<Table>();
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_GOODS_RELAY_H_
