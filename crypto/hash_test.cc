#include "crypto/hash.h"

#include <string>
#include <utility>

#include "crypto/encoding.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

// FIPS 180-2, appendix B.
TEST(Sha256Test, MatchesThePublishedExamples) {
  EXPECT_EQ(HexEncode(Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256(absl::string_view()), Sha256(""));
  EXPECT_EQ(HexEncode(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexEncode(Sha256(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256HasherTest, GivesTheSameForAnyCutting) {
  std::string data;
  for (int i = 0; i < 300; ++i) data.push_back(static_cast<char>(i));
  for (size_t cut = 0; cut <= data.size(); ++cut) {
    Sha256Hasher hasher;
    hasher.Update(absl::string_view(data).substr(0, cut));
    hasher.Update(absl::string_view(data).substr(cut));
    ASSERT_EQ(hasher.Finish(), Sha256(data)) << cut;
  }
}

TEST(Sha256HasherTest, StartsAfreshAfterFinish) {
  Sha256Hasher hasher;
  hasher.Update("something");
  EXPECT_EQ(hasher.Finish(), Sha256("something"));
  hasher.Update(absl::string_view());
  EXPECT_EQ(hasher.Finish(), Sha256(""));
  hasher.Update("abc");
  Sha256Hasher moved = std::move(hasher);
  EXPECT_EQ(moved.Finish(), Sha256("abc"));
}

}  // namespace
}  // namespace blindcart::crypto
