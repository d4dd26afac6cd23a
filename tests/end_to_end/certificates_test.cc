// Certificates: asked for, shown, exported, judged, revoked and renewed with the command line, over a
// broker and agents as processes of their own; openssl judges the same files.
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class CertificatesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({}, {{"alice", "violet umbrella 7", "1001", "2468", "100.00"},
                                    {"bob", "paper lantern 3", "1002", "1357", "100.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }

  json Request(const std::string& username) {
    return shopping().Ask(username, {"--json", "certificate", "request"});
  }
  json Show(const std::string& username) {
    return shopping().Ask(username, {"--json", "certificate", "show"});
  }
  static std::string Serial(const json& shown) {
    return shown.is_object() && !shown["certificates"].empty()
               ? shown["certificates"][0]["serial_hex"].get<std::string>()
               : "";
  }
  static bool Good(const json& shown) {
    return shown.is_object() && shown["certificates"].size() == 2 &&
           shown["certificates"][0]["good"] && shown["certificates"][1]["good"];
  }
  // A new folder with what `username` exports.
  std::string Export(const std::string& username) {
    const std::string folder = absl::StrCat(market().folder(), "/export-", ++exports_);
    std::filesystem::create_directory(folder);
    shopping().Ask(username, {"certificate", "export", "--out", folder});
    return folder;
  }
  static bool OpensslAccepts(const std::string& folder, const std::string& file,
                             const std::string& list, const std::string& purpose) {
    const auto output =
        RunToEnd({"/usr/bin/openssl",
                  {"verify", "-x509_strict", "-crl_check", "-CAfile", folder + "/authority.pem",
                   "-CRLfile", list, "-purpose", purpose, folder + "/" + file},
                  {},
                  ""});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() && output->exit_code == 0;
  }
  // By somebody without an agent and without an account.
  Output Verify(const std::string& file, const std::string& list,
                const std::vector<std::string>& more = {}) {
    Command command = {"clients/cli/blindcart",
                       {"--socket", "/nowhere", "certificate", "verify", file, "--card",
                        market().broker_card(), "--crl", list},
                       {},
                       ""};
    command.arguments.insert(command.arguments.end(), more.begin(), more.end());
    const auto output = RunToEnd(command);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  }
  std::string PublishList() {
    const std::string path = absl::StrCat(market().folder(), "/published-", ++exports_, ".pem");
    const auto output = market().BrokerCommand({"crl", "--out", path});
    EXPECT_TRUE(output.ok() && output->exit_code == 0)
        << (output.ok() ? output->err : output.status().ToString());
    return path;
  }

 private:
  static Shopping* shopping_;
  static int exports_;
};
Shopping* CertificatesTest::shopping_ = nullptr;
int CertificatesTest::exports_ = 0;

TEST_F(CertificatesTest, RequestedShownExportedAndJudgedOffline) {
  const json requested = Request("alice");
  ASSERT_TRUE(Good(requested)) << requested;
  EXPECT_EQ(requested["certificates"][0]["subject"], "alice");
  EXPECT_EQ(requested["certificates"][0]["purpose"], "signing");
  EXPECT_EQ(requested["certificates"][1]["purpose"], "encryption");
  const int64_t days = (Int(requested["certificates"][0]["not_after_ms"]) -
                        Int(requested["certificates"][0]["not_before_ms"])) /
                       (24 * 60 * 60 * 1000);
  EXPECT_EQ(days, 90);
  EXPECT_EQ(Show("alice"), requested);
  EXPECT_EQ(Serial(Request("alice")), Serial(requested)) << "asked again, the same are good";

  const std::string folder = Export("alice");
  const std::string list = folder + "/revocation-list.pem";
  EXPECT_TRUE(OpensslAccepts(folder, "alice-signing.pem", list, "smimesign"));
  EXPECT_TRUE(OpensslAccepts(folder, "alice-encryption.pem", list, "smimeencrypt"));
  EXPECT_FALSE(OpensslAccepts(folder, "alice-signing.pem", list, "smimeencrypt"));
  const Output good = Verify(folder + "/alice-signing.pem", list);
  EXPECT_EQ(good.exit_code, kOk) << good.err;
  EXPECT_THAT(good.out, HasSubstr("of alice is good"));
  EXPECT_EQ(Verify(folder + "/alice-encryption.pem", list).exit_code, kOk);
  const Output wrong = Verify(folder + "/alice-signing.pem", list, {"--purpose", "encryption"});
  EXPECT_EQ(wrong.exit_code, kVerification);
  EXPECT_THAT(wrong.err, HasSubstr("another purpose"));
  // By the agent's own authority and list.
  EXPECT_EQ(
      shopping().Run("bob", {"certificate", "verify", folder + "/alice-signing.pem"}).exit_code,
      kOk);
  // Nothing that is there is replaced unless asked for.
  EXPECT_EQ(shopping().Run("alice", {"certificate", "export", "--out", folder}).exit_code,
            kRefused);
  EXPECT_EQ(
      shopping().Run("alice", {"certificate", "export", "--out", folder, "--force"}).exit_code,
      kOk);
  // Somebody altered the file.
  std::string pem = FileContent(folder + "/alice-signing.pem");
  pem[pem.size() / 2] = pem[pem.size() / 2] == 'A' ? 'B' : 'A';
  std::ofstream(folder + "/altered.pem") << pem;
  EXPECT_EQ(Verify(folder + "/altered.pem", list).exit_code, kVerification);
  EXPECT_FALSE(OpensslAccepts(folder, "altered.pem", list, "smimesign"));
}

TEST_F(CertificatesTest, RevokedIsRefusedByEverybodyWithTheNewList) {
  ASSERT_TRUE(Good(Request("alice")));
  const std::string folder = Export("alice");
  const std::string file = folder + "/alice-signing.pem";
  ASSERT_EQ(Verify(file, PublishList()).exit_code, kOk);

  EXPECT_EQ(shopping().Run("alice", {"certificate", "revoke"}).exit_code, kUsage);  // Not asked.
  const json revoked = shopping().Ask("alice", {"--json", "certificate", "revoke", "--yes"});
  EXPECT_GE(revoked["revoked"], 2);
  EXPECT_TRUE(Show("alice")["certificates"].empty());
  const std::string list = PublishList();
  const Output refused = Verify(file, list);
  EXPECT_EQ(refused.exit_code, kVerification);
  EXPECT_THAT(refused.err, HasSubstr("was revoked"));
  EXPECT_FALSE(OpensslAccepts(folder, "alice-signing.pem", list, "smimesign"));
  // The agent fetched the list with its revocation.
  EXPECT_EQ(shopping().Run("alice", {"certificate", "verify", file}).exit_code, kVerification);
  EXPECT_EQ(shopping().Run("alice", {"certificate", "export", "--out", folder}).exit_code,
            kRefused);
  EXPECT_TRUE(Good(Request("alice")));
}

TEST_F(CertificatesTest, OperatorRevokesAndTheAgentLearnsOfIt) {
  ASSERT_TRUE(Good(Request("bob")));
  const std::string serial = Serial(Show("bob"));
  const auto revoked = market().BrokerCommand({"revoke", "bob"});
  ASSERT_TRUE(revoked.ok());
  EXPECT_EQ(revoked->exit_code, 0) << revoked->err;
  const auto nobody = market().BrokerCommand({"revoke", "nobody"});
  EXPECT_EQ(nobody->exit_code, 1);
  const auto listed = market().BrokerCommand({"list", "certificates", "--json"});
  ASSERT_TRUE(listed.ok());
  bool found = false;
  const json rows = json::parse(listed->out);
  for (const json& certificate : rows["certificates"]) {
    if (certificate["serial_hex"] != serial) continue;
    found = true;
    EXPECT_EQ(certificate["customer"], "bob");
    EXPECT_GT(Int(certificate["revoked_at_ms"]), 0);
  }
  EXPECT_TRUE(found);
  const uint64_t number = std::stoull(Show("bob")["revocation_list_number"].get<std::string>());
  // The broker that serves puts it in its list by itself; the agent fetches that at its next login.
  WaitUntil("bob's agent knows", [&] {
    shopping().RestartAgent("bob");
    for (int i = 0; i < 20; ++i) {
      const json shown = Show("bob");
      if (shown.is_object() && !shown["certificates"].empty() &&
          shown["certificates"][0]["verdict"] == "was revoked") {
        return true;
      }
    }
    return false;
  });
  EXPECT_GT(std::stoull(Show("bob")["revocation_list_number"].get<std::string>()), number);
  EXPECT_EQ(Serial(Show("bob")), serial);
  // He gets no new ones, whatever he does himself, until the operator says so.
  const Answer refused = shopping().Run("bob", {"certificate", "request"});
  EXPECT_EQ(refused.exit_code, kRefused);
  EXPECT_THAT(refused.err, HasSubstr("operator"));
  shopping().Ask("bob", {"certificate", "revoke", "--yes"});
  EXPECT_EQ(shopping().Run("bob", {"certificate", "request"}).exit_code, kRefused);
  const auto lifted = market().BrokerCommand({"revoke", "--lift", "bob"});
  ASSERT_TRUE(lifted.ok());
  EXPECT_EQ(lifted->exit_code, 0) << lifted->err;
  EXPECT_TRUE(Good(Request("bob")));
}

TEST_F(CertificatesTest, SurviveARestartOfBrokerAndAgent) {
  ASSERT_TRUE(Good(Request("alice")));
  const json before = Show("alice");
  shopping().RestartBroker();
  shopping().RestartAgent("alice");
  const json after = Show("alice");
  EXPECT_EQ(after["certificates"], before["certificates"]);
  EXPECT_EQ(after["authority_sha256_hex"], before["authority_sha256_hex"]);
  EXPECT_TRUE(Good(Request("alice")));
}

TEST_F(CertificatesTest, BrokerAndAgentOfBeforeThereWereAuthorities) {
  const std::unique_ptr<Shopping> old =
      Shopping::Open({}, {{"carol", "brass kettle 11", "1003", "9753", "100.00"}});
  ASSERT_NE(old, nullptr);
  Marketplace& market = old->market();
  market.KillAgent("carol");
  market.KillBroker();
  const auto forget = [](const std::string& card) {
    std::string kept;
    std::ifstream in(card);
    for (std::string line; std::getline(in, line);) {
      if (line.rfind("ca_certificate_pem", 0) != 0) kept += line + "\n";
    }
    in.close();
    std::ofstream(card) << kept;
    return kept;
  };
  EXPECT_THAT(forget(market.broker_card()), HasSubstr("identity_pem"));
  forget(market.agent_dir("carol") + "/broker.card");
  for (const std::string& path :
       {market.broker_dir() + "/authority", market.agent_dir("carol") + "/agent.db",
        market.agent_dir("carol") + "/agent.db-wal", market.agent_dir("carol") + "/agent.db-shm"}) {
    std::filesystem::remove_all(path);
  }
  old->RestartBroker();
  EXPECT_THAT(FileContent(market.broker_card()), HasSubstr("ca_certificate_pem"));
  old->RestartAgent("carol");
  const json requested = old->Ask("carol", {"--json", "certificate", "request"});
  EXPECT_TRUE(Good(requested)) << requested;
}

TEST_F(CertificatesTest, RenewedByTheAgentItselfAndExpiredWithoutTheBroker) {
  const std::unique_ptr<Shopping> brief =
      Shopping::Open({}, {{"dave", "copper teapot 2", "1004", "8642", "100.00"}});
  ASSERT_NE(brief, nullptr);
  Marketplace& market = brief->market();
  market.KillBroker();
  const std::string config = market.broker_dir() + "/broker.textproto";
  ReplaceInFile(config, "certificate_lifetime_ms: 7776000000", "certificate_lifetime_ms: 15000");
  ReplaceInFile(config, "max_certificates_per_customer: 16", "max_certificates_per_customer: 1000");
  brief->RestartBroker();
  brief->LogIn("dave");
  const auto show = [&] { return brief->Ask("dave", {"--json", "certificate", "show"}); };
  const std::string first = Serial(brief->Ask("dave", {"--json", "certificate", "request"}));
  ASSERT_NE(first, "");
  // Nobody asks for it.
  WaitUntil("certificates are renewed", [&] { return Serial(show()) != first; });
  const std::string folder = market.folder() + "/export";
  std::filesystem::create_directory(folder);
  brief->Ask("dave", {"certificate", "export", "--out", folder});
  market.KillBroker();
  WaitUntil("certificates are expired", [&] {
    const json shown = show();
    return !Good(shown) && shown["certificates"][0]["verdict"] == "has expired";
  });
  EXPECT_EQ(brief->Run("dave", {"certificate", "verify", folder + "/dave-signing.pem"}).exit_code,
            kVerification);
  EXPECT_FALSE(
      OpensslAccepts(folder, "dave-signing.pem", folder + "/revocation-list.pem", "smimesign"));
}

TEST_F(CertificatesTest, NeedsALogin) {
  EXPECT_EQ(shopping().Run("bob", {"logout"}).exit_code, kOk);
  const Answer refused = shopping().Run("bob", {"certificate", "request"});
  EXPECT_EQ(refused.exit_code, kLogin);
  shopping().LogIn("bob");
}

}  // namespace
}  // namespace blindcart::testing
