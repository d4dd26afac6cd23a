// The receiving end of files in a direct session (protocol/peer_message.h): whether an offer is taken,
// where it goes on from, and every check before the file gets its name. One file at a time.
//
// What has come of a file lies in a hidden part file named after its sender and content, so that an
// offer of the same content goes on where the last one broke off, in this session or a later one. How
// much may lie there, and how often a sender may make this end look, is received_folder.h's. Only a file whose SHA-256 and signature are right gets its
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
#include "services/agent/part_file.h"
#include "services/agent/received_folder.h"

namespace blindcart::agent {

class PeerReceiver {
 public:
  struct Done {
    v1::PeerFileResult result;
    // When a new file came: all is checked, and it lies at `path`.
    absl::optional<protocol::PeerFile> file;
    std::string path;
    std::string signature;
  };

  // Where content of that SHA-256 lies that this sender has sent before; empty when there is none.
  using FindEarlier = std::function<std::string(const std::string& sha256)>;

  // What of this sender lies in the folder already.
  using FindStored = std::function<absl::StatusOr<ReceivedFolder::Stored>()>;

  // `folder` is shared by all receivers, and outlives them. `own_fingerprint` is the receiver's.
  PeerReceiver(ReceivedFolder& folder, const crypto::PublicIdentity& sender,
               std::string own_fingerprint, FindEarlier find_earlier, FindStored find_stored);

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
    std::unique_ptr<ReceivedFolder::Place> place;  // None: the content is here already.
    std::string transfer_id;
    protocol::PeerFile file;
    absl::optional<PartFile> part;  // As `place`.
    crypto::Sha256Hasher hasher;
    uint64_t received_bytes = 0;
  };

  // Whether what lies at `path` is what is offered.
  bool IsHere(const std::string& path, const v1::PeerFileOffer& offer);
  // Makes or goes on with the part file.
  v1::PeerFileVerdict Begin(const v1::PeerFileOffer& offer, Incoming* incoming);
  v1::PeerFileResult GiveUp(v1::PeerFileVerdict verdict);

  ReceivedFolder& folder_;
  const std::string sender_name_;  // For the folder: hex, of the fingerprint.
  const crypto::PublicIdentity sender_;
  const std::string own_fingerprint_;
  const FindEarlier find_earlier_;
  const FindStored find_stored_;
  absl::optional<Incoming> incoming_;
  std::string given_up_id_;  // The last transfer that this end gave up.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_RECEIVER_H_
