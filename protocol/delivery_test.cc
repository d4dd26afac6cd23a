#include "protocol/delivery.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "crypto/aes_gcm.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/hmac.h"
#include "crypto/identity.h"
#include "crypto/padding.h"
#include "crypto/secret_bytes.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/frame.pb.h"
#include "proto/shop.pb.h"
#include "protocol/frame_header.h"
#include "protocol/key_schedule.h"
#include "protocol/order.h"
#include "protocol/refusal.h"

namespace blindcart::protocol {
namespace {

using crypto::DeterministicRandom;
using crypto::Sha256;
using crypto::Sha256Hasher;

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
const std::string kOrderId(16, 'o');
const std::string kDeliveryId = "delivery-id-0001";

const crypto::Identity& Merchant() { return crypto::TestIdentity(0); }
const crypto::Identity& Stranger() { return crypto::TestIdentity(1); }

SessionKeys Keys(absl::string_view delivery_id = kDeliveryId, char fill = 'K') {
  const SessionKeys session{std::string(16, 'S'),
                            crypto::SecretBytes::CopyOf(std::string(32, fill)),
                            crypto::SecretBytes::CopyOf(std::string(32, fill + 1))};
  return DeriveDeliveryKeys(session, delivery_id).value();
}

std::string Content(uint64_t size, uint64_t seed = 1) {
  return DeterministicRandom(seed).Bytes(size);
}

uint64_t DefaultClass(uint64_t size) { return SizeClasses::Default().ClassFor(size).value(); }

DeliverySender::Params SenderParams(absl::string_view content, uint64_t first_piece = 0) {
  return {content.size(), DefaultClass(content.size()), first_piece, kOrderId, Sha256(content)};
}

DeliveryReceiver::Params ReceiverParams(absl::string_view content, uint64_t first_piece = 0) {
  return {content.size(), DefaultClass(content.size()), first_piece, kOrderId, Sha256(content)};
}

std::unique_ptr<DeliverySender> MakeSender(DeliverySender::Params params, SessionKeys keys = Keys(),
                                           const crypto::Identity& merchant = Merchant(),
                                           uint64_t seed = 7) {
  DeterministicRandom random(seed);
  return DeliverySender::Create(std::move(keys), std::move(params), merchant, random).value();
}

std::unique_ptr<DeliveryReceiver> MakeReceiver(DeliveryReceiver::Params params,
                                               SessionKeys keys = Keys(),
                                               Sha256Hasher hasher = Sha256Hasher()) {
  return DeliveryReceiver::Create(std::move(keys), std::move(params), Merchant().public_identity(),
                                  std::move(hasher))
      .value();
}

// All frames of a delivery, the final one last. `content` is the whole content.
std::vector<v1::Frame> Frames(DeliverySender* sender, absl::string_view content) {
  std::vector<v1::Frame> frames;
  v1::Frame frame;
  while (!sender->pieces_done()) {
    const absl::string_view piece =
        content.substr(sender->NextContentOffset(), sender->NextContentBytes());
    EXPECT_TRUE(sender->SealPiece(piece, &frame).ok());
    frames.push_back(frame);
  }
  EXPECT_TRUE(sender->SealFinal(&frame).ok());
  frames.push_back(frame);
  return frames;
}

std::vector<v1::Frame> Frames(absl::string_view content) {
  return Frames(MakeSender(SenderParams(content)).get(), content);
}

// Opens `frames` up to the first that is not taken; the content of the rest.
absl::StatusOr<std::string> OpenAll(DeliveryReceiver* receiver,
                                    const std::vector<v1::Frame>& frames) {
  std::string content;
  for (const v1::Frame& frame : frames) {
    const absl::StatusOr<absl::string_view> opened = receiver->Open(frame);
    if (!opened.ok()) return opened.status();
    content.append(opened->data(), opened->size());
  }
  return content;
}

// That `frames` are refused at `at`, for `reason`.
void ExpectRefusedAt(absl::string_view content, const std::vector<v1::Frame>& frames, size_t at,
                     RefusalReason reason, absl::string_view what) {
  const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(ReceiverParams(content));
  for (size_t i = 0; i < at; ++i) ASSERT_TRUE(receiver->Open(frames[i]).ok()) << what << i;
  const absl::StatusOr<absl::string_view> opened = receiver->Open(frames[at]);
  ASSERT_FALSE(opened.ok()) << what;
  EXPECT_TRUE(IsRefusal(opened.status())) << what << opened.status();
  EXPECT_EQ(receiver->refusal(), reason)
      << what << " " << RefusalReasonName(receiver->refusal()) << " at " << at;
  EXPECT_FALSE(receiver->finished()) << what;
  EXPECT_EQ(receiver->Verdict().code(), absl::StatusCode::kFailedPrecondition) << what;
}

// A frame sealed with the delivery's real keys, as a merchant that does not keep to the protocol
// could.
v1::Frame Forge(uint64_t seq, bool final, absl::string_view plaintext,
                Direction direction = Direction::kResponderToInitiator,
                FrameKind kind = FrameKind::kDelivery) {
  const SessionKeys keys = Keys();
  const DirectionKeys direction_keys =
      DeriveDirectionKeys(keys, Direction::kResponderToInitiator).value();
  FrameHeader header(keys.session_id, direction, kind);
  v1::Frame frame;
  frame.set_session_id(keys.session_id);
  frame.set_seq(seq);
  crypto::Aes256Gcm gcm = crypto::Aes256Gcm::Create(direction_keys.seal.view()).value();
  EXPECT_TRUE(gcm.Seal(FrameNonce(direction, kind, seq).view(), header.Encode(seq, final),
                       plaintext, frame.mutable_ciphertext())
                  .ok());
  frame.set_mac(crypto::HmacSha256(
      direction_keys.mac.view(),
      std::string(header.Encode(seq, final)) +
          frame.ciphertext().substr(frame.ciphertext().size() - crypto::kAesGcmTagBytes)));
  return frame;
}

std::string Trailer(absl::string_view hash, absl::string_view signature) {
  v1::DeliveryTrailer trailer;
  trailer.set_content_hash(std::string(hash));
  trailer.set_signature(std::string(signature));
  return trailer.SerializeAsString();
}

v1::Frame ForgeFinal(uint64_t seq, std::string trailer) {
  EXPECT_TRUE(crypto::Pad(trailer, 1024).ok());
  return Forge(seq, true, trailer);
}

std::string DeliverySignature(const crypto::Identity& merchant, absl::string_view order_id,
                              absl::string_view hash) {
  return merchant.Sign("blindcart/v1 delivery", crypto::LengthPrefixed({order_id, hash}));
}

TEST(SizeClassesTest, DefaultIs64KiBTimesPowersOfFour) {
  const SizeClasses classes = SizeClasses::Default();
  EXPECT_EQ(classes.ClassFor(0).value(), 64 * kKiB);
  EXPECT_EQ(classes.ClassFor(64 * kKiB).value(), 64 * kKiB);
  EXPECT_EQ(classes.ClassFor(64 * kKiB + 1).value(), 256 * kKiB);
  EXPECT_EQ(classes.ClassFor(256 * kKiB + 1).value(), kMiB);
  EXPECT_EQ(classes.ClassFor(50 * kMiB).value(), 64 * kMiB);
  EXPECT_EQ(classes.ClassFor(kMaxContentBytes).value(), kMaxContentBytes);
  EXPECT_EQ(classes.ClassFor(kMaxContentBytes + 1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(SizeClassesTest, MerchantsOwnClasses) {
  const absl::StatusOr<SizeClasses> one = SizeClasses::Create({kMiB});
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->ClassFor(0).value(), kMiB);
  EXPECT_EQ(one->ClassFor(kMiB).value(), kMiB);
  EXPECT_EQ(one->ClassFor(kMiB + 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(SizeClasses::Create({64 * kKiB, 128 * kKiB, 192 * kKiB, 512 * kKiB}).ok());
  const std::vector<std::vector<uint64_t>> kBad = {
      {},
      {0},
      {1},
      {64 * kKiB - 1},
      {320 * kKiB},
      {kMaxContentBytes + 256 * kKiB},
      {kMiB, kMiB},
      {kMiB, 256 * kKiB},
      {64 * kKiB, 0},
  };
  for (const std::vector<uint64_t>& bad : kBad) {
    EXPECT_EQ(SizeClasses::Create(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
  std::vector<uint64_t> many;
  for (uint64_t i = 1; i <= kMaxSizeClasses; ++i) many.push_back(i * kMiB);
  EXPECT_TRUE(SizeClasses::Create(many).ok());
  many.push_back(kMiB * 1000);
  EXPECT_FALSE(SizeClasses::Create(many).ok());
}

TEST(SizeClassesTest, PiecesOfAClass) {
  EXPECT_EQ(PieceCount(64 * kKiB), 1u);
  EXPECT_EQ(PieceSize(64 * kKiB), 64 * kKiB);
  EXPECT_EQ(PieceCount(256 * kKiB), 1u);
  EXPECT_EQ(PieceSize(256 * kKiB), 256 * kKiB);
  EXPECT_EQ(PieceCount(kMiB), 4u);
  EXPECT_EQ(PieceSize(kMiB), 256 * kKiB);
  EXPECT_EQ(PieceCount(kMaxContentBytes), uint64_t{1} << 22);
}

class DeliverySizesTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(DeliverySizesTest, ContentArrivesWhole) {
  const std::string content = Content(GetParam());
  const std::vector<v1::Frame> frames = Frames(content);
  const uint64_t padded = DefaultClass(content.size());
  ASSERT_EQ(frames.size(), PieceCount(padded) + 1);
  for (size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(frames[i].seq(), i);
    EXPECT_EQ(frames[i].session_id(), kDeliveryId);
    EXPECT_EQ(frames[i].mac().size(), 32u);
    const size_t plaintext = i + 1 < frames.size() ? PieceSize(padded) : 1024;
    EXPECT_EQ(frames[i].ciphertext().size(), plaintext + 16);
  }
  const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(ReceiverParams(content));
  EXPECT_EQ(receiver->Verdict().code(), absl::StatusCode::kFailedPrecondition);
  const absl::StatusOr<std::string> received = OpenAll(receiver.get(), frames);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_TRUE(*received == content);
  EXPECT_TRUE(receiver->finished());
  EXPECT_TRUE(receiver->Verdict().ok()) << receiver->Verdict();
  EXPECT_EQ(receiver->signature(), DeliverySignature(Merchant(), kOrderId, Sha256(content)));
  EXPECT_EQ(receiver->refusal(), RefusalReason::kNone);
}

TEST_P(DeliverySizesTest, ResumesAtEveryPiece) {
  const std::string content = Content(GetParam());
  const uint64_t pieces = PieceCount(DefaultClass(content.size()));
  for (uint64_t first = 0; first <= pieces; ++first) {
    const std::string id = "delivery-resume" + std::string(1, static_cast<char>('a' + first));
    const std::unique_ptr<DeliverySender> sender =
        MakeSender(SenderParams(content, first), Keys(id));
    const size_t have = std::min<uint64_t>(first * kPieceBytes, content.size());
    EXPECT_EQ(sender->NextContentOffset(), have);
    Sha256Hasher hasher;
    hasher.Update(content.substr(0, have));
    const std::unique_ptr<DeliveryReceiver> receiver =
        MakeReceiver(ReceiverParams(content, first), Keys(id), std::move(hasher));
    const std::vector<v1::Frame> frames = Frames(sender.get(), content);
    ASSERT_EQ(frames.size(), pieces - first + 1);
    EXPECT_EQ(frames.front().seq(), 0u);
    const absl::StatusOr<std::string> rest = OpenAll(receiver.get(), frames);
    ASSERT_TRUE(rest.ok()) << rest.status();
    EXPECT_TRUE(content.substr(0, have) + *rest == content) << first;
    EXPECT_TRUE(receiver->Verdict().ok()) << receiver->Verdict();
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, DeliverySizesTest,
                         ::testing::Values(0, 1, 1000, 64 * kKiB - 1, 64 * kKiB, 64 * kKiB + 1,
                                           256 * kKiB - 1, 256 * kKiB, 256 * kKiB + 1, 512 * kKiB,
                                           768 * kKiB + 1, kMiB - 1, kMiB, kMiB + 3,
                                           3 * kMiB + 12345));

TEST(DeliveryTest, TwoContentsOfOneClassLookAlike) {
  // What a relay sees: how many frames, and each one's size on the wire.
  const auto shape = [](uint64_t size, uint64_t seed) {
    std::vector<size_t> sizes;
    for (const v1::Frame& frame : Frames(Content(size, seed))) {
      sizes.push_back(frame.ByteSizeLong());
    }
    return sizes;
  };
  EXPECT_EQ(shape(0, 1), shape(64 * kKiB, 2));
  EXPECT_EQ(shape(64 * kKiB + 1, 1), shape(256 * kKiB, 2));
  EXPECT_EQ(shape(256 * kKiB + 1, 1), shape(kMiB, 2));
  EXPECT_EQ(shape(kMiB + 1, 1), shape(4 * kMiB, 2));
  EXPECT_NE(shape(64 * kKiB, 1), shape(64 * kKiB + 1, 1));
}

TEST(DeliveryTest, PaddingIsNotTheSameTwice) {
  const std::string content = Content(10);
  const std::vector<v1::Frame> one =
      Frames(MakeSender(SenderParams(content), Keys(), Merchant(), /*seed=*/1).get(), content);
  const std::vector<v1::Frame> two =
      Frames(MakeSender(SenderParams(content), Keys(), Merchant(), /*seed=*/2).get(), content);
  // Equal keys and nonce (in this test only): the difference of ciphertexts is that of plaintexts.
  EXPECT_EQ(one[0].ciphertext().substr(0, 10), two[0].ciphertext().substr(0, 10));
  size_t same = 0;
  for (size_t i = 10; i < 64 * kKiB; ++i) same += one[0].ciphertext()[i] == two[0].ciphertext()[i];
  EXPECT_LT(same, 64 * kKiB / 128);
}

TEST(DeliveryTest, AFrameThatWasUsedBeforeServesAgain) {
  // Its buffers hold other bytes, of another size; nothing of them may be left.
  const std::string content = Content(kMiB + 3);
  v1::Frame used;
  used.set_session_id("something else that was here");
  used.set_seq(99);
  used.set_ciphertext(std::string(300 * kKiB, 'x'));
  used.set_mac("short");
  const std::unique_ptr<DeliverySender> sender = MakeSender(SenderParams(content));
  const std::vector<v1::Frame> expected = Frames(content);
  for (size_t i = 0; i + 1 < expected.size(); ++i) {
    ASSERT_TRUE(sender
                    ->SealPiece(absl::string_view(content).substr(sender->NextContentOffset(),
                                                                  sender->NextContentBytes()),
                                &used)
                    .ok());
    EXPECT_TRUE(used.SerializeAsString() == expected[i].SerializeAsString()) << i;
  }
  ASSERT_TRUE(sender->SealFinal(&used).ok());
  EXPECT_EQ(used.SerializeAsString(), expected.back().SerializeAsString());
}

TEST(DeliveryTest, BytesAreAsDocumented) {
  // Made with the primitives alone. One piece without padding, so that nothing in it is random.
  const std::string content = Content(64 * kKiB);
  const std::vector<v1::Frame> frames = Frames(content);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].SerializeAsString(), Forge(0, false, content).SerializeAsString());
  EXPECT_EQ(frames[1].SerializeAsString(),
            ForgeFinal(1, Trailer(Sha256(content),
                                  DeliverySignature(Merchant(), kOrderId, Sha256(content))))
                .SerializeAsString());
}

// Tampering, over a delivery of four pieces and one whose only piece is mostly padding.
class DeliveryTamperingTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  const std::string content_ = Content(GetParam());
  const std::vector<v1::Frame> frames_ = Frames(content_);
};

TEST_P(DeliveryTamperingTest, ARefusalIsForGood) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(ReceiverParams(content_));
    for (size_t i = 0; i < at; ++i) ASSERT_TRUE(receiver->Open(frames_[i]).ok());
    v1::Frame altered = frames_[at];
    (*altered.mutable_mac())[0] ^= 1;
    EXPECT_TRUE(IsRefusal(receiver->Open(altered).status()));
    for (size_t i = at; i < frames_.size(); ++i) {
      EXPECT_TRUE(IsRefusal(receiver->Open(frames_[i]).status()));
    }
    EXPECT_EQ(receiver->refusal(), RefusalReason::kMac);
    EXPECT_FALSE(receiver->finished());
  }
}

TEST_P(DeliveryTamperingTest, EveryFlippedByteOfTheMacIsRefused) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    for (size_t i = 0; i < frames_[at].mac().size(); ++i) {
      std::vector<v1::Frame> altered = frames_;
      (*altered[at].mutable_mac())[i] ^= static_cast<char>(1 << (i % 8));
      ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "mac");
    }
  }
}

TEST_P(DeliveryTamperingTest, EveryFlippedByteOfTheHeaderIsRefused) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    for (size_t i = 0; i < kDeliveryIdBytes; ++i) {
      std::vector<v1::Frame> altered = frames_;
      (*altered[at].mutable_session_id())[i] ^= 1;
      ExpectRefusedAt(content_, altered, at, RefusalReason::kBounds, "delivery id");
    }
    for (int bit = 0; bit < 64; ++bit) {
      std::vector<v1::Frame> altered = frames_;
      altered[at].set_seq(altered[at].seq() ^ (uint64_t{1} << bit));
      ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "seq");
    }
  }
}

TEST_P(DeliveryTamperingTest, FlippedBytesOfTheCiphertextAreRefused) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    const size_t size = frames_[at].ciphertext().size();
    const size_t tag = size - crypto::kAesGcmTagBytes;
    std::vector<size_t> places = {0, 1, 15, 16, tag / 2, tag - 1};
    for (size_t i = 1; i < 8; ++i) places.push_back(i * 7919 % tag);
    for (const size_t place : places) {
      std::vector<v1::Frame> altered = frames_;
      (*altered[at].mutable_ciphertext())[place] ^= static_cast<char>(0x80);
      ExpectRefusedAt(content_, altered, at, RefusalReason::kSeal, "ciphertext");
    }
    for (size_t i = tag; i < size; ++i) {
      std::vector<v1::Frame> altered = frames_;
      (*altered[at].mutable_ciphertext())[i] ^= 1;
      ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "tag");
    }
  }
}

TEST_P(DeliveryTamperingTest, WrongSizesAreRefused) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    const std::vector<std::function<void(v1::Frame*)>> alterations = {
        [](v1::Frame* f) { f->clear_session_id(); },
        [](v1::Frame* f) { f->mutable_session_id()->pop_back(); },
        [](v1::Frame* f) { f->mutable_session_id()->push_back('x'); },
        [](v1::Frame* f) { f->clear_mac(); },
        [](v1::Frame* f) { f->mutable_mac()->pop_back(); },
        [](v1::Frame* f) { f->mutable_mac()->push_back('x'); },
        [](v1::Frame* f) { f->clear_ciphertext(); },
        [](v1::Frame* f) { f->set_ciphertext("x"); },
        [](v1::Frame* f) { f->mutable_ciphertext()->resize(16); },
        [](v1::Frame* f) { f->mutable_ciphertext()->pop_back(); },
        [](v1::Frame* f) { f->mutable_ciphertext()->push_back('x'); },
        [](v1::Frame* f) { f->mutable_ciphertext()->resize(2 * kMiB); },
        [](v1::Frame* f) { f->Clear(); },
    };
    for (const auto& alter : alterations) {
      std::vector<v1::Frame> altered = frames_;
      alter(&altered[at]);
      ExpectRefusedAt(content_, altered, at, RefusalReason::kBounds, "size");
    }
  }
}

TEST_P(DeliveryTamperingTest, DroppedFramesAreRefused) {
  const size_t last = frames_.size() - 1;
  for (size_t at = 0; at < last; ++at) {
    std::vector<v1::Frame> altered = frames_;
    altered.erase(altered.begin() + static_cast<std::ptrdiff_t>(at));
    // The final frame in a piece's place has another size.
    const RefusalReason reason = at + 1 == last ? RefusalReason::kBounds : RefusalReason::kSequence;
    ExpectRefusedAt(content_, altered, at, reason, "dropped");
  }
}

TEST_P(DeliveryTamperingTest, DuplicatedFramesAreRefused) {
  for (size_t at = 0; at + 1 < frames_.size(); ++at) {
    std::vector<v1::Frame> altered = frames_;
    altered.insert(altered.begin() + static_cast<std::ptrdiff_t>(at), frames_[at]);
    // An extra piece in the final frame's place has another size.
    const RefusalReason reason =
        at + 2 == frames_.size() ? RefusalReason::kBounds : RefusalReason::kSequence;
    ExpectRefusedAt(content_, altered, at + 1, reason, "duplicate");
  }
}

TEST_P(DeliveryTamperingTest, ReorderedFramesAreRefused) {
  for (size_t at = 0; at < frames_.size(); ++at) {
    for (size_t other = at + 1; other < frames_.size(); ++other) {
      std::vector<v1::Frame> altered = frames_;
      std::swap(altered[at], altered[other]);
      const RefusalReason reason =
          other + 1 == frames_.size() ? RefusalReason::kBounds : RefusalReason::kSequence;
      ExpectRefusedAt(content_, altered, at, reason, "reordered");
    }
  }
}

TEST_P(DeliveryTamperingTest, FramesOfAnotherDeliveryAreRefused) {
  // The same content of the same session under another delivery id.
  const std::vector<v1::Frame> other =
      Frames(MakeSender(SenderParams(content_), Keys("delivery-id-0002")).get(), content_);
  // The same delivery id in another session.
  const std::vector<v1::Frame> session =
      Frames(MakeSender(SenderParams(content_), Keys(kDeliveryId, 'Q')).get(), content_);
  for (size_t at = 0; at < frames_.size(); ++at) {
    std::vector<v1::Frame> altered = frames_;
    altered[at] = other[at];
    ExpectRefusedAt(content_, altered, at, RefusalReason::kBounds, "other delivery");
    altered[at].set_session_id(kDeliveryId);
    ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "other delivery, renamed");
    altered[at] = session[at];
    ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "other session");
    altered[at] = frames_[at];
    altered[at].set_ciphertext(other[at].ciphertext());
    ExpectRefusedAt(content_, altered, at, RefusalReason::kMac, "other ciphertext");
    // All but the tag of another piece: the MAC holds, the seal does not.
    altered[at] = frames_[at];
    altered[at].mutable_ciphertext()->replace(0, other[at].ciphertext().size() - 16,
                                              other[at].ciphertext(), 0,
                                              other[at].ciphertext().size() - 16);
    ExpectRefusedAt(content_, altered, at, RefusalReason::kSeal, "other bytes, same tag");
  }
}

TEST_P(DeliveryTamperingTest, CutOffAnywhereIsNotFinished) {
  for (size_t kept = 0; kept < frames_.size(); ++kept) {
    const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(ReceiverParams(content_));
    const std::vector<v1::Frame> cut(frames_.begin(),
                                     frames_.begin() + static_cast<std::ptrdiff_t>(kept));
    EXPECT_TRUE(OpenAll(receiver.get(), cut).ok());
    EXPECT_FALSE(receiver->finished());
    EXPECT_EQ(receiver->Verdict().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(receiver->signature().empty());
  }
}

TEST_P(DeliveryTamperingTest, OtherParametersAtTheReceiverAreNoticed) {
  const std::unique_ptr<DeliveryReceiver> resumed =
      MakeReceiver(ReceiverParams(content_, frames_.size() - 1));
  EXPECT_FALSE(OpenAll(resumed.get(), frames_).ok());
  DeliveryReceiver::Params larger = ReceiverParams(content_);
  larger.padded_size_bytes *= 4;
  EXPECT_FALSE(OpenAll(MakeReceiver(larger).get(), frames_).ok());
  // A merchant that lies about the true size hands over other content.
  DeliveryReceiver::Params shorter = ReceiverParams(content_);
  shorter.true_size_bytes -= 1;
  const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(shorter);
  ASSERT_TRUE(OpenAll(receiver.get(), frames_).ok());
  EXPECT_TRUE(receiver->finished());
  EXPECT_EQ(receiver->Verdict().code(), absl::StatusCode::kDataLoss);
}

INSTANTIATE_TEST_SUITE_P(Sizes, DeliveryTamperingTest, ::testing::Values(100, 256 * kKiB + 1));

TEST(DeliveryForgeryTest, AWrongFinalMarkIsRefused) {
  const std::string content = Content(100);
  std::vector<v1::Frame> frames = Frames(content);
  frames[0] = Forge(0, true, Content(64 * kKiB));
  ExpectRefusedAt(content, frames, 0, RefusalReason::kMac, "piece marked as final");
  frames = Frames(content);
  frames[1] = Forge(1, false, std::string(1023, 't') + '\x80');
  ExpectRefusedAt(content, frames, 1, RefusalReason::kMac, "trailer not marked as final");
}

TEST(DeliveryForgeryTest, OtherDirectionAndKindAreRefused) {
  const std::string content = Content(64 * kKiB);
  std::vector<v1::Frame> frames = Frames(content);
  frames[0] = Forge(0, false, content, Direction::kInitiatorToResponder);
  ExpectRefusedAt(content, frames, 0, RefusalReason::kMac, "direction");
  frames[0] = Forge(0, false, content, Direction::kResponderToInitiator, FrameKind::kChannel);
  ExpectRefusedAt(content, frames, 0, RefusalReason::kMac, "kind");
}

TEST(DeliveryForgeryTest, ExtraPieceInPlaceOfTheFinalFrameIsRefused) {
  const std::string content = Content(100);
  std::vector<v1::Frame> frames = Frames(content);
  frames[1] = Forge(1, false, Content(64 * kKiB));
  ExpectRefusedAt(content, frames, 1, RefusalReason::kBounds, "extra piece");
}

TEST(DeliveryForgeryTest, MalformedTrailersAreRefused) {
  const std::string content = Content(100);
  const std::string hash = Sha256(content);
  const std::string signature = DeliverySignature(Merchant(), kOrderId, hash);
  const std::vector<v1::Frame> good = Frames(content);
  const std::vector<std::string> trailers = {
      "",
      "garbage",
      Trailer("", signature),
      Trailer(hash, ""),
      Trailer(hash.substr(1), signature),
      Trailer(hash + "x", signature),
      Trailer(hash, signature.substr(1)),
      Trailer(hash, signature + "x"),
      Trailer(hash, signature).substr(1),
  };
  for (const std::string& trailer : trailers) {
    ExpectRefusedAt(content, {good[0], ForgeFinal(1, trailer)}, 1, RefusalReason::kMalformed,
                    "trailer");
  }
  ExpectRefusedAt(content, {good[0], Forge(1, true, std::string(1024, '\0'))}, 1,
                  RefusalReason::kPadding, "padding");
}

// Deliveries in order, whose content or signature is not what was ordered.
absl::Status VerdictOf(const DeliveryReceiver::Params& params,
                       const std::vector<v1::Frame>& frames) {
  const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(params);
  const absl::StatusOr<std::string> content = OpenAll(receiver.get(), frames);
  EXPECT_TRUE(content.ok()) << content.status();
  EXPECT_TRUE(receiver->finished());
  return receiver->Verdict();
}

TEST(DeliveryVerdictTest, OtherContentHonestlyStated) {
  const std::string ordered = Content(1000, 1);
  const std::string sent = Content(1000, 2);
  const absl::Status verdict = VerdictOf(ReceiverParams(ordered), Frames(sent));
  EXPECT_EQ(verdict.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(verdict.message(), "not the order's")) << verdict;
}

TEST(DeliveryVerdictTest, OtherContentUnderTheOrderedHash) {
  const std::string ordered = Content(1000, 1);
  const std::string sent = Content(1000, 2);
  // The sender trusts the hash that it is given: this is a merchant that lies, or whose file
  // changed.
  const std::unique_ptr<DeliverySender> liar = MakeSender(SenderParams(ordered));
  const absl::Status verdict = VerdictOf(ReceiverParams(ordered), Frames(liar.get(), sent));
  EXPECT_EQ(verdict.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(verdict.message(), "that arrived")) << verdict;
}

TEST(DeliveryVerdictTest, OneByteOfTheContentChanged) {
  const std::string ordered = Content(256 * kKiB + 1);
  for (const size_t at : {size_t{0}, size_t{256 * kKiB - 1}, size_t{256 * kKiB}}) {
    std::string sent = ordered;
    sent[at] ^= 1;
    const std::unique_ptr<DeliverySender> liar = MakeSender(SenderParams(ordered));
    EXPECT_EQ(VerdictOf(ReceiverParams(ordered), Frames(liar.get(), sent)).code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(DeliveryVerdictTest, WrongSignatures) {
  const std::string content = Content(1000);
  const std::string hash = Sha256(content);
  const std::vector<v1::Frame> good = Frames(content);
  std::string flipped = DeliverySignature(Merchant(), kOrderId, hash);
  flipped[40] ^= 1;
  const std::vector<std::string> signatures = {
      flipped,
      std::string(64, '\0'),
      DeliverySignature(Stranger(), kOrderId, hash),
      DeliverySignature(Merchant(), std::string(16, 'O'), hash),
      DeliverySignature(Merchant(), kOrderId, Sha256("other")),
      Merchant().Sign("blindcart/v1 order", crypto::LengthPrefixed({kOrderId, hash})),
      Merchant().Sign("blindcart/v1 delivery", kOrderId + hash),
  };
  for (const std::string& signature : signatures) {
    const absl::Status verdict =
        VerdictOf(ReceiverParams(content), {good[0], ForgeFinal(1, Trailer(hash, signature))});
    EXPECT_EQ(verdict.code(), absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(verdict.message(), "signature")) << verdict;
    EXPECT_FALSE(
        VerifyDeliverySignature(Merchant().public_identity(), kOrderId, hash, signature).ok());
  }
  EXPECT_TRUE(VerifyDeliverySignature(Merchant().public_identity(), kOrderId, hash,
                                      DeliverySignature(Merchant(), kOrderId, hash))
                  .ok());
}

TEST(DeliveryVerdictTest, SignatureForAnotherOrder) {
  const std::string content = Content(1000);
  DeliverySender::Params other = SenderParams(content);
  other.order_id = std::string(16, 'O');
  const absl::Status verdict =
      VerdictOf(ReceiverParams(content), Frames(MakeSender(other).get(), content));
  EXPECT_EQ(verdict.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(verdict.message(), "signature")) << verdict;
}

TEST(DeliveryVerdictTest, ResumedOverADamagedBeginning) {
  const std::string content = Content(kMiB);
  Sha256Hasher hasher;
  hasher.Update(std::string(kPieceBytes, 'x'));  // What was on the disk had changed.
  const std::unique_ptr<DeliveryReceiver> receiver =
      MakeReceiver(ReceiverParams(content, 1), Keys(), std::move(hasher));
  const std::unique_ptr<DeliverySender> sender = MakeSender(SenderParams(content, 1));
  ASSERT_TRUE(OpenAll(receiver.get(), Frames(sender.get(), content)).ok());
  EXPECT_EQ(receiver->Verdict().code(), absl::StatusCode::kDataLoss);
}

TEST(DeliveryCallsTest, CreateRefusesBadParameters) {
  const std::string content = Content(1000);
  DeterministicRandom random(1);
  const auto sender_code = [&](const DeliverySender::Params& params, SessionKeys keys) {
    return DeliverySender::Create(std::move(keys), params, Merchant(), random).status().code();
  };
  const auto receiver_code = [&](const DeliverySender::Params& p, SessionKeys keys) {
    return DeliveryReceiver::Create(
               std::move(keys),
               {p.true_size_bytes, p.padded_size_bytes, p.first_piece, p.order_id, p.content_hash},
               Merchant().public_identity(), Sha256Hasher())
        .status()
        .code();
  };
  const DeliverySender::Params good = SenderParams(content);
  EXPECT_EQ(sender_code(good, Keys()), absl::StatusCode::kOk);
  EXPECT_EQ(receiver_code(good, Keys()), absl::StatusCode::kOk);
  std::vector<DeliverySender::Params> bad(12, good);
  bad[0].true_size_bytes = 64 * kKiB + 1;
  bad[1].padded_size_bytes = 0;
  bad[2].padded_size_bytes = 64 * kKiB + 1;
  bad[3].padded_size_bytes = 320 * kKiB;
  bad[4].padded_size_bytes = 2 * kMaxContentBytes;
  bad[5].first_piece = 2;
  bad[6].first_piece = UINT64_MAX;
  bad[7].order_id = "";
  bad[8].order_id = std::string(17, 'o');
  bad[9].content_hash = "";
  bad[10].content_hash = std::string(33, 'h');
  bad[11].true_size_bytes = UINT64_MAX;
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(sender_code(bad[i], Keys()), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_EQ(receiver_code(bad[i], Keys()), absl::StatusCode::kInvalidArgument) << i;
  }
  SessionKeys no_id = Keys();
  no_id.session_id.pop_back();
  EXPECT_EQ(sender_code(good, std::move(no_id)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(receiver_code(good, SessionKeys()), absl::StatusCode::kInvalidArgument);
  SessionKeys no_keys;
  no_keys.session_id = kDeliveryId;
  EXPECT_EQ(sender_code(good, std::move(no_keys)), absl::StatusCode::kInvalidArgument);
}

TEST(DeliveryCallsTest, SenderOutOfOrder) {
  const std::string content = Content(256 * kKiB + 1);
  const std::unique_ptr<DeliverySender> sender = MakeSender(SenderParams(content));
  v1::Frame frame;
  EXPECT_EQ(sender->SealFinal(&frame).code(), absl::StatusCode::kFailedPrecondition);
  // A wrong number of bytes changes nothing.
  EXPECT_EQ(sender->SealPiece("short", &frame).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sender->SealPiece(content, &frame).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sender->NextContentOffset(), 0u);
  const std::vector<v1::Frame> frames = Frames(sender.get(), content);
  EXPECT_EQ(frames.front().seq(), 0u);
  EXPECT_TRUE(sender->pieces_done());
  EXPECT_EQ(sender->NextContentBytes(), 0u);
  EXPECT_EQ(sender->SealPiece("", &frame).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sender->SealFinal(&frame).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(OpenAll(MakeReceiver(ReceiverParams(content)).get(), frames).ok());
}

TEST(DeliveryCallsTest, PaddingPiecesWantNoContent) {
  // 256 KiB + 1 in a class of 1 MiB: the third and fourth piece are padding only.
  const std::string content = Content(256 * kKiB + 1);
  const std::unique_ptr<DeliverySender> sender = MakeSender(SenderParams(content));
  const absl::string_view view = content;
  std::vector<size_t> wanted;
  v1::Frame frame;
  while (!sender->pieces_done()) {
    wanted.push_back(sender->NextContentBytes());
    ASSERT_TRUE(
        sender->SealPiece(view.substr(sender->NextContentOffset(), wanted.back()), &frame).ok());
  }
  EXPECT_EQ(wanted, (std::vector<size_t>{256 * kKiB, 1, 0, 0}));
}

TEST(DeliveryCallsTest, ReceiverAfterTheFinalFrame) {
  const std::string content = Content(10);
  const std::vector<v1::Frame> frames = Frames(content);
  const std::unique_ptr<DeliveryReceiver> receiver = MakeReceiver(ReceiverParams(content));
  ASSERT_TRUE(OpenAll(receiver.get(), frames).ok());
  for (const v1::Frame& frame : frames) {
    EXPECT_EQ(receiver->Open(frame).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(receiver->finished());
  EXPECT_TRUE(receiver->Verdict().ok());
}

}  // namespace
}  // namespace blindcart::protocol
