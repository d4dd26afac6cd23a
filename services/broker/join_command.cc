// broker join: makes the folder of a further broker of a market that has one already.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/broker/key_lock.h"
#include "services/broker/tls_files.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

struct JoinOptions {
  std::string from;
  std::string data_dir;
  std::vector<std::string> listen;
  std::vector<std::string> hosts;
  std::string address;
};

// The files of one folder of keys, as they are: under their pass phrase.
absl::Status CopyKeys(const std::string& from, const std::string& to) {
  absl::Status status = MakePrivateDirectory(to);
  if (!status.ok()) return status;
  std::error_code error;
  const std::filesystem::directory_iterator files(from, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat(from, ": ", error.message(),
                                            "; serve that broker once with this version first"));
  }
  for (const std::filesystem::directory_entry& file : files) {
    if (!file.is_regular_file()) continue;
    const absl::StatusOr<std::string> content = ReadFile(file.path().string());
    if (!content.ok()) return content.status();
    const std::string copy = absl::StrCat(to, "/", file.path().filename().string());
    struct stat info;
    const mode_t mode = stat(file.path().c_str(), &info) == 0 ? info.st_mode & 0644 : 0600;
    status = WriteFileAtomically(copy, *content, mode, /*replace=*/false);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::BrokerConfig> ConfigFor(const JoinOptions& options,
                                           const v1::BrokerConfig& first) {
  if (first.store().url().empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the broker in ", options.from,
        " keeps everything in SQLite, which serves one broker. Move it to PostgreSQL first: broker "
        "migrate --to postgres://..."));
  }
  v1::BrokerConfig config = first;
  config.set_data_dir(".");
  config.clear_listen();
  for (const std::string& address : options.listen) config.add_listen(address);
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) return complete;
  return config;
}

absl::Status Join(const JoinOptions& options) {
  const absl::StatusOr<v1::BrokerConfig> first = LoadConfig(options.from);
  if (!first.ok()) return first.status();
  const absl::StatusOr<v1::BrokerConfig> config = ConfigFor(options, *first);
  if (!config.ok()) return config.status();
  const DataPaths from(first->data_dir());
  // All of it belongs together: no other command changes keys or card meanwhile.
  const absl::StatusOr<std::unique_ptr<KeyLock>> lock = KeyLock::Take(first->data_dir());
  if (!lock.ok()) return lock.status();
  const DataPaths paths(options.data_dir);
  std::error_code error;
  if (std::filesystem::exists(options.data_dir, error) &&
      !std::filesystem::is_empty(options.data_dir, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        options.data_dir, " is there already and not empty; nothing was changed. Choose another"));
  }
  absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(from.card);
  if (!card.ok()) return card.status();
  const std::string address = PublicAddress(options.address, options.hosts, config->listen(0));
  const std::vector<std::string> known = AddressesOf(card->card);
  if (std::find(known.begin(), known.end(), address) != known.end()) {
    return absl::InvalidArgumentError(absl::StrCat("the card names ", address,
                                                   " already; give this broker's own address with "
                                                   "--listen or --address"));
  }
  if (known.size() >= kMaxBrokerAddresses) {
    return absl::InvalidArgumentError(
        absl::StrCat("a card names at most ", kMaxBrokerAddresses, " brokers"));
  }

  absl::Status status = MakePrivateDirectory(options.data_dir);
  if (status.ok()) status = CopyKeys(from.identity_dir, paths.identity_dir);
  if (status.ok()) status = CopyKeys(from.authority_dir, paths.authority_dir);
  if (status.ok()) status = CopyKeys(from.notary_dir, paths.notary_dir);
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> certificate = MakeTlsFiles(paths, options.hosts);
  if (!certificate.ok()) return certificate.status();
  card->card.add_further_addresses(address);
  absl::StrAppend(card->card.mutable_tls_root_pem(), *certificate);
  const std::string text = ToTextProto(card->card);
  status = WriteFileAtomically(paths.card, text, 0644, /*replace=*/false);
  // The next one that joins has to find this one there.
  if (status.ok()) status = WriteFileAtomically(from.card, text, 0644, /*replace=*/true);
  // Last: a folder with a configuration is a whole broker.
  if (status.ok()) {
    status = WriteFileAtomically(paths.config, CommentedConfig(*config), 0600, /*replace=*/false);
  }
  if (!status.ok()) return status;

  std::cout
      << "The further broker is in " << options.data_dir
      << ", with the same identity, authority and database.\n"
      << "  configuration  " << paths.config << "\n"
      << "  card           " << paths.card
      << "  (also put into the first one's folder; hand it out anew)\n"
      << "Next: broker serve --data-dir " << options.data_dir << "\n"
      << "Merchants link to it once they have the new card and were started again; until then "
         "their shops are offline here.\n";
  return absl::OkStatus();
}

}  // namespace

void AddJoinCommand(CLI::App& app, Run* run) {
  auto options = std::make_shared<JoinOptions>();
  CLI::App* command =
      app.add_subcommand("join", "Make a further broker beside one that is on PostgreSQL");
  AddDataDirFlag(*command, &options->data_dir);
  command->add_option("--from", options->from, "The folder of a broker of the market, or a copy")
      ->required();
  command
      ->add_option("--listen", options->listen,
                   "HOST:PORT (port 0: the kernel chooses) or unix:PATH; may be repeated")
      ->required();
  command->add_option("--host", options->hosts,
                      "A name or address under which this broker is reached, for its certificate; "
                      "may be repeated");
  command->add_option("--address", options->address,
                      "This broker's address on the card [the first --listen]");
  command->footer(
      "Copies the keys as they are, under their pass phrase, makes a TLS key and certificate of "
      "its\n"
      "own, and adds address and certificate to the card. Keep both folders secret alike.\n"
      "Example:\n"
      "  broker join --from /srv/broker --data-dir /srv/broker-2 --listen 0.0.0.0:7443 \\\n"
      "      --host broker-2.example.org");
  command->callback([options, run] { *run = [options] { return Join(*options); }; });
}

}  // namespace blindcart::broker
