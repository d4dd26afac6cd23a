// Backups of a broker, made while it serves, and brought back (docs/operating.md).
//
// A backup is a folder: the files of the data folder under their names, with the database as one file
// of SQLite whatever the store is, and MANIFEST (proto/backup.proto) with the size and SHA-256 of each.
// Private keys are in it as they rest, under their pass phrase. The hashes find damage, not malice:
// whoever can write to a backup can also write a new manifest.
//
// Both functions work in a folder beside the target and rename it when everything in it is synced, so
// the target is there whole or not at all, and nothing is ever overwritten.
// Errors: kAlreadyExists when the target is there (for a restore: is not empty), kNotFound for what is
// missing, kDataLoss for a backup that is not as it was made or books that are wrong,
// kFailedPrecondition for a newer version's backup; those of files and stores. Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_BACKUP_H_
#define BLINDCART_SERVICES_BROKER_BACKUP_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "proto/backup.pb.h"
#include "proto/config.pb.h"
#include "services/ledger/audit.h"

namespace blindcart::broker {

inline constexpr char kManifestName[] = "MANIFEST";

struct BackupReport {
  v1::BackupManifest manifest;
  ledger::AuditReport books;  // Of the copy.
};

// Told the steps done and their number.
using BackupProgress = absl::FunctionRef<void(int64_t, int64_t)>;

// `config` is that of the broker in `data_dir` (LoadConfig), whose store is up to date (OpenStore).
// Every transaction that was committed before the call is in the backup.
absl::StatusOr<BackupReport> MakeBackup(const std::string& data_dir, const v1::BrokerConfig& config,
                                        const std::string& to, int64_t now_ms,
                                        BackupProgress progress);

// The restored broker keeps its store in SQLite; `broker migrate` leads on.
absl::StatusOr<BackupReport> RestoreBackup(const std::string& from, const std::string& data_dir,
                                           BackupProgress progress);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BACKUP_H_
