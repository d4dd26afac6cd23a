#include "services/agent/downloader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"
#include "services/agent/verify.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  return all.str();
}

class DownloaderTest : public ::testing::Test {
 protected:
  DownloaderTest() { EXPECT_TRUE(world_.Login().ok()); }

  // Content of that size, different at every place.
  std::string Content(size_t bytes) { return world_.random.Bytes(bytes); }
  absl::StatusOr<PurchaseRecord> Download(const PurchaseRecord& purchase, bool again = false) {
    return world_.agent().downloader().Download(TestWorld::Id(purchase), again,
                                                [this](const Progress& progress) {
                                                  progress_.push_back(progress);
                                                  return !stop_;
                                                });
  }
  // Every name in the purchases folder.
  std::vector<std::string> Files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(world_.purchases_dir())) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TestWorld world_;
  std::vector<Progress> progress_;
  bool stop_ = false;
};

TEST_F(DownloaderTest, DeliversContentOfEverySize) {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{65'536}, size_t{262'144}, size_t{262'145}, size_t{700'000}}) {
    const std::string content = Content(size);
    const PurchaseRecord bought = world_.Bought("Book " + std::to_string(size), content);
    const auto done = Download(bought);
    ASSERT_TRUE(done.ok()) << size << " " << done.status();
    EXPECT_EQ(Contents(done->file_path), content);
    EXPECT_EQ(done->status, v1::ORDER_STATUS_DELIVERED);
    EXPECT_EQ(progress_.back().received_bytes, size);
    EXPECT_EQ(progress_.back().total_bytes, size);
    struct stat info;
    ASSERT_EQ(stat(done->file_path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
  }
}

TEST_F(DownloaderTest, TheStreamIsReadToItsEndSoThatTheShopLearnsOfIt) {
  ASSERT_TRUE(Download(world_.Bought("Book", Content(700'000))).ok());
  EXPECT_EQ(world_.broker.deliveries_ended, 1);
}

TEST_F(DownloaderTest, UnpaidOrdersAreNotAskedFor) {
  const PurchaseRecord order = world_.Ordered();
  EXPECT_TRUE(absl::IsFailedPrecondition(Download(order).status()));
  EXPECT_TRUE(Files().empty());
}

TEST_F(DownloaderTest, WhatIsThereIsNotFetchedAgainUnlessAsked) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  ASSERT_TRUE(Download(bought).ok());
  const size_t asked = world_.shop.requests.size();
  ASSERT_TRUE(Download(bought).ok());
  EXPECT_EQ(world_.shop.requests.size(), asked);
  const auto again = Download(bought, true);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Files(), (std::vector<std::string>{"Book (2).txt", "Book.txt"}));
  EXPECT_EQ(Contents(again->file_path), "content");
}

TEST_F(DownloaderTest, AFileThatWasDamagedIsFetchedAgain) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  const auto done = Download(bought);
  ASSERT_TRUE(done.ok());
  std::ofstream(done->file_path) << "damaged";
  const auto again = Download(bought);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(Contents(again->file_path), "content");
  EXPECT_EQ(Contents(done->file_path), "damaged");
}

TEST_F(DownloaderTest, NeverWritesOverAnotherFile) {
  std::ofstream(world_.purchases_dir() + "/Book.txt") << "mine";
  std::filesystem::create_directory(world_.purchases_dir() + "/Book (2).txt");
  const auto done = Download(world_.Bought("Book", "content"));
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->file_path, world_.purchases_dir() + "/Book (3).txt");
  EXPECT_EQ(Contents(world_.purchases_dir() + "/Book.txt"), "mine");
}

TEST_F(DownloaderTest, HostileTitlesStayInTheFolder) {
  for (const char* title : {"../../etc/passwd", "/etc/passwd", "..", "-rf", ".bashrc", "CON",
                            "a/b\\c", "~root", "nul.txt"}) {
    const auto done = Download(world_.Bought(title, "content"));
    ASSERT_TRUE(done.ok()) << title << " " << done.status();
    const std::filesystem::path path(done->file_path);
    EXPECT_EQ(path.parent_path(), world_.purchases_dir()) << title;
    EXPECT_EQ(path.lexically_normal(), path) << title;
    const std::string name = path.filename().string();
    EXPECT_NE(name[0], '.') << title;
    EXPECT_NE(name[0], '-') << title;
    EXPECT_EQ(Contents(done->file_path), "content");
  }
}

TEST_F(DownloaderTest, ALinkInThePartFilesPlaceIsNotFollowed) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  const std::string target = world_.purchases_dir() + "/target";
  std::ofstream(target) << "mine";
  ASSERT_EQ(symlink(target.c_str(),
                    (world_.purchases_dir() + "/." + TestWorld::Id(bought) + ".part").c_str()),
            0);
  EXPECT_FALSE(Download(bought).ok());
  EXPECT_EQ(Contents(target), "mine");
}

TEST_F(DownloaderTest, GoesOnAfterABreakByItself) {
  const std::string content = Content(1'300'000);  // Five pieces.
  const PurchaseRecord bought = world_.Bought("Book", content);
  int cuts = 0;
  world_.broker.alter_goods = [&](size_t index, v1::Frame*) {
    if (index != 2 || cuts == 1) return true;
    ++cuts;
    return false;
  };
  const auto done = Download(bought);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Contents(done->file_path), content);
  EXPECT_EQ(progress_.back().resumed_from_bytes, 2u * 262'144);
  EXPECT_EQ(world_.shop.requests.back().delivery().first_piece(), 2u);
}

TEST_F(DownloaderTest, GoesOnAfterARestart) {
  const std::string content = Content(1'300'000);
  const PurchaseRecord bought = world_.Bought("Book", content);
  world_.broker.alter_goods = [&](size_t index, v1::Frame*) {
    if (index == 3) stop_ = true;
    return true;
  };
  EXPECT_TRUE(absl::IsCancelled(Download(bought).status()));
  EXPECT_EQ(Files().size(), 1u);
  world_.RestartAgent();
  ASSERT_TRUE(world_.Login().ok());
  stop_ = false;
  world_.broker.alter_goods = nullptr;
  const auto done = Download(bought);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Contents(done->file_path), content);
  EXPECT_EQ(progress_.back().resumed_from_bytes, 4u * 262'144);
  EXPECT_EQ(Files(), (std::vector<std::string>{"Book.txt"}));
}

TEST_F(DownloaderTest, AnUnfinishedFileThatWasCutBeginsAnew) {
  const std::string content = Content(1'300'000);
  const PurchaseRecord bought = world_.Bought("Book", content);
  world_.broker.alter_goods = [&](size_t index, v1::Frame*) {
    if (index == 3) stop_ = true;
    return true;
  };
  EXPECT_FALSE(Download(bought).ok());
  stop_ = false;
  world_.broker.alter_goods = nullptr;
  std::filesystem::resize_file(world_.purchases_dir() + "/" + Files()[0], 1000);
  const auto done = Download(bought);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Contents(done->file_path), content);
  EXPECT_EQ(progress_.back().resumed_from_bytes, 0u);
}

TEST_F(DownloaderTest, AnUnfinishedFileThatWasDamagedBeginsAnew) {
  const std::string content = Content(1'300'000);
  const PurchaseRecord bought = world_.Bought("Book", content);
  world_.broker.alter_goods = [&](size_t index, v1::Frame*) {
    if (index == 3) stop_ = true;
    return true;
  };
  EXPECT_FALSE(Download(bought).ok());
  stop_ = false;
  world_.broker.alter_goods = nullptr;
  {
    std::fstream part(world_.purchases_dir() + "/" + Files()[0],
                      std::ios::in | std::ios::out | std::ios::binary);
    part.seekp(1000);
    part.put(static_cast<char>(content[1000] ^ 1));
  }
  const auto done = Download(bought);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(Contents(done->file_path), content);
}

TEST_F(DownloaderTest, OtherContentThanOrderedIsRemovedAndSaid) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  world_.shop.contents[bought.product_id] = "CONTENT";
  const absl::Status status = Download(bought).status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_NE(status.message().find("not what was ordered"), absl::string_view::npos) << status;
  EXPECT_TRUE(Files().empty());
  // Nothing is lost: once the shop delivers what it sold, it arrives.
  world_.shop.contents[bought.product_id] = "content";
  EXPECT_TRUE(Download(bought).ok());
}

TEST_F(DownloaderTest, ContentOfAnotherSizeIsRefused) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  world_.shop.contents[bought.product_id] = "more content";
  EXPECT_TRUE(absl::IsDataLoss(Download(bought).status()));
}

TEST_F(DownloaderTest, EveryAlteredFrameIsRefused) {
  const std::string content = Content(600'000);  // Padded to four pieces; the final frame follows.
  for (size_t frame = 0; frame < 5; ++frame) {
    const PurchaseRecord bought = world_.Bought("Book " + std::to_string(frame), content);
    for (const bool mac : {false, true}) {
      // A refused frame costs nothing that came before it, so the second fetch may begin later.
      const size_t last_start = frame < 2 ? frame : 2;
      world_.broker.alter_goods = [&](size_t index, v1::Frame* altered) {
        if (index == (mac ? frame - last_start : frame)) {
          std::string* bytes = mac ? altered->mutable_mac() : altered->mutable_ciphertext();
          bytes->at(bytes->size() / 2) ^= 1;
        }
        return true;
      };
      const absl::Status status = Download(bought).status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << frame << mac << status;
    }
    world_.broker.alter_goods = nullptr;
    const auto done = Download(bought);
    ASSERT_TRUE(done.ok()) << done.status();
    EXPECT_EQ(Contents(done->file_path), content);
  }
}

TEST_F(DownloaderTest, ADeliveryThatEndsEarlyIsNoFile) {
  const PurchaseRecord bought = world_.Bought("Book", Content(10));
  world_.broker.alter_goods = [](size_t index, v1::Frame*) { return index != 1; };
  EXPECT_TRUE(absl::IsUnavailable(Download(bought).status()));
  for (const std::string& name : Files()) EXPECT_EQ(name[0], '.');
}

TEST_F(DownloaderTest, TheShopsRefusalsAreSaid) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  const auto with = [&](v1::DeliveryOutcome outcome) {
    world_.shop.alter_reply = [outcome](const v1::ShopRequest& request, v1::ShopReply* reply) {
      if (request.has_delivery()) reply->mutable_delivery()->set_outcome(outcome);
    };
    return Download(bought).status();
  };
  EXPECT_TRUE(absl::IsDataLoss(with(v1::DELIVERY_OUTCOME_NO_SUCH_ORDER)));
  EXPECT_TRUE(absl::IsDataLoss(with(v1::DELIVERY_OUTCOME_NOT_PAID)));
  EXPECT_TRUE(absl::IsUnavailable(with(v1::DELIVERY_OUTCOME_UNAVAILABLE)));
  EXPECT_TRUE(absl::IsUnavailable(with(v1::DELIVERY_OUTCOME_BUSY)));
  EXPECT_TRUE(absl::IsDataLoss(with(v1::DELIVERY_OUTCOME_BAD_OFFSET)));
  EXPECT_TRUE(absl::IsDataLoss(with(v1::DELIVERY_OUTCOME_UNSPECIFIED)));
  world_.shop.online = false;
  EXPECT_TRUE(absl::IsUnavailable(Download(bought).status()));
}

TEST_F(DownloaderTest, WhatTheShopSaysOfTheDeliveryIsChecked) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  const std::vector<std::function<void(v1::DeliveryResult*)>> alterations = {
      [](v1::DeliveryResult* r) { r->set_true_size_bytes(8); },
      [](v1::DeliveryResult* r) { r->set_padded_size_bytes(1); },
      [](v1::DeliveryResult* r) { r->set_padded_size_bytes(UINT64_MAX); },
      [](v1::DeliveryResult* r) { r->set_piece_count(7); },
  };
  for (size_t i = 0; i < alterations.size(); ++i) {
    world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply* reply) {
      if (request.has_delivery()) alterations[i](reply->mutable_delivery());
    };
    EXPECT_TRUE(absl::IsDataLoss(Download(bought).status())) << i;
  }
}

TEST_F(DownloaderTest, ABrokerThatTakesNoDeliveryIsSaid) {
  const PurchaseRecord bought = world_.Bought("Book", "content");
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_open_delivery()) answer->mutable_open_delivery()->set_ok(false);
  };
  EXPECT_TRUE(absl::IsUnavailable(Download(bought).status()));
}

TEST_F(DownloaderTest, VerifyNamesEachCheck) {
  const PurchaseRecord order = world_.Ordered("Book", 1000, "content");
  const crypto::PublicIdentity& broker = world_.broker.identity().public_identity();
  const crypto::PublicIdentity& merchant = world_.shop.identity().public_identity();
  EXPECT_EQ(VerifyPurchase(broker, merchant, order).size(), 3u);
  ASSERT_TRUE(world_.Pay(order).ok());
  const auto done = Download(order);
  ASSERT_TRUE(done.ok()) << done.status();
  const PurchaseRecord good = *done;
  const auto failed = [&](const PurchaseRecord& purchase) {
    std::string names;
    const std::vector<Check> checks = VerifyPurchase(broker, merchant, purchase);
    EXPECT_EQ(checks.size(), 6u);
    for (const Check& check : checks) {
      if (!check.ok) names += "[" + check.name + "]";
    }
    return names;
  };
  EXPECT_EQ(failed(good), "");

  PurchaseRecord bad = good;
  bad.order_key[0] ^= 1;
  EXPECT_EQ(failed(bad), "[commitment]");
  bad = good;
  bad.title = "Another";
  EXPECT_EQ(failed(bad), "[commitment]");
  bad = good;
  bad.terms.mutable_signature()->at(0) ^= 1;
  EXPECT_NE(failed(bad).find("[order signature]"), std::string::npos);
  bad = good;
  bad.charge_minor += 1;
  EXPECT_EQ(failed(bad), "[totals]");
  bad = good;
  bad.receipt->mutable_signature()->at(0) ^= 1;
  EXPECT_EQ(failed(bad), "[receipt]");
  bad = good;
  bad.delivery_signature[0] ^= 1;
  EXPECT_EQ(failed(bad), "[delivery signature]");
  std::ofstream(good.file_path) << "CONTENT";
  EXPECT_EQ(failed(good), "[file]");
  ASSERT_EQ(unlink(good.file_path.c_str()), 0);
  EXPECT_EQ(failed(good), "[file]");
}

}  // namespace
}  // namespace blindcart::agent
