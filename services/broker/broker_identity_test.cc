#include "services/broker/broker_identity.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/key_file.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "services/broker/config.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"
#include "services/storage/sqlite_store.h"

namespace blindcart::broker {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

namespace fs = std::filesystem;

constexpr char kPassphrase[] = "for this broker";
constexpr int64_t kNowMs = 1'800'000'000'000;

class BrokerIdentityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "/identity-", getpid(), "-",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_ + "/identity");
    const crypto::Identity& first = crypto::TestIdentity(0);
    ASSERT_TRUE(crypto::SaveIdentity(folder_ + "/identity", first, kPassphrase).ok());
    v1::BrokerCard card;
    card.set_address("127.0.0.1:7443");
    card.set_tls_root_pem("root");
    card.set_identity_pem(first.public_identity().ToPem());
    card.set_fingerprint_hex(crypto::HexEncode(first.public_identity().fingerprint()));
    ASSERT_TRUE(WriteFileAtomically(folder_ + "/broker.card", ToTextProto(card), 0644, false).ok());
    store_ = *storage::OpenSqliteStore(folder_ + "/broker.db");
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(folder_);
  }

  absl::StatusOr<BrokerIdentity> Load() {
    return LoadBrokerIdentity(DataPaths(folder_), *store_, kPassphrase);
  }
  absl::StatusOr<BrokerIdentity> Rotate(const std::function<absl::Status()>& between = [] {
    return absl::OkStatus();
  }) {
    return RotateBrokerIdentity(DataPaths(folder_), *store_, kPassphrase, kNowMs, between);
  }
  void SetHistory(const std::string& bytes) {
    ASSERT_TRUE(store_
                    ->Write([&](storage::Transaction& transaction) {
                      return transaction.meta().Set(kIdentityHistoryMetaKey, bytes);
                    })
                    .ok());
  }
  std::vector<std::string> Folders() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.is_directory()) names.push_back(entry.path().filename());
    }
    return names;
  }
  // Keys (as loaded), store and card say the same, and nothing else is left. Opening a key file is slow
  // by design, so it is not done once more.
  void ExpectSettled(const BrokerIdentity& identity, int64_t counter) {
    const std::string fingerprint = identity.identity.public_identity().fingerprint();
    EXPECT_EQ(identity.lineage.counter(), counter);
    EXPECT_EQ(identity.lineage.current().fingerprint(), fingerprint);
    EXPECT_THAT(Folders(), UnorderedElementsAre("identity"));
    const auto card = LoadBrokerCard(folder_ + "/broker.card");
    ASSERT_TRUE(card.ok()) << card.status();
    EXPECT_EQ(card->identity.fingerprint(), fingerprint);
    EXPECT_EQ(card->card.tls_root_pem(), "root");
    EXPECT_EQ(card->card.history().links_size(), counter);
  }

  std::string folder_;
  std::unique_ptr<storage::Store> store_;
};

TEST_F(BrokerIdentityTest, WhoPinnedTheFirstKeyCanFollowEveryChange) {
  const absl::StatusOr<BrokerIdentity> before = Load();
  ASSERT_TRUE(before.ok()) << before.status();
  ExpectSettled(*before, 0);
  for (int64_t counter : {1, 2}) {
    const absl::StatusOr<BrokerIdentity> rotated = Rotate();
    ASSERT_TRUE(rotated.ok()) << rotated.status();
    ExpectSettled(*rotated, counter);
  }
  const absl::StatusOr<BrokerIdentity> after = Load();
  ASSERT_TRUE(after.ok()) << after.status();
  ExpectSettled(*after, 2);
  const crypto::PublicIdentity& first = crypto::TestIdentity(0).public_identity();
  const auto followed = protocol::IdentityLineage(first).Follow(
      after->lineage.LinksAfter(first.fingerprint()), kNowMs);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_EQ(followed->current().fingerprint(), after->identity.public_identity().fingerprint());
}

// Wherever it ends: the next start has the old key or the new one, whole, as the store says.
TEST_F(BrokerIdentityTest, ACrashAnywhereLeavesAWholeKey) {
  int64_t changes = 0;
  int steps = 0;
  for (int crash_at = 1;; ++crash_at) {
    SCOPED_TRACE(crash_at);
    int step = 0;
    const absl::StatusOr<BrokerIdentity> rotated = Rotate([&]() -> absl::Status {
      return ++step == crash_at ? absl::AbortedError("crash") : absl::OkStatus();
    });
    if (rotated.ok()) {
      ExpectSettled(*rotated, changes + 1);
      break;
    }
    ASSERT_TRUE(absl::IsAborted(rotated.status())) << rotated.status();
    steps = crash_at;
    const int64_t stored = ReadIdentityHistory(*store_)->links_size();
    // The first step is before the store has it.
    EXPECT_EQ(stored, changes + (crash_at == 1 ? 0 : 1));
    changes = stored;
    const absl::StatusOr<BrokerIdentity> loaded = Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ExpectSettled(*loaded, changes);
  }
  EXPECT_EQ(steps, 5);
}

TEST_F(BrokerIdentityTest, AWrongPassPhraseChangesNothing) {
  EXPECT_TRUE(absl::IsPermissionDenied(
      RotateBrokerIdentity(DataPaths(folder_), *store_, "wrong", kNowMs).status()));
  EXPECT_EQ(ReadIdentityHistory(*store_)->links_size(), 0);
  ExpectSettled(*Load(), 0);
}

// Several brokers over one store: each machine needs the new key.
TEST_F(BrokerIdentityTest, AMachineThatStillHasTheOldKeyIsTold) {
  const std::string other = folder_ + "/other";
  fs::create_directories(other);
  fs::copy(folder_ + "/identity", other + "/identity", fs::copy_options::recursive);
  ASSERT_TRUE(Rotate().ok());
  const auto lagging = LoadBrokerIdentity(DataPaths(other), *store_, kPassphrase);
  EXPECT_TRUE(absl::IsFailedPrecondition(lagging.status())) << lagging.status();
  EXPECT_THAT(std::string(lagging.status().message()), HasSubstr("Copy identity/"));
  EXPECT_FALSE(RotateBrokerIdentity(DataPaths(other), *store_, kPassphrase, kNowMs).ok());
  EXPECT_EQ(ReadIdentityHistory(*store_)->links_size(), 1);
  fs::remove_all(other + "/identity");
  fs::copy(folder_ + "/identity", other + "/identity", fs::copy_options::recursive);
  EXPECT_TRUE(LoadBrokerIdentity(DataPaths(other), *store_, kPassphrase).ok());
}

// The brokers that still have the old key in memory.
TEST_F(BrokerIdentityTest, WhoServesLearnsThatAnotherOneServesWithTheNextKey) {
  EXPECT_FALSE(*IsReplaced(*store_, crypto::TestIdentity(0).public_identity()));
  const absl::StatusOr<BrokerIdentity> before = Load();
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(NoteServed(*store_, before->lineage).ok());
  EXPECT_FALSE(*IsReplaced(*store_, before->lineage.current()));
  ASSERT_TRUE(Rotate().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(NoteServed(*store_, before->lineage)))
      << "it was slow to start";
  const absl::StatusOr<BrokerIdentity> after = Load();
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_FALSE(*IsReplaced(*store_, before->lineage.current())) << "nobody serves with it yet";
  ASSERT_TRUE(NoteServed(*store_, after->lineage).ok());
  EXPECT_TRUE(*IsReplaced(*store_, before->lineage.current()));
  EXPECT_FALSE(*IsReplaced(*store_, after->lineage.current()));
}

// A write whose commit is not answered, and happens when the next one wants the same row.
class LateStore : public storage::Store {
 public:
  explicit LateStore(Store& real) : real_(real) {}
  absl::Status Read(absl::FunctionRef<absl::Status(storage::Transaction&)> body) override {
    return real_.Read(body);
  }
  absl::Status Write(absl::FunctionRef<absl::Status(storage::Transaction&)> body) override {
    if (!lost_) {
      lost_ = true;
      std::string value;
      const absl::Status undone = real_.Write([&](storage::Transaction& transaction) {
        const absl::Status status = body(transaction);
        if (!status.ok()) return status;
        value = transaction.meta().Get(kIdentityHistoryMetaKey).value_or("");
        return absl::AbortedError("not yet");
      });
      if (!absl::IsAborted(undone)) return undone;
      pending_ = std::move(value);
      return absl::UnavailableError("nobody knows whether it was committed");
    }
    if (pending_.has_value()) {
      const absl::Status happened = real_.Write([&](storage::Transaction& transaction) {
        return transaction.meta().Set(kIdentityHistoryMetaKey, *pending_);
      });
      if (!happened.ok()) return happened;
      pending_.reset();
    }
    return real_.Write(body);
  }
  absl::Status WriteBatch(absl::Span<storage::WriteJob> jobs) override {
    return real_.WriteBatch(jobs);
  }
  absl::StatusOr<std::vector<std::string>> CheckIntegrity() override {
    return real_.CheckIntegrity();
  }

 private:
  Store& real_;
  bool lost_ = false;
  absl::optional<std::string> pending_;
};

TEST_F(BrokerIdentityTest, TheNextKeyIsKeptUntilItIsClearThatNobodyIsToldOfIt) {
  LateStore late(*store_);
  const auto rotated = RotateBrokerIdentity(DataPaths(folder_), late, kPassphrase, kNowMs);
  ASSERT_TRUE(absl::IsUnavailable(rotated.status())) << rotated.status();
  EXPECT_EQ(ReadIdentityHistory(*store_)->links_size(), 0);
  const auto loaded = LoadBrokerIdentity(DataPaths(folder_), late, kPassphrase);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ExpectSettled(*loaded, 1);
}

TEST_F(BrokerIdentityTest, AStoreOfBeforeGetsTheHistoryBackFromTheCard) {
  std::string first_history;
  for (int changes : {1, 2}) {
    ASSERT_TRUE(Rotate().ok()) << changes;
    if (changes == 1) first_history = ReadIdentityHistory(*store_)->SerializeAsString();
  }
  const std::string whole = ReadIdentityHistory(*store_)->SerializeAsString();
  for (const std::string& restored : {std::string(), first_history}) {
    SetHistory(restored);
    const absl::StatusOr<BrokerIdentity> loaded = Load();
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ExpectSettled(*loaded, 2);
    EXPECT_EQ(ReadIdentityHistory(*store_)->SerializeAsString(), whole);
  }
  // Another broker's store.
  SetHistory(protocol::IdentityLineage(crypto::TestIdentity(4).public_identity())
                 .Follow({protocol::MakeIdentityLink(crypto::TestIdentity(4),
                                                     crypto::TestIdentity(5).public_identity(), 1,
                                                     kNowMs)},
                         kNowMs)
                 ->ToHistory()
                 .SerializeAsString());
  EXPECT_TRUE(absl::IsFailedPrecondition(Load().status())) << Load().status();
}

TEST_F(BrokerIdentityTest, AFolderThatCannotBeExchangedIsLeftAlone) {
  fs::rename(folder_ + "/identity", folder_ + "/elsewhere");
  fs::create_directory_symlink(folder_ + "/elsewhere", folder_ + "/identity");
  const absl::StatusOr<BrokerIdentity> rotated = Rotate();
  EXPECT_TRUE(absl::IsFailedPrecondition(rotated.status())) << rotated.status();
  EXPECT_EQ(ReadIdentityHistory(*store_)->links_size(), 0);
  EXPECT_FALSE(fs::exists(folder_ + "/identity.next"));
}

TEST_F(BrokerIdentityTest, ADamagedHistoryIsNoHistory) {
  ASSERT_TRUE(Rotate().ok());
  v1::IdentityHistory history = *ReadIdentityHistory(*store_);
  history.mutable_links(0)->set_announced_at_ms(1);
  SetHistory(history.SerializeAsString());
  EXPECT_TRUE(absl::IsDataLoss(Load().status())) << Load().status();
  SetHistory("nonsense");
  EXPECT_TRUE(absl::IsDataLoss(Load().status()));
}

}  // namespace
}  // namespace blindcart::broker
