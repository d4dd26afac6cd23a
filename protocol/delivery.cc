#include "protocol/delivery.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "crypto/aes_gcm.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/hmac.h"
#include "crypto/padding.h"
#include "proto/frame.pb.h"
#include "proto/shop.pb.h"
#include "protocol/frame_header.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kDeliveryContext = "blindcart/v1 delivery";
constexpr size_t kTagBytes = crypto::kAesGcmTagBytes;
constexpr size_t kTrailerBytes = crypto::kPaddingBuckets.front();
// The merchant, who sends, is the responder of its session.
constexpr Direction kDeliveryDirection = Direction::kResponderToInitiator;

std::string SignedDelivery(absl::string_view order_id, absl::string_view content_hash) {
  return crypto::LengthPrefixed({order_id, content_hash});
}

absl::string_view TagOf(absl::string_view ciphertext) {
  return ciphertext.substr(ciphertext.size() - kTagBytes);
}

// The shape of a delivery, the same at both ends.
struct Layout {
  uint64_t true_size_bytes = 0;
  uint64_t first_piece = 0;
  uint64_t piece_count = 0;
  size_t piece_bytes = 0;

  static absl::StatusOr<Layout> Create(uint64_t true_size_bytes, uint64_t padded_size_bytes,
                                       uint64_t first_piece) {
    if (!IsValidSizeClass(padded_size_bytes)) {
      return absl::InvalidArgumentError("the padded size is not a size class");
    }
    if (true_size_bytes > padded_size_bytes) {
      return absl::InvalidArgumentError("the true size is larger than the padded size");
    }
    const uint64_t piece_count = PieceCount(padded_size_bytes);
    if (first_piece > piece_count) {
      return absl::InvalidArgumentError("the first piece is beyond the delivery's end");
    }
    return Layout{true_size_bytes, first_piece, piece_count, PieceSize(padded_size_bytes)};
  }

  // Where the content in piece `index` begins: the content's end for pieces of padding.
  uint64_t ContentOffset(uint64_t index) const {
    return std::min<uint64_t>(index * piece_bytes, true_size_bytes);
  }
  size_t ContentBytes(uint64_t index) const {
    return static_cast<size_t>(
        std::min<uint64_t>(true_size_bytes - ContentOffset(index), piece_bytes));
  }
};

// The keys of a delivery at work.
struct Sealer {
  crypto::Aes256Gcm gcm;
  crypto::HmacKey mac;
  FrameHeader header;

  static absl::StatusOr<Sealer> Create(const SessionKeys& keys) {
    if (keys.session_id.size() != kDeliveryIdBytes) {
      return absl::InvalidArgumentError("the delivery id is not 16 bytes long");
    }
    absl::StatusOr<DirectionKeys> direction = DeriveDirectionKeys(keys, kDeliveryDirection);
    if (!direction.ok()) return direction.status();
    absl::StatusOr<crypto::Aes256Gcm> gcm = crypto::Aes256Gcm::Create(direction->seal.view());
    if (!gcm.ok()) return gcm.status();
    absl::StatusOr<crypto::HmacKey> mac = crypto::HmacKey::Create(direction->mac.view());
    if (!mac.ok()) return mac.status();
    return Sealer{*std::move(gcm), *std::move(mac),
                  FrameHeader(keys.session_id, kDeliveryDirection, FrameKind::kDelivery)};
  }
};

absl::Status CheckIds(absl::string_view order_id, absl::string_view content_hash) {
  if (order_id.size() != kOrderIdBytes) {
    return absl::InvalidArgumentError("the order id is not 16 bytes long");
  }
  if (content_hash.size() != crypto::kSha256Bytes) {
    return absl::InvalidArgumentError("the content hash is not 32 bytes long");
  }
  return absl::OkStatus();
}

}  // namespace

SizeClasses::SizeClasses(std::vector<uint64_t> classes_bytes)
    : classes_bytes_(std::move(classes_bytes)) {}

SizeClasses SizeClasses::Default() {
  std::vector<uint64_t> classes;
  for (uint64_t size = kClassUnitBytes; size <= kMaxContentBytes; size *= 4) {
    classes.push_back(size);
  }
  return SizeClasses(std::move(classes));
}

absl::StatusOr<SizeClasses> SizeClasses::Create(std::vector<uint64_t> classes_bytes) {
  if (classes_bytes.empty()) return absl::InvalidArgumentError("there is no size class");
  if (classes_bytes.size() > kMaxSizeClasses) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxSizeClasses, " size classes"));
  }
  uint64_t previous = 0;
  for (const uint64_t size : classes_bytes) {
    if (!IsValidSizeClass(size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("size class ", size,
                       " is not a multiple of 64 KiB (of 256 KiB, above that) up to 1 TiB"));
    }
    if (size <= previous) {
      return absl::InvalidArgumentError(
          absl::StrCat("size class ", size, " does not come in ascending order"));
    }
    previous = size;
  }
  return SizeClasses(std::move(classes_bytes));
}

absl::StatusOr<uint64_t> SizeClasses::ClassFor(uint64_t true_size_bytes) const {
  const auto found =
      std::lower_bound(classes_bytes_.begin(), classes_bytes_.end(), true_size_bytes);
  if (found == classes_bytes_.end()) {
    return absl::OutOfRangeError("the content is larger than the largest size class");
  }
  return *found;
}

bool IsValidSizeClass(uint64_t padded_size_bytes) {
  const uint64_t unit = padded_size_bytes > kPieceBytes ? kPieceBytes : kClassUnitBytes;
  return padded_size_bytes > 0 && padded_size_bytes <= kMaxContentBytes &&
         padded_size_bytes % unit == 0;
}

uint64_t PieceCount(uint64_t padded_size_bytes) {
  return padded_size_bytes / PieceSize(padded_size_bytes);
}

size_t PieceSize(uint64_t padded_size_bytes) {
  return static_cast<size_t>(std::min<uint64_t>(padded_size_bytes, kPieceBytes));
}

absl::Status VerifyDeliverySignature(const crypto::PublicIdentity& merchant,
                                     absl::string_view order_id, absl::string_view content_hash,
                                     absl::string_view signature) {
  if (!merchant.VerifySignature(kDeliveryContext, SignedDelivery(order_id, content_hash), signature)
           .ok()) {
    return absl::DataLossError(
        "the merchant's signature does not fit this order and this content's hash");
  }
  return absl::OkStatus();
}

struct DeliverySender::State {
  Params params;
  Layout layout;
  Sealer sealer;
  const crypto::Identity& merchant;
  crypto::PaddingStream padding;
  std::string delivery_id;
  uint64_t next_piece;
  // Set by the final frame, and by a failure, after which a nonce must not be used again.
  bool over = false;

  // Seals `plaintext` into `out`, which has room for it and the tag and may begin with it, and
  // fills in the frame around it.
  absl::Status Seal(absl::string_view plaintext, std::string* out, bool final, v1::Frame* frame) {
    const uint64_t seq = next_piece - layout.first_piece;
    const absl::string_view header = sealer.header.Encode(seq, final);
    const FrameNonce nonce(kDeliveryDirection, FrameKind::kDelivery, seq);
    absl::Status sealed =
        sealer.gcm.SealTo(nonce.view(), header, plaintext, reinterpret_cast<uint8_t*>(&(*out)[0]));
    if (!sealed.ok()) {
      over = true;
      return sealed;
    }
    frame->set_session_id(delivery_id);
    frame->set_seq(seq);
    std::string* mac = frame->mutable_mac();
    mac->resize(kFrameMacBytes);
    sealer.mac.Sign({header, TagOf(*out)}, reinterpret_cast<uint8_t*>(&(*mac)[0]));
    return absl::OkStatus();
  }
};

DeliverySender::DeliverySender(std::unique_ptr<State> state) : state_(std::move(state)) {}
DeliverySender::~DeliverySender() = default;

absl::StatusOr<std::unique_ptr<DeliverySender>> DeliverySender::Create(
    SessionKeys keys, Params params, const crypto::Identity& merchant,
    crypto::RandomSource& random) {
  if (absl::Status ids = CheckIds(params.order_id, params.content_hash); !ids.ok()) return ids;
  absl::StatusOr<Layout> layout =
      Layout::Create(params.true_size_bytes, params.padded_size_bytes, params.first_piece);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<Sealer> sealer = Sealer::Create(keys);
  if (!sealer.ok()) return sealer.status();
  const uint64_t first_piece = params.first_piece;
  return std::unique_ptr<DeliverySender>(new DeliverySender(std::unique_ptr<State>(
      new State{std::move(params), *layout, *std::move(sealer), merchant,
                crypto::PaddingStream(random), std::move(keys.session_id), first_piece})));
}

size_t DeliverySender::NextContentBytes() const {
  return pieces_done() ? 0 : state_->layout.ContentBytes(state_->next_piece);
}

uint64_t DeliverySender::NextContentOffset() const {
  return state_->layout.ContentOffset(state_->next_piece);
}

bool DeliverySender::pieces_done() const {
  return state_->next_piece == state_->layout.piece_count;
}

absl::Status DeliverySender::SealPiece(absl::string_view content, v1::Frame* frame) {
  State& state = *state_;
  if (state.over || pieces_done()) {
    return absl::FailedPreconditionError("the delivery has no piece left to seal");
  }
  if (content.size() != NextContentBytes()) {
    return absl::InvalidArgumentError("the piece has not the number of content bytes it wants");
  }
  const size_t piece_bytes = state.layout.piece_bytes;
  std::string* out = frame->mutable_ciphertext();
  out->resize(piece_bytes + kTagBytes);  // No work when the frame carried a piece before.
  absl::string_view plaintext = content;
  if (content.size() < piece_bytes) {
    if (!content.empty()) std::memcpy(&(*out)[0], content.data(), content.size());
    state.padding.Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(&(*out)[0]) + content.size(),
                                      piece_bytes - content.size()));
    plaintext = absl::string_view(out->data(), piece_bytes);
  }
  absl::Status sealed = state.Seal(plaintext, out, /*final=*/false, frame);
  if (sealed.ok()) ++state.next_piece;
  return sealed;
}

absl::Status DeliverySender::SealFinal(v1::Frame* frame) {
  State& state = *state_;
  if (state.over || !pieces_done()) {
    return absl::FailedPreconditionError("the final frame follows the last piece, once");
  }
  state.over = true;
  v1::DeliveryTrailer trailer;
  trailer.set_content_hash(state.params.content_hash);
  trailer.set_signature(state.merchant.Sign(
      kDeliveryContext, SignedDelivery(state.params.order_id, state.params.content_hash)));
  std::string* out = frame->mutable_ciphertext();
  out->clear();
  if (!trailer.AppendToString(out)) return absl::InternalError("the trailer cannot be serialised");
  if (absl::Status padded = crypto::Pad(*out, kTrailerBytes); !padded.ok()) return padded;
  out->resize(kTrailerBytes + kTagBytes);
  return state.Seal(absl::string_view(out->data(), kTrailerBytes), out, /*final=*/true, frame);
}

struct DeliveryReceiver::State {
  Params params;
  Layout layout;
  Sealer sealer;
  const crypto::PublicIdentity merchant;
  crypto::Sha256Hasher hasher;
  std::string delivery_id;
  uint64_t next_piece;
  // The plaintext of one piece, used again for each. Never cleared first: OpenTo writes all of it
  // or fails.
  std::unique_ptr<uint8_t[]> plaintext;
  bool finished = false;
  RefusalReason refusal = RefusalReason::kNone;
  absl::Status verdict = absl::OkStatus();
  std::string signature = std::string();

  absl::Status Refuse(RefusalReason reason) {
    refusal = reason;
    return Refused();
  }

  // Checks and decrypts a frame into `plaintext`.
  absl::Status OpenFrame(const v1::Frame& frame, size_t plaintext_bytes, bool final) {
    if (frame.session_id() != delivery_id ||
        frame.ciphertext().size() != plaintext_bytes + kTagBytes ||
        frame.mac().size() != kFrameMacBytes) {
      return Refuse(RefusalReason::kBounds);
    }
    const absl::string_view header = sealer.header.Encode(frame.seq(), final);
    if (!sealer.mac.Verify({header, TagOf(frame.ciphertext())}, frame.mac())) {
      return Refuse(RefusalReason::kMac);
    }
    if (frame.seq() != next_piece - layout.first_piece) return Refuse(RefusalReason::kSequence);
    const FrameNonce nonce(kDeliveryDirection, FrameKind::kDelivery, frame.seq());
    if (!sealer.gcm.OpenTo(nonce.view(), header, frame.ciphertext(), plaintext.get()).ok()) {
      return Refuse(RefusalReason::kSeal);
    }
    return absl::OkStatus();
  }

  absl::Status OpenTrailer(const v1::Frame& frame) {
    if (absl::Status opened = OpenFrame(frame, kTrailerBytes, /*final=*/true); !opened.ok()) {
      return opened;
    }
    const absl::string_view padded(reinterpret_cast<const char*>(plaintext.get()), kTrailerBytes);
    const absl::StatusOr<size_t> size = crypto::UnpaddedSize(padded);
    if (!size.ok()) return Refuse(RefusalReason::kPadding);
    v1::DeliveryTrailer trailer;
    if (!trailer.ParseFromArray(padded.data(), static_cast<int>(*size)) ||
        trailer.content_hash().size() != crypto::kSha256Bytes ||
        trailer.signature().size() != crypto::kEd25519SignatureBytes) {
      return Refuse(RefusalReason::kMalformed);
    }
    finished = true;
    signature = trailer.signature();
    verdict = Judge(trailer.content_hash());
    return absl::OkStatus();
  }

  absl::Status Judge(absl::string_view trailer_hash) {
    if (trailer_hash != params.expected_hash) {
      return absl::DataLossError(
          "the merchant delivered other content than was ordered: the hash that it states is not "
          "the order's");
    }
    if (hasher.Finish() != params.expected_hash) {
      return absl::DataLossError(
          "the content that arrived does not have the hash that was ordered");
    }
    return VerifyDeliverySignature(merchant, params.order_id, params.expected_hash, signature);
  }
};

DeliveryReceiver::DeliveryReceiver(std::unique_ptr<State> state) : state_(std::move(state)) {}
DeliveryReceiver::~DeliveryReceiver() = default;

absl::StatusOr<std::unique_ptr<DeliveryReceiver>> DeliveryReceiver::Create(
    SessionKeys keys, Params params, const crypto::PublicIdentity& merchant,
    crypto::Sha256Hasher hasher) {
  if (absl::Status ids = CheckIds(params.order_id, params.expected_hash); !ids.ok()) return ids;
  absl::StatusOr<Layout> layout =
      Layout::Create(params.true_size_bytes, params.padded_size_bytes, params.first_piece);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<Sealer> sealer = Sealer::Create(keys);
  if (!sealer.ok()) return sealer.status();
  const uint64_t first_piece = params.first_piece;
  std::unique_ptr<uint8_t[]> plaintext(new uint8_t[layout->piece_bytes]);
  return std::unique_ptr<DeliveryReceiver>(new DeliveryReceiver(std::unique_ptr<State>(
      new State{std::move(params), *layout, *std::move(sealer), merchant, std::move(hasher),
                std::move(keys.session_id), first_piece, std::move(plaintext)})));
}

absl::StatusOr<absl::string_view> DeliveryReceiver::Open(const v1::Frame& frame) {
  State& state = *state_;
  if (state.refusal != RefusalReason::kNone) return Refused();
  if (state.finished) {
    return absl::FailedPreconditionError("the delivery has had its final frame");
  }
  if (state.next_piece == state.layout.piece_count) {
    if (absl::Status opened = state.OpenTrailer(frame); !opened.ok()) return opened;
    return absl::string_view();
  }
  const absl::Status opened = state.OpenFrame(frame, state.layout.piece_bytes, /*final=*/false);
  if (!opened.ok()) return opened;
  const absl::string_view content(reinterpret_cast<const char*>(state.plaintext.get()),
                                  state.layout.ContentBytes(state.next_piece));
  state.hasher.Update(content);
  ++state.next_piece;
  return content;
}

bool DeliveryReceiver::finished() const { return state_->finished; }

absl::Status DeliveryReceiver::Verdict() const {
  if (!state_->finished) {
    return absl::FailedPreconditionError("the delivery has not had its final frame");
  }
  return state_->verdict;
}

const std::string& DeliveryReceiver::signature() const { return state_->signature; }

RefusalReason DeliveryReceiver::refusal() const { return state_->refusal; }

}  // namespace blindcart::protocol
