#include <sys/stat.h>

#include <future>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/key_file.h"
#include "protocol/clock.h"
#include "services/broker/authority.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/broker/enrolment.h"
#include "services/broker/open_store.h"
#include "services/broker/time_stamping.h"
#include "services/broker/tls_files.h"
#include "services/common/files.h"
#include "services/common/secret_input.h"
#include "services/ledger/money.h"

namespace blindcart::broker {
namespace {

struct InitOptions {
  std::string data_dir;
  std::vector<std::string> listen;
  std::vector<std::string> hosts;
  std::string address;
  std::string currency = "EUR";
  int charge_basis_points = 100;
  std::string charge_fixed = "0";
  bool customers_may_deposit = false;
  std::string store_url;
  std::string metrics_listen;
  std::string passphrase_file;
};

absl::StatusOr<v1::BrokerConfig> MakeConfig(const InitOptions& options) {
  v1::BrokerConfig config = DefaultConfig();
  if (!options.listen.empty()) {
    config.clear_listen();
    for (const std::string& address : options.listen) config.add_listen(address);
  }
  config.set_currency(options.currency);
  config.set_charge_basis_points(options.charge_basis_points);
  const absl::StatusOr<int64_t> fixed = ledger::ParseAmount(options.charge_fixed, options.currency,
                                                            ledger::AmountRange::kNonNegative);
  if (!fixed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--charge-fixed: ", fixed.status().message()));
  }
  config.set_charge_fixed_minor(*fixed);
  config.set_customers_may_deposit(options.customers_may_deposit);
  config.mutable_store()->set_url(options.store_url);
  config.set_metrics_listen(options.metrics_listen);
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) return complete;
  return config;
}

absl::Status WriteKeys(const DataPaths& paths, const crypto::Identity& identity,
                       const InitOptions& options, const crypto::SecretBytes& pass_phrase,
                       std::string* tls_root_pem) {
  absl::StatusOr<std::string> certificate = MakeTlsFiles(paths, options.hosts);
  if (!certificate.ok()) return certificate.status();
  *tls_root_pem = *std::move(certificate);
  const absl::Status status = MakePrivateDirectory(paths.identity_dir);
  if (!status.ok()) return status;
  return crypto::SaveIdentity(paths.identity_dir, identity, pass_phrase.view());
}

absl::StatusOr<std::unique_ptr<storage::Store>> OpenNewStore(const InitOptions& options,
                                                             v1::BrokerConfig config) {
  config.set_data_dir(options.data_dir);
  absl::StatusOr<std::unique_ptr<storage::Store>> store = OpenStore(config);
  if (!store.ok()) return store;
  const absl::Status unused = CheckUnused(**store);
  if (!unused.ok()) return unused;
  return store;
}

absl::Status FillStore(storage::Store& store, const v1::BrokerConfig& config) {
  // Its private key is forgotten here and now.
  const absl::StatusOr<crypto::Identity> decoy = crypto::Identity::Generate();
  if (!decoy.ok()) return decoy.status();
  const Enroller enroller = {store, config.currency(), protocol::SystemClock().NowUnixMs(),
                             crypto::SystemRandom()};
  return PrepareStore(enroller, config.broker_account_number(), decoy->public_identity());
}

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::Status Init(const InitOptions& options) {
  const absl::StatusOr<v1::BrokerConfig> config = MakeConfig(options);
  if (!config.ok()) return config.status();
  const DataPaths paths(options.data_dir);
  for (const std::string& path :
       {paths.config, paths.identity_dir, paths.authority_dir, paths.notary_dir, paths.database}) {
    if (Exists(path)) {
      return absl::AlreadyExistsError(
          absl::StrCat(path,
                       " is there already; nothing was changed. Choose another --data-dir, or "
                       "remove that folder when it holds no broker that anybody uses"));
    }
  }
  const absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase for the broker's keys", options.passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/true});
  if (!pass_phrase.ok()) return pass_phrase.status();

  absl::Status status = MakePrivateDirectory(options.data_dir);
  if (!status.ok()) return status;
  // First what is most likely to go wrong, while there are no keys yet.
  const absl::StatusOr<std::unique_ptr<storage::Store>> store = OpenNewStore(options, *config);
  if (!store.ok()) return store.status();
  // The longest step, beside the others.
  std::future<crypto::TimeStampKey> notary_key =
      std::async(std::launch::async, crypto::TimeStampKey::Generate);
  const absl::StatusOr<crypto::Identity> identity = crypto::Identity::Generate();
  if (!identity.ok()) return identity.status();
  v1::BrokerCard card;
  status = WriteKeys(paths, *identity, options, *pass_phrase, card.mutable_tls_root_pem());
  if (!status.ok()) return status;
  const absl::StatusOr<crypto::CertificateAuthority> authority = MakeAuthority(
      paths, identity->public_identity(), pass_phrase->view(), absl::Now(), crypto::SystemRandom());
  if (!authority.ok()) return authority.status();
  card.set_ca_certificate_pem(authority->certificate().ToPem());
  const absl::StatusOr<crypto::TimeStampResponder> time_stamps =
      MakeTimeStamping(paths, notary_key.get(), *authority, pass_phrase->view(), absl::Now(),
                       crypto::SystemRandom());
  if (!time_stamps.ok()) return time_stamps.status();
  status = FillStore(**store, *config);
  if (!status.ok()) return status;
  const std::string fingerprint = crypto::HexEncode(identity->public_identity().fingerprint());
  card.set_address(PublicAddress(options.address, options.hosts, config->listen(0)));
  card.set_identity_pem(identity->public_identity().ToPem());
  card.set_fingerprint_hex(fingerprint);
  status = WriteFileAtomically(paths.card, ToTextProto(card), 0644, /*replace=*/false);
  if (!status.ok()) return status;
  // Last: a folder with a configuration is a whole broker.
  status = WriteFileAtomically(paths.config, CommentedConfig(*config), 0600, /*replace=*/false);
  if (!status.ok()) return status;

  std::cout << "The broker is in " << options.data_dir << ".\n"
            << "  configuration  " << paths.config << "\n"
            << "  card           " << paths.card << "  (hand it to customers and merchants)\n"
            << "  fingerprint    " << fingerprint << "\n"
            << "Next: broker serve --data-dir " << options.data_dir << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddInitCommand(CLI::App& app, Run* run) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* command = app.add_subcommand("init", "Make a broker: keys, configuration, database");
  AddDataDirFlag(*command, &options->data_dir);
  command->add_option("--listen", options->listen,
                      "HOST:PORT (port 0: the kernel chooses) or unix:PATH; may be repeated");
  command->add_option("--host", options->hosts,
                      "A name or address under which the broker is reached, for its certificate; "
                      "may be repeated");
  command->add_option("--address", options->address,
                      "The address on the card [the first --listen]");
  command->add_option("--currency", options->currency, "Of every account here")
      ->capture_default_str();
  command
      ->add_option("--charge-basis-points", options->charge_basis_points,
                   "The broker's charge: hundredths of a per cent of the price")
      ->capture_default_str();
  command
      ->add_option("--charge-fixed", options->charge_fixed,
                   "Added to every charge, as an amount such as 0.10")
      ->capture_default_str();
  command->add_flag("--customers-may-deposit", options->customers_may_deposit,
                    "Let customers deposit by themselves, at their word [no]");
  command->add_option("--store", options->store_url,
                      "postgres://USER@HOST/DATABASE instead of SQLite in the folder");
  command->add_option("--metrics-listen", options->metrics_listen,
                      "HOST:PORT for metrics and health, on loopback say [none]");
  command->add_option("--passphrase-file", options->passphrase_file,
                      "Pass phrase for the keys [$BLINDCART_PASSPHRASE, else asked for]");
  command->footer(
      "Examples:\n"
      "  broker init\n"
      "  broker init --data-dir /srv/broker --listen 0.0.0.0:7443 --host broker.example.org \\\n"
      "      --currency EUR --charge-basis-points 150 --charge-fixed 0.10\n"
      "  broker init --store 'postgres:///blindcart?host=/var/run/postgresql'");
  command->callback([options, run] { *run = [options] { return Init(*options); }; });
}

}  // namespace blindcart::broker
