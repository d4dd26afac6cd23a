#include "services/broker/backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "services/broker/books.h"
#include "services/broker/broker_identity.h"
#include "services/broker/config.h"
#include "services/broker/key_lock.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"
#include "services/storage/move_store.h"
#include "services/storage/sqlite_schema.h"
#include "services/storage/sqlite_store.h"

namespace blindcart::broker {
namespace {

namespace fs = std::filesystem;

constexpr int kManifestVersion = 1;
constexpr size_t kMaxFiles = 1'000;
constexpr size_t kPieceBytes = 256 * 1024;
constexpr mode_t kPrivateMode = 0600;
constexpr mode_t kPublicMode = 0644;
constexpr char kConfigName[] = "broker.textproto";
constexpr char kCardName[] = "broker.card";
constexpr char kDatabaseName[] = "broker.db";
// Below the data folder, in which every plain file belongs to the broker.
constexpr const char* kFolders[] = {"identity", "tls", "authority", "notary"};
// Without these there is no broker.
constexpr const char* kNeeded[] = {kConfigName,
                                   kCardName,
                                   kDatabaseName,
                                   "identity/rsa.pem",
                                   "identity/ed25519.pem",
                                   "tls/certificate.pem",
                                   "tls/private_key.pem"};
// Each comes with the other.
constexpr std::pair<const char*, const char*> kPairs[] = {
    {"authority/private_key.pem", "authority/certificate.pem"},
    {"notary/tsa.pem", "notary/certificate.pem"},
};

absl::Status FileError(absl::string_view doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", doing, " ", path));
}

std::string WithoutSlash(const std::string& path) {
  std::string name = path;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  return name;
}

absl::Status Sync(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return FileError("open", path);
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (fsync(fd) != 0) return FileError("sync", path);
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  return Sync(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
}

// Makes a folder and whatever lacks above it, to stay after a loss of power.
absl::Status MakeParents(const fs::path& folder) {
  std::error_code error;
  if (folder.empty() || fs::exists(folder, error)) return absl::OkStatus();
  const absl::Status above = MakeParents(folder.parent_path());
  if (!above.ok()) return above;
  if (mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    return FileError("make", folder.string());
  return SyncFolder(folder.parent_path().string());
}

// A folder under a name that nobody else has, which is removed unless it becomes what it was made for.
class WorkFolder {
 public:
  static absl::StatusOr<std::unique_ptr<WorkFolder>> MakeBeside(const std::string& target) {
    const absl::Status made = MakeParents(fs::path(target).parent_path());
    if (!made.ok()) return made;
    std::string name = absl::StrCat(target, ".XXXXXX");
    if (mkdtemp(name.data()) == nullptr) return FileError("make a folder beside", target);
    return std::unique_ptr<WorkFolder>(new WorkFolder(target, std::move(name)));
  }
  ~WorkFolder() {
    if (path_.empty()) return;
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  std::string Path(const std::string& name) const { return absl::StrCat(path_, "/", name); }

  // Everything in it is synced already.
  absl::Status Publish() {
    for (const char* folder : kFolders) {
      struct stat info;
      if (stat(Path(folder).c_str(), &info) != 0) continue;
      const absl::Status synced = SyncFolder(Path(folder));
      if (!synced.ok()) return synced;
    }
    absl::Status status = SyncFolder(path_);
    if (!status.ok()) return status;
    // A folder never replaces anything but an empty folder.
    if (rename(path_.c_str(), target_.c_str()) != 0) {
      if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
        return absl::AlreadyExistsError(absl::StrCat(target_, " is there already"));
      }
      return FileError("make", target_);
    }
    path_.clear();
    return SyncFolder(fs::path(target_).parent_path().string());
  }

 private:
  WorkFolder(std::string target, std::string path)
      : target_(std::move(target)), path_(std::move(path)) {}
  const std::string target_;
  std::string path_;
};

// Reads a file to its end and tells its size and hash; writes the same into `to` unless that is empty.
absl::StatusOr<v1::BackupFile> CopyAndHash(const std::string& from, const std::string& name,
                                           const std::string& to, mode_t mode) {
  const int in = open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (in < 0) return FileError("open", from);
  absl::Cleanup close_in = [in] { close(in); };
  struct stat info;
  if (fstat(in, &info) != 0) return FileError("examine", from);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(from, " is no plain file"));
  }
  int out = -1;
  absl::Cleanup close_out = [&out] {
    if (out >= 0) close(out);
  };
  if (!to.empty()) {
    out = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (out < 0) return FileError("create", to);
    if (fchmod(out, mode) != 0) return FileError("set the mode of", to);
  }
  v1::BackupFile file;
  file.set_path(name);
  crypto::Sha256Hasher hasher;
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    const ssize_t got = read(in, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", from);
    if (got == 0) break;
    absl::string_view rest(piece.data(), static_cast<size_t>(got));
    hasher.Update(rest);
    file.set_size_bytes(file.size_bytes() + got);
    while (out >= 0 && !rest.empty()) {
      const ssize_t written = write(out, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError("write", to);
      rest.remove_prefix(static_cast<size_t>(written));
    }
  }
  if (out >= 0 && fsync(out) != 0) return FileError("sync", to);
  file.set_sha256_hex(crypto::HexEncode(hasher.Finish()));
  return file;
}

// Whatever lies below `folder` and is no folder, under its relative name, sorted.
absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error), end;
  if (error) {
    return absl::NotFoundError(absl::StrCat("cannot read ", folder, ": ", error.message()));
  }
  for (; entry != end; entry.increment(error)) {
    if (error || files.size() > kMaxFiles) break;
    if (entry->symlink_status(error).type() == fs::file_type::directory) continue;
    files.push_back(entry->path().lexically_relative(folder).generic_string());
  }
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

std::string ManifestHash(v1::BackupManifest manifest) {
  manifest.clear_manifest_sha256_hex();
  return crypto::HexEncode(crypto::Sha256(manifest.SerializeAsString()));
}

absl::Status CheckComplete(const std::set<std::string>& names, absl::string_view where) {
  for (const char* needed : kNeeded) {
    if (names.count(needed) == 0) {
      return absl::NotFoundError(absl::StrCat(where, " has no ", needed));
    }
  }
  for (const auto& [one, other] : kPairs) {
    if (names.count(one) != names.count(other)) {
      return absl::NotFoundError(
          absl::StrCat(where, " has ", names.count(one) == 0 ? other : one, " but no ",
                       names.count(one) == 0 ? one : other,
                       ": a new part of the broker is just being made; try again"));
    }
  }
  return absl::OkStatus();
}

struct DatabaseCheck {
  ledger::AuditReport books;
  v1::IdentityHistory history;
};

absl::StatusOr<DatabaseCheck> CheckDatabase(const std::string& database) {
  const absl::StatusOr<std::unique_ptr<storage::Store>> store = storage::OpenSqliteStore(database);
  if (!store.ok()) return store.status();
  absl::StatusOr<ledger::AuditReport> books = CheckBooks(**store, "copy");
  if (!books.ok()) return books.status();
  absl::StatusOr<v1::IdentityHistory> history = ReadIdentityHistory(**store);
  if (!history.ok()) return history.status();
  return DatabaseCheck{*std::move(books), *std::move(history)};
}

// Opening a database for its audit makes it write a log again; this leaves the one file.
absl::Status RemoveLog(const std::string& database) {
  for (const char* suffix : {"-wal", "-shm"}) {
    const std::string path = database + suffix;
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) continue;
    if (info.st_size != 0 && absl::string_view(suffix) == "-wal") {
      return absl::DataLossError(absl::StrCat(path, " was not merged"));
    }
    if (unlink(path.c_str()) != 0) return FileError("remove", path);
  }
  return absl::OkStatus();
}

bool IsPublic(const std::string& name) {
  return name == kCardName || absl::EndsWith(name, "certificate.pem");
}

absl::Status Altered(const std::string& name) {
  return absl::DataLossError(absl::StrCat("the backup is not as it was made: ", name,
                                          ". Nothing was restored; use another backup"));
}

absl::StatusOr<v1::BackupManifest> ReadManifest(const std::string& from) {
  v1::BackupManifest manifest;
  const absl::Status read = ReadTextProto(ResolvePath(from, kManifestName), &manifest);
  if (absl::IsNotFound(read)) {
    return absl::NotFoundError(absl::StrCat("there is no backup in ", from, " (no ", kManifestName,
                                            "); one is made with: broker backup --to FOLDER"));
  }
  if (!read.ok()) return Altered(kManifestName);
  if (manifest.version() > kManifestVersion ||
      manifest.schema_version() > static_cast<int64_t>(storage::BrokerMigrations().size())) {
    return absl::FailedPreconditionError(
        "this backup was made by a newer version of the program; restore it with that one");
  }
  if (manifest.version() != kManifestVersion ||
      manifest.manifest_sha256_hex() != ManifestHash(manifest) ||
      static_cast<size_t>(manifest.files_size()) > kMaxFiles) {
    return Altered(kManifestName);
  }
  return manifest;
}

// A name that the manifest may have: a file in the folder, or one level below it.
bool IsGoodName(absl::string_view name) {
  const size_t slash = name.find('/');
  const absl::string_view last = slash == absl::string_view::npos ? name : name.substr(slash + 1);
  if (last.empty() || last == "." || last == ".." || last.find('/') != absl::string_view::npos) {
    return false;
  }
  if (slash == absl::string_view::npos) {
    return name == kConfigName || name == kCardName || name == kDatabaseName;
  }
  return std::find(std::begin(kFolders), std::end(kFolders), name.substr(0, slash)) !=
         std::end(kFolders);
}

// Written for the folder and the store that the broker has now.
absl::Status AdaptConfig(const std::string& path) {
  v1::BrokerConfig config;
  absl::Status status = ReadTextProto(path, &config);
  if (status.ok()) status = CompleteConfig(&config);
  if (!status.ok()) return status;
  if (config.data_dir() == "." && config.store().url().empty()) return absl::OkStatus();
  config.set_data_dir(".");
  config.mutable_store()->clear_url();
  return WriteFileAtomically(path, CommentedConfig(config), kPrivateMode, /*replace=*/true);
}

}  // namespace

absl::StatusOr<BackupReport> MakeBackup(const std::string& data_dir, const v1::BrokerConfig& config,
                                        const std::string& to_folder, int64_t now_ms,
                                        BackupProgress progress) {
  const std::string to = WithoutSlash(to_folder);
  struct stat info;
  if (lstat(to.c_str(), &info) == 0) {
    return absl::AlreadyExistsError(
        absl::StrCat(to, " is there already; a backup overwrites nothing. Give a new name"));
  }
  const std::string& keys_dir = config.data_dir();
  absl::StatusOr<std::unique_ptr<WorkFolder>> work = WorkFolder::MakeBeside(to);
  if (!work.ok()) return work.status();
  const std::string database = (*work)->Path(kDatabaseName);
  absl::Status status =
      config.store().url().empty()
          ? storage::CopySqliteStore(DataPaths(keys_dir).database, database, progress)
          : storage::CopyPostgresStore(config.store().url(), database, progress);
  if (!status.ok()) return status;
  absl::StatusOr<DatabaseCheck> checked = CheckDatabase(database);
  if (!checked.ok()) return checked.status();
  status = RemoveLog(database);
  if (status.ok()) status = Sync(database, O_RDONLY);
  if (!status.ok()) return status;

  absl::StatusOr<v1::BackupFile> hashed = CopyAndHash(database, kDatabaseName, "", kPrivateMode);
  if (!hashed.ok()) return hashed.status();

  // Not before, since whatever concerns the database may take long.
  const absl::StatusOr<std::unique_ptr<KeyLock>> lock = KeyLock::Take(keys_dir);
  if (!lock.ok()) return lock.status();
  BackupReport report;
  report.books = std::move(checked->books);
  v1::BackupManifest& manifest = report.manifest;
  manifest.set_version(kManifestVersion);
  manifest.set_made_at_ms(now_ms);
  manifest.set_schema_version(static_cast<int64_t>(storage::BrokerMigrations().size()));
  const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(DataPaths(keys_dir).card);
  if (!card.ok()) return card.status();
  if (card->card.history().SerializeAsString() != checked->history.SerializeAsString()) {
    return absl::FailedPreconditionError(
        "the broker's key and its database do not belong together: either it was changed just now "
        "(try again, or start the broker once), or on another machine (copy identity/ and "
        "broker.card from there)");
  }
  manifest.set_fingerprint_hex(card->card.fingerprint_hex());

  std::map<std::string, std::string> sources = {
      {kConfigName, DataPaths(data_dir).config},
      {kCardName, DataPaths(keys_dir).card},
  };
  for (const char* folder : kFolders) {
    const std::string path = ResolvePath(keys_dir, folder);
    if (lstat(path.c_str(), &info) != 0) continue;
    const absl::StatusOr<std::vector<std::string>> files = FilesBelow(path);
    if (!files.ok()) return files.status();
    status = MakePrivateDirectory((*work)->Path(folder));
    if (!status.ok()) return status;
    for (const std::string& file : *files) {
      const std::string name = absl::StrCat(folder, "/", file);
      if (IsGoodName(name)) sources[name] = ResolvePath(path, file);
    }
  }
  std::set<std::string> names = {kDatabaseName};
  for (const auto& [name, path] : sources) {
    absl::StatusOr<v1::BackupFile> file =
        CopyAndHash(path, name, (*work)->Path(name), kPrivateMode);
    if (!file.ok()) return file.status();
    *manifest.add_files() = *std::move(file);
    names.insert(name);
  }
  status = CheckComplete(names, data_dir);
  if (!status.ok()) return status;
  *manifest.add_files() = *std::move(hashed);
  manifest.set_manifest_sha256_hex(ManifestHash(manifest));
  status = WriteFileAtomically((*work)->Path(kManifestName), ToTextProto(manifest), kPrivateMode,
                               /*replace=*/false);
  if (status.ok()) status = (*work)->Publish();
  if (!status.ok()) return status;
  return report;
}

absl::StatusOr<BackupReport> RestoreBackup(const std::string& from, const std::string& data_dir,
                                           BackupProgress progress) {
  const std::string target = WithoutSlash(data_dir);
  std::error_code error;
  if (fs::symlink_status(target, error).type() != fs::file_type::not_found &&
      !(fs::is_directory(target, error) && fs::is_empty(target, error))) {
    return absl::AlreadyExistsError(
        absl::StrCat(target, " is there already; nothing is overwritten. Give a new folder"));
  }
  BackupReport report;
  absl::StatusOr<v1::BackupManifest> manifest = ReadManifest(from);
  if (!manifest.ok()) return manifest.status();
  report.manifest = *std::move(manifest);
  std::set<std::string> names;
  int64_t total_bytes = 0;
  for (const v1::BackupFile& file : report.manifest.files()) {
    if (!IsGoodName(file.path()) || !names.insert(file.path()).second) {
      return Altered(kManifestName);
    }
    total_bytes += file.size_bytes();
  }
  absl::Status status = CheckComplete(names, from);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> found = FilesBelow(from);
  if (!found.ok()) return found.status();
  for (const std::string& name : *found) {
    if (name != kManifestName && names.count(name) == 0) {
      return Altered(absl::StrCat(name, " does not belong to it"));
    }
  }

  absl::StatusOr<std::unique_ptr<WorkFolder>> work = WorkFolder::MakeBeside(target);
  if (!work.ok()) return work.status();
  int64_t done_bytes = 0;
  for (const v1::BackupFile& expected : report.manifest.files()) {
    const std::string& name = expected.path();
    const size_t slash = name.find('/');
    if (slash != std::string::npos) {
      status = MakePrivateDirectory((*work)->Path(name.substr(0, slash)));
      if (!status.ok()) return status;
    }
    const absl::StatusOr<v1::BackupFile> copied =
        CopyAndHash(ResolvePath(from, name), name, (*work)->Path(name),
                    IsPublic(name) ? kPublicMode : kPrivateMode);
    if (absl::IsNotFound(copied.status())) return Altered(absl::StrCat(name, " is missing"));
    if (!copied.ok()) return copied.status();
    if (copied->size_bytes() != expected.size_bytes() ||
        copied->sha256_hex() != expected.sha256_hex()) {
      return Altered(absl::StrCat(name, " has another content"));
    }
    done_bytes += expected.size_bytes();
    progress(done_bytes, total_bytes);
  }
  status = AdaptConfig((*work)->Path(kConfigName));
  if (!status.ok()) return status;
  const std::string database = (*work)->Path(kDatabaseName);
  absl::StatusOr<DatabaseCheck> checked = CheckDatabase(database);
  if (!checked.ok()) return checked.status();
  report.books = std::move(checked->books);
  status = RemoveLog(database);
  if (status.ok()) status = Sync(database, O_RDONLY);
  if (status.ok()) status = (*work)->Publish();
  if (!status.ok()) return status;
  return report;
}

}  // namespace blindcart::broker
