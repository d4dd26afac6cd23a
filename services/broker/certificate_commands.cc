#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/optional.h"
#include "crypto/certificate.h"
#include "crypto/key_file.h"
#include "protocol/clock.h"
#include "services/broker/authority.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/broker/revocation.h"
#include "services/common/files.h"
#include "services/common/secret_input.h"

namespace blindcart::broker {
namespace {

constexpr mode_t kPublicMode = 0644;

struct RevokeOptions {
  std::string data_dir;
  std::string username;
  bool lift = false;
};

struct ListOptions {
  std::string data_dir;
  std::string out;
  std::string passphrase_file;
};

absl::Status Revoke(const RevokeOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  int revoked = 0;
  bool was_blocked = false;
  const absl::Status written =
      broker->store->Write([&](storage::Transaction& transaction) -> absl::Status {
        const absl::StatusOr<storage::Customer> customer =
            transaction.customers().FindByUsername(options.username);
        if (absl::IsNotFound(customer.status())) {
          return absl::NotFoundError(absl::StrCat("there is no customer ", options.username));
        }
        if (!customer.ok()) return customer.status();
        const int64_t now_ms = protocol::SystemClock().NowUnixMs();
        const absl::StatusOr<bool> blocked = transaction.certificates().IsBlocked(customer->id);
        if (!blocked.ok()) return blocked.status();
        was_blocked = *blocked;
        if (was_blocked == options.lift) {
          const absl::Status decided =
              transaction.certificates().SetBlocked(customer->id, !options.lift, now_ms);
          if (!decided.ok()) return decided;
        }
        if (options.lift) return absl::OkStatus();
        const absl::StatusOr<int> done = RevokeAll(transaction, customer->id, now_ms);
        if (done.ok()) revoked = *done;
        return done.status();
      });
  if (!written.ok()) return written;
  if (options.lift) {
    std::cout << options.username
              << (was_blocked
                      ? " may have new certificates again. What was revoked stays revoked.\n"
                      : " was not kept from having certificates.\n");
    return absl::OkStatus();
  }
  std::cout << "Revoked " << revoked << " certificate(s) of " << options.username << ".\n";
  if (revoked > 0) {
    std::cout << "The broker names them in its revocation list at once while it serves, or "
                 "with: broker crl\n";
  }
  std::cout << options.username << " gets no new ones until you lift that: broker revoke --lift "
            << options.username << "\n";
  return absl::OkStatus();
}

// Signs a new list when the one that is there is not the last word.
absl::StatusOr<storage::StoredRevocationList> CurrentList(const OpenedBroker& broker,
                                                          const std::string& passphrase_file) {
  const int64_t now_ms = protocol::SystemClock().NowUnixMs();
  const int64_t lifetime_ms = broker.config.limits().revocation_list_lifetime_ms();
  const DataPaths paths(broker.config.data_dir());
  absl::optional<storage::StoredRevocationList> current;
  absl::Status status;
  // A broker of before there were authorities has none yet.
  const absl::StatusOr<std::string> pem = ReadFile(paths.authority_certificate);
  const absl::StatusOr<crypto::Certificate> certificate =
      pem.ok() ? crypto::Certificate::ParsePem(*pem) : pem.status();
  if (certificate.ok()) {
    status = broker.store->Read([&](storage::Transaction& transaction) -> absl::Status {
      absl::StatusOr<absl::optional<storage::StoredRevocationList>> found =
          FindCurrentRevocationList(transaction, *certificate, now_ms, lifetime_ms);
      if (!found.ok()) return found.status();
      current = *std::move(found);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
  }
  if (current.has_value()) return *std::move(current);
  const absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase of the broker's keys", passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/false});
  if (!pass_phrase.ok()) return pass_phrase.status();
  const absl::StatusOr<crypto::Identity> identity =
      crypto::LoadIdentity(paths.identity_dir, pass_phrase->view());
  if (!identity.ok()) return identity.status();
  const absl::StatusOr<crypto::CertificateAuthority> authority = LoadAuthority(
      paths, identity->public_identity(), pass_phrase->view(), absl::Now(), crypto::SystemRandom());
  if (!authority.ok()) return authority.status();
  absl::StatusOr<storage::StoredRevocationList> list = absl::UnknownError("not made");
  status = broker.store->Write([&](storage::Transaction& transaction) {
    list = MakeRevocationList(transaction, *authority, now_ms, lifetime_ms);
    return list.status();
  });
  if (!status.ok()) return status;
  return list;
}

absl::Status WriteList(const ListOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  const absl::StatusOr<storage::StoredRevocationList> stored =
      CurrentList(*broker, options.passphrase_file);
  if (!stored.ok()) return stored.status();
  const absl::StatusOr<crypto::RevocationList> list = crypto::RevocationList::Parse(stored->der);
  if (!list.ok()) return list.status();
  if (options.out.empty()) {
    std::cout << list->ToPem() << std::flush;
    return absl::OkStatus();
  }
  const absl::Status written =
      WriteFileAtomically(options.out, list->ToPem(), kPublicMode, /*replace=*/true);
  if (!written.ok()) return written;
  std::cout << "Wrote revocation list number " << list->number() << " with " << list->size()
            << " revoked certificate(s) to " << options.out << "; it is good until "
            << absl::FormatTime("%Y-%m-%d %H:%M:%S", list->next_update(), absl::LocalTimeZone())
            << ".\n";
  return absl::OkStatus();
}

}  // namespace

void AddCertificateCommands(CLI::App& app, Run* run) {
  auto revoke = std::make_shared<RevokeOptions>();
  CLI::App* revoke_command = app.add_subcommand(
      "revoke",
      "Revoke all certificates of a customer, who gets no new ones; also while the broker serves");
  AddDataDirFlag(*revoke_command, &revoke->data_dir);
  revoke_command->add_option("username", revoke->username, "The customer")->required();
  revoke_command->add_flag("--lift", revoke->lift,
                           "Let the customer have new certificates again; revokes nothing");
  revoke_command->footer("Examples:\n  broker revoke alice\n  broker revoke --lift alice");
  revoke_command->callback([revoke, run] { *run = [revoke] { return Revoke(*revoke); }; });

  auto list = std::make_shared<ListOptions>();
  CLI::App* list_command = app.add_subcommand(
      "crl", "Write the revocation list, for a web server say; also while the broker serves");
  AddDataDirFlag(*list_command, &list->data_dir);
  list_command->add_option("--out", list->out, "Where to, as PEM [standard output]");
  list_command->add_option("--passphrase-file", list->passphrase_file,
                           "Pass phrase of the keys [$BLINDCART_PASSPHRASE, else asked for]; only "
                           "used when a new list has to be signed");
  list_command->footer("Examples:\n  broker crl\n  broker crl --out /srv/www/revocation-list.pem");
  list_command->callback([list, run] { *run = [list] { return WriteList(*list); }; });
}

}  // namespace blindcart::broker
