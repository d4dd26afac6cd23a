#include "services/agent/part_file.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

#include "crypto/hash.h"
#include "gtest/gtest.h"

namespace blindcart::agent {
namespace {

class PartFileTest : public ::testing::Test {
 protected:
  PartFileTest() : folder_(::testing::TempDir() + "/part-XXXXXX") {
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  }
  static std::string Contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }
  std::string folder_;
};

TEST_F(PartFileTest, GrowsAndIsPublished) {
  auto part = PartFile::Open(folder_, ".x.part");
  ASSERT_TRUE(part.ok()) << part.status();
  ASSERT_TRUE(part->KeepFirst(0).ok());
  ASSERT_TRUE(part->Append("con").ok());
  ASSERT_TRUE(part->Append("tent").ok());
  const auto path = part->Publish("name.txt");
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(*path, folder_ + "/name.txt");
  EXPECT_EQ(Contents(*path), "content");
  struct stat info;
  EXPECT_NE(lstat((folder_ + "/.x.part").c_str(), &info), 0);
  ASSERT_EQ(lstat(path->c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(PartFileTest, KeepsWhatWasThereAndDigestsIt) {
  {
    auto part = PartFile::Open(folder_, ".x.part");
    ASSERT_TRUE(part.ok() && part->KeepFirst(0).ok());
    ASSERT_TRUE(part->Append("content and more").ok());
  }
  auto part = PartFile::Open(folder_, ".x.part");
  ASSERT_TRUE(part.ok());
  auto hasher = part->KeepFirst(7);
  ASSERT_TRUE(hasher.ok());
  EXPECT_EQ(hasher->Finish(), crypto::Sha256("content"));
  ASSERT_TRUE(part->Append("!").ok());
  EXPECT_EQ(Contents(folder_ + "/.x.part"), "content!");
}

TEST_F(PartFileTest, AFileThatIsTooShortIsEmptied) {
  {
    auto part = PartFile::Open(folder_, ".x.part");
    ASSERT_TRUE(part.ok() && part->KeepFirst(0).ok() && part->Append("abc").ok());
  }
  auto part = PartFile::Open(folder_, ".x.part");
  ASSERT_TRUE(part.ok());
  EXPECT_TRUE(absl::IsOutOfRange(part->KeepFirst(4).status()));
  ASSERT_TRUE(part->Append("z").ok());
  EXPECT_EQ(Contents(folder_ + "/.x.part"), "z");
}

TEST_F(PartFileTest, NumbersNamesThatAreTaken) {
  std::ofstream(folder_ + "/name.txt") << "1";
  std::ofstream(folder_ + "/name (2).txt") << "2";
  std::ofstream(folder_ + "/bare") << "3";
  auto part = PartFile::Open(folder_, ".x.part");
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(*part->Publish("name.txt"), folder_ + "/name (3).txt");
  auto other = PartFile::Open(folder_, ".y.part");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(*other->Publish("bare"), folder_ + "/bare (2)");
  EXPECT_EQ(Contents(folder_ + "/name.txt"), "1");
  EXPECT_EQ(Contents(folder_ + "/bare"), "3");
}

TEST_F(PartFileTest, OnlyRegularFilesOfOneName) {
  ASSERT_EQ(mkfifo((folder_ + "/.fifo.part").c_str(), 0600), 0);
  EXPECT_FALSE(PartFile::Open(folder_, ".fifo.part").ok());
  std::ofstream(folder_ + "/other") << "mine";
  ASSERT_EQ(link((folder_ + "/other").c_str(), (folder_ + "/.hard.part").c_str()), 0);
  EXPECT_FALSE(PartFile::Open(folder_, ".hard.part").ok());
  ASSERT_EQ(symlink((folder_ + "/other").c_str(), (folder_ + "/.soft.part").c_str()), 0);
  EXPECT_FALSE(PartFile::Open(folder_, ".soft.part").ok());
  EXPECT_EQ(Contents(folder_ + "/other"), "mine");
}

TEST_F(PartFileTest, DigestsFilesOnly) {
  std::ofstream(folder_ + "/file") << "content";
  const auto digest = DigestFile(folder_ + "/file");
  ASSERT_TRUE(digest.ok());
  EXPECT_EQ(digest->sha256, crypto::Sha256("content"));
  EXPECT_EQ(digest->size_bytes, 7u);
  EXPECT_TRUE(absl::IsNotFound(DigestFile(folder_ + "/none").status()));
  EXPECT_TRUE(absl::IsNotFound(DigestFile(folder_).status()));
}

}  // namespace
}  // namespace blindcart::agent
