#include "protocol/identity_chain.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/identity.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/order.h"

namespace blindcart::protocol {
namespace {

using crypto::Identity;
using crypto::PublicIdentity;
using crypto::TestIdentity;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kNowMs = 1'800'000'000'000;

const PublicIdentity& Public(int index) { return TestIdentity(index).public_identity(); }

// The broker is identity 0, then 1, then 2. Identity 9 is a stranger.
v1::IdentityLink Link(int from, int to, int64_t counter) {
  return MakeIdentityLink(TestIdentity(from), Public(to), counter, kNowMs + counter);
}
std::vector<v1::IdentityLink> Chain() { return {Link(0, 1, 1), Link(1, 2, 2)}; }

absl::StatusOr<IdentityLineage> FollowFirst(const std::vector<v1::IdentityLink>& links) {
  return IdentityLineage(Public(0)).Follow(links, kNowMs);
}

TEST(IdentityChainTest, LeadsFromTheFirstToThePresent) {
  const absl::StatusOr<IdentityLineage> lineage = FollowFirst(Chain());
  ASSERT_TRUE(lineage.ok()) << lineage.status();
  EXPECT_EQ(lineage->current().fingerprint(), Public(2).fingerprint());
  EXPECT_EQ(lineage->counter(), 2);
  EXPECT_EQ(lineage->followed_at_ms(), kNowMs);
  EXPECT_THAT(lineage->Former(), ElementsAre(Public(0).fingerprint(), Public(1).fingerprint()));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(lineage->Knows(Public(i).fingerprint()));
  EXPECT_FALSE(lineage->Knows(Public(9).fingerprint()));

  // Step by step it is the same.
  absl::StatusOr<IdentityLineage> steps = FollowFirst({Link(0, 1, 1)});
  ASSERT_TRUE(steps.ok());
  steps = steps->Follow({Link(1, 2, 2)}, kNowMs);
  ASSERT_TRUE(steps.ok()) << steps.status();
  EXPECT_EQ(steps->ToHistory().SerializeAsString(), lineage->ToHistory().SerializeAsString());

  EXPECT_THAT(lineage->LinksAfter(Public(0).fingerprint()), SizeIs(2));
  EXPECT_THAT(lineage->LinksAfter(Public(1).fingerprint()), SizeIs(1));
  EXPECT_THAT(lineage->LinksAfter(Public(2).fingerprint()), IsEmpty());
  EXPECT_THAT(lineage->LinksAfter(Public(9).fingerprint()), IsEmpty());
}

TEST(IdentityChainTest, HistoriesAreCheckedLikeAnswers) {
  const v1::IdentityHistory history = FollowFirst(Chain())->ToHistory();
  const absl::StatusOr<IdentityLineage> read = IdentityLineage::FromHistory(history, {5, 7});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->current().fingerprint(), Public(2).fingerprint());
  EXPECT_EQ(read->followed_at_ms(), 7);
  EXPECT_FALSE(IdentityLineage::FromHistory(history, {5}).ok());
  v1::IdentityHistory altered = history;
  altered.set_first_identity(Public(9).Serialize());
  EXPECT_FALSE(IdentityLineage::FromHistory(altered, {5, 7}).ok());
  altered = history;
  altered.mutable_links()->SwapElements(0, 1);
  EXPECT_FALSE(IdentityLineage::FromHistory(altered, {5, 7}).ok());
  EXPECT_TRUE(IdentityLineage(Public(0)).ToHistory().first_identity().empty());
}

TEST(IdentityChainTest, EveryFlippedBitIsRefused) {
  const v1::IdentityLink good = Link(0, 1, 1);
  const std::string bytes = good.SerializeAsString();
  int parsed = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
    v1::IdentityLink link;
    if (!link.ParseFromString(flipped) || link.SerializeAsString() == bytes) continue;
    ++parsed;
    EXPECT_FALSE(FollowFirst({link}).ok()) << "byte " << i;
  }
  EXPECT_GT(parsed, 400);
  EXPECT_TRUE(FollowFirst({good}).ok());
}

TEST(IdentityChainTest, OnlyThePinnedKeyMovesAnybody) {
  // Wrong signer, its own statement or one about itself.
  EXPECT_EQ(FollowFirst({Link(9, 1, 1)}).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(FollowFirst({Link(9, 9, 1)}).status().code(), absl::StatusCode::kUnauthenticated);
  // The second from whom the first did not name.
  EXPECT_FALSE(FollowFirst({Link(0, 1, 1), Link(9, 2, 2)}).ok());
  EXPECT_FALSE(FollowFirst({Link(0, 1, 1), Link(0, 2, 2)}).ok()) << "the old key moved twice";
  // Wrong order, a gap, the same twice, nothing.
  EXPECT_FALSE(FollowFirst({Link(1, 2, 2), Link(0, 1, 1)}).ok());
  EXPECT_FALSE(FollowFirst({Link(1, 2, 2)}).ok());
  EXPECT_FALSE(FollowFirst({Link(0, 1, 1), Link(0, 1, 1)}).ok());
  EXPECT_FALSE(FollowFirst({}).ok());
  // Counters that are not the next one, though signed.
  for (int64_t counter : {int64_t{-1}, int64_t{0}, int64_t{2}, INT64_MAX, INT64_MIN}) {
    EXPECT_FALSE(FollowFirst({Link(0, 1, counter)}).ok()) << counter;
  }
  // A signature for another purpose.
  v1::IdentityLink link = Link(0, 1, 1);
  link.set_signature(TestIdentity(0).Sign("blindcart/v1 receipt", link.next_identity()));
  EXPECT_FALSE(FollowFirst({link}).ok());
}

TEST(IdentityChainTest, WhoFollowedNeverGoesBack) {
  const IdentityLineage lineage = *FollowFirst(Chain());
  const auto follow = [&](const std::vector<v1::IdentityLink>& links) {
    return lineage.Follow(links, kNowMs).ok();
  };
  // Replays of what was true once.
  EXPECT_FALSE(follow(Chain()));
  EXPECT_FALSE(follow({Link(0, 1, 1)}));
  EXPECT_FALSE(follow({Link(1, 2, 2)}));
  // A thief of either retired key.
  EXPECT_FALSE(follow({Link(0, 9, 3)}));
  EXPECT_FALSE(follow({Link(1, 9, 3)}));
  EXPECT_FALSE(follow({Link(1, 9, 2)}));
  // Not even the present key leads back.
  EXPECT_FALSE(follow({Link(2, 0, 3)}));
  EXPECT_FALSE(follow({Link(2, 2, 3)}));
  EXPECT_TRUE(follow({Link(2, 9, 3)}));
}

TEST(IdentityChainTest, ChainsAreBounded) {
  // Whatever is in them: the count comes first.
  const std::vector<v1::IdentityLink> long_chain(kMaxIdentityLinks + 1, Link(0, 1, 1));
  EXPECT_EQ(FollowFirst(long_chain).status().code(), absl::StatusCode::kInvalidArgument);
  v1::IdentityHistory history;
  history.set_first_identity(Public(0).Serialize());
  for (const v1::IdentityLink& link : long_chain) *history.add_links() = link;
  EXPECT_EQ(IdentityLineage::FromHistory(history, std::vector<int64_t>(long_chain.size()))
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  v1::IdentityLink link = Link(0, 1, 1);
  link.set_next_identity(std::string(crypto::kMaxPublicIdentityBytes + 1, 'x'));
  EXPECT_EQ(FollowFirst({link}).status().code(), absl::StatusCode::kInvalidArgument);
  // No identity, though signed.
  link.set_next_identity("nonsense");
  link.set_announced_at_ms(1);
  EXPECT_FALSE(FollowFirst({link}).ok());
}

// What the signature covers, spelled out.
TEST(IdentityChainTest, SignsCounterTimeOldAndNew) {
  const v1::IdentityLink link = Link(0, 1, 1);
  const auto field = [](const std::string& bytes) {
    return Int64Bytes(static_cast<int64_t>(bytes.size())).substr(4) + bytes;
  };
  const std::string message = field(std::string("\0\0\0\0\0\0\0\x01", 8)) +
                              field(Int64Bytes(kNowMs + 1)) + field(Public(0).fingerprint()) +
                              field(Public(1).Serialize());
  EXPECT_TRUE(
      Public(0).VerifySignature("blindcart/v1 next-identity", message, link.signature()).ok());
}

class ReceiptOfLineageTest : public ::testing::Test {
 protected:
  static v1::Receipt Signed(int signer, int64_t paid_at_ms) {
    v1::Receipt receipt;
    receipt.set_order_id(std::string(16, 'o'));
    receipt.set_commitment(std::string(32, 'c'));
    receipt.set_merchant_fingerprint(std::string(32, 'm'));
    receipt.set_price_minor(100);
    receipt.set_total_minor(100);
    receipt.set_currency("EUR");
    receipt.set_paid_at_ms(paid_at_ms);
    SignReceipt(TestIdentity(signer), &receipt);
    return receipt;
  }
  bool Believes(const v1::Receipt& receipt, int64_t made_at_ms) {
    return VerifyReceipt(lineage_.SignerOf(receipt, made_at_ms), receipt).ok();
  }

  // 0 until 1'000'000, 1 until 2'000'000, then 2.
  const IdentityLineage lineage_ =
      *IdentityLineage::FromHistory(FollowFirst(Chain())->ToHistory(), {1'000'000, 2'000'000});
};

TEST_F(ReceiptOfLineageTest, RetiredKeysVouchForTheirTimeOnly) {
  EXPECT_TRUE(Believes(Signed(2, 2'500'000), 2'400'000));
  EXPECT_TRUE(Believes(Signed(1, 1'500'000), 1'400'000));
  EXPECT_TRUE(Believes(Signed(0, 500'000), 400'000));
  // Ordered before, paid after.
  EXPECT_TRUE(Believes(Signed(2, 2'500'000), 900'000));
  EXPECT_TRUE(Believes(Signed(1, 1'500'000), 900'000));
  // Paid under the old key after it was followed: by a broker that still served with it.
  EXPECT_TRUE(Believes(Signed(0, 1'900'000), 999'999));

  // A thief of a retired key pays an order made since, with whatever date.
  EXPECT_FALSE(Believes(Signed(0, 500'000), 1'000'001));
  EXPECT_FALSE(Believes(Signed(1, 1'500'000), 2'000'001));
  EXPECT_FALSE(Believes(Signed(9, 500'000), 400'000));
}

}  // namespace
}  // namespace blindcart::protocol
