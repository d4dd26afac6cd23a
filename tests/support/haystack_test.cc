#include "tests/support/haystack.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(HaystackTest, FindsEverySpelling) {
  const std::string needle = "\x01secret title\xff";
  for (const std::string before : {"", "a", "ab", "abc"}) {
    std::string base64;
    absl::Base64Escape(before + needle + "tail", &base64);
    for (const std::string& bytes : {before + needle, absl::BytesToHexString(before + needle),
                                     base64, before + "\x01SECRET TITLE\xff"}) {
      Haystack haystack;
      haystack.AddBytes("here", bytes);
      EXPECT_THAT(haystack.Find(needle), ElementsAre("here")) << bytes;
    }
  }
}

TEST(HaystackTest, DoesNotFindWhatIsNotThere) {
  Haystack haystack;
  haystack.AddBytes("here", "something else altogether");
  EXPECT_THAT(haystack.Find("secret"), IsEmpty());
}

TEST(HaystackTest, SearchesFilesAndTheirNames) {
  const std::string folder = ::testing::TempDir() + "/haystack";
  std::filesystem::create_directories(folder + "/inner");
  std::ofstream(folder + "/inner/file") << "a needle in it";
  std::ofstream(folder + "/thimble") << "";
  Haystack haystack;
  ASSERT_TRUE(haystack.AddPath(folder).ok());
  EXPECT_THAT(haystack.Find("needle"), ElementsAre(folder + "/inner/file"));
  EXPECT_EQ(haystack.Find("thimble").size(), 1u);
  EXPECT_FALSE(haystack.AddPath(folder + "/missing").ok());
}

}  // namespace
}  // namespace blindcart::testing
