#include "services/agent/init_command.h"

#include <sys/stat.h>

#include <memory>
#include <ostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/key_file.h"
#include "services/agent/agent_database.h"
#include "services/agent/config.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

constexpr mode_t kPrivateMode = 0600;
constexpr mode_t kPublicMode = 0644;

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::Status CheckFingerprint(const std::string& expected, const std::string& fingerprint) {
  if (expected.empty()) return absl::OkStatus();
  const absl::StatusOr<std::string> bytes = crypto::HexDecode(
      absl::StrReplaceAll(absl::StripAsciiWhitespace(expected), {{" ", ""}, {":", ""}}));
  if (!bytes.ok() || bytes->size() != crypto::kFingerprintBytes) {
    return absl::InvalidArgumentError("--expect-fingerprint takes 64 hexadecimal digits");
  }
  if (*bytes != fingerprint) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the card's broker has the fingerprint ", crypto::HexEncode(fingerprint),
        ", not the expected one. Do not use this card; ask the operator for the right one"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::AgentConfig> ConfigFor(const InitOptions& options,
                                          const LoadedBrokerCard& card) {
  v1::AgentConfig config =
      DefaultConfig(options.broker_address.empty() ? card.card.address() : options.broker_address,
                    options.plain_tcp);
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(complete.message(), ". Give the broker's address with --broker-address"));
  }
  return config;
}

}  // namespace

absl::Status CheckInit(const InitOptions& options) {
  const DataPaths paths(options.data_dir);
  for (const std::string& path :
       {paths.config, paths.identity_dir, paths.public_identity, paths.database}) {
    if (Exists(path)) {
      return absl::AlreadyExistsError(
          absl::StrCat(path,
                       " is there already. Choose another --data-dir, or start the agent "
                       "that is there: agent serve --data-dir ",
                       options.data_dir));
    }
  }
  const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(options.broker_card);
  if (!card.ok()) return card.status();
  const absl::Status expected =
      CheckFingerprint(options.expected_fingerprint, card->identity.fingerprint());
  if (!expected.ok()) return expected;
  return ConfigFor(options, *card).status();
}

absl::Status InitAgent(const InitOptions& options, const crypto::SecretBytes& pass_phrase,
                       std::ostream& out) {
  const absl::Status checked = CheckInit(options);
  if (!checked.ok()) return checked;
  const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(options.broker_card);
  if (!card.ok()) return card.status();
  const absl::StatusOr<v1::AgentConfig> config = ConfigFor(options, *card);
  if (!config.ok()) return config.status();
  const absl::StatusOr<crypto::Identity> identity = crypto::Identity::Generate();
  if (!identity.ok()) return identity.status();

  const DataPaths paths(options.data_dir);
  absl::Status status = MakePrivateDirectory(options.data_dir);
  if (status.ok()) status = MakePrivateDirectory(paths.identity_dir);
  if (status.ok()) {
    status = crypto::SaveIdentity(paths.identity_dir, *identity, pass_phrase.view());
  }
  if (status.ok()) {
    status = WriteFileAtomically(paths.public_identity, identity->public_identity().ToPem(),
                                 kPublicMode, false);
  }
  if (status.ok()) {
    // Any card for this broker that was put here beforehand is the one to be replaced.
    status = WriteFileAtomically(paths.broker_card, ToTextProto(card->card), kPublicMode, true);
  }
  if (!status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<AgentDatabase>> database =
      AgentDatabase::Open(paths.database);
  if (!database.ok()) return database.status();
  status = (*database)->PinBroker(card->identity.fingerprint());
  // Last, since its presence says that the rest is there.
  if (status.ok()) {
    status = WriteFileAtomically(paths.config, CommentedConfig(*config), kPrivateMode, false);
  }
  if (!status.ok()) return status;

  out << "Made a customer's agent in " << options.data_dir << ".\n\n"
      << "Broker pinned at " << config->broker().address() << " with the fingerprint\n  "
      << crypto::HexEncode(card->identity.fingerprint()) << "\n"
      << "Compare it with what the operator tells you by another way, before you log in.\n\n"
      << "Your own fingerprint:\n  " << crypto::HexEncode(identity->public_identity().fingerprint())
      << "\n"
      << "Hand " << paths.public_identity << " to the operator, who enrols you with\n"
      << "  broker add-customer --username NAME --identity customer.identity --account NUMBER\n"
      << "Then start the agent with\n"
      << "  agent serve --data-dir " << options.data_dir << "\n";
  return absl::OkStatus();
}

}  // namespace blindcart::agent
