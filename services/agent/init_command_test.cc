#include "services/agent/init_command.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <sstream>
#include <string>

#include "crypto/encoding.h"
#include "crypto/key_file.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "services/agent/agent_database.h"
#include "services/agent/config.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

class InitCommandTest : public ::testing::Test {
 protected:
  InitCommandTest() {
    std::string folder = ::testing::TempDir() + "/init-XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    v1::BrokerCard card;
    card.set_address("broker.example:4433");
    card.set_identity_pem(Broker().ToPem());
    card.set_fingerprint_hex(crypto::HexEncode(Broker().fingerprint()));
    EXPECT_TRUE(WriteFileAtomically(folder + "/broker.card", ToTextProto(card), 0644, false).ok());
    options_.data_dir = folder + "/agent";
    options_.broker_card = folder + "/broker.card";
  }
  static const crypto::PublicIdentity& Broker() {
    return crypto::TestIdentity(2).public_identity();
  }
  absl::Status Init() {
    return InitAgent(options_, crypto::SecretBytes::CopyOf("a pass phrase"), out_);
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }

  InitOptions options_;
  std::ostringstream out_;
};

TEST_F(InitCommandTest, MakesEverythingThatServeNeeds) {
  const absl::Status status = Init();
  ASSERT_TRUE(status.ok()) << status;
  const DataPaths paths(options_.data_dir);
  const auto config = LoadConfig(options_.data_dir);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->broker().address(), "broker.example:4433");
  // Absolute, and without what the command line had to no purpose.
  const std::filesystem::path folder = std::filesystem::path(options_.data_dir).lexically_normal();
  EXPECT_EQ(config->broker().card_path(), folder / "broker.card");
  EXPECT_EQ(config->socket(), folder / "agent.sock");
  EXPECT_EQ(config->purchases_dir(), folder / "purchases");
  const auto identity = crypto::LoadIdentity(paths.identity_dir, "a pass phrase");
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(*ReadFile(paths.public_identity), identity->public_identity().ToPem());
  EXPECT_EQ(ModeOf(paths.database), 0600u);
  EXPECT_EQ(ModeOf(options_.data_dir), 0700u);
  EXPECT_NE(out_.str().find(crypto::HexEncode(Broker().fingerprint())), std::string::npos);
  EXPECT_NE(out_.str().find(crypto::HexEncode(identity->public_identity().fingerprint())),
            std::string::npos);

  // The broker is pinned for good.
  auto database = AgentDatabase::Open(paths.database);
  ASSERT_TRUE(database.ok());
  EXPECT_TRUE((*database)->PinBroker(Broker().fingerprint()).ok());
  // Another key only when it has followed the one that is pinned, and then never back.
  const std::string next = crypto::TestIdentity(4).public_identity().fingerprint();
  const std::string stranger = crypto::TestIdentity(3).public_identity().fingerprint();
  EXPECT_TRUE(absl::IsFailedPrecondition((*database)->PinBroker(next, {stranger})));
  EXPECT_TRUE((*database)->PinBroker(next, {stranger, Broker().fingerprint()}).ok());
  EXPECT_TRUE((*database)->PinBroker(next).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition((*database)->PinBroker(Broker().fingerprint())));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      (*database)->PinBroker(crypto::TestIdentity(3).public_identity().fingerprint())));
}

TEST_F(InitCommandTest, NeverWritesOverAnAgent) {
  ASSERT_TRUE(Init().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(CheckInit(options_)));
  EXPECT_TRUE(absl::IsAlreadyExists(Init()));
}

TEST_F(InitCommandTest, RefusesAnotherBrokerThanExpected) {
  options_.expected_fingerprint =
      crypto::HexEncode(crypto::TestIdentity(3).public_identity().fingerprint());
  EXPECT_TRUE(absl::IsPermissionDenied(CheckInit(options_)));
  options_.expected_fingerprint = "12";
  EXPECT_TRUE(absl::IsInvalidArgument(CheckInit(options_)));
  options_.expected_fingerprint = crypto::HexEncode(Broker().fingerprint());
  EXPECT_TRUE(CheckInit(options_).ok());
}

TEST_F(InitCommandTest, SaysWhatIsWrongWithTheInput) {
  options_.broker_address = "nonsense";
  EXPECT_TRUE(absl::IsInvalidArgument(CheckInit(options_)));
  options_.broker_address.clear();
  options_.broker_card += ".missing";
  EXPECT_TRUE(absl::IsNotFound(CheckInit(options_)));
}

TEST_F(InitCommandTest, AFolderWithoutAnAgentIsSaid) {
  const absl::Status status = LoadConfig(options_.data_dir).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_NE(status.message().find("agent init"), absl::string_view::npos);
}

TEST_F(InitCommandTest, TheWrittenConfigurationReadsBack) {
  ASSERT_TRUE(MakePrivateDirectory(options_.data_dir).ok());
  const v1::AgentConfig config = DefaultConfig("unix:/run/\"odd\"/broker.sock", true);
  ASSERT_TRUE(
      WriteFileAtomically(DataPaths(options_.data_dir).config, CommentedConfig(config), 0600, false)
          .ok());
  const auto loaded = LoadConfig(options_.data_dir);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->broker().address(), config.broker().address());
  EXPECT_TRUE(loaded->broker().plain_tcp());
}

}  // namespace
}  // namespace blindcart::agent
