// What the agent keeps of direct sessions, in its database: where each user was last reached, the
// texts that went to and fro, and the files that came with their senders' signatures. Texts rest here
// as they are read: the file is its owner's alone. Identities are pinned where those of messages are
// (message_store.h), so that a user has one key, however they are met.
//
// Bounded: of each user's texts and files the latest kMaxKept are kept.
// Thread-safe; every call blocks on the disk. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_PEER_STORE_H_
#define BLINDCART_SERVICES_AGENT_PEER_STORE_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "services/agent/agent_database.h"

namespace blindcart::agent {

struct PeerContact {
  std::string username;
  std::string fingerprint;  // Of the pinned identity, 32 bytes; empty: none is.
  bool verified = false;    // The user compared safety numbers.
  std::string address;      // HOST:PORT where they were last reached, or empty.
  bool plain_tcp = false;
};

struct PeerTextRecord {
  int64_t number = 0;  // In the order in which they were written down.
  std::string username;
  std::string fingerprint;
  std::string message_id;  // 16 bytes.
  bool outgoing = false;
  bool delivered = false;
  std::string text;
  int64_t at_ms = 0;
};

struct PeerFileRecord {
  std::string username;
  std::string fingerprint;
  std::string name;  // As the sender called it and signed it.
  std::string path;
  uint64_t size_bytes = 0;
  std::string sha256;
  std::string signature;
  int64_t at_ms = 0;
};

struct PeerFilter {
  std::string username;  // Empty: of all.
  int64_t since_ms = 0;
  int64_t before_number = std::numeric_limits<int64_t>::max();  // Of texts.
  int64_t limit = 1'000;
};

class PeerStore {
 public:
  static constexpr int64_t kMaxKept = 1'000;

  // `database` must outlive the store.
  explicit PeerStore(AgentDatabase& database) : database_(database) {}

  // A user of whom nothing is known has no fingerprint and no address.
  absl::StatusOr<PeerContact> FindContact(absl::string_view username);
  enum class Pinned { kNow, kBefore, kChanged };
  // Pins the identity of a user who is not known yet; `they_called`: without this user's doing. When
  // another is pinned, that stays, and this one waits for the user's decision (message_store.h,
  // "offered").
  absl::StatusOr<Pinned> Pin(absl::string_view username, const crypto::PublicIdentity& identity,
                             bool they_called, int64_t now_ms);
  // Users whose identity is the one that was pinned when they called, and has not been compared since.
  absl::StatusOr<std::vector<std::string>> UncheckedCallers();
  absl::Status SetAddress(absl::string_view username, absl::string_view address, bool plain_tcp);

  // False when that text (same user, same id) is there already.
  absl::StatusOr<bool> SaveText(const PeerTextRecord& text);
  absl::Status MarkDelivered(absl::string_view fingerprint, absl::string_view message_id);
  // The latest that fit the filter, the oldest of them first.
  absl::StatusOr<std::vector<PeerTextRecord>> Texts(const PeerFilter& filter);

  absl::Status SaveFile(const PeerFileRecord& file);
  // The latest of that content from that user.
  absl::StatusOr<absl::optional<PeerFileRecord>> FindFile(absl::string_view fingerprint,
                                                          absl::string_view sha256);
  // Where that user's files were put, each path once.
  absl::StatusOr<std::vector<std::string>> FilePaths(absl::string_view fingerprint);
  // The same; `before_number` does not matter.
  absl::StatusOr<std::vector<PeerFileRecord>> Files(const PeerFilter& filter);

 private:
  AgentDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_STORE_H_
