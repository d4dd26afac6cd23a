// The receiving end of files in a direct session (protocol/peer_message.h): whether an offer is taken,
// where it goes on from, and every check before the file gets its name. One file at a time.
//
// What has come of a file lies in a hidden part file named after its sender and content, so that an
// offer of the same content goes on where the last one broke off, in this session or a later one;
// of each sender the latest kMaxUnfinished are kept. Only a file whose SHA-256 and signature are right gets its
// name, which is made here of the sender's hint (protocol/file_name.h) and never stands for another
// file.
//
// Thread safety: none; every call blocks on the disk.
#ifndef BLINDCART_SERVICES_AGENT_PEER_RECEIVER_H_
#define BLINDCART_SERVICES_AGENT_PEER_RECEIVER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "proto/peer.pb.h"
#include "protocol/peer_message.h"
#include "services/agent/in_progress.h"
#include "services/agent/part_file.h"

namespace blindcart::agent {

class PeerReceiver {
 public:
  static constexpr size_t kMaxUnfinished = 4;
  // A file is not taken when less than this would be left on the disk.
  static constexpr uint64_t kReserveBytes = 64 * 1024 * 1024;

  struct Done {
    v1::PeerFileResult result;
    // When a new file came: all is checked, and it lies at `path`.
    absl::optional<protocol::PeerFile> file;
    std::string path;
    std::string signature;
  };

  // Where content of that SHA-256 lies that this sender has sent before; empty when there is none.
  using FindEarlier = std::function<std::string(const std::string& sha256)>;

  // `folder` is made when it is not there. `own_fingerprint` is the receiver's. `under_way` is shared by all receivers of
  // that folder, so that no two write one part file, and outlives them.
  PeerReceiver(std::string folder, const crypto::PublicIdentity& sender,
               std::string own_fingerprint, FindEarlier find_earlier, InProgress& under_way);

  v1::PeerFileAnswer OnOffer(const v1::PeerFileOffer& offer, uint64_t max_size_bytes);
  // What to answer: how far it has come, or that it cannot go on. Nothing for a piece of a file that
  // this end has given up. InvalidArgument: the sender breaks the rules.
  struct Taken {
    absl::optional<v1::PeerFileReceived> received;
    absl::optional<v1::PeerFileResult> failed;
  };
  absl::StatusOr<Taken> OnPiece(const v1::PeerFilePiece& piece);
  // InvalidArgument: the sender breaks the rules. Nothing in it for a file given up.
  absl::StatusOr<absl::optional<Done>> OnEnd(const v1::PeerFileEnd& end);
  void OnStopped(const v1::PeerFileStopped& stopped);

  // The file under way and how far it is.
  struct Progress {
    std::string name;
    uint64_t received_bytes = 0;
    uint64_t size_bytes = 0;
  };
  absl::optional<Progress> progress() const;

 private:
  struct Incoming {
    std::unique_ptr<InProgress::Entry> alone;
    std::string transfer_id;
    protocol::PeerFile file;
    absl::optional<PartFile> part;  // None: the content is here already.
    crypto::Sha256Hasher hasher;
    uint64_t received_bytes = 0;
  };

  std::string PartName(const v1::PeerFileOffer& offer) const;
  void RemoveOldest(const std::string& keep) const;
  v1::PeerFileResult GiveUp(v1::PeerFileVerdict verdict);

  const std::string folder_;
  const crypto::PublicIdentity sender_;
  const std::string own_fingerprint_;
  const FindEarlier find_earlier_;
  InProgress& under_way_;
  absl::optional<Incoming> incoming_;
  std::string given_up_id_;  // The last transfer that this end gave up.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_RECEIVER_H_
