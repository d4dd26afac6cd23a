// Direct sessions with other agents as the user sees them: listen, connect, send texts and files, by
// username. Works with the broker switched off: certificates are judged against what is kept
// (peer_directory.h), and a user is found at the address where they were last.
//
// Whom to trust: the broker's authority says which keys are whose; the keys that a user showed first,
// here or in messages, are pinned, so that a broker who later certifies others under that name is
// noticed. When the user accepts another key, sessions under the old one end: before anything more is
// sent or kept in them, and within a sweep in any case. A session that breaks is opened again for the
// next text or file, when the user's address is known.
//
// Bounds: kMaxSessions in all, kMaxPerUser of one user (the oldest goes), kMaxPending handshakes that
// came in, kMaxPendingPerSource of them from one machine. A caller who says nothing is cut off soon,
// and when the places are taken, the one who has said nothing for the longest makes room: so strangers
// who only hold the door keep nobody out.
// Errors: with words for people; DataLoss where somebody is not whom they claim to be.
// Thread safety: every method may be called from any thread; those that wait never from a network
// thread.
#ifndef BLINDCART_SERVICES_AGENT_PEER_SESSIONS_H_
#define BLINDCART_SERVICES_AGENT_PEER_SESSIONS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "services/agent/peer_directory.h"
#include "services/agent/peer_session.h"
#include "services/agent/peer_store.h"
#include "services/agent/peer_transport.h"
#include "services/common/scheduler.h"

namespace blindcart::agent {

// What happens in direct sessions, for who watches.
struct PeerEvent {
  enum class Kind { kOpened, kClosed, kText, kFile, kFileRefused };
  Kind kind = Kind::kOpened;
  std::string username;
  int64_t at_ms = 0;
  std::string text;            // Of a text; of a file its path, of one that was refused its name.
  uint64_t size_bytes = 0;     // Of a file.
  bool first_contact = false;  // Of a session that opened: their key was pinned with it.
  v1::PeerFileVerdict verdict = v1::PEER_FILE_VERDICT_UNSPECIFIED;  // Of a file that was refused.
};

class PeerSessions : private PeerHost {
 public:
  static constexpr size_t kMaxSessions = 64;
  static constexpr size_t kMaxPerUser = 4;
  static constexpr size_t kMaxPending = 16;
  static constexpr size_t kMaxPendingPerSource = 4;

  struct Dependencies {
    const crypto::Identity* own = nullptr;
    crypto::RandomSource* random = nullptr;
    const protocol::Clock* clock = nullptr;
    Scheduler* scheduler = nullptr;
    Executor* executor = nullptr;
    PeerStore* store = nullptr;
    PeerDirectory* directory = nullptr;
    PeerTransport* transport = nullptr;
    std::string received_dir;  // Made when it is not there.
  };
  struct Options {
    int64_t handshake_timeout_ms = 20'000;
    int64_t hello_timeout_ms = 5'000;  // Until a caller's first message.
    int64_t answer_timeout_ms = 30'000;
    int64_t sweep_interval_ms = 5'000;
    int64_t refresh_interval_ms = 10 * 60'000;  // Of the revocation list.
    ReceivedFolder::Limits received;
  };
  struct Listening {
    std::string address;  // In use; empty when not listening.
    bool announced = false;
    uint64_t max_file_bytes = 0;
  };
  struct View {
    uint64_t number = 0;
    std::string username;
    std::string fingerprint;
    std::string address;         // Where it was dialled; empty: they called.
    bool first_contact = false;  // Their key was pinned with this session.
    int64_t established_at_ms = 0;
    uint64_t max_file_bytes = 0;
    absl::optional<PeerReceiver::Progress> receiving;
    absl::optional<PeerRefusedFile> refused;
  };
  struct Sent {
    std::string username;
    std::string path;
    protocol::PeerFile file;
    uint64_t resumed_from_bytes = 0;
  };

  // What `dependencies` names must outlive the object.
  PeerSessions(const Dependencies& dependencies, const Options& options);
  ~PeerSessions() override;  // Shuts down.

  // `announce`: what to tell the broker, when others reach this machine under another address;
  // empty: the address listened on. Files of up to `max_file_bytes` are taken in sessions that come
  // in.
  absl::StatusOr<Listening> Listen(const std::string& address, const std::string& announce,
                                   bool plain_tcp, uint64_t max_file_bytes);
  // False when it did not listen.
  bool StopListening();
  Listening listening() const;

  // `peer` is a username or HOST:PORT; with `address`, a username that is to be found there.
  absl::StatusOr<View> Connect(const std::string& peer, const std::string& address, bool plain_tcp,
                               uint64_t max_file_bytes);
  std::vector<View> List() const;
  // How large a file that user may send in the sessions that stand; NotFound when there is none.
  absl::Status AcceptFiles(const std::string& username, uint64_t max_file_bytes);
  // NotFound when there is none.
  absl::Status Close(const std::string& username);

  // Opens a session when none stands. Ok: the other end has it in its database.
  absl::Status SendText(const std::string& username, const std::string& text);
  // The same for a file; `on_progress` may stop it. What has arrived when a session breaks is gone on
  // from, here once more by itself and in the next call.
  absl::StatusOr<Sent> SendFile(const std::string& username, const std::string& path,
                                const PeerSession::OnProgress& on_progress);

  absl::StatusOr<std::vector<PeerTextRecord>> Texts(const PeerFilter& filter) {
    return use_.store->Texts(filter);
  }
  absl::StatusOr<std::vector<PeerFileRecord>> Files(const PeerFilter& filter) {
    return use_.store->Files(filter);
  }
  absl::StatusOr<std::vector<std::string>> UncheckedCallers() {
    return use_.store->UncheckedCallers();
  }

  // `listener` gets what happens from now on, on any thread; it must not block. Until Unwatch has
  // returned.
  using Listener = std::function<void(const PeerEvent& event)>;
  uint64_t Watch(Listener listener);
  void Unwatch(uint64_t id);

  // Ends everything and waits until nothing calls back any more. Idempotent.
  void Shutdown();

 private:
  absl::StatusOr<protocol::PeerCertificates> OwnCertificates() override;
  absl::StatusOr<protocol::CertifiedPeer> Verify(const protocol::PeerCertificates& certificates,
                                                 const std::string& expected_username) override;
  absl::Status Admit(const std::shared_ptr<PeerSession>& session) override;
  absl::Status CheckStanding(const PeerSession& session) override;
  absl::Status TakeText(const PeerSession& session, const v1::PeerText& text) override;
  std::string FindFile(const std::string& fingerprint, const std::string& sha256) override;
  absl::StatusOr<ReceivedFolder::Stored> FindStored(const std::string& fingerprint) override;
  absl::Status TakeFile(const PeerSession& session, const PeerReceiver::Done& done) override;
  void FileRefused(const PeerSession& session, const PeerRefusedFile& file) override;
  void OnEnded(PeerSession& session) override;

  struct Entry {
    std::shared_ptr<PeerSession> session;
    std::string source;  // Where it comes from; empty: not known, or dialled.
    bool admitted = false;
    bool first_contact = false;
  };

  std::unique_ptr<LinkHandler> AcceptLink(std::shared_ptr<Link> link, const std::string& source);
  // Whether a caller from there may come in; `evicted` is who has to go for that, if anybody.
  bool MakeRoomLocked(const std::string& source, std::shared_ptr<PeerSession>* evicted) const;
  absl::StatusOr<std::shared_ptr<PeerSession>> Dial(const std::string& address, bool plain_tcp,
                                                    const std::string& expected_username,
                                                    uint64_t max_file_bytes);
  // The newest session of that user that stands, under the key that is pinned; ends those under
  // another.
  std::shared_ptr<PeerSession> Find(const std::string& username);
  // That, or a new one to where the user can be found.
  absl::StatusOr<std::shared_ptr<PeerSession>> FindOrConnect(const std::string& username);
  absl::StatusOr<std::shared_ptr<PeerSession>> ConnectTo(const std::string& username,
                                                         uint64_t max_file_bytes);
  View ViewOf(const Entry& entry) const;
  void Tell(const PeerEvent& event);
  void ScheduleSweep();
  void Sweep();
  // On the executor.
  void SweepSlowly();
  void EndSweep();

  const Dependencies use_;
  const Options options_;
  PeerEnvironment environment_;
  ReceivedFolder received_;
  const std::shared_ptr<PeerSessionCount> count_ = std::make_shared<PeerSessionCount>();

  mutable std::mutex mutex_;
  // The rest is used under mutex_.
  std::map<uint64_t, Entry> entries_;  // By number.
  uint64_t next_number_ = 1;
  Listening listening_;
  std::string announce_;
  bool shut_down_ = false;
  bool sweeping_ = false;
  int64_t refreshed_at_ms_ = 0;  // Monotonic.

  std::mutex watch_mutex_;
  uint64_t next_watch_ = 1;                // Under watch_mutex_.
  std::map<uint64_t, Listener> watchers_;  // Under watch_mutex_.

  // What the scheduler holds of this object, which may be gone when its time comes.
  struct Alive {
    std::mutex mutex;
    PeerSessions* sessions;  // Under mutex; null: gone.
  };
  const std::shared_ptr<Alive> alive_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_SESSIONS_H_
