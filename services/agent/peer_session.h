// One direct session with another agent (docs/protocol.md, "Certificates and direct sessions"): the
// handshake, texts and files, over one link. Knows no gRPC.
//
// A PeerSession ends with its link and never comes back; peer_sessions.h opens the next one. What
// arrives is worked off in order, one thing at a time, on the executor; public-key operations and
// the disk never hold up a network thread. A peer who breaks the rules or sends more than may be
// under way is cut off.
//
// Errors, with words for people: Unavailable (not connected, broken, no answer in time), DataLoss (the
// other end is not whom it claims to be, or content is damaged), PermissionDenied (the other end
// refuses), FailedPrecondition.
// Thread safety: every method may be called from any thread; those that wait never from a network
// thread.
#ifndef BLINDCART_SERVICES_AGENT_PEER_SESSION_H_
#define BLINDCART_SERVICES_AGENT_PEER_SESSION_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/peer.pb.h"
#include "protocol/clock.h"
#include "protocol/peer_handshake.h"
#include "services/agent/peer_receiver.h"
#include "services/agent/received_folder.h"
#include "services/common/link.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class PeerSession;

// A file that the other end wanted to send and that was not taken, or not to its end.
struct PeerRefusedFile {
  std::string name;
  uint64_t size_bytes = 0;
  v1::PeerFileVerdict verdict = v1::PEER_FILE_VERDICT_UNSPECIFIED;
};

// What a session asks of the agent around it. Called on the executor, except where it says otherwise.
class PeerHost {
 public:
  virtual ~PeerHost() = default;
  virtual absl::StatusOr<protocol::PeerCertificates> OwnCertificates() = 0;
  // As PeerDirectory::Verify, and that the user is the one expected (when not empty).
  virtual absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates, const std::string& expected_username) = 0;
  // Both ends have proved their keys: pins the other's, or finds that another is pinned, and takes
  // the session into the table. The other end may count on the session by then and have sent
  // something; nothing of it has been looked at. An error ends the session with a refusal.
  virtual absl::Status Admit(const std::shared_ptr<PeerSession>& session) = 0;
  // Whether the other end's key is still the pinned one: the user may have accepted another since.
  // An error ends the session.
  virtual absl::Status CheckStanding(const PeerSession& session) = 0;
  // Writes it down; Ok also when it was there before.
  virtual absl::Status TakeText(const PeerSession& session, const v1::PeerText& text) = 0;
  // Where content that this user sent before lies, or nothing.
  virtual std::string FindFile(const std::string& fingerprint, const std::string& sha256) = 0;
  // What lies in the folder of what that user sent.
  virtual absl::StatusOr<ReceivedFolder::Stored> FindStored(const std::string& fingerprint) = 0;
  virtual absl::Status TakeFile(const PeerSession& session, const PeerReceiver::Done& done) = 0;
  virtual void FileRefused(const PeerSession& session, const PeerRefusedFile& file) = 0;
  // Once, on a network thread, for a session that was admitted or not; must not block.
  virtual void OnEnded(PeerSession& session) = 0;
};

struct PeerEnvironment {
  const crypto::Identity* own = nullptr;
  crypto::RandomSource* random = nullptr;
  const protocol::Clock* clock = nullptr;
  Executor* executor = nullptr;
  PeerHost* host = nullptr;
  ReceivedFolder* received = nullptr;
  int64_t handshake_timeout_ms = 20'000;
  int64_t answer_timeout_ms = 30'000;
};

// How many sessions there are (and sweeps over them), so that the end can wait for all of them.
class PeerSessionCount {
 public:
  void Add();
  void Remove();
  int count() const;
  // False when the time is up first.
  bool AwaitNone(int64_t timeout_ms);

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

class PeerSession : public std::enable_shared_from_this<PeerSession> {
 public:
  struct FileProgress {
    uint64_t sent_bytes = 0;  // The receiver has them.
    uint64_t total_bytes = 0;
    uint64_t resumed_from_bytes = 0;
  };
  // False: stop.
  using OnProgress = std::function<bool(const FileProgress& progress)>;

  // `environment` and what it names must outlive the session; `number` names it to people.
  static std::shared_ptr<PeerSession> Accept(const PeerEnvironment& environment, uint64_t number,
                                             uint64_t max_file_bytes,
                                             std::shared_ptr<PeerSessionCount> count);
  // `address` is where it is dialled, for the table; `expected_username` may be empty: whoever is
  // there.
  static std::shared_ptr<PeerSession> Initiate(const PeerEnvironment& environment, uint64_t number,
                                               uint64_t max_file_bytes,
                                               std::shared_ptr<PeerSessionCount> count,
                                               protocol::PeerCertificates own_certificates,
                                               std::string expected_username, std::string address);
  ~PeerSession();

  // The handler for the link that the session runs on; once. The initiator's hello goes out at once.
  std::unique_ptr<LinkHandler> Attach(std::shared_ptr<Link> link);

  // Until the session stands, has failed, or the time for a handshake is up (it is closed then).
  absl::Status AwaitEstablished();
  // For timers: ends a handshake that is not over, and one in which the other end has said nothing.
  void EndHandshakeIfPending();
  void EndIfSilent();

  // Sends a text and waits until the other end has kept it.
  absl::Status SendText(const std::string& message_id, const std::string& text);
  // Sends the file at `path`, whose digest is `file`, under file.name; goes on where an earlier
  // attempt broke off. Unavailable when the session breaks.
  absl::Status SendFile(const std::string& path, const protocol::PeerFile& file,
                        const OnProgress& on_progress);

  // Says goodbye and ends the link. Idempotent.
  void Close();
  // Ends it at once.
  void Break(const absl::Status& why);
  // For a periodic sweep: idle and old sessions end.
  void CloseIfExpired();

  // Set once and for all before the host's Admit.
  const protocol::CertifiedPeer& peer() const { return *peer_; }
  const protocol::PeerCertificates& peer_certificates() const { return peer_certificates_; }
  uint64_t number() const { return number_; }
  bool initiator() const { return initiator_; }
  const std::string& address() const { return address_; }
  int64_t established_at_ms() const { return established_at_ms_; }  // Unix.

  bool established() const;
  bool ended() const;
  // The other end has said nothing yet.
  bool silent() const;
  void set_max_file_bytes(uint64_t max_file_bytes);
  uint64_t max_file_bytes() const;
  // The file that is coming in.
  absl::optional<PeerReceiver::Progress> receiving() const;
  // The latest that was not taken, with none taken since.
  absl::optional<PeerRefusedFile> refused() const;

 private:
  class Handler;
  class Verifier;
  struct Work {
    absl::optional<v1::HandshakeMessage> handshake;
    bool admit = false;  // The handshake is over: ask the host.
    std::string message;
  };
  struct Outgoing {
    std::string transfer_id;
    absl::optional<v1::PeerFileAnswer> answer;
    absl::optional<v1::PeerFileVerdict> result;
    uint64_t received_bytes = 0;
    uint64_t offered_bytes = 0;  // What has been put on the link.
  };

  PeerSession(const PeerEnvironment& environment, uint64_t number, bool initiator,
              uint64_t max_file_bytes, std::shared_ptr<PeerSessionCount> count,
              std::string expected_username, std::string address);

  // On the link's threads.
  void OnHandshake(const v1::HandshakeMessage& message);
  void OnMessages(std::vector<std::string> messages);
  void OnClosed(const absl::Status& status);

  // Appends to the queue and sees that somebody works it off.
  void Enqueue(std::vector<Work> work);
  void Enqueue(Work work);
  void RunWorkOff();
  void WorkOff();
  // On the executor, one at a time.
  void Handle(const Work& work);
  absl::Status HandleHandshake(const v1::HandshakeMessage& message);
  absl::Status FinishInitiator(const v1::HandshakeMessage& message);
  absl::Status Establish(protocol::SessionKeys keys, protocol::CertifiedPeer peer);
  absl::Status HandleMessage(const std::string& bytes);
  absl::Status HandleFile(const v1::PeerMessage& message);
  // Notes how it went with a file, for the user; the host hears of each reason once.
  void NoteVerdict(const PeerRefusedFile& file);

  absl::Status Send(const v1::PeerMessage& message);
  void Refuse();
  // Why the handshake failed, in words: what the verifier said, or that keys could not be proved.
  absl::Status InWords(protocol::RefusalReason reason, const absl::Status& verdict) const;
  void EndWith(absl::Status why, absl::Status close);
  absl::Status EndedLocked() const;

  absl::Status SendPieces(int descriptor, const protocol::PeerFile& file, Outgoing& outgoing,
                          const OnProgress& on_progress);
  // Waits, with the lock, for `ready`; Unavailable when the session ends or the time is up first.
  absl::Status AwaitLocked(std::unique_lock<std::mutex>& lock, int64_t timeout_ms,
                           const std::function<bool()>& ready);

  const PeerEnvironment& use_;
  const uint64_t number_;
  const bool initiator_;
  const std::string expected_username_;
  const std::string address_;
  const std::shared_ptr<PeerSessionCount> count_;

  // The handshake's, used by one piece of work at a time, and at its end by OnHandshake.
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<protocol::PeerInitiator> x_;
  std::unique_ptr<protocol::PeerResponder> y_;
  bool heard_hello_ = false;
  // Written once before the session is established.
  absl::optional<protocol::CertifiedPeer> peer_;
  protocol::PeerCertificates peer_certificates_;
  int64_t established_at_ms_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  std::shared_ptr<Link> link_;
  int handshakes_heard_ = 0;
  bool awaiting_last_ = false;  // The initiator's finish is out.
  bool established_ = false;    // Admitted by the host.
  bool ended_ = false;
  absl::Status why_ended_;
  uint64_t max_file_bytes_;
  std::deque<Work> queue_;
  size_t queued_bytes_ = 0;
  bool working_ = false;
  std::map<std::string, absl::optional<bool>> texts_;  // By id: whether the other end kept it.
  Outgoing* outgoing_ = nullptr;                       // The file that is going out.
  absl::optional<PeerReceiver::Progress> receiving_;
  absl::optional<PeerRefusedFile> refused_;

  absl::optional<PeerReceiver> receiver_;  // Used by one piece of work at a time.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_SESSION_H_
