// What each curious party can find in everything that it holds: its files, its logs and all traffic
// that it can open, over ten purchases on real processes.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"
#include "tests/adversaries/interposed.h"
#include "tests/support/haystack.h"

namespace blindcart::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kAlice[] = "alice-in-the-books";
constexpr char kBob[] = "bob-the-buyer";
constexpr char kAliceAccount[] = "10010077";
constexpr char kBobAccount[] = "10020088";
constexpr size_t kSampleBytes = 32;

// Everything `party` could have written down or opened.
Haystack Holdings(const std::string& folder, const Process& process) {
  Haystack haystack;
  const absl::Status added = haystack.AddPath(folder);
  EXPECT_TRUE(added.ok()) << added;
  haystack.AddBytes("standard output", process.out());
  haystack.AddBytes("log", process.err());
  return haystack;
}

struct Sold {
  std::string id;
  std::string title;
  std::string description;
  std::string content;
};

class CuriousTest : public ::testing::Test {
 protected:
  static constexpr int kPurchases = 10;

  static void SetUpTestSuite() {
    opened_ = Interposed::Open({{kAlice, "correct horse", kAliceAccount, "246813", "1000.00"},
                                {kBob, "battery staple", kBobAccount, "135792", "1000.00"}})
                  .release();
    ASSERT_NE(opened_, nullptr);
    sold_ = new std::vector<Sold>();
    for (int i = 0; i < kPurchases; ++i) {
      ProductSpec product;
      product.title = absl::StrCat("An unmistakable title ", i);
      product.description = absl::StrCat("A description that nobody else would write ", i);
      product.content = crypto::SystemRandom().Bytes(1000 + 40'000 * static_cast<size_t>(i));
      product.price = absl::StrCat(i + 1, ".00");
      product.format = "pdf";
      sold_->push_back(
          {opened_->AddProduct(product), product.title, product.description, product.content});
    }
    for (int i = 0; i < kPurchases; ++i) {
      const std::string buyer = i % 2 == 0 ? kAlice : kBob;
      EXPECT_EQ(opened_->Buy(buyer, (*sold_)[i].id), (*sold_)[i].content);
      opened_->Do(buyer, {"search", "unmistakable"});
      opened_->Do(buyer, {"show", (*sold_)[i].id});
    }
  }
  static void TearDownTestSuite() {
    delete opened_;
    delete sold_;
  }
  void SetUp() override { ASSERT_NE(opened_, nullptr); }

  static Haystack BrokerHoldings() {
    Haystack haystack = Holdings(opened_->market().broker_dir(), *opened_->market().broker());
    for (const Recorded& recorded : opened_->recording().All()) {
      haystack.AddBytes("traffic", recorded.bytes);
    }
    return haystack;
  }

  static Haystack MerchantHoldings() {
    Haystack haystack = Holdings(opened_->market().merchant_dir(Interposed::kShop),
                                 *opened_->market().merchant(Interposed::kShop));
    for (const Recorded& recorded : opened_->recording().All()) {
      if (recorded.leg == Leg::kToMerchant) haystack.AddBytes("traffic", recorded.bytes);
    }
    return haystack;
  }

  static Interposed* opened_;
  static std::vector<Sold>* sold_;
};

Interposed* CuriousTest::opened_ = nullptr;
std::vector<Sold>* CuriousTest::sold_ = nullptr;

TEST_F(CuriousTest, BrokerHoldsNothingOfTheProducts) {
  const Haystack broker = BrokerHoldings();
  // The search works: what the broker does know is found.
  EXPECT_THAT(broker.Find(kAlice), Not(IsEmpty()));
  EXPECT_THAT(broker.Find(Interposed::kShop), Not(IsEmpty()));
  EXPECT_THAT(broker.Find(kAliceAccount), Not(IsEmpty()));
  for (const Sold& sold : *sold_) {
    const std::string id = absl::HexStringToBytes(sold.id);
    EXPECT_THAT(broker.Find(id), IsEmpty());
    EXPECT_THAT(broker.Find(sold.title), IsEmpty());
    EXPECT_THAT(broker.Find(sold.description), IsEmpty());
    for (const size_t offset :
         {size_t{0}, sold.content.size() / 2, sold.content.size() - kSampleBytes}) {
      EXPECT_THAT(broker.Find(sold.content.substr(offset, kSampleBytes)), IsEmpty());
    }
    for (const std::string& secret : {sold.content, sold.title, id}) {
      EXPECT_THAT(broker.Find(crypto::Sha256(secret)), IsEmpty());
    }
  }
  EXPECT_THAT(broker.Find("unmistakable"), IsEmpty()) << "a word that was searched for";
}

TEST_F(CuriousTest, MerchantHoldsNothingOfTheCustomers) {
  const Haystack merchant = MerchantHoldings();
  for (const Sold& sold : *sold_) EXPECT_THAT(merchant.Find(sold.title), Not(IsEmpty()));
  for (const auto& [name, account] :
       {std::pair{kAlice, kAliceAccount}, std::pair{kBob, kBobAccount}}) {
    const crypto::PublicIdentity& identity = opened_->parties().customer(name).public_identity();
    EXPECT_THAT(merchant.Find(name), IsEmpty());
    EXPECT_THAT(merchant.Find(account), IsEmpty());
    EXPECT_THAT(merchant.Find(identity.fingerprint()), IsEmpty());
    EXPECT_THAT(merchant.Find(identity.ed25519()), IsEmpty());
    EXPECT_THAT(merchant.Find(identity.Serialize().substr(64, kSampleBytes)), IsEmpty());
    EXPECT_THAT(merchant.Find(opened_->market().customer(name).password), IsEmpty());
  }
}

TEST_F(CuriousTest, NothingOfTwoSessionsIsEqualForTheMerchant) {
  // A run of bytes that two hellos, handles or sids of one customer share would be a name.
  std::vector<std::string> sessions;
  for (const Recorded& recorded : opened_->recording().All()) {
    if (recorded.leg != Leg::kToMerchant) continue;
    v1::BrokerToMerchant message;
    ASSERT_TRUE(message.ParseFromString(recorded.bytes));
    if (!message.has_session_hello()) continue;
    const v1::SessionHello& hello = message.session_hello();
    sessions.push_back(absl::StrCat(hello.handle(), hello.sid(), hello.hello()));
    // There is nothing else in the message: the three fields are all of it.
    EXPECT_LE(recorded.bytes.size(), sessions.back().size() + 16);
  }
  ASSERT_GE(sessions.size(), 2 * static_cast<size_t>(kPurchases));
  constexpr size_t kRun = 6;  // Random bytes share so long a run once in 10^9 comparisons of these.
  std::map<std::string, size_t> seen;
  for (size_t session = 0; session < sessions.size(); ++session) {
    for (size_t i = 0; i + kRun <= sessions[session].size(); ++i) {
      const auto [found, added] = seen.emplace(sessions[session].substr(i, kRun), session);
      EXPECT_TRUE(added || found->second == session)
          << "sessions " << found->second << " and " << session << " share bytes";
    }
  }
}

TEST_F(CuriousTest, LogsNameNobodyAndNothing) {
  Haystack logs;
  logs.AddBytes("broker", opened_->market().broker()->err());
  logs.AddBytes("merchant", opened_->market().merchant(Interposed::kShop)->err());
  logs.AddBytes("agent of alice", opened_->market().agent(kAlice)->err());
  logs.AddBytes("agent of bob", opened_->market().agent(kBob)->err());
  ASSERT_GT(logs.total_bytes(), 0u);
  for (const std::string& needle :
       {std::string(kAlice), std::string(kBob), std::string(kAliceAccount),
        std::string(kBobAccount), std::string("unmistakable"), std::string("correct horse")}) {
    EXPECT_THAT(logs.Find(needle), IsEmpty()) << needle;
  }
}

// What the broker relays of one visit and purchase: for each stream the sequence of (leg, size). The
// goods run on a stream of their own, whose messages meet the link's in an order that only the
// scheduler decides.
struct RelayedShape {
  std::vector<std::pair<Leg, size_t>> link;
  std::vector<size_t> goods;
};

RelayedShape Shape(const std::vector<Recorded>& recorded) {
  RelayedShape shape;
  for (const Recorded& message : recorded) {
    size_t size = message.bytes.size();
    // Varints of times, counters and amounts at the broker's own level differ by a byte now and then;
    // what is sealed for others is compared to the byte.
    if (message.leg == Leg::kFromCustomer) {
      v1::CustomerMessage parsed;
      EXPECT_TRUE(parsed.ParseFromString(message.bytes));
      if (!parsed.has_shop_frame()) continue;
      size = parsed.shop_frame().frame().size();
    } else if (message.leg == Leg::kToCustomer) {
      v1::BrokerToCustomer parsed;
      EXPECT_TRUE(parsed.ParseFromString(message.bytes));
      if (!parsed.has_shop_frame()) continue;
      size = parsed.shop_frame().frame().size();
    } else if (message.leg == Leg::kGoods) {
      shape.goods.push_back(size);
      continue;
    } else {
      continue;
    }
    shape.link.emplace_back(message.leg, size);
  }
  return shape;
}

TEST_F(CuriousTest, ProductsOfOnePriceAndSizeClassLookAlikeToTheBroker) {
  ProductSpec brief;
  brief.title = "Short";
  brief.description = "x";
  brief.price = "33.00";
  brief.content = crypto::SystemRandom().Bytes(70'000);
  ProductSpec wordy;
  wordy.title = std::string(250, 'W');
  wordy.description = std::string(3000, 'd');
  wordy.price = "33.00";
  wordy.content = crypto::SystemRandom().Bytes(250'000);
  wordy.format = "epub";
  const std::string brief_id = opened_->AddProduct(brief);
  const std::string wordy_id = opened_->AddProduct(wordy);
  // The catalogue is home before either is bought, as it always is.
  opened_->Do(kAlice, {"browse", Interposed::kShop});
  opened_->recording().Clear();
  EXPECT_EQ(opened_->Buy(kAlice, brief_id), brief.content);
  const RelayedShape of_brief = Shape(opened_->recording().All());
  opened_->recording().Clear();
  EXPECT_EQ(opened_->Buy(kAlice, wordy_id), wordy.content);
  const RelayedShape of_wordy = Shape(opened_->recording().All());
  EXPECT_GE(of_brief.link.size(), 6u);
  EXPECT_GE(of_brief.goods.size(), 2u);
  EXPECT_EQ(of_brief.link, of_wordy.link);
  EXPECT_EQ(of_brief.goods, of_wordy.goods);
}

}  // namespace
}  // namespace blindcart::testing
