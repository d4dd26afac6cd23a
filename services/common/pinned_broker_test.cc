#include "services/common/pinned_broker.h"

#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"
#include "services/common/files.h"

namespace blindcart {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const crypto::PublicIdentity& Public(int index) {
  return crypto::TestIdentity(index).public_identity();
}

v1::IdentityLink Link(int from, int to, int64_t counter) {
  return protocol::MakeIdentityLink(crypto::TestIdentity(from), Public(to), counter, 1);
}

class PinnedBrokerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(::testing::TempDir(), "/pinned-", getpid(), "-",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name());
    v1::BrokerCard card;
    card.set_address("localhost:7443");
    card.set_tls_root_pem("root");
    card.set_ca_certificate_pem("authority");
    card.set_identity_pem(Public(0).ToPem());
    card.set_fingerprint_hex(crypto::HexEncode(Public(0).fingerprint()));
    Write(card);
  }
  void TearDown() override { unlink(path_.c_str()); }

  void Write(const v1::BrokerCard& card) {
    ASSERT_TRUE(WriteFileAtomically(path_, ToTextProto(card), 0644, true).ok());
  }
  v1::BrokerCard Card() { return LoadBrokerCard(path_)->card; }
  std::unique_ptr<PinnedBroker> Open() {
    const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(path_);
    EXPECT_TRUE(card.ok()) << card.status();
    absl::StatusOr<std::unique_ptr<PinnedBroker>> pinned =
        PinnedBroker::Open(*card, path_, clock_, [this](const protocol::IdentityLineage& lineage) {
          if (keep_status_.ok()) kept_ = lineage.current().fingerprint();
          return keep_status_;
        });
    EXPECT_TRUE(pinned.ok()) << pinned.status();
    return *std::move(pinned);
  }

  std::string path_;
  protocol::FakeClock clock_;
  absl::Status keep_status_;
  std::string kept_;
};

TEST_F(PinnedBrokerTest, FollowsAndRemembers) {
  std::unique_ptr<PinnedBroker> pinned = Open();
  EXPECT_EQ(kept_, Public(0).fingerprint());
  const auto before = pinned->current();
  clock_.Advance(5'000);
  ASSERT_TRUE(pinned->Follow({Link(0, 1, 1), Link(1, 2, 2)}).ok());
  EXPECT_EQ(pinned->current()->fingerprint(), Public(2).fingerprint());
  EXPECT_EQ(kept_, Public(2).fingerprint());
  EXPECT_EQ(before->fingerprint(), Public(0).fingerprint()) << "who uses the old one loses it";
  const int64_t followed_at_ms = clock_.NowUnixMs();

  clock_.Advance(5'000);
  const v1::BrokerCard card = Card();
  EXPECT_EQ(card.tls_root_pem(), "root");
  EXPECT_EQ(card.ca_certificate_pem(), "authority");
  EXPECT_EQ(card.address(), "localhost:7443");
  EXPECT_THAT(card.followed_at_ms(), ElementsAre(followed_at_ms, followed_at_ms));
  pinned = Open();
  EXPECT_EQ(pinned->current()->fingerprint(), Public(2).fingerprint());
  EXPECT_EQ(pinned->lineage()->counter(), 2);
  EXPECT_EQ(pinned->lineage()->followed_at_ms(), followed_at_ms);
  EXPECT_TRUE(pinned->lineage()->Knows(Public(0).fingerprint()));
  ASSERT_TRUE(pinned->Follow({Link(2, 3, 3)}).ok());
  EXPECT_EQ(Open()->lineage()->counter(), 3);
}

TEST_F(PinnedBrokerTest, WhatTheOperatorHasPutOnTheCardSinceIsKept) {
  const std::unique_ptr<PinnedBroker> pinned = Open();
  v1::BrokerCard card = Card();
  card.add_further_addresses("localhost:7444");
  Write(card);
  ASSERT_TRUE(pinned->Follow({Link(0, 1, 1)}).ok());
  EXPECT_THAT(Card().further_addresses(), ElementsAre("localhost:7444"));
  EXPECT_EQ(Open()->current()->fingerprint(), Public(1).fingerprint());

  // One that has the next change already.
  card = Card();
  card.add_further_addresses("localhost:7445");
  card.set_identity_pem(Public(2).ToPem());
  card.set_fingerprint_hex(crypto::HexEncode(Public(2).fingerprint()));
  *card.mutable_history()->add_links() = Link(1, 2, 2);
  Write(card);
  ASSERT_TRUE(pinned->Follow({Link(1, 2, 2)}).ok());
  EXPECT_THAT(Card().further_addresses(), ElementsAre("localhost:7444", "localhost:7445"));

  // Another broker's.
  card = v1::BrokerCard();
  card.set_address("elsewhere:7443");
  card.set_identity_pem(Public(4).ToPem());
  card.set_fingerprint_hex(crypto::HexEncode(Public(4).fingerprint()));
  Write(card);
  ASSERT_TRUE(pinned->Follow({Link(2, 3, 3)}).ok());
  EXPECT_EQ(Card().address(), "localhost:7443");
  EXPECT_EQ(Open()->lineage()->counter(), 3);
}

TEST_F(PinnedBrokerTest, NothingChangesWithoutTheRightSignature) {
  std::unique_ptr<PinnedBroker> pinned = Open();
  const std::string before = *ReadFile(path_);
  EXPECT_FALSE(pinned->Follow({Link(9, 1, 1)}).ok());
  EXPECT_FALSE(pinned->Follow({Link(0, 1, 1), Link(9, 2, 2)}).ok());
  EXPECT_FALSE(pinned->Follow({}).ok());
  EXPECT_EQ(pinned->current()->fingerprint(), Public(0).fingerprint());
  EXPECT_EQ(*ReadFile(path_), before);

  ASSERT_TRUE(pinned->Follow({Link(0, 1, 1)}).ok());
  EXPECT_FALSE(pinned->Follow({Link(0, 1, 1)}).ok());
  EXPECT_FALSE(pinned->Follow({Link(0, 2, 2)}).ok());
  EXPECT_EQ(pinned->current()->fingerprint(), Public(1).fingerprint());
}

TEST_F(PinnedBrokerTest, WhatCannotBeKeptIsNotFollowed) {
  std::unique_ptr<PinnedBroker> pinned = Open();
  keep_status_ = absl::UnavailableError("full");
  EXPECT_FALSE(pinned->Follow({Link(0, 1, 1)}).ok());
  EXPECT_EQ(pinned->current()->fingerprint(), Public(0).fingerprint());
  // The card was written already: the next start makes up for the rest.
  keep_status_ = absl::OkStatus();
  EXPECT_EQ(Open()->current()->fingerprint(), Public(1).fingerprint());
  EXPECT_EQ(kept_, Public(1).fingerprint());
}

// Unless it tells of a change of long ago: a new card gives the thief of a retired key no time.
TEST_F(PinnedBrokerTest, AnOperatorsLaterCardCountsAsFollowedNowOrAWeekAfterItsChange) {
  constexpr int64_t kWeekMs = int64_t{7} * 24 * 3'600'000;
  const int64_t announced_ms = clock_.NowUnixMs();
  v1::BrokerCard card = Card();
  card.set_identity_pem(Public(1).ToPem());
  card.set_fingerprint_hex(crypto::HexEncode(Public(1).fingerprint()));
  *card.mutable_history() =
      protocol::IdentityLineage(Public(0))
          .Follow({protocol::MakeIdentityLink(crypto::TestIdentity(0), Public(1), 1, announced_ms)},
                  0)
          ->ToHistory();
  Write(card);
  EXPECT_THAT(Card().followed_at_ms(), IsEmpty());
  clock_.Advance(kWeekMs);
  EXPECT_EQ(Open()->lineage()->followed_at_ms(), announced_ms + kWeekMs);
  EXPECT_THAT(Card().followed_at_ms(), ElementsAre(announced_ms + kWeekMs));

  Write(card);
  clock_.Advance(kWeekMs);
  EXPECT_EQ(Open()->lineage()->followed_at_ms(), announced_ms + kWeekMs);
}

TEST_F(PinnedBrokerTest, ACardWhoseHistoryLeadsElsewhereIsRefused) {
  v1::BrokerCard card = Card();
  // To 1, but the card is that of 0; and one that nobody signed.
  *card.mutable_history() =
      protocol::IdentityLineage(Public(0)).Follow({Link(0, 1, 1)}, 0)->ToHistory();
  Write(card);
  EXPECT_FALSE(LoadBrokerCard(path_).ok());
  card.set_identity_pem(Public(1).ToPem());
  card.set_fingerprint_hex(crypto::HexEncode(Public(1).fingerprint()));
  Write(card);
  EXPECT_TRUE(LoadBrokerCard(path_).ok());
  card.mutable_history()->mutable_links(0)->mutable_signature()->front() ^= 1;
  Write(card);
  EXPECT_FALSE(LoadBrokerCard(path_).ok());
}

}  // namespace
}  // namespace blindcart
