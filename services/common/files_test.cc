#include "services/common/files.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;

std::string Folder() {
  const std::string folder =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

mode_t ModeOf(const std::string& path) {
  struct stat info;
  EXPECT_EQ(stat(path.c_str(), &info), 0);
  return info.st_mode & 0777;
}

TEST(FilesTest, WritesAndReadsBack) {
  const std::string path = Folder() + "/file";
  const std::string content("bytes\0and more", 14);
  ASSERT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/false).ok());
  EXPECT_EQ(*ReadFile(path), content);
  EXPECT_EQ(ModeOf(path), 0600u);
}

TEST(FilesTest, ReplacesOnlyWhenAsked) {
  const std::string folder = Folder();
  const std::string path = folder + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, "first", 0600, false).ok());
  EXPECT_EQ(WriteFileAtomically(path, "second", 0600, false).code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadFile(path), "first");
  ASSERT_TRUE(WriteFileAtomically(path, "second", 0644, true).ok());
  EXPECT_EQ(*ReadFile(path), "second");
  EXPECT_EQ(ModeOf(path), 0644u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1)
      << "a temporary file was left behind";
}

TEST(FilesTest, ReadIsBounded) {
  const std::string path = Folder() + "/file";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(100, 'x'), 0600, false).ok());
  EXPECT_TRUE(ReadFile(path, 100).ok());
  EXPECT_EQ(ReadFile(path, 99).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(path + "-missing").status().code(), absl::StatusCode::kNotFound);
}

TEST(FilesTest, PrivateDirectoryIsForItsOwnerOnly) {
  const std::string folder = Folder() + "/a/b";
  ASSERT_TRUE(MakePrivateDirectory(folder).ok());
  EXPECT_EQ(ModeOf(folder), 0700u);
  EXPECT_TRUE(MakePrivateDirectory(folder).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/file", "", 0600, false).ok());
  EXPECT_EQ(MakePrivateDirectory(folder + "/file").code(), absl::StatusCode::kAlreadyExists);
}

TEST(FilesTest, TextProtoErrorsNameLineAndColumn) {
  const std::string path = Folder() + "/config";
  std::ofstream(path) << "# a comment\ndata_dir: \"/x\"\nno_such_field: 1\n";
  v1::BrokerConfig config;
  const absl::Status status = ReadTextProto(path, &config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 3"));
  std::ofstream(path) << "# a comment\ndata_dir: \"/x\"\n";
  ASSERT_TRUE(ReadTextProto(path, &config).ok());
  EXPECT_EQ(config.data_dir(), "/x");
}

TEST(FilesTest, ResolvesBelowTheFolderUnlessAbsolute) {
  EXPECT_EQ(ResolvePath("/data", "keys"), "/data/keys");
  EXPECT_EQ(ResolvePath("/data", "/other/keys"), "/other/keys");
}

}  // namespace
}  // namespace blindcart
