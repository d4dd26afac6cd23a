#include "services/agent/received_folder.h"

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::agent {
namespace {

constexpr uint64_t kPlenty = uint64_t{1} << 50;
constexpr int64_t kAllowanceBytes = 64 * 1024 * 1024;

class ReceivedFolderTest : public ::testing::Test {
 protected:
  static std::string MakeFolder() {
    std::string folder = ::testing::TempDir() + "/received-XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    return folder;
  }
  static std::string Hash(const std::string& file) { return crypto::Sha256(file); }
  std::string Part(const std::string& sender, const std::string& file) const {
    return path_ + "/" + ReceivedFolder::PartName(sender, Hash(file));
  }
  static void Write(const std::string& path, uint64_t bytes, int minutes_ago = 0) {
    std::ofstream(path).close();
    std::filesystem::resize_file(path, bytes);
    std::filesystem::last_write_time(
        path, std::filesystem::file_time_type::clock::now() - std::chrono::minutes(minutes_ago));
  }
  v1::PeerFileVerdict Enter(const std::string& sender, const std::string& file, uint64_t bytes,
                            const ReceivedFolder::Stored& stored = {}) {
    std::unique_ptr<ReceivedFolder::Place> place;
    const v1::PeerFileVerdict verdict = folder_.Enter(sender, Hash(file), bytes, stored, &place);
    EXPECT_EQ(place != nullptr, verdict == v1::PEER_FILE_VERDICT_ACCEPTED);
    last_ = std::move(place);
    return verdict;
  }

  const std::string path_ = MakeFolder();
  protocol::FakeClock clock_;
  uint64_t free_bytes_ = kPlenty;
  ReceivedFolder folder_{
      path_, {1'000, 3'000, kAllowanceBytes}, clock_, [this](const std::string& /*path*/) {
        return free_bytes_;
      }};
  std::unique_ptr<ReceivedFolder::Place> last_;
};

TEST_F(ReceivedFolderTest, OneSenderFillsNoMoreThanTheirShare) {
  EXPECT_EQ(Enter("aa", "1", 1'000), v1::PEER_FILE_VERDICT_ACCEPTED);
  last_.reset();
  EXPECT_EQ(Enter("aa", "1", 1'001), v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(Enter("aa", "1", 500, {501, 1}), v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(Enter("aa", "1", 1, {1, ReceivedFolder::kMaxFilesPerSender}),
            v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(Enter("bb", "1", 1'000), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(ReceivedFolderTest, AFileUnderWayCountsInFullAndOnce) {
  ASSERT_EQ(Enter("aa", "1", 600), v1::PEER_FILE_VERDICT_ACCEPTED);
  const auto first = std::move(last_);
  Write(Part("aa", "1"), 300);
  EXPECT_EQ(Enter("aa", "1", 600), v1::PEER_FILE_VERDICT_BUSY);
  EXPECT_EQ(Enter("aa", "2", 401), v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_EQ(Enter("aa", "2", 400), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(ReceivedFolderTest, AllTogetherFillNoMoreThanTheTotal) {
  Write(path_ + "/from long ago.pdf", 1'500);
  Write(Part("cc", "x"), 700);  // Somebody else's, unfinished: not for others to push out.
  EXPECT_EQ(Enter("aa", "1", 801), v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_TRUE(std::filesystem::exists(Part("cc", "x")));
  EXPECT_EQ(Enter("aa", "1", 800), v1::PEER_FILE_VERDICT_ACCEPTED);
  // Moved elsewhere, it makes room.
  std::filesystem::remove(path_ + "/from long ago.pdf");
  EXPECT_EQ(Enter("bb", "1", 1'000), v1::PEER_FILE_VERDICT_ACCEPTED);
}

TEST_F(ReceivedFolderTest, UnfinishedFilesOfTheSameSenderMakeRoomTheOldestFirst) {
  Write(Part("aa", "old"), 400, 20);
  Write(Part("aa", "new"), 400, 10);
  EXPECT_EQ(Enter("aa", "1", 1'001), v1::PEER_FILE_VERDICT_OVER_QUOTA);
  EXPECT_TRUE(std::filesystem::exists(Part("aa", "old")))
      << "nothing goes for a file that is not taken";
  EXPECT_EQ(Enter("aa", "1", 500), v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_FALSE(std::filesystem::exists(Part("aa", "old")));
  EXPECT_TRUE(std::filesystem::exists(Part("aa", "new")));
}

TEST_F(ReceivedFolderTest, GoingOnWithAFileCountsItOnce) {
  Write(Part("aa", "1"), 900);
  free_bytes_ = ReceivedFolder::kReserveBytes + 100;
  EXPECT_EQ(Enter("aa", "1", 1'000), v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_TRUE(std::filesystem::exists(Part("aa", "1")));
}

TEST_F(ReceivedFolderTest, TheDiskKeepsItsReserve) {
  free_bytes_ = ReceivedFolder::kReserveBytes + 600;
  EXPECT_EQ(Enter("aa", "1", 601), v1::PEER_FILE_VERDICT_NO_SPACE);
  ASSERT_EQ(Enter("aa", "1", 400), v1::PEER_FILE_VERDICT_ACCEPTED);
  const auto first = std::move(last_);
  EXPECT_EQ(Enter("bb", "1", 201), v1::PEER_FILE_VERDICT_NO_SPACE) << "that is the other's";
  EXPECT_EQ(Enter("bb", "1", 200), v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_FALSE(folder_.IsFull());
  free_bytes_ = ReceivedFolder::kReserveBytes - 1;
  EXPECT_TRUE(folder_.IsFull());
}

TEST_F(ReceivedFolderTest, OffersAndReadingAreCountedAgainstTheSender) {
  int offers = 0;
  while (offers < 1'000'000 && folder_.MayOffer("aa")) ++offers;
  EXPECT_EQ(offers, kAllowanceBytes / ReceivedFolder::kOfferBytes);
  EXPECT_TRUE(folder_.MayOffer("bb"));
  clock_.Advance(1'000);
  EXPECT_TRUE(folder_.MayOffer("aa"));
  folder_.CountRead("aa", kAllowanceBytes);
  EXPECT_FALSE(folder_.MayOffer("aa"));
  // What they send is worth as much.
  folder_.CountReceived("aa", kAllowanceBytes);
  EXPECT_TRUE(folder_.MayOffer("aa"));
  // Nobody saves up.
  clock_.Advance(3'600'000);
  folder_.CountReceived("aa", kAllowanceBytes);
  folder_.CountRead("aa", kAllowanceBytes);
  EXPECT_FALSE(folder_.MayOffer("aa"));
}

}  // namespace
}  // namespace blindcart::agent
