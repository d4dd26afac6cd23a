#include "services/broker/backup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/broker/config.h"
#include "services/broker/enrolment.h"
#include "services/common/files.h"
#include "services/ledger/ledger.h"
#include "services/storage/move_store.h"
#include "services/storage/postgres_store.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/postgres_server.h"

namespace blindcart::broker {
namespace {

using storage::testing::PostgresServer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

constexpr int64_t kNowMs = 1'800'000'000'000;
constexpr int kDeposits = 40;

std::string Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void Write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

mode_t ModeOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

void NoProgress(int64_t, int64_t) {}

// Files that stand for keys: a backup does not look into them.
class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(::testing::TempDir(), "/backup-", getpid(), "-",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_);
    data_dir_ = root_ + "/broker";
    for (const char* folder : {"identity", "tls", "authority", "notary"}) {
      fs::create_directories(data_dir_ + "/" + folder);
    }
    for (const char* name :
         {"identity/rsa.pem", "identity/ed25519.pem", "tls/certificate.pem", "tls/private_key.pem",
          "authority/private_key.pem", "authority/certificate.pem", "notary/tsa.pem",
          "notary/certificate.pem"}) {
      Write(data_dir_ + "/" + name, absl::StrCat("content of ", name));
    }
    const crypto::PublicIdentity& identity = crypto::TestIdentity(0).public_identity();
    v1::BrokerCard card;
    card.set_address("127.0.0.1:7443");
    card.set_identity_pem(identity.ToPem());
    card.set_fingerprint_hex(crypto::HexEncode(identity.fingerprint()));
    Write(data_dir_ + "/broker.card", ToTextProto(card));
    WriteConfig(DefaultConfig());
    store_ = *storage::OpenSqliteStore(data_dir_ + "/broker.db");
    const Enroller enroller = {*store_, "EUR", kNowMs, crypto::SystemRandom()};
    ASSERT_TRUE(PrepareStore(enroller, "BROKER", crypto::TestIdentity(1).public_identity()).ok());
    for (int i = 0; i < kDeposits; ++i) ASSERT_TRUE(Deposit(*store_).ok());
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(root_);
  }

  void WriteConfig(const v1::BrokerConfig& config) {
    Write(data_dir_ + "/broker.textproto", "# ours\n" + CommentedConfig(config));
  }
  v1::BrokerConfig Config() { return *LoadConfig(data_dir_); }

  absl::Status Deposit(storage::Store& store) {
    return store.Write([&](storage::Transaction& transaction) -> absl::Status {
      storage::Transfer transfer;
      transfer.transfer_id = crypto::SystemRandom().Bytes(storage::kTransferIdBytes);
      transfer.kind = storage::TransferKind::kDeposit;
      transfer.created_at_ms = kNowMs;
      const auto external =
          transaction.accounts().FindSystem(storage::AccountKind::kExternal, "EUR");
      const auto broker = transaction.accounts().FindSystem(storage::AccountKind::kBroker, "EUR");
      if (!external.ok() || !broker.ok()) return absl::InternalError("no accounts");
      storage::Entry from, to;
      from.account_id = external->id;
      from.amount_minor = -5;
      to.account_id = broker->id;
      to.amount_minor = 5;
      return ledger::PostTransfer(transaction, transfer, {from, to});
    });
  }

  absl::StatusOr<BackupReport> Back(const std::string& to = "saved") {
    return MakeBackup(data_dir_, Config(), root_ + "/" + to, kNowMs, NoProgress);
  }
  absl::StatusOr<BackupReport> Restore(const std::string& to = "restored") {
    return RestoreBackup(root_ + "/saved", root_ + "/" + to, NoProgress);
  }
  // Besides the broker itself.
  std::vector<std::string> Folders() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_)) {
      if (entry.path().filename() != "broker") names.push_back(entry.path().filename());
    }
    return names;
  }

  std::string root_;
  std::string data_dir_;
  std::unique_ptr<storage::Store> store_;
};

TEST_F(BackupTest, WhatIsRestoredIsWhatWasBackedUp) {
  // Not a part of the broker.
  Write(data_dir_ + "/notes.txt", "mine");
  int calls = 0;
  const absl::StatusOr<BackupReport> made =
      MakeBackup(data_dir_, Config(), root_ + "/saved", kNowMs, [&](int64_t done, int64_t total) {
        EXPECT_LE(done, total);
        // The broker goes on.
        if (++calls == 1) {
          EXPECT_TRUE(Deposit(*store_).ok());
        }
      });
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_GT(calls, 0);
  EXPECT_EQ(made->books.transfers, kDeposits);
  EXPECT_EQ(made->manifest.made_at_ms(), kNowMs);
  EXPECT_EQ(ModeOf(root_ + "/saved"), 0700u);
  for (const auto& entry : fs::recursive_directory_iterator(root_ + "/saved")) {
    EXPECT_EQ(ModeOf(entry.path()), entry.is_directory() ? 0700u : 0600u) << entry.path();
  }
  EXPECT_FALSE(fs::exists(root_ + "/saved/notes.txt"));

  const absl::StatusOr<BackupReport> restored = Restore();
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->books.transfers, kDeposits);
  const std::string folder = root_ + "/restored/";
  for (const v1::BackupFile& file : made->manifest.files()) {
    if (file.path() == "broker.db") continue;
    EXPECT_EQ(Content(folder + file.path()), Content(data_dir_ + "/" + file.path())) << file.path();
  }
  EXPECT_EQ(ModeOf(folder + "broker.card"), 0644u);
  EXPECT_EQ(ModeOf(folder + "identity/rsa.pem"), 0600u);
  EXPECT_EQ(ModeOf(folder + "broker.db"), 0600u);
  EXPECT_FALSE(fs::exists(folder + kManifestName));
  const auto store = *storage::OpenSqliteStore(folder + "broker.db");
  EXPECT_TRUE(Deposit(*store).ok());
  EXPECT_EQ(Folders().size(), 2u) << "something was left behind";
}

TEST_F(BackupTest, NothingIsOverwritten) {
  ASSERT_TRUE(Back().ok());
  const std::string before = Content(root_ + "/saved/MANIFEST");
  EXPECT_TRUE(absl::IsAlreadyExists(Back().status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Back("saved/").status()));
  EXPECT_EQ(Content(root_ + "/saved/MANIFEST"), before);

  fs::create_directories(root_ + "/used");
  Write(root_ + "/used/file", "mine");
  EXPECT_TRUE(absl::IsAlreadyExists(Restore("used").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Restore("used/file").status()));
  EXPECT_EQ(Content(root_ + "/used/file"), "mine");
  EXPECT_TRUE(absl::IsAlreadyExists(Restore("broker").status()));
  fs::create_directories(root_ + "/empty");
  EXPECT_TRUE(Restore("empty/").ok());
  EXPECT_TRUE(Restore("new/below/new").ok());
}

TEST_F(BackupTest, WhateverIsAlteredIsRefused) {
  ASSERT_TRUE(Back().ok());
  const std::string saved = root_ + "/saved/";
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(saved)) {
    if (!entry.is_directory()) names.push_back(entry.path().lexically_relative(saved));
  }
  ASSERT_EQ(names.size(), 12u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const std::string content = Content(saved + name);
    std::string flipped = content;
    flipped[content.size() / 2] = static_cast<char>(flipped[content.size() / 2] ^ 1);
    for (const std::string& altered :
         {flipped, content.substr(0, content.size() - 2), content.substr(0, content.size() / 2),
          content + "x", std::string()}) {
      Write(saved + name, altered);
      const absl::Status status = Restore().status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    }
    fs::remove(saved + name);
    const absl::Status missing = Restore().status();
    EXPECT_TRUE(absl::IsDataLoss(missing) || absl::IsNotFound(missing)) << missing;
    fs::create_symlink(data_dir_ + "/" + name, saved + name);
    EXPECT_FALSE(Restore().ok());
    fs::remove(saved + name);
    Write(saved + name, content);
  }
  Write(saved + "identity/another.pem", "x");
  EXPECT_TRUE(absl::IsDataLoss(Restore().status()));
  fs::remove(saved + "identity/another.pem");
  EXPECT_EQ(Folders().size(), 1u) << "a refused restore left something behind";
  EXPECT_TRUE(Restore().ok());
}

// A manifest that was written for the purpose, hash and all.
TEST_F(BackupTest, AManifestNamesNothingOutside) {
  ASSERT_TRUE(Back().ok());
  const std::string saved = root_ + "/saved/";
  for (const char* name : {"../broker/broker.card", "/etc/passwd", "identity/../../x", "other/file",
                           "identity/", "identity", "identity/a/b", "notes.txt", ""}) {
    SCOPED_TRACE(name);
    v1::BackupManifest manifest;
    ASSERT_TRUE(ReadTextProto(saved + "MANIFEST", &manifest).ok());
    v1::BackupManifest crafted = manifest;
    crafted.add_files()->set_path(name);
    crafted.clear_manifest_sha256_hex();
    crafted.set_manifest_sha256_hex(crypto::HexEncode(crypto::Sha256(crafted.SerializeAsString())));
    Write(saved + "MANIFEST", ToTextProto(crafted));
    EXPECT_TRUE(absl::IsDataLoss(Restore().status())) << Restore().status();
    Write(saved + "MANIFEST", ToTextProto(manifest));
  }
  v1::BackupManifest newer;
  ASSERT_TRUE(ReadTextProto(saved + "MANIFEST", &newer).ok());
  newer.set_schema_version(newer.schema_version() + 1);
  Write(saved + "MANIFEST", ToTextProto(newer));
  EXPECT_TRUE(absl::IsFailedPrecondition(Restore().status()));
}

TEST_F(BackupTest, WrongBooksAreNoBackup) {
  ASSERT_TRUE(store_
                  ->Write([](storage::Transaction& transaction) -> absl::Status {
                    const auto broker =
                        transaction.accounts().FindSystem(storage::AccountKind::kBroker, "EUR");
                    return transaction.accounts().SetBalances({{broker->id, 1}});
                  })
                  .ok());
  EXPECT_TRUE(absl::IsDataLoss(Back().status()));
  EXPECT_THAT(Folders(), IsEmpty());
}

TEST_F(BackupTest, AnIncompleteBrokerIsNoBackup) {
  fs::remove(data_dir_ + "/identity/rsa.pem");
  EXPECT_THAT(std::string(Back().status().message()), HasSubstr("identity/rsa.pem"));
  Write(data_dir_ + "/identity/rsa.pem", "x");
  fs::remove(data_dir_ + "/notary/certificate.pem");
  EXPECT_THAT(std::string(Back().status().message()), HasSubstr("notary/certificate.pem"));
  EXPECT_THAT(Folders(), IsEmpty());
}

TEST_F(BackupTest, ABrokerOnPostgresIsRestoredIntoSqlite) {
  absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string url = *(*server)->CreateDatabase();
  const absl::Status moved = storage::MoveSqliteToPostgres(
      data_dir_ + "/broker.db", url, [] { return absl::OkStatus(); }, NoProgress);
  ASSERT_TRUE(moved.ok()) << moved;
  // Keys somewhere else, too.
  v1::BrokerConfig config = DefaultConfig();
  config.set_data_dir(data_dir_);
  config.set_charge_basis_points(321);
  config.mutable_store()->set_url(url);
  WriteConfig(config);
  storage::PostgresStoreOptions options;
  options.url = url;
  const auto postgres = storage::OpenPostgresStore(options);
  ASSERT_TRUE(postgres.ok()) << postgres.status();
  ASSERT_TRUE(Deposit(**postgres).ok());

  const absl::StatusOr<BackupReport> made = Back();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->books.transfers, kDeposits + 1);
  ASSERT_TRUE(Restore().ok()) << Restore().status();
  const absl::StatusOr<v1::BrokerConfig> restored = LoadConfig(root_ + "/restored");
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->store().url(), "");
  EXPECT_EQ(restored->charge_basis_points(), 321);
  EXPECT_EQ(DataPaths(restored->data_dir()).database, root_ + "/restored/./broker.db");
  const auto store = *storage::OpenSqliteStore(root_ + "/restored/broker.db");
  EXPECT_TRUE(Deposit(*store).ok());
}

}  // namespace
}  // namespace blindcart::broker
