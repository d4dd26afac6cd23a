#include "services/catalog/goods_store.h"

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::catalog {
namespace {

class GoodsStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = absl::StrCat(::testing::TempDir(), "/",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(MakePrivateDirectory(base_).ok());
    Reopen();
  }
  void Reopen() {
    auto opened = GoodsStore::Open(folder());
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }
  std::string folder() const { return base_ + "/goods"; }
  std::string Source(const std::string& name, const std::string& content) {
    const std::string path = absl::StrCat(base_, "/", name);
    EXPECT_TRUE(WriteFileAtomically(path, content, 0644, /*replace=*/true).ok());
    return path;
  }
  size_t Files() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder())) {
      (void)entry;
      ++count;
    }
    return count;
  }

  std::string base_;
  std::unique_ptr<GoodsStore> store_;
};

TEST_F(GoodsStoreTest, KeepsContentUnderItsHashForItsOwnerOnly) {
  const std::string content = std::string(3 * 1024 * 1024 + 17, 'x');
  std::vector<uint64_t> progress;
  const absl::StatusOr<GoodsStore::Added> added =
      store_->Add(Source("book.pdf", content), 1 << 30, [&](uint64_t copied, uint64_t total) {
        EXPECT_EQ(total, content.size());
        progress.push_back(copied);
        return true;
      });
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->content_hash, crypto::Sha256(content));
  EXPECT_EQ(added->size_bytes, content.size());
  EXPECT_GE(progress.size(), 3u);
  EXPECT_EQ(progress.back(), content.size());

  struct stat info;
  const std::string place = absl::StrCat(folder(), "/", crypto::HexEncode(added->content_hash));
  ASSERT_EQ(stat(place.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);

  const auto file = store_->OpenContent(added->content_hash);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size_bytes(), content.size());
  std::string read(100, '\0');
  ASSERT_TRUE((*file)->ReadAt(content.size() - 100, 100, read.data()).ok());
  EXPECT_EQ(read, std::string(100, 'x'));
  EXPECT_EQ((*file)->ReadAt(content.size() - 50, 100, read.data()).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(GoodsStoreTest, KeepsOldVersionsAndOneCopyOfTheSameContent) {
  const auto first = store_->Add(Source("a", "version 1"), 1000, nullptr);
  const auto second = store_->Add(Source("a", "version 2"), 1000, nullptr);
  const auto again = store_->Add(Source("b", "version 1"), 1000, nullptr);
  ASSERT_TRUE(first.ok() && second.ok() && again.ok());
  EXPECT_EQ(first->content_hash, again->content_hash);
  EXPECT_EQ(Files(), 2u);
  EXPECT_TRUE(store_->OpenContent(first->content_hash).ok());
  EXPECT_TRUE(store_->OpenContent(second->content_hash).ok());
}

TEST_F(GoodsStoreTest, TakesEmptyContent) {
  const auto added = store_->Add(Source("empty", ""), 1000, nullptr);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(added->size_bytes, 0u);
  EXPECT_EQ(added->content_hash, crypto::Sha256(""));
}

TEST_F(GoodsStoreTest, RefusesWhatItCannotDeliverAndLeavesNothingBehind) {
  EXPECT_EQ(store_->Add(base_ + "/missing", 1000, nullptr).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Add(base_, 1000, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Add(Source("large", std::string(1001, 'x')), 1000, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::string pipe = base_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(store_->Add(pipe, 1000, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Files(), 0u);
}

TEST_F(GoodsStoreTest, ACancelledCopyLeavesNothingBehind) {
  const auto added = store_->Add(Source("a", std::string(100, 'x')), 1000,
                                 [](uint64_t, uint64_t) { return false; });
  EXPECT_EQ(added.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Files(), 0u);
}

TEST_F(GoodsStoreTest, RemovesWhatACrashLeftBehind) {
  ASSERT_TRUE(store_->Add(Source("a", "content"), 1000, nullptr).ok());
  ASSERT_TRUE(WriteFileAtomically(folder() + "/unfinished.abc123", "half", 0600, true).ok());
  Reopen();
  EXPECT_EQ(Files(), 1u);
  EXPECT_TRUE(store_->OpenContent(crypto::Sha256("content")).ok());
}

TEST_F(GoodsStoreTest, MissingContentIsNotFound) {
  EXPECT_EQ(store_->OpenContent(crypto::Sha256("never added")).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace blindcart::catalog
