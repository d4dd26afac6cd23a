#include <sys/stat.h>

#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/broker/books.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/broker/progress_bar.h"
#include "services/storage/move_store.h"
#include "services/storage/postgres.h"
#include "services/storage/postgres_store.h"
#include "services/storage/sqlite_store.h"

namespace blindcart::broker {
namespace {

constexpr char kSqlitePrefix[] = "sqlite:";

struct MigrateOptions {
  std::string data_dir;
  std::string from;
  std::string to;
};

absl::StatusOr<std::string> SourcePath(const MigrateOptions& options) {
  if (options.from.empty()) {
    const absl::StatusOr<v1::BrokerConfig> config = LoadConfig(options.data_dir);
    if (!config.ok()) return config.status();
    return DataPaths(config->data_dir()).database;
  }
  absl::string_view path = options.from;
  if (!absl::ConsumePrefix(&path, kSqlitePrefix) || path.empty()) {
    return absl::InvalidArgumentError("--from: write sqlite:PATH of the broker's database file");
  }
  return std::string(path);
}

absl::Status Migrate(const MigrateOptions& options) {
  const absl::StatusOr<std::string> path = SourcePath(options);
  if (!path.ok()) return path.status();
  const absl::Status safe = storage::CheckPostgresUrl(options.to);
  if (!safe.ok()) return absl::InvalidArgumentError(absl::StrCat("--to: ", safe.message()));
  struct stat info;
  if (stat(path->c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::NotFoundError(absl::StrCat("there is no database file ", *path));
  }

  absl::StatusOr<std::unique_ptr<storage::Store>> source = storage::OpenSqliteStore(*path);
  if (!source.ok()) return source.status();
  const absl::StatusOr<ledger::AuditReport> before = CheckBooks(**source, "SQLite file");
  if (!before.ok()) return before.status();
  source->reset();

  ProgressBar bar("Moving");
  ledger::AuditReport after;
  const absl::Status moved = storage::MoveSqliteToPostgres(
      *path, options.to,
      [&]() -> absl::Status {
        bar.End();
        storage::PostgresStoreOptions target_options;
        target_options.url = options.to;
        absl::StatusOr<std::unique_ptr<storage::Store>> target =
            storage::OpenPostgresStore(target_options);
        if (!target.ok()) return target.status();
        absl::StatusOr<ledger::AuditReport> report = CheckBooks(**target, "new database");
        if (!report.ok()) return report.status();
        after = *std::move(report);
        return absl::OkStatus();
      },
      [&](int64_t done, int64_t total) { bar.Show(done, total); });
  if (!moved.ok()) {
    bar.End();
    return moved;
  }
  std::cout << "Moved " << Summary(after) << ".\n"
            << "Every value was read back and compared, and the books are right.\n"
            << "The SQLite file takes no changes any more; keep it as a backup.\n"
            << "Next: write this into broker.textproto and start the broker:\n"
            << "  store { url: \"postgres://...\" }   (the address that you gave to --to)\n";
  return absl::OkStatus();
}

}  // namespace

void AddMigrateCommand(CLI::App& app, Run* run) {
  auto options = std::make_shared<MigrateOptions>();
  CLI::App* command = app.add_subcommand(
      "migrate", "Move everything from a SQLite file to an empty PostgreSQL database");
  AddDataDirFlag(*command, &options->data_dir);
  command->add_option("--from", options->from,
                      "sqlite:PATH of the database file [that of --data-dir]");
  command->add_option("--to", options->to, "postgres://USER@HOST/DATABASE, which must be empty")
      ->required();
  command->footer(
      "Audits the file, copies it in one transaction, reads everything back, audits again, and\n"
      "then closes the file for ever. A broker that still serves from it is refused every change\n"
      "from then on: stop it, and start it again with the new address. After an error the file\n"
      "is as it was.\n"
      "Examples:\n"
      "  broker migrate --to 'postgres:///blindcart?host=/var/run/postgresql'\n"
      "  broker migrate --from sqlite:/srv/broker/broker.db \\\n"
      "      --to 'postgres://broker@db.example.org/blindcart?sslrootcert=/srv/db-ca.pem'");
  command->callback([options, run] { *run = [options] { return Migrate(*options); }; });
}

}  // namespace blindcart::broker
