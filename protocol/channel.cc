#include "protocol/channel.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "crypto/aes_gcm.h"
#include "crypto/hmac.h"
#include "crypto/padding.h"
#include "crypto/secret_bytes.h"
#include "google/protobuf/io/coded_stream.h"
#include "proto/frame.pb.h"
#include "protocol/frame_header.h"

namespace blindcart::protocol {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

// Tags of the Envelope's fields: number and wire type.
constexpr uint8_t kSentAtTag = (1 << 3) | 0;
constexpr uint8_t kMessageTag = (2 << 3) | 2;
constexpr size_t kMaxVarintBytes = 10;

bool IsBucket(size_t bytes) {
  if (bytes == 0) return false;
  const absl::StatusOr<size_t> bucket = crypto::BucketFor(bytes - 1);
  return bucket.ok() && *bucket == bytes;
}

uint8_t* AsBytes(std::string& text) { return reinterpret_cast<uint8_t*>(&text[0]); }

void AppendTagged(uint8_t tag, uint64_t value, std::string* out) {
  std::array<uint8_t, 1 + kMaxVarintBytes> bytes;
  bytes[0] = tag;
  const uint8_t* end = CodedOutputStream::WriteVarint64ToArray(value, bytes.data() + 1);
  out->append(reinterpret_cast<const char*>(bytes.data()), end - bytes.data());
}

// Memory for a plaintext: not cleared before, wiped after.
class Scratch {
 public:
  explicit Scratch(size_t size) : bytes_(new uint8_t[size]), size_(size) {}
  ~Scratch() { crypto::Wipe(bytes_.get(), size_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  uint8_t* data() { return bytes_.get(); }
  absl::string_view view() const {
    return absl::string_view(reinterpret_cast<const char*>(bytes_.get()), size_);
  }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t size_;
};

// One direction of the session.
struct Half {
  static absl::StatusOr<Half> Create(const SessionKeys& keys, Direction direction) {
    absl::StatusOr<DirectionKeys> half_keys = DeriveDirectionKeys(keys, direction);
    if (!half_keys.ok()) return half_keys.status();
    absl::StatusOr<crypto::Aes256Gcm> aead = crypto::Aes256Gcm::Create(half_keys->seal.view());
    if (!aead.ok()) return aead.status();
    absl::StatusOr<crypto::HmacKey> mac = crypto::HmacKey::Create(half_keys->mac.view());
    if (!mac.ok()) return mac.status();
    return Half{direction, *std::move(aead), *std::move(mac),
                FrameHeader(keys.session_id, direction, FrameKind::kChannel)};
  }

  Direction direction;
  crypto::Aes256Gcm aead;
  crypto::HmacKey mac;
  FrameHeader header;
};

// Reads an Envelope in the one encoding that the header describes.
class EnvelopeReader {
 public:
  explicit EnvelopeReader(absl::string_view envelope)
      : envelope_(envelope),
        input_(reinterpret_cast<const uint8_t*>(envelope.data()),
               static_cast<int>(envelope.size())) {}

  bool ReadSentAt(int64_t* sent_at_ms) {
    uint64_t value = 0;
    if (input_.ReadTag() != kSentAtTag || !input_.ReadVarint64(&value)) return false;
    *sent_at_ms = static_cast<int64_t>(value);
    return true;
  }

  // All the rest: 1 to kMaxBatch messages.
  bool ReadMessages(std::vector<std::string>* messages) {
    while (at() < envelope_.size()) {
      uint32_t length = 0;
      if (messages->size() == kMaxBatch || input_.ReadTag() != kMessageTag ||
          !input_.ReadVarint32(&length) || length > envelope_.size() - at()) {
        return false;
      }
      messages->emplace_back(envelope_.data() + at(), length);
      if (!input_.Skip(static_cast<int>(length))) return false;
    }
    return !messages->empty();
  }

 private:
  size_t at() const { return static_cast<size_t>(input_.CurrentPosition()); }

  absl::string_view envelope_;
  CodedInputStream input_;
};

}  // namespace

struct Channel::State {
  State(SessionKeys keys, const Clock& clock, Options options, Half send, Half receive)
      : keys(std::move(keys)),
        clock(clock),
        options(options),
        send(std::move(send)),
        receive(std::move(receive)),
        begun_ms(clock.NowMonotonicMs()),
        active_ms(begun_ms) {}

  bool Expired(int64_t now_ms) const {
    return now_ms - begun_ms >= kSessionLimitMs || now_ms - active_ms >= kIdleLimitMs;
  }

  // Ends the session. Of several reasons the first one counts.
  absl::Status Refuse(RefusalReason reason) {
    RefusalReason none = RefusalReason::kNone;
    refusal.compare_exchange_strong(none, reason);
    ended = true;
    return Refused();
  }

  const SessionKeys keys;
  const Clock& clock;
  const Options options;
  Half send;
  Half receive;
  const int64_t begun_ms;
  std::atomic<int64_t> active_ms;
  std::atomic<bool> ended{false};
  std::atomic<RefusalReason> refusal{RefusalReason::kNone};
};

absl::StatusOr<std::unique_ptr<Channel>> Channel::Create(SessionKeys keys, Role role,
                                                         const Clock& clock, Options options) {
  if (keys.session_id.size() != kSessionIdBytes || keys.seal.size() != kKeyBytes ||
      keys.mac.size() != kKeyBytes) {
    return absl::InvalidArgumentError("not the keys of a session");
  }
  if (!IsBucket(options.max_plaintext_bytes) || !IsBucket(options.min_bucket_bytes) ||
      options.min_bucket_bytes > options.max_plaintext_bytes) {
    return absl::InvalidArgumentError("not padding buckets");
  }
  absl::StatusOr<Half> send = Half::Create(keys, SendDirection(role));
  if (!send.ok()) return send.status();
  absl::StatusOr<Half> receive = Half::Create(keys, ReceiveDirection(role));
  if (!receive.ok()) return receive.status();
  return std::unique_ptr<Channel>(new Channel(std::make_unique<State>(
      std::move(keys), clock, options, *std::move(send), *std::move(receive))));
}

Channel::Channel(std::unique_ptr<State> state) : state_(std::move(state)) {}
Channel::~Channel() = default;

absl::Status Channel::Seal(absl::Span<const std::string> messages, v1::Frame* frame) {
  State& s = *state_;
  if (s.ended) return Refused();
  const int64_t now_ms = s.clock.NowMonotonicMs();
  if (s.Expired(now_ms) || send_seq_ >= kMaxFrames) return s.Refuse(RefusalReason::kExpired);

  if (messages.empty() || messages.size() > kMaxBatch) {
    return absl::InvalidArgumentError("a frame takes 1 to 64 messages");
  }
  const uint64_t sent_at_ms = static_cast<uint64_t>(s.clock.NowUnixMs());
  size_t envelope_bytes = 1 + CodedOutputStream::VarintSize64(sent_at_ms);
  for (const std::string& message : messages) {
    // No sum of at most kMaxBatch such sizes overflows.
    if (message.size() > s.options.max_plaintext_bytes) {
      return absl::ResourceExhaustedError("message too large for a frame");
    }
    envelope_bytes += 1 + CodedOutputStream::VarintSize64(message.size()) + message.size();
  }
  if (envelope_bytes >= s.options.max_plaintext_bytes) {  // Padding takes a byte.
    return absl::ResourceExhaustedError("messages too large for a frame");
  }

  // The plaintext is written where the ciphertext will stand, and sealed in place.
  std::string& text = *frame->mutable_ciphertext();
  text.clear();
  text.reserve(std::max(*crypto::BucketFor(envelope_bytes), s.options.min_bucket_bytes) +
               crypto::kAesGcmTagBytes);
  AppendTagged(kSentAtTag, sent_at_ms, &text);
  for (const std::string& message : messages) {
    AppendTagged(kMessageTag, message.size(), &text);
    text.append(message);
  }
  const absl::Status padded = crypto::Pad(text, s.options.min_bucket_bytes);
  const size_t plaintext_bytes = text.size();
  text.resize(plaintext_bytes + crypto::kAesGcmTagBytes);

  // Counted before it is used: whatever happens below, this nonce is not used again.
  const uint64_t seq = send_seq_++;
  const absl::string_view header = s.send.header.Encode(seq, /*final=*/false);
  const FrameNonce nonce(s.send.direction, FrameKind::kChannel, seq);
  absl::Status sealed = padded;
  if (sealed.ok()) {
    sealed = s.send.aead.SealTo(nonce.view(), header,
                                absl::string_view(text.data(), plaintext_bytes), AsBytes(text));
  }
  if (!sealed.ok()) {
    crypto::Wipe(text);
    End();
    return sealed;
  }
  std::string& mac = *frame->mutable_mac();
  mac.resize(kFrameMacBytes);
  s.send.mac.Sign({header, text}, AsBytes(mac));
  frame->set_session_id(s.keys.session_id);
  frame->set_seq(seq);
  s.active_ms = now_ms;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Channel::Open(const v1::Frame& frame) {
  State& s = *state_;
  if (s.ended) return Refused();

  // Bounds.
  const absl::string_view ciphertext = frame.ciphertext();
  if (frame.session_id().size() != kSessionIdBytes || frame.mac().size() != kFrameMacBytes ||
      ciphertext.size() > s.options.max_plaintext_bytes + crypto::kAesGcmTagBytes ||
      ciphertext.size() < crypto::kAesGcmTagBytes ||
      !IsBucket(ciphertext.size() - crypto::kAesGcmTagBytes)) {
    return s.Refuse(RefusalReason::kBounds);
  }
  // Session known and not expired.
  if (frame.session_id() != s.keys.session_id) return s.Refuse(RefusalReason::kUnknownSession);
  const int64_t now_ms = s.clock.NowMonotonicMs();
  if (s.Expired(now_ms) || receive_seq_ >= kMaxFrames) return s.Refuse(RefusalReason::kExpired);
  // MAC, then the sequence.
  const absl::string_view header = s.receive.header.Encode(frame.seq(), /*final=*/false);
  if (!s.receive.mac.Verify({header, ciphertext}, frame.mac())) {
    return s.Refuse(RefusalReason::kMac);
  }
  if (frame.seq() != receive_seq_) return s.Refuse(RefusalReason::kSequence);
  // AEAD.
  const FrameNonce nonce(s.receive.direction, FrameKind::kChannel, frame.seq());
  Scratch plaintext(ciphertext.size() - crypto::kAesGcmTagBytes);
  if (!s.receive.aead.OpenTo(nonce.view(), header, ciphertext, plaintext.data()).ok()) {
    return s.Refuse(RefusalReason::kSeal);
  }
  // Padding.
  const absl::StatusOr<size_t> envelope_bytes = crypto::UnpaddedSize(plaintext.view());
  if (!envelope_bytes.ok()) return s.Refuse(RefusalReason::kPadding);
  // Freshness.
  EnvelopeReader reader(plaintext.view().substr(0, *envelope_bytes));
  int64_t sent_at_ms = 0;
  if (!reader.ReadSentAt(&sent_at_ms)) return s.Refuse(RefusalReason::kMalformed);
  const int64_t now_unix_ms = s.clock.NowUnixMs();
  if (sent_at_ms < now_unix_ms - kFreshnessMs || sent_at_ms > now_unix_ms + kFreshnessMs) {
    return s.Refuse(RefusalReason::kStale);
  }
  // Parse.
  std::vector<std::string> messages;
  if (!reader.ReadMessages(&messages)) return s.Refuse(RefusalReason::kMalformed);

  ++receive_seq_;
  s.active_ms = now_ms;
  return messages;
}

bool Channel::ended() const {
  return state_->ended || state_->Expired(state_->clock.NowMonotonicMs());
}

void Channel::End() { state_->ended = true; }

RefusalReason Channel::last_refusal() const { return state_->refusal; }

const std::string& Channel::session_id() const { return state_->keys.session_id; }

absl::StatusOr<SessionKeys> Channel::DeliveryKeys(absl::string_view delivery_id) const {
  if (ended()) return Refused();
  return DeriveDeliveryKeys(state_->keys, delivery_id);
}

}  // namespace blindcart::protocol
