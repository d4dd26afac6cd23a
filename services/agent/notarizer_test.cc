#include "services/agent/notarizer.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/hash.h"
#include "crypto/time_stamp.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/agent/purchase_stamps.h"
#include "services/agent/testing/test_world.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

using ::testing::HasSubstr;

// A broker's authority and notary.
struct TestNotary {
  explicit TestNotary(const crypto::TimeStampKey& key, int64_t now_ms)
      : authority(*crypto::CertificateAuthority::Create("A broker", Period(now_ms))),
        responder(*crypto::TimeStampResponder::Create(
            key, authority
                     .IssueTimeStamping("Notary", *crypto::RsaPublicKey::FromSpkiDer(key.SpkiDer()),
                                        Period(now_ms))
                     ->ToPem())) {}

  static crypto::ValidityPeriod Period(int64_t now_ms) {
    const absl::Time now = absl::FromUnixMillis(now_ms);
    return {now - absl::Hours(1), now + absl::Hours(24)};
  }

  const crypto::CertificateAuthority authority;
  const crypto::TimeStampResponder responder;
};

const crypto::TimeStampKey& Key() {
  static const auto* const key = new crypto::TimeStampKey(crypto::TimeStampKey::Generate());
  return *key;
}

class NotarizerTest : public ::testing::Test {
 protected:
  NotarizerTest()
      : notary_(Key(), world_.clock.NowUnixMs()),
        notarizer_({&world_.agent().broker(), notary_.authority.certificate().ToPem(),
                    &world_.random, &world_.clock}) {
    world_.broker.alter = [this](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (!call.has_notary()) return;
      requests_.push_back(call.notary().time_stamp_request());
      *answer->mutable_notary() = Answer(call.notary().time_stamp_request());
    };
    EXPECT_TRUE(world_.Login().ok());
  }

  v1::NotaryResult Answer(const std::string& request) {
    v1::NotaryResult result;
    result.set_outcome(outcome_);
    result.set_retry_after_ms(retry_after_ms_);
    if (outcome_ == v1::NOTARY_OUTCOME_STAMPED) {
      result.set_time_stamp_response((other_ == nullptr ? notary_ : *other_)
                                         .responder
                                         .Issue(answer_to_.empty() ? request : answer_to_,
                                                ++serial_, world_.clock.NowUnixMs() - age_ms_)
                                         ->response);
    }
    return result;
  }
  void ExpectRefused(const std::string& why) {
    const auto stamped = notarizer_.Stamp(hash_);
    ASSERT_EQ(stamped.status().code(), absl::StatusCode::kDataLoss) << stamped.status();
    EXPECT_THAT(std::string(stamped.status().message()), HasSubstr(why));
  }

  testing::TestWorld world_;
  const TestNotary notary_;
  Notarizer notarizer_;
  const std::string hash_ = crypto::Sha256("a will");

  // Handles.
  v1::NotaryOutcome outcome_ = v1::NOTARY_OUTCOME_STAMPED;
  int64_t retry_after_ms_ = 0;
  std::string answer_to_;  // Another request than the one that was sent.
  std::unique_ptr<TestNotary> other_;
  int64_t age_ms_ = 0;

  int64_t serial_ = 0;
  std::vector<std::string> requests_;
};

TEST_F(NotarizerTest, HandsOutACheckedTimeStamp) {
  const auto stamped = notarizer_.Stamp(hash_);
  ASSERT_TRUE(stamped.ok()) << stamped.status();
  EXPECT_EQ(stamped->outcome, v1::NOTARY_OUTCOME_STAMPED);
  EXPECT_EQ(stamped->time_stamp.time_ms, world_.clock.NowUnixMs());
  EXPECT_TRUE(notarizer_.Verify(stamped->response, hash_).ok());
  EXPECT_FALSE(notarizer_.Verify(stamped->response, crypto::Sha256("another")).ok());
  EXPECT_EQ(*notarizer_.Authority(), notary_.authority.certificate().ToPem());
}

TEST_F(NotarizerTest, AsksWithAFreshNonceEachTime) {
  ASSERT_TRUE(notarizer_.Stamp(hash_).ok());
  ASSERT_TRUE(notarizer_.Stamp(hash_).ok());
  ASSERT_EQ(requests_.size(), 2u);
  EXPECT_NE(requests_[0], requests_[1]);
}

TEST_F(NotarizerTest, RefusesWhatABrokerCouldGiveInstead) {
  // An old answer, a time stamp of something else, one of another authority, none at all.
  ASSERT_TRUE(notarizer_.Stamp(hash_).ok());
  answer_to_ = requests_[0];
  ExpectRefused("another request");
  answer_to_ = *crypto::MakeTimeStampRequest(crypto::Sha256("b"), std::string(16, 'n'));
  ExpectRefused("another document");
  answer_to_.clear();
  other_ = std::make_unique<TestNotary>(Key(), world_.clock.NowUnixMs());
  ExpectRefused("not from this broker");
  other_ = nullptr;
  outcome_ = v1::NOTARY_OUTCOME_UNSPECIFIED;
  ExpectRefused("makes no sense");
}

TEST_F(NotarizerTest, RefusesATimeThatIsOverOrToCome) {
  age_ms_ = 120'000;
  EXPECT_TRUE(notarizer_.Stamp(hash_).ok());
  age_ms_ = 200'000;
  ExpectRefused("a time that is over");
  age_ms_ = -110'000;
  EXPECT_TRUE(notarizer_.Stamp(hash_).ok());
  age_ms_ = -130'000;
  ExpectRefused("lies ahead");
}

TEST_F(NotarizerTest, PassesOnWhyThereIsNone) {
  outcome_ = v1::NOTARY_OUTCOME_TRY_LATER;
  retry_after_ms_ = 700;
  const auto later = notarizer_.Stamp(hash_);
  ASSERT_TRUE(later.ok());
  EXPECT_EQ(later->outcome, v1::NOTARY_OUTCOME_TRY_LATER);
  EXPECT_EQ(later->retry_after_ms, 700);
  outcome_ = v1::NOTARY_OUTCOME_CLOCK;
  EXPECT_EQ(notarizer_.Stamp(hash_)->outcome, v1::NOTARY_OUTCOME_CLOCK);
}

TEST_F(NotarizerTest, AsksAgainWhenTheLinkBreaks) {
  world_.broker.break_after = {v1::CustomerMessage::kNotary};
  EXPECT_TRUE(notarizer_.Stamp(hash_).ok());
}

TEST_F(NotarizerTest, NeedsAnAuthorityOnTheCardAndAHash) {
  Notarizer without({&world_.agent().broker(), "", &world_.random, &world_.clock});
  EXPECT_EQ(without.Stamp(hash_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(notarizer_.Stamp("short").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(requests_.empty());
}

class PurchaseStampsTest : public NotarizerTest {
 protected:
  PurchaseStampsTest()
      : stamps_(
            {&world_.agent().purchases(), &notarizer_, &world_.random, world_.purchases_dir()}) {}

  std::string HashOf(const std::string& path) { return crypto::Sha256(*ReadFile(path)); }

  PurchaseStamps stamps_;
};

TEST_F(PurchaseStampsTest, StampsReceiptAndDeliveryOnceEach) {
  const PurchaseRecord order = world_.Bought("A Book", "content");
  const std::string id = testing::TestWorld::Id(order);
  const auto paid = stamps_.Stamp(id);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_FALSE(paid->delivered);
  ASSERT_EQ(paid->documents.size(), 1u);
  ASSERT_TRUE(
      world_.agent().downloader().Download(id, false, [](const Progress&) { return true; }).ok());
  const auto delivered = stamps_.Stamp(id);
  ASSERT_TRUE(delivered.ok()) << delivered.status();
  ASSERT_EQ(delivered->documents.size(), 2u);
  const auto again = stamps_.Stamp(id);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(requests_.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const PurchaseStamps::Document& document = again->documents[i];
    EXPECT_EQ(document.time_stamp.serial_hex, delivered->documents[i].time_stamp.serial_hex);
    EXPECT_TRUE(
        notarizer_.Verify(*ReadFile(document.time_stamp_path), HashOf(document.document_path))
            .ok());
    // What the broker saw of it is the hash of the record, which holds a salt.
    EXPECT_THAT(requests_[i], HasSubstr(HashOf(document.document_path)));
    EXPECT_THAT(requests_[i], ::testing::Not(HasSubstr(crypto::Sha256("content"))));
  }
  EXPECT_THAT(*ReadFile(again->documents[1].document_path), HasSubstr(crypto::Sha256("content")));
}

TEST_F(PurchaseStampsTest, StampsAnewWhatWasDamaged) {
  const std::string id = testing::TestWorld::Id(world_.Bought("A Book", "content"));
  const auto first = stamps_.Stamp(id);
  ASSERT_TRUE(first.ok());
  const PurchaseStamps::Document& document = first->documents[0];
  const std::string record = *ReadFile(document.document_path);
  ASSERT_TRUE(WriteFileAtomically(document.time_stamp_path, "junk", 0600, true).ok());
  ASSERT_TRUE(WriteFileAtomically(document.document_path, "junk", 0600, true).ok());
  ASSERT_TRUE(stamps_.Stamp(id).ok());
  EXPECT_EQ(*ReadFile(document.document_path), record);
  EXPECT_TRUE(
      notarizer_.Verify(*ReadFile(document.time_stamp_path), HashOf(document.document_path)).ok());
}

TEST_F(PurchaseStampsTest, NeedsAPaidOrderAndANotary) {
  const PurchaseRecord order = world_.Ordered();
  EXPECT_EQ(stamps_.Stamp(testing::TestWorld::Id(order)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(stamps_.Stamp("ffffffff").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(world_.Pay(order).ok());
  outcome_ = v1::NOTARY_OUTCOME_BUSY;
  const auto busy = stamps_.Stamp(testing::TestWorld::Id(order));
  ASSERT_TRUE(busy.ok()) << busy.status();
  EXPECT_EQ(busy->outcome, v1::NOTARY_OUTCOME_BUSY);
  EXPECT_TRUE(busy->documents.empty());
}

}  // namespace
}  // namespace blindcart::agent
