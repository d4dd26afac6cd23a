// The broker as anybody on the network meets it: links and goods streams of which the test writes
// every message itself, well-formed or not. For the parties in test_customer.h and
// test_merchant.h, and for what no party should ever send.
//
// Everything blocks, and a stream ends by itself after four minutes, as if it had broken.
// Thread safety: RawBroker from any thread; a RawLink or a RawGoods belongs to one, but Cancel and
// Write of a link may be called while another thread reads.
#ifndef BLINDCART_TESTS_SUPPORT_RAW_BROKER_H_
#define BLINDCART_TESTS_SUPPORT_RAW_BROKER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/broker.pb.h"
#include "proto/frame.pb.h"
#include "protocol/channel.h"
#include "protocol/key_schedule.h"
#include "tests/support/marketplace.h"

namespace blindcart::testing {

enum class Door { kCustomer, kMerchant };

class RawLink {
 public:
  ~RawLink();

  // Unmodified onto the wire. False once the stream is over.
  bool Write(const v1::LinkMessage& message);
  bool WriteHandshake(v1::HandshakeMessage message);
  bool WriteFrame(v1::Frame frame);
  // Nothing when the stream is over.
  absl::optional<v1::LinkMessage> Read();
  absl::optional<v1::HandshakeMessage> ReadHandshake();
  // Reads to the stream's end and says how the broker ended it.
  absl::Status AwaitEnd();
  void Cancel();

  // After a handshake: seals and opens as the protocol says.
  void Establish(protocol::SessionKeys keys, protocol::Role role);
  // Null before Establish.
  protocol::Channel* channel() { return channel_.get(); }
  // One sealed frame. False when it cannot be sealed or the stream is over.
  bool Send(const std::vector<std::string>& messages);
  // The next message of the conversation; nothing when the stream is over or a frame does not open.
  absl::optional<std::string> Receive();

  // Seals what Channel would not: `plaintext`, which the caller has padded or not, as frame `seq`.
  // The channel's own numbers go on as if nothing had happened.
  v1::Frame SealByHand(absl::string_view plaintext, uint64_t seq);

 private:
  friend class RawBroker;
  struct State;
  explicit RawLink(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
  std::unique_ptr<protocol::Channel> channel_;
  protocol::DirectionKeys send_keys_;
  protocol::Direction send_direction_ = protocol::Direction::kInitiatorToResponder;
  std::vector<std::string> received_;  // Of the frame at hand, the next one last.
};

// A merchant's goods on their way.
class RawGoods {
 public:
  ~RawGoods();
  bool Write(const v1::GoodsMessage& message);
  absl::Status Finish();

 private:
  friend class RawBroker;
  struct State;
  explicit RawGoods(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class RawBroker {
 public:
  // The broker of `market`, which has to be running.
  static absl::StatusOr<std::unique_ptr<RawBroker>> Dial(const Marketplace& market);
  ~RawBroker();

  const crypto::PublicIdentity& identity() const;
  std::unique_ptr<RawLink> OpenLink(Door door);
  std::unique_ptr<RawGoods> SendGoods();
  // All that comes, until the broker ends the stream, and how it did.
  absl::Status FetchGoods(const std::string& delivery_id, std::vector<v1::GoodsMessage>* goods);
  // Calls `method` of the broker with each of `messages` as the bytes of one message; how it ended.
  absl::Status CallWithBytes(const std::string& method, const std::vector<std::string>& messages);

 private:
  struct State;
  explicit RawBroker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The keys that the commands made for a party, by its data folder.
absl::StatusOr<std::unique_ptr<crypto::Identity>> BorrowIdentity(const std::string& data_dir);

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_RAW_BROKER_H_
