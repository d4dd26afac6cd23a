#include "services/agent/peer_receiver.h"

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include "crypto/hash.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::agent {
namespace {

using protocol::kPeerPieceBytes;

constexpr uint64_t kAnySize = uint64_t{1} << 40;
constexpr int64_t kAllowanceBytes = 64 * 1024 * 1024;

class PeerReceiverTest : public ::testing::Test {
 protected:
  static std::string MakeFolder() {
    std::string folder = ::testing::TempDir() + "/receiver-XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    return folder;
  }

  PeerReceiver Make(const std::string& earlier = "") {
    return PeerReceiver(
        received_, sender_.public_identity(), own_,
        [earlier](const std::string&) { return earlier; },
        [this]() -> absl::StatusOr<ReceivedFolder::Stored> { return stored_; });
  }
  v1::PeerFileOffer Offer(const std::string& content, const std::string& id = "t") {
    v1::PeerFileOffer offer;
    offer.set_transfer_id(std::string(16, id[0]));
    offer.set_name("letter.txt");
    offer.set_size_bytes(content.size());
    offer.set_sha256(crypto::Sha256(content));
    return offer;
  }
  v1::PeerFilePiece Piece(const std::string& content, uint64_t offset) {
    v1::PeerFilePiece piece;
    piece.set_transfer_id(std::string(16, 't'));
    piece.set_offset_bytes(offset);
    piece.set_content(content.substr(offset, kPeerPieceBytes));
    return piece;
  }
  v1::PeerFileEnd End(const std::string& content) {
    v1::PeerFileEnd end;
    end.set_transfer_id(std::string(16, 't'));
    end.set_sha256(crypto::Sha256(content));
    end.set_signature(protocol::SignPeerFile(
        sender_, own_, {"letter.txt", content.size(), crypto::Sha256(content)}));
    return end;
  }
  size_t FileCount() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      (void)entry;
      ++count;
    }
    return count;
  }

  const crypto::Identity& sender_ = crypto::TestIdentity(0);
  const std::string own_ = crypto::TestIdentity(1).public_identity().fingerprint();
  const std::string folder_ = MakeFolder();
  protocol::FakeClock clock_;
  std::atomic<uint64_t> free_bytes_{uint64_t{1} << 50};
  ReceivedFolder::Stored stored_;
  ReceivedFolder received_{folder_,
                           {4'000'000, 8'000'000, kAllowanceBytes},
                           clock_,
                           [this](const std::string& /*path*/) { return free_bytes_.load(); }};
  const std::string content_ = std::string(kPeerPieceBytes, 'a') + std::string(100, 'b');
};

TEST_F(PeerReceiverTest, TakesAFileInOrder) {
  PeerReceiver receiver = Make();
  const v1::PeerFileAnswer answer = receiver.OnOffer(Offer(content_), kAnySize);
  EXPECT_EQ(answer.verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_EQ(answer.offset_bytes(), 0u);
  EXPECT_EQ(receiver.OnPiece(Piece(content_, 0))->received->received_bytes(), kPeerPieceBytes);
  EXPECT_EQ(receiver.progress()->received_bytes, kPeerPieceBytes);
  EXPECT_EQ(receiver.OnPiece(Piece(content_, kPeerPieceBytes))->received->received_bytes(),
            content_.size());
  const auto done = receiver.OnEnd(End(content_));
  ASSERT_TRUE(done.ok() && done->has_value());
  EXPECT_EQ((*done)->result.verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_EQ((*done)->path, folder_ + "/letter.txt");
  EXPECT_FALSE(receiver.progress().has_value());
}

TEST_F(PeerReceiverTest, WhatIsOutOfOrderBreaksTheRules) {
  PeerReceiver receiver = Make();
  EXPECT_FALSE(receiver.OnPiece(Piece(content_, 0)).ok()) << "no offer";
  EXPECT_FALSE(receiver.OnEnd(End(content_)).ok()) << "no offer";
  receiver.OnOffer(Offer(content_), kAnySize);
  EXPECT_FALSE(receiver.OnPiece(Piece(content_, kPeerPieceBytes)).ok()) << "the second first";
  v1::PeerFilePiece shorter = Piece(content_, 0);
  shorter.mutable_content()->pop_back();
  EXPECT_FALSE(receiver.OnPiece(shorter).ok()) << "a piece that is too short";
  EXPECT_FALSE(receiver.OnEnd(End(content_)).ok()) << "an end before the end";
  ASSERT_TRUE(receiver.OnPiece(Piece(content_, 0)).ok());
  EXPECT_FALSE(receiver.OnPiece(Piece(content_, 0)).ok()) << "the same piece twice";
  v1::PeerFilePiece longer = Piece(content_, kPeerPieceBytes);
  longer.mutable_content()->push_back('c');
  EXPECT_FALSE(receiver.OnPiece(longer).ok()) << "more than was offered";
}

TEST_F(PeerReceiverTest, AWrongSignatureOrHashThrowsTheFileAway) {
  for (const bool wrong_signature : {true, false}) {
    PeerReceiver receiver = Make();
    receiver.OnOffer(Offer(content_), kAnySize);
    std::string sent = content_;
    if (!wrong_signature) sent[5] = 'x';
    ASSERT_TRUE(receiver.OnPiece(Piece(sent, 0)).ok());
    ASSERT_TRUE(receiver.OnPiece(Piece(sent, kPeerPieceBytes)).ok());
    v1::PeerFileEnd end = End(content_);
    if (wrong_signature) (*end.mutable_signature())[0] ^= 1;
    const auto done = receiver.OnEnd(end);
    ASSERT_TRUE(done.ok() && done->has_value());
    EXPECT_EQ((*done)->result.verdict(), v1::PEER_FILE_VERDICT_DAMAGED);
    EXPECT_FALSE((*done)->file.has_value());
    EXPECT_EQ(FileCount(), 0u);
  }
}

TEST_F(PeerReceiverTest, GoesOnAtAPiecesEdge) {
  {
    PeerReceiver receiver = Make();
    receiver.OnOffer(Offer(content_), kAnySize);
    ASSERT_TRUE(receiver.OnPiece(Piece(content_, 0)).ok());
  }
  PeerReceiver receiver = Make();
  EXPECT_EQ(receiver.OnOffer(Offer(content_), kAnySize).offset_bytes(), kPeerPieceBytes);
  ASSERT_TRUE(receiver.OnPiece(Piece(content_, kPeerPieceBytes)).ok());
  EXPECT_EQ((*receiver.OnEnd(End(content_)))->result.verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(PeerReceiverTest, OneFileAtATimeAndEachOnlyOnce) {
  PeerReceiver receiver = Make();
  receiver.OnOffer(Offer(content_), kAnySize);
  EXPECT_EQ(receiver.OnOffer(Offer("another", "u"), kAnySize).verdict(),
            v1::PEER_FILE_VERDICT_BUSY);
  PeerReceiver second = Make();
  EXPECT_EQ(second.OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_BUSY);
  v1::PeerFileStopped stopped;
  stopped.set_transfer_id(std::string(16, 't'));
  receiver.OnStopped(stopped);
  EXPECT_EQ(second.OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(PeerReceiverTest, PiecesOfAFileGivenUpAreLeftAlone) {
  PeerReceiver receiver = Make();
  receiver.OnOffer(Offer(content_), kAnySize);
  v1::PeerFileStopped stopped;
  stopped.set_transfer_id(std::string(16, 't'));
  receiver.OnStopped(stopped);
  const auto taken = receiver.OnPiece(Piece(content_, 0));
  ASSERT_TRUE(taken.ok());
  EXPECT_FALSE(taken->received.has_value());
  EXPECT_FALSE(receiver.OnEnd(End(content_))->has_value());
}

TEST_F(PeerReceiverTest, OnlySoManyUnfinishedFilesOfOneSender) {
  for (int i = 0; i < 10; ++i) {
    PeerReceiver receiver = Make();
    const std::string content = content_ + std::to_string(i);
    ASSERT_EQ(receiver.OnOffer(Offer(content), kAnySize).verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
    ASSERT_TRUE(receiver.OnPiece(Piece(content, 0)).ok());
  }
  EXPECT_EQ(FileCount(), ReceivedFolder::kMaxUnfinished);
}

TEST_F(PeerReceiverTest, WhatIsOverTheQuotaIsRefusedAndLeavesNothing) {
  stored_ = {4'000'000 - content_.size() + 1, 1};
  PeerReceiver receiver = Make();
  EXPECT_EQ(receiver.OnOffer(Offer(content_), kAnySize).verdict(),
            v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(FileCount(), 0u);
  --stored_.bytes;
  EXPECT_EQ(receiver.OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(PeerReceiverTest, ADiskThatFillsUpStopsAFileWhereItIs) {
  PeerReceiver receiver = Make();
  free_bytes_ = ReceivedFolder::kReserveBytes + content_.size() - 1;
  EXPECT_EQ(receiver.OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_NO_SPACE);
  EXPECT_EQ(FileCount(), 0u);
  const std::string content(kPeerPieceBytes * 3, 'c');
  free_bytes_ = ReceivedFolder::kReserveBytes + content.size();
  ASSERT_EQ(receiver.OnOffer(Offer(content), kAnySize).verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
  free_bytes_ = ReceivedFolder::kReserveBytes - 1;  // Somebody else wrote.
  const auto taken = receiver.OnPiece(Piece(content, 0));
  ASSERT_TRUE(taken.ok());
  ASSERT_TRUE(taken->failed.has_value());
  EXPECT_EQ(taken->failed->verdict(), v1::PEER_FILE_VERDICT_NO_SPACE);
  EXPECT_FALSE(receiver.progress().has_value());
}

TEST_F(PeerReceiverTest, FilesAreNotHashedWithoutEnd) {
  // Sparse, and so large that it may be looked at only a few times.
  const std::string earlier = folder_ + ".earlier";
  std::ofstream(earlier).close();
  const uint64_t size = kAllowanceBytes / 4;
  std::filesystem::resize_file(earlier, size);
  v1::PeerFileOffer offer = Offer("");
  offer.set_size_bytes(size);  // Not its hash: it would have to be sent, and is over the quota.
  int hashed = 0;
  PeerReceiver receiver = Make(earlier);
  v1::PeerFileVerdict verdict = v1::PEER_FILE_VERDICT_UNSPECIFIED;
  while (hashed < 100) {
    verdict = receiver.OnOffer(offer, kAnySize).verdict();
    if (verdict != v1::PEER_FILE_VERDICT_OVER_QUOTA) break;
    ++hashed;
  }
  EXPECT_EQ(verdict, v1::PEER_FILE_VERDICT_TOO_OFTEN);
  EXPECT_LE(hashed, 4);
  // Neither another session nor another file helps, only time.
  EXPECT_EQ(Make().OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_TOO_OFTEN);
  clock_.Advance(10'000);
  EXPECT_EQ(Make().OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(PeerReceiverTest, ContentOfAnotherSizeIsNotHashed) {
  const std::string earlier = folder_ + ".earlier";
  std::ofstream(earlier).close();
  std::filesystem::resize_file(earlier, kAllowanceBytes * 2);
  PeerReceiver receiver = Make(earlier);
  stored_.bytes = 4'000'000;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(receiver.OnOffer(Offer(content_), kAnySize).verdict(),
              v1::PEER_FILE_VERDICT_OVER_QUOTA);
  }
}

TEST_F(PeerReceiverTest, TooLargeIsNotWanted) {
  PeerReceiver receiver = Make();
  const v1::PeerFileAnswer answer = receiver.OnOffer(Offer(content_), content_.size() - 1);
  EXPECT_EQ(answer.verdict(), v1::PEER_FILE_VERDICT_NOT_WANTED);
  EXPECT_EQ(answer.max_size_bytes(), content_.size() - 1);
  EXPECT_EQ(receiver.OnOffer(Offer(""), 0).verdict(), v1::PEER_FILE_VERDICT_NOT_WANTED);
  EXPECT_EQ(FileCount(), 0u);
}

TEST_F(PeerReceiverTest, ALinkInThePartFilesPlaceIsRefused) {
  PeerReceiver first = Make();
  first.OnOffer(Offer(content_), kAnySize);
  std::string part;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) part = entry.path();
  v1::PeerFileStopped stopped;
  stopped.set_transfer_id(std::string(16, 't'));
  first.OnStopped(stopped);
  std::filesystem::remove(part);
  const std::string victim = folder_ + "/victim";
  std::filesystem::create_symlink(victim, part);
  EXPECT_EQ(first.OnOffer(Offer(content_), kAnySize).verdict(), v1::PEER_FILE_VERDICT_NO_SPACE);
  EXPECT_FALSE(std::filesystem::exists(victim));
}

}  // namespace
}  // namespace blindcart::agent
