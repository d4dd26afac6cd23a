#include "services/broker/broker_identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/key_file.h"
#include "proto/config.pb.h"
#include "services/broker/key_lock.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPublicMode = 0644;

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

std::string ParentOf(const std::string& path) { return fs::path(path).parent_path().string(); }

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (fsync(fd) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot sync ", path));
  return absl::OkStatus();
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot rename ", from));
  }
  return SyncFolder(ParentOf(to));
}

absl::Status Remove(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("cannot remove ", folder, ": ", error.message()));
  }
  return SyncFolder(ParentOf(folder));
}

// Whether a folder can be renamed, and another one of this user's take its place.
absl::Status CheckExchangeable(const std::string& folder) {
  struct stat own, parent;
  if (lstat(folder.c_str(), &own) != 0 || lstat(ParentOf(folder).c_str(), &parent) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot examine ", folder));
  }
  if (!S_ISDIR(own.st_mode) || own.st_dev != parent.st_dev) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder,
                     " is a link or a mounted file system, so that a new folder cannot take its "
                     "place. Make it a plain folder of the broker's folder; nothing was changed"));
  }
  if (own.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder, " is another user's, who could not read the new keys; run this as that user"));
  }
  return absl::OkStatus();
}

absl::StatusOr<protocol::IdentityLineage> LineageOf(const v1::IdentityHistory& history) {
  std::vector<int64_t> times;
  for (const v1::IdentityLink& link : history.links()) times.push_back(link.announced_at_ms());
  return protocol::IdentityLineage::FromHistory(history, times);
}

absl::Status NameOnCard(const DataPaths& paths, const protocol::IdentityLineage& lineage) {
  v1::BrokerCard card;
  const absl::Status read = ReadTextProto(paths.card, &card);
  // As in authority.cc.
  if (absl::IsNotFound(read)) return absl::OkStatus();
  if (!read.ok()) return read;
  const std::string fingerprint = crypto::HexEncode(lineage.current().fingerprint());
  if (card.fingerprint_hex() == fingerprint) return absl::OkStatus();
  card.set_identity_pem(lineage.current().ToPem());
  card.set_fingerprint_hex(fingerprint);
  *card.mutable_history() = lineage.ToHistory();
  return WriteFileAtomically(paths.card, ToTextProto(card), kPublicMode, /*replace=*/true);
}

absl::Status ContinueFrom(const std::function<absl::Status()>& between, absl::Status status) {
  return status.ok() ? between() : status;
}

// Puts one history in the place of another, of which the first is `expected` still.
absl::Status ReplaceHistory(storage::Store& store, const v1::IdentityHistory& expected,
                            const v1::IdentityHistory& next) {
  return store.Write([&](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<std::string> there = transaction.meta().Get(kIdentityHistoryMetaKey);
    if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
    if (there.value_or("") != expected.SerializeAsString()) {
      return absl::FailedPreconditionError(
          "another rotation came in between; nothing was changed here");
    }
    return transaction.meta().Set(kIdentityHistoryMetaKey, next.SerializeAsString());
  });
}

// The history once no change of it is under way any more: one whose commit was not answered may happen
// later. Whoever writes the same row comes after it.
absl::StatusOr<v1::IdentityHistory> ReadSettledHistory(storage::Store& store) {
  const absl::Status touched = store.Write([](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<std::string> there = transaction.meta().Get(kIdentityHistoryMetaKey);
    if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
    return transaction.meta().Set(kIdentityHistoryMetaKey, there.value_or(""));
  });
  if (!touched.ok()) return touched;
  return ReadIdentityHistory(store);
}

// Gives a store that is older than the folder, since it was brought back from a backup of its own, the
// history back that the card has: whoever followed before could not be led on without it. Nobody can
// have made that up without the keys. `history` is the store's.
absl::Status RecoverHistory(const DataPaths& paths, storage::Store& store,
                            const crypto::PublicIdentity& own, v1::IdentityHistory* history) {
  v1::BrokerCard card;
  const absl::Status read = ReadTextProto(paths.card, &card);
  // As in authority.cc.
  if (absl::IsNotFound(read)) return absl::OkStatus();
  if (!read.ok()) return read;
  const int known = history->links_size();
  if (card.history().links_size() <= known) return absl::OkStatus();
  const absl::StatusOr<protocol::IdentityLineage> lineage = LineageOf(card.history());
  if (!lineage.ok()) {
    return absl::DataLossError(
        absl::StrCat("the history of identities in ", paths.card, " is damaged"));
  }
  v1::IdentityHistory beginning = card.history();
  beginning.mutable_links()->DeleteSubrange(known, card.history().links_size() - known);
  const bool continues =
      known == 0 || beginning.SerializeAsString() == history->SerializeAsString();
  if (!continues || lineage->current().fingerprint() != own.fingerprint()) return absl::OkStatus();
  const absl::Status replaced = ReplaceHistory(store, *history, card.history());
  if (replaced.ok()) *history = card.history();
  return replaced;
}

// Does what a rotation that has happened still has to do, and undoes one that has not. Under the lock.
absl::StatusOr<BrokerIdentity> Settle(const DataPaths& paths, storage::Store& store,
                                      absl::string_view pass_phrase,
                                      const std::function<absl::Status()>& between) {
  const std::string retired = paths.identity_dir + ".retired";
  const std::string next = paths.identity_dir + ".next";
  absl::StatusOr<v1::IdentityHistory> history =
      Exists(next) ? ReadSettledHistory(store) : ReadIdentityHistory(store);
  if (!history.ok()) return history.status();
  absl::StatusOr<crypto::Identity> identity = crypto::LoadIdentity(paths.identity_dir, pass_phrase);
  if (identity.ok()) {
    const absl::Status recovered =
        RecoverHistory(paths, store, identity->public_identity(), &*history);
    if (!recovered.ok()) return recovered;
  }
  if (history->links().empty()) {
    if (!identity.ok()) return identity.status();
    if (Exists(next)) {
      const absl::Status removed = Remove(next);
      if (!removed.ok()) return removed;
    }
    protocol::IdentityLineage lineage(identity->public_identity());
    return BrokerIdentity{*std::move(identity), std::move(lineage)};
  }
  absl::StatusOr<protocol::IdentityLineage> lineage = LineageOf(*history);
  if (!lineage.ok()) {
    return absl::DataLossError(absl::StrCat("the history of identities in the store is damaged: ",
                                            lineage.status().message()));
  }
  const auto is_current = [&](const absl::StatusOr<crypto::Identity>& candidate) {
    return candidate.ok() &&
           candidate->public_identity().fingerprint() == lineage->current().fingerprint();
  };
  absl::Status status;
  if (!is_current(identity)) {
    absl::StatusOr<crypto::Identity> made = crypto::LoadIdentity(next, pass_phrase);
    if (!is_current(made)) {
      if (!identity.ok()) return identity.status();
      return absl::FailedPreconditionError(absl::StrCat(
          "the broker's key was changed, and ", paths.identity_dir,
          " is not the new one. Copy identity/ and broker.card from the machine on which "
          "`broker rotate-key` was run, or from a backup made since"));
    }
    if (Exists(paths.identity_dir)) {
      status = ContinueFrom(between, Rename(paths.identity_dir, retired));
    }
    if (status.ok()) status = ContinueFrom(between, Rename(next, paths.identity_dir));
    identity = std::move(made);
  } else if (Exists(next)) {
    status = Remove(next);
  }
  if (status.ok() && Exists(retired)) status = ContinueFrom(between, Remove(retired));
  if (status.ok()) status = NameOnCard(paths, *lineage);
  if (!status.ok()) return status;
  return BrokerIdentity{*std::move(identity), *std::move(lineage)};
}

}  // namespace

absl::StatusOr<v1::IdentityHistory> ReadIdentityHistory(storage::Store& store) {
  v1::IdentityHistory history;
  const absl::Status read = store.Read([&](storage::Transaction& transaction) -> absl::Status {
    history.Clear();
    const absl::StatusOr<std::string> stored = transaction.meta().Get(kIdentityHistoryMetaKey);
    if (absl::IsNotFound(stored.status())) return absl::OkStatus();
    if (!stored.ok()) return stored.status();
    if (stored->empty()) return absl::OkStatus();  // ReadSettledHistory.
    if (!history.ParseFromString(*stored) || history.links().empty()) {
      return absl::DataLossError("the history of identities in the store is damaged");
    }
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return history;
}

absl::StatusOr<bool> IsReplaced(storage::Store& store, const crypto::PublicIdentity& own) {
  std::string served;
  const absl::Status read = store.Read([&](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<std::string> noted = transaction.meta().Get(kServedIdentityMetaKey);
    if (!noted.ok() && !absl::IsNotFound(noted.status())) return noted.status();
    served = noted.value_or("");
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return !served.empty() && served != own.fingerprint();
}

absl::StatusOr<BrokerIdentity> LoadBrokerIdentity(const DataPaths& paths, storage::Store& store,
                                                  absl::string_view pass_phrase) {
  const absl::StatusOr<std::unique_ptr<KeyLock>> lock = KeyLock::Take(ParentOf(paths.identity_dir));
  if (!lock.ok()) return lock.status();
  return Settle(paths, store, pass_phrase, [] { return absl::OkStatus(); });
}

absl::Status NoteServed(storage::Store& store, const protocol::IdentityLineage& own) {
  return store.Write([&](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<std::string> there = transaction.meta().Get(kIdentityHistoryMetaKey);
    if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
    if (there.value_or("") != own.ToHistory().SerializeAsString()) {
      return absl::FailedPreconditionError(
          "the broker's key was changed while this one was starting; start it again");
    }
    return transaction.meta().Set(kServedIdentityMetaKey, own.current().fingerprint());
  });
}

absl::StatusOr<BrokerIdentity> RotateBrokerIdentity(const DataPaths& paths, storage::Store& store,
                                                    absl::string_view pass_phrase, int64_t now_ms,
                                                    const std::function<absl::Status()>& between) {
  const absl::StatusOr<std::unique_ptr<KeyLock>> lock = KeyLock::Take(ParentOf(paths.identity_dir));
  if (!lock.ok()) return lock.status();
  const absl::StatusOr<BrokerIdentity> old =
      Settle(paths, store, pass_phrase, [] { return absl::OkStatus(); });
  if (!old.ok()) return old.status();
  if (old->lineage.counter() >= protocol::kMaxIdentityLinks) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the key was changed ", protocol::kMaxIdentityLinks,
                     " times, and nobody follows further. Make a new broker"));
  }
  const absl::Status exchangeable = CheckExchangeable(paths.identity_dir);
  if (!exchangeable.ok()) return exchangeable;
  const absl::StatusOr<crypto::Identity> next = crypto::Identity::Generate();
  if (!next.ok()) return next.status();
  const std::string next_dir = paths.identity_dir + ".next";
  absl::Status status = MakePrivateDirectory(next_dir);
  if (status.ok()) status = crypto::SaveIdentity(next_dir, *next, pass_phrase);
  if (status.ok()) status = ContinueFrom(between, SyncFolder(ParentOf(next_dir)));
  if (!status.ok()) return status;
  const absl::StatusOr<protocol::IdentityLineage> lineage =
      old->lineage.Follow({protocol::MakeIdentityLink(old->identity, next->public_identity(),
                                                      old->lineage.counter() + 1, now_ms)},
                          now_ms);
  if (!lineage.ok()) return lineage.status();
  status =
      ContinueFrom(between, ReplaceHistory(store, old->lineage.ToHistory(), lineage->ToHistory()));
  if (!status.ok()) return status;
  return Settle(paths, store, pass_phrase, between);
}

}  // namespace blindcart::broker
