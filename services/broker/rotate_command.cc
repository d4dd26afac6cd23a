#include <iostream>
#include <memory>

#include "crypto/encoding.h"
#include "protocol/clock.h"
#include "services/broker/broker_identity.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/common/secret_input.h"

namespace blindcart::broker {
namespace {

struct RotateOptions {
  std::string data_dir;
  std::string passphrase_file;
};

absl::Status Rotate(const RotateOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  const absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase of the broker's keys", options.passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/false});
  if (!pass_phrase.ok()) return pass_phrase.status();
  const DataPaths paths(broker->config.data_dir());
  const absl::StatusOr<BrokerIdentity> rotated = RotateBrokerIdentity(
      paths, *broker->store, pass_phrase->view(), protocol::SystemClock().NowUnixMs());
  if (!rotated.ok()) return rotated.status();
  std::cout
      << "The broker has a new key, its change number " << rotated->lineage.counter()
      << ", announced under the old one.\n"
      << "  fingerprint  " << crypto::HexEncode(rotated->lineage.current().fingerprint()) << "\n"
      << "  card         " << paths.card << "  (hand it out once the broker was started again)\n"
      << "The old private key is removed. A broker that runs serves on with it from memory "
         "until it is\n"
      << "started again; then its sessions end, and agents and merchants follow by "
         "themselves.\n"
      << "Next: broker backup, then start every broker of this store again. Another machine's "
         "broker needs\n"
      << "identity/ and broker.card from here first.\n";
  return absl::OkStatus();
}

}  // namespace

void AddRotateCommand(CLI::App& app, Run* run) {
  auto options = std::make_shared<RotateOptions>();
  CLI::App* command = app.add_subcommand(
      "rotate-key", "Change the broker's keys; who trusts the old ones follows by itself");
  AddDataDirFlag(*command, &options->data_dir);
  command->add_option(
      "--passphrase-file", options->passphrase_file,
      "Pass phrase of the keys, old and new [$BLINDCART_PASSPHRASE, else asked for]");
  command->footer(
      "Takes effect when the broker is started again. There is no way back: see\n"
      "docs/operating.md.\n"
      "Example:\n"
      "  broker rotate-key --data-dir /srv/broker");
  command->callback([options, run] { *run = [options] { return Rotate(*options); }; });
}

}  // namespace blindcart::broker
