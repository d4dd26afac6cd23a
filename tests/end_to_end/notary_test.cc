// The notary over real processes: files and purchases are stamped on the command line, and verified
// by anybody, with our command and with openssl.
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOpenSsl[] = "/usr/bin/openssl";
// Has no agent and no account.
constexpr char kStranger[] = "stranger";

class NotaryTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({{"quiet-books", "2001"}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override {
    ASSERT_NE(shopping_, nullptr);
    folder_ = ::testing::TempDir() + "/notary_XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
  }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }
  std::string ca() { return market().broker_dir() + "/authority/certificate.pem"; }

  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = absl::StrCat(folder_, "/", name);
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  // The path of the time stamp.
  std::string Notarize(const std::string& path) {
    shopping().Ask("alice", {"notarize", path});
    return path + ".tsr";
  }
  // As somebody who has the files and the broker's card and nothing else.
  Answer Verify(const std::string& path, const std::string& time_stamp,
                const std::string& card = "") {
    return shopping().Run(kStranger, {"notary", "verify", path, time_stamp, "--card",
                                      card.empty() ? market().broker_card() : card});
  }
  bool OpenSslAccepts(const std::string& path, const std::string& time_stamp,
                      const std::string& ca_path = "") {
    Command command;
    command.program = kOpenSsl;
    command.arguments = {"ts",  "-verify",  "-data",   path,
                         "-in", time_stamp, "-CAfile", ca_path.empty() ? ca() : ca_path};
    const absl::StatusOr<Output> output = RunToEnd(command);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() && output->exit_code == 0;
  }
  void ExpectBothAccept(const std::string& path, const std::string& time_stamp) {
    const Answer answer = Verify(path, time_stamp);
    EXPECT_EQ(answer.exit_code, kOk) << answer.err;
    EXPECT_TRUE(OpenSslAccepts(path, time_stamp));
  }
  void ExpectBothRefuse(const std::string& path, const std::string& time_stamp,
                        const std::string& why) {
    const Answer answer = Verify(path, time_stamp);
    EXPECT_EQ(answer.exit_code, kVerification) << answer.out;
    EXPECT_THAT(answer.err, HasSubstr(why));
    EXPECT_FALSE(OpenSslAccepts(path, time_stamp));
  }
  // Whether the bytes, as they are or in hex, are in any file of the broker's.
  bool BrokerHas(const std::string& bytes) {
    const std::string hex = crypto::HexEncode(bytes);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(market().broker_dir())) {
      if (!entry.is_regular_file()) continue;
      const std::string content = FileContent(entry.path());
      if (content.find(bytes) != std::string::npos || content.find(hex) != std::string::npos) {
        return true;
      }
    }
    return false;
  }

  std::string folder_;

 private:
  static Shopping* shopping_;
};
Shopping* NotaryTest::shopping_ = nullptr;

TEST_F(NotaryTest, AFileIsStampedAndVerifiedBySomebodyWithoutAnAccount) {
  const std::string path = Write("will.txt", "Everything to the cat.\n");
  const json stamped = shopping().Ask("alice", {"notarize", path});
  EXPECT_EQ(stamped["outcome"], "NOTARY_OUTCOME_STAMPED");
  const std::string time_stamp = path + ".tsr";
  ExpectBothAccept(path, time_stamp);
  const Answer verified = Verify(path, time_stamp);
  EXPECT_EQ(verified.json, stamped["time_stamp"]);
  EXPECT_EQ(verified.json["sha256_hex"],
            crypto::HexEncode(crypto::Sha256("Everything to the cat.\n")));

  // Given the CA's certificate alone; and asked of the agent.
  shopping().Ask(kStranger, {"notary", "verify", path, time_stamp, "--ca", ca()});
  shopping().Ask("alice", {"notary", "verify", path, time_stamp});
  const json shown = shopping().Ask(kStranger, {"notary", "show", time_stamp});
  EXPECT_EQ(shown, stamped["time_stamp"]);
  // Without any of them there is nobody to believe.
  shopping().Ask(kStranger, {"notary", "verify", path, time_stamp}, kUnreachable);
  shopping().Ask(
      kStranger,
      {"notary", "verify", path, time_stamp, "--ca", ca(), "--card", market().broker_card()},
      kUsage);
}

TEST_F(NotaryTest, BothRefuseWhatWasChanged) {
  const std::string path = Write("contract.txt", "I owe you 10.\n");
  const std::string time_stamp = Notarize(path);
  ExpectBothRefuse(Write("changed.txt", "I owe you 90.\n"), time_stamp, "another document");
  const std::string token = FileContent(time_stamp);
  std::string changed = token;
  changed[changed.size() - 100] = static_cast<char>(changed[changed.size() - 100] ^ 4);
  ExpectBothRefuse(path, Write("changed.tsr", changed), "was changed");
  ExpectBothRefuse(path, Write("short.tsr", token.substr(0, token.size() / 2)), "no time stamp");
  ExpectBothRefuse(path, Write("empty.tsr", ""), "no time stamp");
  ExpectBothRefuse(path, path, "no time stamp");
}

TEST_F(NotaryTest, BothRefuseAnotherBrokersToken) {
  std::string other_folder = "/tmp/blindcart-other-XXXXXX";
  ASSERT_NE(mkdtemp(other_folder.data()), nullptr);
  const auto other = Marketplace::Create(other_folder);
  ASSERT_TRUE(other.ok()) << other.status();
  const std::string path = Write("file", "content");
  const std::string time_stamp = Notarize(path);
  const Answer answer = Verify(path, time_stamp, (*other)->broker_card());
  EXPECT_EQ(answer.exit_code, kVerification);
  EXPECT_THAT(answer.err, HasSubstr("not from this broker"));
  EXPECT_FALSE(
      OpenSslAccepts(path, time_stamp, (*other)->broker_dir() + "/authority/certificate.pem"));
  std::filesystem::remove_all(other_folder);
}

TEST_F(NotaryTest, ReplacesNoFileUnasked) {
  const std::string path = Write("file", "content");
  Write("file.tsr", "something else");
  const Answer kept = shopping().Run("alice", {"notarize", path});
  EXPECT_EQ(kept.exit_code, kFailure);
  EXPECT_THAT(kept.err, HasSubstr("--force"));
  EXPECT_EQ(FileContent(path + ".tsr"), "something else");
  shopping().Ask("alice", {"notarize", path, "--out", folder_ + "/proof"});
  ExpectBothAccept(path, folder_ + "/proof");
  shopping().Ask("alice", {"notarize", path, "--force"});
  ExpectBothAccept(path, path + ".tsr");
  EXPECT_EQ(shopping().Run("alice", {"notarize", folder_ + "/none"}).exit_code, kFailure);
  EXPECT_EQ(shopping().Run("alice", {"notarize", folder_}).exit_code, kFailure);
}

TEST_F(NotaryTest, KeepsTheDocumentWhateverItIsAskedToReplace) {
  const std::string path = Write("only-copy", "content");
  const std::string symbolic = folder_ + "/symbolic";
  const std::string hard = folder_ + "/hard";
  std::filesystem::create_symlink(path, symbolic);
  std::filesystem::create_hard_link(path, hard);
  const std::vector<std::pair<std::string, std::string>> cases = {{path, path},
                                                                  {path, folder_ + "/./only-copy"},
                                                                  {symbolic, path},
                                                                  {symbolic, symbolic},
                                                                  {path, hard}};
  for (const auto& [document, out] : cases) {
    const Answer answer = shopping().Run("alice", {"notarize", document, "--out", out, "--force"});
    EXPECT_EQ(answer.exit_code, kUsage) << document << " " << out << answer.out;
    EXPECT_THAT(answer.err, HasSubstr("the document itself"));
    EXPECT_EQ(FileContent(path), "content");
    EXPECT_TRUE(std::filesystem::is_symlink(symbolic));
  }
}

// A pipe without a writer would hold up whoever opens it.
TEST_F(NotaryTest, HashesOrdinaryFilesOnly) {
  const std::string path = Write("file", "content");
  const std::string time_stamp = Notarize(path);
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& special : {pipe, folder_, std::string("/dev/zero")}) {
    const Answer notarized =
        shopping().Run("alice", {"notarize", special, "--out", folder_ + "/special.tsr"});
    EXPECT_EQ(notarized.exit_code, kFailure) << special;
    EXPECT_THAT(notarized.err, HasSubstr("no ordinary file"));
    EXPECT_EQ(Verify(special, time_stamp).exit_code, kFailure) << special;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/special.tsr"));
}

TEST_F(NotaryTest, SaysWhichOfTheFilesIsWrong) {
  const std::string path = Write("file", "content");
  const std::string time_stamp = Notarize(path);
  const std::string large = Write("large", std::string(100'000, 'x'));
  const Answer not_a_ca =
      shopping().Run(kStranger, {"notary", "verify", path, time_stamp, "--ca", path});
  EXPECT_EQ(not_a_ca.exit_code, kFailure) << "this says nothing about the time stamp";
  EXPECT_THAT(not_a_ca.err, HasSubstr("holds no certificate"));
  const Answer verified = Verify(path, large);
  EXPECT_EQ(verified.exit_code, kVerification);
  EXPECT_THAT(verified.err, HasSubstr("larger than a time stamp can be"));
  for (const std::string& no_time_stamp : {path, large}) {
    const Answer shown = shopping().Run(kStranger, {"notary", "show", no_time_stamp});
    EXPECT_EQ(shown.exit_code, kVerification);
    EXPECT_THAT(shown.err, HasSubstr(no_time_stamp));
    EXPECT_THAT(shown.err, Not(HasSubstr("operator")));
  }
}

TEST_F(NotaryTest, ABigFileIsReadInPieces) {
  const std::string path = Write("big", "begin");
  ASSERT_EQ(truncate(path.c_str(), 64 * 1024 * 1024), 0);
  const std::string time_stamp = Notarize(path);
  ExpectBothAccept(path, time_stamp);
  std::ofstream(path, std::ios::binary | std::ios::app) << "x";
  ExpectBothRefuse(path, time_stamp, "another document");
}

TEST_F(NotaryTest, SerialsStayUniqueAcrossARestartOfTheBroker) {
  const std::string path = Write("file", "content");
  std::set<std::string> serials;
  for (int run = 0; run < 2; ++run) {
    for (int i = 0; i < 3; ++i) {
      const Answer answer = shopping().RunUntilReachable("alice", {"notarize", path, "--force"});
      ASSERT_EQ(answer.exit_code, kOk) << answer.err;
      serials.insert(answer.json["time_stamp"]["serial_hex"]);
    }
    if (run == 0) shopping().RestartBroker();
  }
  EXPECT_EQ(serials.size(), 6u);
}

TEST_F(NotaryTest, StampsNothingAfterTheClockWentBackwards) {
  const std::string path = Write("file", "content");
  Notarize(path);
  // To a broker whose last token is an hour ahead, the clock has gone back by an hour.
  const auto move_last_time = [this](const std::string& by_ms) {
    market().KillBroker();
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open((market().broker_dir() + "/broker.db").c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database,
                           absl::StrCat("UPDATE meta SET value = CAST(CAST(CAST(value AS TEXT) AS "
                                        "INTEGER) + ",
                                        by_ms, " AS BLOB) WHERE key = 'notary_time_ms'")
                               .c_str(),
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    EXPECT_EQ(sqlite3_changes(database), 1);
    sqlite3_close(database);
    ASSERT_TRUE(market().StartBroker().ok());
    shopping().WaitUntilOnline("alice", "quiet-books");
  };
  move_last_time("3600000");
  const std::vector<std::string> again = {"notarize", path, "--out", folder_ + "/again"};
  const Answer refused = shopping().RunUntilReachable("alice", again);
  EXPECT_EQ(refused.exit_code, kRefused) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr("clock went backwards"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/again"));
  move_last_time("-3600000");
  const Answer stamped = shopping().RunUntilReachable("alice", again);
  EXPECT_EQ(stamped.exit_code, kOk) << stamped.err;
}

TEST_F(NotaryTest, APurchaseIsStampedAndTheBrokerStillDoesNotKnowWhatItWas) {
  const std::string content = Content(50'000, 7);
  const std::string id = shopping().Offer("quiet-books", Goods("Stamped", "2.00", content));
  const std::string order = shopping().Checkout("alice", id);
  EXPECT_EQ(shopping().Run("alice", {"purchases", "stamp", order}).exit_code, kRefused);
  shopping().Pay("alice", order);

  const json paid = shopping().Ask("alice", {"purchases", "stamp", order.substr(0, 8)});
  EXPECT_EQ(paid["delivered"], false);
  ASSERT_EQ(paid["documents"].size(), 1u) << paid.dump(2);
  EXPECT_EQ(paid["documents"][0]["name"], "receipt");
  shopping().Download("alice", order);
  const json delivered = shopping().Ask("alice", {"purchases", "stamp", order});
  EXPECT_EQ(delivered["delivered"], true);
  ASSERT_EQ(delivered["documents"].size(), 2u) << delivered.dump(2);
  // The receipt's time stamp is the first one.
  EXPECT_EQ(delivered["documents"][0], paid["documents"][0]);
  EXPECT_EQ(shopping().Ask("alice", {"purchases", "stamp", order}), delivered);

  const std::string content_hash = crypto::Sha256(content);
  for (const json& document : delivered["documents"]) {
    const std::string path = document["document_path"];
    ExpectBothAccept(path, document["time_stamp_path"]);
    const std::string record = FileContent(path);
    EXPECT_THAT(record, HasSubstr(*crypto::HexDecode(order)));
    EXPECT_FALSE(BrokerHas(crypto::Sha256(record)));
    if (document["name"] == "delivery") {
      EXPECT_THAT(record, HasSubstr(content_hash));
    }
  }
  EXPECT_FALSE(BrokerHas(content_hash));
  // `purchases` alone still lists them.
  EXPECT_EQ(shopping().Ask("alice", {"purchases"})["purchases"][0]["order_id_hex"], order);
}

TEST_F(NotaryTest, TheBrokerKeepsNoDocumentsHash) {
  const std::string path = Write("secret.txt", "a secret that only its hash tells of");
  Notarize(path);
  EXPECT_FALSE(BrokerHas(crypto::Sha256("a secret that only its hash tells of")));
}

TEST_F(NotaryTest, OneNeedsToBeLoggedInToHaveSomethingStamped) {
  const std::string path = Write("file", "content");
  shopping().Ask("alice", {"logout"});
  shopping().Ask("alice", {"notarize", path}, kLogin);
  EXPECT_FALSE(std::filesystem::exists(path + ".tsr"));
  shopping().LogIn("alice");
  ExpectBothAccept(path, Notarize(path));
}

}  // namespace
}  // namespace blindcart::testing
