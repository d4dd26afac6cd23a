#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "protocol/clock.h"
#include "services/broker/backup.h"
#include "services/broker/books.h"
#include "services/broker/commands.h"
#include "services/broker/progress_bar.h"

namespace blindcart::broker {
namespace {

struct BackupOptions {
  std::string data_dir;
  std::string to;
};

struct RestoreOptions {
  std::string from;
  std::string data_dir;
};

std::string TimeText(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%SZ", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

absl::Status Backup(const BackupOptions& options) {
  const int64_t now_ms = protocol::SystemClock().NowUnixMs();
  // Brings the schema up to date, and refuses a store that was moved away.
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  ProgressBar bar("Copying");
  const absl::StatusOr<BackupReport> report =
      MakeBackup(options.data_dir, broker->config, options.to, now_ms,
                 [&](int64_t done, int64_t total) { bar.Show(done, total); });
  bar.End();
  if (!report.ok()) return report.status();
  std::cout << "Backed up " << Summary(report->books) << " to " << options.to << ".\n"
            << "The books in the copy are right.\n"
            << "The keys in it are under their pass phrase: keep that in another place.\n";
  return absl::OkStatus();
}

absl::Status Restore(const RestoreOptions& options) {
  ProgressBar bar("Restoring");
  const absl::StatusOr<BackupReport> report = RestoreBackup(
      options.from, options.data_dir, [&](int64_t done, int64_t total) { bar.Show(done, total); });
  bar.End();
  if (!report.ok()) return report.status();
  std::cout << "Restored " << Summary(report->books) << ", as of "
            << TimeText(report->manifest.made_at_ms()) << ".\n"
            << "Every file is as it was backed up, and the books are right.\n"
            << "  fingerprint  " << report->manifest.fingerprint_hex() << "\n"
            << "Make sure that the broker this was a backup of never serves again.\n"
            << "Next: broker serve --data-dir " << options.data_dir << "\n"
            << "  or, into PostgreSQL: broker migrate --data-dir " << options.data_dir
            << " --to postgres://...\n";
  return absl::OkStatus();
}

}  // namespace

void AddBackupCommands(CLI::App& app, Run* run) {
  auto backup = std::make_shared<BackupOptions>();
  CLI::App* backup_command = app.add_subcommand(
      "backup", "Copy keys, configuration and database to a new folder; also while it serves");
  AddDataDirFlag(*backup_command, &backup->data_dir);
  backup_command->add_option("--to", backup->to, "The new folder")->required();
  backup_command->footer(
      "The database is copied as it is at one moment, audited, and is SQLite whatever the store\n"
      "is. Nothing is overwritten, and a folder of that name is a whole backup.\n"
      "Example:\n"
      "  broker backup --data-dir /srv/broker --to /backup/broker-$(date +%F)");
  backup_command->callback([backup, run] { *run = [backup] { return Backup(*backup); }; });

  auto restore = std::make_shared<RestoreOptions>();
  CLI::App* restore_command =
      app.add_subcommand("restore", "Make a broker of a backup, after checking all of it");
  restore_command->add_option("--from", restore->from, "The folder that `broker backup` made")
      ->required();
  restore_command->add_option("--data-dir", restore->data_dir, "The broker's new folder")
      ->required();
  restore_command->footer(
      "What happened after the backup is lost to the restored broker: see docs/operating.md.\n"
      "Example:\n"
      "  broker restore --from /backup/broker-2026-11-21 --data-dir /srv/broker");
  restore_command->callback([restore, run] { *run = [restore] { return Restore(*restore); }; });
}

}  // namespace blindcart::broker
