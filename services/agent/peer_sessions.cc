#include "services/agent/peer_sessions.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "protocol/peer_message.h"
#include "protocol/utf8.h"
#include "services/agent/narrator.h"
#include "services/agent/part_file.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

constexpr size_t kMaxUsernameBytes = 64;
constexpr size_t kMaxAddressBytes = 300;
constexpr int64_t kEndPollMs = 500;

void Say(absl::string_view step) { Narration().Say("peer", step); }

bool LooksLikeAddress(const std::string& peer) { return absl::StrContains(peer, ':'); }

absl::Status CheckUsername(const std::string& username) {
  if (username.empty() || username.size() > kMaxUsernameBytes || !protocol::IsPlainLine(username)) {
    return absl::InvalidArgumentError("a username has 1 to 64 bytes of plain text");
  }
  return absl::OkStatus();
}

// Turns a link away.
class Doorkeeper : public LinkHandler {
 public:
  void OnHandshake(const v1::HandshakeMessage& /*message*/) override {}
  void OnMessages(std::vector<std::string> /*messages*/) override {}
  void OnClosed(const absl::Status& /*status*/) override {}
};

}  // namespace

PeerSessions::PeerSessions(const Dependencies& dependencies, const Options& options)
    : use_(dependencies),
      options_(options),
      received_(use_.received_dir, options_.received, *use_.clock),
      alive_(std::make_shared<Alive>()) {
  environment_.own = use_.own;
  environment_.random = use_.random;
  environment_.clock = use_.clock;
  environment_.executor = use_.executor;
  environment_.host = this;
  environment_.received = &received_;
  environment_.handshake_timeout_ms = options_.handshake_timeout_ms;
  environment_.answer_timeout_ms = options_.answer_timeout_ms;
  alive_->sessions = this;
  ScheduleSweep();
}

PeerSessions::~PeerSessions() { Shutdown(); }

// ---- Listening

absl::StatusOr<PeerSessions::Listening> PeerSessions::Listen(const std::string& address,
                                                             const std::string& announce,
                                                             bool plain_tcp,
                                                             uint64_t max_file_bytes) {
  if (address.size() > kMaxAddressBytes || announce.size() > kMaxAddressBytes) {
    return absl::InvalidArgumentError("that address is too long");
  }
  // Nobody would be let in without them, so say so now.
  const absl::StatusOr<protocol::PeerCertificates> own = use_.directory->OwnCertificates();
  if (!own.ok()) return own.status();
  use_.directory->Refresh();
  const absl::StatusOr<std::string> in_use = use_.transport->Listen(
      address, plain_tcp, [this](std::shared_ptr<Link> link, const std::string& source) {
        return AcceptLink(std::move(link), source);
      });
  if (!in_use.ok()) return in_use.status();
  const std::string& told = announce.empty() ? *in_use : announce;
  bool shut_down = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    shut_down = shut_down_;
    if (!shut_down) {
      listening_ = {*in_use, false, max_file_bytes};
      announce_ = told;
    }
  }
  if (shut_down) {  // It may have shut the door before it was open.
    use_.transport->StopListening();
    return absl::UnavailableError("the agent ends");
  }
  const bool announced = use_.directory->Announce(told);
  std::lock_guard<std::mutex> lock(mutex_);
  listening_.announced = announced;
  return listening_;
}

bool PeerSessions::StopListening() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (listening_.address.empty()) return false;
    listening_ = Listening();
    announce_.clear();
  }
  use_.transport->StopListening();
  (void)use_.directory->Announce("");
  return true;
}

PeerSessions::Listening PeerSessions::listening() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return listening_;
}

bool PeerSessions::MakeRoomLocked(const std::string& source,
                                  std::shared_ptr<PeerSession>* evicted) const {
  size_t pending = 0;
  size_t from_source = 0;
  // Those who came first.
  std::shared_ptr<PeerSession> silent;
  std::shared_ptr<PeerSession> silent_from_source;
  for (const auto& [number, entry] : entries_) {
    const std::shared_ptr<PeerSession>& session = entry.session;
    if (entry.admitted || session->initiator() || session->ended()) continue;
    ++pending;
    if (silent == nullptr && session->silent()) silent = session;
    if (source.empty() || entry.source != source) continue;
    ++from_source;
    if (silent_from_source == nullptr && session->silent()) silent_from_source = session;
  }
  if (from_source >= kMaxPendingPerSource) {
    *evicted = silent_from_source;
    return *evicted != nullptr;
  }
  if (pending < kMaxPending) return true;
  *evicted = silent;
  return *evicted != nullptr;
}

std::unique_ptr<LinkHandler> PeerSessions::AcceptLink(std::shared_ptr<Link> link,
                                                      const std::string& source) {
  std::shared_ptr<PeerSession> session;
  std::shared_ptr<PeerSession> evicted;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!shut_down_ && entries_.size() < kMaxSessions && MakeRoomLocked(source, &evicted)) {
      session =
          PeerSession::Accept(environment_, next_number_++, listening_.max_file_bytes, count_);
      Entry& entry = entries_[session->number()];
      entry.session = session;
      entry.source = source;
    }
  }
  if (evicted != nullptr) evicted->Break(absl::ResourceExhaustedError("others want the place"));
  if (session == nullptr) {
    link->Close(absl::ResourceExhaustedError("too many sessions"));
    return std::make_unique<Doorkeeper>();
  }
  use_.scheduler->RunAfter(options_.hello_timeout_ms, [weak = std::weak_ptr<PeerSession>(session)] {
    if (const auto late = weak.lock()) late->EndIfSilent();
  });
  use_.scheduler->RunAfter(options_.handshake_timeout_ms,
                           [weak = std::weak_ptr<PeerSession>(session)] {
                             if (const auto late = weak.lock()) late->EndHandshakeIfPending();
                           });
  return session->Attach(std::move(link));
}

// ---- Connecting

absl::StatusOr<std::shared_ptr<PeerSession>> PeerSessions::Dial(
    const std::string& address, bool plain_tcp, const std::string& expected_username,
    uint64_t max_file_bytes) {
  absl::StatusOr<protocol::PeerCertificates> own = use_.directory->OwnCertificates();
  if (!own.ok()) return own.status();
  std::shared_ptr<PeerSession> session;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shut_down_) return absl::UnavailableError("the agent ends");
    if (entries_.size() >= kMaxSessions) {
      return absl::ResourceExhaustedError(
          "too many sessions stand already. Close one: blindcart peer close USER");
    }
    session = PeerSession::Initiate(environment_, next_number_++, max_file_bytes, count_,
                                    *std::move(own), expected_username, address);
    entries_[session->number()].session = session;
  }
  const absl::StatusOr<std::shared_ptr<Link>> link = use_.transport->Dial(
      address, plain_tcp,
      [&session](std::shared_ptr<Link> dialled) { return session->Attach(std::move(dialled)); });
  if (!link.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    entries_.erase(session->number());
    return link.status();
  }
  const absl::Status established = session->AwaitEstablished();
  if (!established.ok()) return established;
  const absl::Status noted = use_.store->SetAddress(session->peer().username, address, plain_tcp);
  if (!noted.ok()) return noted;
  return session;
}

absl::StatusOr<std::shared_ptr<PeerSession>> PeerSessions::ConnectTo(const std::string& username,
                                                                     uint64_t max_file_bytes) {
  const absl::StatusOr<PeerContact> contact = use_.store->FindContact(username);
  if (!contact.ok()) return contact.status();
  const absl::StatusOr<std::string> found =
      use_.directory->FindAddress(username, /*patiently=*/contact->address.empty());
  absl::Status tried;
  if (found.ok() && found->size() <= kMaxAddressBytes) {
    Say("the broker was asked where that user listens, and knows");
    // Where there was no TLS before there is none now: that is this machine only.
    const bool plain_tcp = contact->plain_tcp && contact->address == *found;
    absl::StatusOr<std::shared_ptr<PeerSession>> session =
        Dial(*found, plain_tcp, username, max_file_bytes);
    if (session.ok() || !absl::IsUnavailable(session.status())) return session;
    tried = session.status();
  }
  if (!contact->address.empty() && (!found.ok() || contact->address != *found)) {
    Say("trying the address where that user was last reached");
    return Dial(contact->address, contact->plain_tcp, username, max_file_bytes);
  }
  if (!tried.ok()) return tried;
  if (absl::IsNotFound(found.status())) {
    return absl::UnavailableError(absl::StrCat(
        username,
        " does not listen for direct sessions now, as far as the broker knows. Ask them to run: "
        "blindcart peer listen; or name an address: blindcart peer connect ",
        username, " --address HOST:PORT"));
  }
  return absl::UnavailableError(
      absl::StrCat("the broker cannot be asked where ", username,
                   " listens, and no address is known from earlier. Log in, or name one: blindcart "
                   "peer connect ",
                   username, " --address HOST:PORT"));
}

absl::StatusOr<PeerSessions::View> PeerSessions::Connect(const std::string& peer,
                                                         const std::string& address, bool plain_tcp,
                                                         uint64_t max_file_bytes) {
  if (peer.size() > kMaxAddressBytes || address.size() > kMaxAddressBytes) {
    return absl::InvalidArgumentError("that address is too long");
  }
  const bool by_address = LooksLikeAddress(peer);
  if (by_address && !address.empty()) {
    return absl::InvalidArgumentError("name the address once: either as PEER or with --address");
  }
  if (!by_address) {
    const absl::Status checked = CheckUsername(peer);
    if (!checked.ok()) return checked;
  }
  use_.directory->Refresh();
  absl::StatusOr<std::shared_ptr<PeerSession>> session =
      by_address         ? Dial(peer, plain_tcp, "", max_file_bytes)
      : !address.empty() ? Dial(address, plain_tcp, peer, max_file_bytes)
                         : ConnectTo(peer, max_file_bytes);
  if (!session.ok()) return session.status();
  std::lock_guard<std::mutex> lock(mutex_);
  const auto entry = entries_.find((*session)->number());
  if (entry == entries_.end()) {
    return absl::UnavailableError("the session broke at once. Connect again");
  }
  return ViewOf(entry->second);
}

std::shared_ptr<PeerSession> PeerSessions::Find(const std::string& username) {
  std::vector<std::shared_ptr<PeerSession>> found;  // The newest first.
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      if (entry->second.admitted && entry->second.session->established() &&
          entry->second.session->peer().username == username) {
        found.push_back(entry->second.session);
      }
    }
  }
  for (const auto& session : found) {
    const absl::Status standing = CheckStanding(*session);
    if (standing.ok()) return session;
    session->Break(standing);
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<PeerSession>> PeerSessions::FindOrConnect(
    const std::string& username) {
  const absl::Status checked = CheckUsername(username);
  if (!checked.ok()) return checked;
  std::shared_ptr<PeerSession> session = Find(username);
  if (session != nullptr) return session;
  return ConnectTo(username, /*max_file_bytes=*/0);
}

PeerSessions::View PeerSessions::ViewOf(const Entry& entry) const {
  View view;
  view.number = entry.session->number();
  view.username = entry.session->peer().username;
  view.fingerprint = entry.session->peer().identity.fingerprint();
  view.address = entry.session->address();
  view.first_contact = entry.first_contact;
  view.established_at_ms = entry.session->established_at_ms();
  view.max_file_bytes = entry.session->max_file_bytes();
  view.receiving = entry.session->receiving();
  view.refused = entry.session->refused();
  return view;
}

std::vector<PeerSessions::View> PeerSessions::List() const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<View> views;
  for (const auto& [number, entry] : entries_) {
    if (entry.admitted && entry.session->established()) views.push_back(ViewOf(entry));
  }
  return views;
}

absl::Status PeerSessions::AcceptFiles(const std::string& username, uint64_t max_file_bytes) {
  bool found = false;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, entry] : entries_) {
    if (!entry.admitted || entry.session->peer().username != username) continue;
    entry.session->set_max_file_bytes(max_file_bytes);
    found = true;
  }
  if (!found) {
    return absl::NotFoundError(
        absl::StrCat("no session with ", username, " stands. See: blindcart peer sessions"));
  }
  return absl::OkStatus();
}

absl::Status PeerSessions::Close(const std::string& username) {
  std::vector<std::shared_ptr<PeerSession>> found;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [number, entry] : entries_) {
      if (entry.admitted && entry.session->peer().username == username) {
        found.push_back(entry.session);
      }
    }
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no session with ", username, " stands. See: blindcart peer sessions"));
  }
  for (const auto& session : found) session->Close();
  return absl::OkStatus();
}

// ---- Sending

absl::Status PeerSessions::SendText(const std::string& username, const std::string& text) {
  if (text.empty() || text.size() > protocol::kMaxPeerTextBytes || !protocol::IsPlainText(text)) {
    return absl::InvalidArgumentError(
        "a text has 1 byte to 16 KiB of plain text, without control characters. Send more as a "
        "file: "
        "blindcart peer send-file");
  }
  const std::string message_id = use_.random->Bytes(protocol::kPeerIdBytes);
  absl::Status status;
  // Once more when the session that was found turns out to be dead: the id keeps it from being
  // shown twice.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const absl::StatusOr<std::shared_ptr<PeerSession>> session = FindOrConnect(username);
    if (!session.ok()) return attempt == 0 ? session.status() : status;
    PeerTextRecord record;
    record.username = username;
    record.fingerprint = (*session)->peer().identity.fingerprint();
    record.message_id = message_id;
    record.outgoing = true;
    record.text = text;
    record.at_ms = use_.clock->NowUnixMs();
    const absl::StatusOr<bool> saved = use_.store->SaveText(record);
    if (!saved.ok()) return saved.status();
    status = (*session)->SendText(message_id, text);
    if (status.ok()) return use_.store->MarkDelivered(record.fingerprint, message_id);
    if (!absl::IsUnavailable(status) || !(*session)->ended()) return status;
  }
  return status;
}

absl::StatusOr<PeerSessions::Sent> PeerSessions::SendFile(
    const std::string& username, const std::string& path,
    const PeerSession::OnProgress& on_progress) {
  const absl::StatusOr<FileDigest> digest = DigestFile(path);
  if (!digest.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the file cannot be sent: ", digest.status().message(), ". Name a file that you may read"));
  }
  Sent sent;
  sent.username = username;
  sent.path = path;
  sent.file.name = std::filesystem::path(path).filename().string();
  sent.file.size_bytes = digest->size_bytes;
  sent.file.sha256 = digest->sha256;
  if (sent.file.size_bytes > protocol::kMaxPeerFileBytes) {
    return absl::InvalidArgumentError("the file is larger than a direct session carries (1 TiB)");
  }
  if (sent.file.name.size() > protocol::kMaxPeerFileNameBytes ||
      !protocol::IsPlainLine(sent.file.name)) {
    return absl::InvalidArgumentError(
        "the file's name is too long or has control characters in it. Send it under another name");
  }
  uint64_t arrived = 0;
  bool first = true;
  const PeerSession::OnProgress watched = [&](const PeerSession::FileProgress& progress) {
    if (first) sent.resumed_from_bytes = progress.resumed_from_bytes;
    first = false;
    arrived = progress.sent_bytes;
    return on_progress == nullptr || on_progress(progress);
  };
  absl::Status status;
  // Only an attempt that brought the file on is followed by another, so this ends.
  uint64_t before = 0;
  for (bool again = false;; again = true) {
    const absl::StatusOr<std::shared_ptr<PeerSession>> session = FindOrConnect(username);
    if (!session.ok()) {
      if (!again) return session.status();
      return absl::UnavailableError(
          absl::StrCat(status.message(),
                       ". What has come stays with them; send the file again to go on from there"));
    }
    status = (*session)->SendFile(path, sent.file, watched);
    if (status.ok()) return sent;
    if (!absl::IsUnavailable(status) || !(*session)->ended()) return status;
    if (again && arrived <= before) return status;
    before = arrived;
  }
}

// ---- What sessions ask

absl::StatusOr<protocol::PeerCertificates> PeerSessions::OwnCertificates() {
  return use_.directory->OwnCertificates();
}

absl::StatusOr<protocol::CertifiedPeer> PeerSessions::Verify(
    const protocol::PeerCertificates& certificates, const std::string& expected_username) {
  absl::StatusOr<protocol::CertifiedPeer> peer = use_.directory->Verify(certificates);
  if (!peer.ok()) return peer;
  if (!expected_username.empty() && peer->username != expected_username) {
    return absl::DataLossError(absl::StrCat("whoever is there is not ", expected_username, " but ",
                                            peer->username,
                                            ". Nothing was sent; check the address"));
  }
  return peer;
}

absl::Status PeerSessions::Admit(const std::shared_ptr<PeerSession>& session) {
  const protocol::CertifiedPeer& peer = session->peer();
  const absl::StatusOr<PeerStore::Pinned> pinned = use_.store->Pin(
      peer.username, peer.identity, /*they_called=*/!session->initiator(), use_.clock->NowUnixMs());
  if (!pinned.ok()) return pinned.status();
  if (*pinned == PeerStore::Pinned::kChanged) {
    Say("the identity is not the pinned one: nothing is accepted until the user decides");
    return absl::DataLossError(absl::StrCat(
        peer.username,
        " shows another key than the one that is pinned. Either they have a new agent, or the "
        "broker "
        "certified somebody else's key under their name. Ask them by another way and compare: "
        "blindcart contacts"));
  }
  const bool first = *pinned == PeerStore::Pinned::kNow;
  std::vector<std::shared_ptr<PeerSession>> surplus;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = entries_.find(session->number());
    if (entry == entries_.end() || shut_down_) return absl::CancelledError("the agent ends");
    entry->second.admitted = true;
    entry->second.first_contact = first;
    std::vector<std::shared_ptr<PeerSession>> same;
    for (const auto& [number, other] : entries_) {
      if (other.admitted && other.session->peer().username == peer.username) {
        same.push_back(other.session);
      }
    }
    for (size_t i = 0; i + kMaxPerUser < same.size(); ++i) surplus.push_back(same[i]);
  }
  for (const auto& old : surplus) old->Close();
  Say(absl::StrCat("a direct session with ", peer.username, " stands",
                   first ? "; their key is pinned from now on" : ""));
  PeerEvent event;
  event.kind = PeerEvent::Kind::kOpened;
  event.username = peer.username;
  event.first_contact = first;
  event.at_ms = use_.clock->NowUnixMs();
  Tell(event);
  return absl::OkStatus();
}

absl::Status PeerSessions::CheckStanding(const PeerSession& session) {
  const protocol::CertifiedPeer& peer = session.peer();
  const absl::StatusOr<PeerContact> contact = use_.store->FindContact(peer.username);
  if (!contact.ok()) return contact.status();
  if (contact->fingerprint == peer.identity.fingerprint()) return absl::OkStatus();
  Say("the key of a session that stands is not the pinned one any more: it ends");
  return absl::DataLossError(absl::StrCat("the session was under a key of ", peer.username,
                                          " that is not the pinned one any more. Connect again"));
}

absl::Status PeerSessions::TakeText(const PeerSession& session, const v1::PeerText& text) {
  PeerTextRecord record;
  record.username = session.peer().username;
  record.fingerprint = session.peer().identity.fingerprint();
  record.message_id = text.message_id();
  record.delivered = true;
  record.text = text.text();
  record.at_ms = use_.clock->NowUnixMs();
  const absl::StatusOr<bool> saved = use_.store->SaveText(record);
  if (!saved.ok()) return saved.status();
  if (!*saved) return absl::OkStatus();
  Say("a text was opened and written down");
  PeerEvent event;
  event.kind = PeerEvent::Kind::kText;
  event.username = record.username;
  event.at_ms = record.at_ms;
  event.text = record.text;
  Tell(event);
  return absl::OkStatus();
}

std::string PeerSessions::FindFile(const std::string& fingerprint, const std::string& sha256) {
  const absl::StatusOr<absl::optional<PeerFileRecord>> found =
      use_.store->FindFile(fingerprint, sha256);
  return found.ok() && found->has_value() ? (*found)->path : "";
}

absl::StatusOr<ReceivedFolder::Stored> PeerSessions::FindStored(const std::string& fingerprint) {
  const absl::StatusOr<std::vector<std::string>> paths = use_.store->FilePaths(fingerprint);
  if (!paths.ok()) return paths.status();
  ReceivedFolder::Stored stored;
  for (const std::string& path : *paths) {
    std::error_code error;
    const uintmax_t bytes = std::filesystem::file_size(path, error);
    if (error) continue;  // The user moved it away.
    stored.bytes += bytes;
    ++stored.files;
  }
  return stored;
}

void PeerSessions::FileRefused(const PeerSession& session, const PeerRefusedFile& file) {
  PeerEvent event;
  event.kind = PeerEvent::Kind::kFileRefused;
  event.username = session.peer().username;
  event.at_ms = use_.clock->NowUnixMs();
  event.text = file.name;
  event.size_bytes = file.size_bytes;
  event.verdict = file.verdict;
  Tell(event);
}

absl::Status PeerSessions::TakeFile(const PeerSession& session, const PeerReceiver::Done& done) {
  PeerFileRecord record;
  record.username = session.peer().username;
  record.fingerprint = session.peer().identity.fingerprint();
  record.name = done.file->name;
  record.path = done.path;
  record.size_bytes = done.file->size_bytes;
  record.sha256 = done.file->sha256;
  record.signature = done.signature;
  record.at_ms = use_.clock->NowUnixMs();
  const absl::Status saved = use_.store->SaveFile(record);
  PeerEvent event;
  event.kind = PeerEvent::Kind::kFile;
  event.username = record.username;
  event.at_ms = record.at_ms;
  event.text = record.path;
  event.size_bytes = record.size_bytes;
  Tell(event);
  return saved;
}

void PeerSessions::OnEnded(PeerSession& session) {
  PeerEvent event;
  bool was_open = false;
  std::shared_ptr<PeerSession> keep;  // Not destroyed under the lock.
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto entry = entries_.find(session.number());
    if (entry == entries_.end()) return;
    was_open = entry->second.admitted;
    keep = std::move(entry->second.session);
    entries_.erase(entry);
  }
  if (!was_open) return;
  event.kind = PeerEvent::Kind::kClosed;
  event.username = session.peer().username;
  event.at_ms = use_.clock->NowUnixMs();
  Tell(event);
}

// ---- Watching

uint64_t PeerSessions::Watch(Listener listener) {
  std::lock_guard<std::mutex> lock(watch_mutex_);
  watchers_[next_watch_] = std::move(listener);
  return next_watch_++;
}

void PeerSessions::Unwatch(uint64_t id) {
  std::lock_guard<std::mutex> lock(watch_mutex_);
  watchers_.erase(id);
}

void PeerSessions::Tell(const PeerEvent& event) {
  std::lock_guard<std::mutex> lock(watch_mutex_);
  for (const auto& [id, listener] : watchers_) listener(event);
}

// ---- Sweeping and the end

void PeerSessions::ScheduleSweep() {
  use_.scheduler->RunAfter(options_.sweep_interval_ms, [alive = alive_] {
    std::lock_guard<std::mutex> lock(alive->mutex);
    if (alive->sessions != nullptr) alive->sessions->Sweep();
  });
}

void PeerSessions::Sweep() {
  std::vector<std::shared_ptr<PeerSession>> all;
  bool start = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shut_down_) return;
    for (const auto& [number, entry] : entries_) all.push_back(entry.session);
    start = !sweeping_;
    sweeping_ = true;
  }
  if (start) {
    count_->Add();
    const absl::Status queued = use_.executor->Run([this] {
      SweepSlowly();
      EndSweep();
    });
    if (!queued.ok()) EndSweep();
  }
  for (const auto& session : all) session->CloseIfExpired();
  ScheduleSweep();
}

void PeerSessions::EndSweep() {
  const std::shared_ptr<PeerSessionCount> count = count_;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    sweeping_ = false;
  }
  count->Remove();  // The object may be gone after this.
}

void PeerSessions::SweepSlowly() {
  std::string announce;
  bool refresh = false;
  std::vector<std::shared_ptr<PeerSession>> admitted;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shut_down_) return;
    announce = announce_;
    const int64_t now_ms = use_.clock->NowMonotonicMs();
    refresh = refreshed_at_ms_ == 0 || now_ms - refreshed_at_ms_ >= options_.refresh_interval_ms;
    if (refresh) refreshed_at_ms_ = now_ms;
    for (const auto& [number, entry] : entries_) {
      if (entry.admitted) admitted.push_back(entry.session);
    }
  }
  if (!announce.empty()) {
    const bool announced = use_.directory->Announce(announce);
    std::lock_guard<std::mutex> lock(mutex_);
    if (announce_ == announce) listening_.announced = announced;
  }
  if (refresh && (!announce.empty() || !admitted.empty())) use_.directory->Refresh();
  // Who was revoked, whose certificate has run out, or whose key is not the pinned one any more, is
  // not talked to any longer.
  for (const auto& session : admitted) {
    absl::Status standing = use_.directory->Verify(session->peer_certificates()).status();
    if (standing.ok()) standing = CheckStanding(*session);
    if (!standing.ok() && !session->ended()) session->Break(standing);
  }
}

void PeerSessions::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(alive_->mutex);
    alive_->sessions = nullptr;
  }
  std::vector<std::shared_ptr<PeerSession>> all;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    shut_down_ = true;
    for (const auto& [number, entry] : entries_) all.push_back(entry.session);
  }
  std::vector<std::weak_ptr<PeerSession>> ending(all.begin(), all.end());
  for (const auto& session : all) session->Break(absl::UnavailableError("the agent ends"));
  all.clear();
  use_.transport->StopListening();
  // A peer who does not read what is under way to it is cut off by and by.
  while (!count_->AwaitNone(kEndPollMs)) {
    for (const auto& weak : ending) {
      if (const auto session = weak.lock()) session->CloseIfExpired();
    }
  }
}

}  // namespace blindcart::agent
