#include "services/agent/peer_session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/channel.h"
#include "protocol/peer_message.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

using protocol::RefusalReason;

constexpr char kPart[] = "peer";

// What may wait to be worked off: the window of a file, and texts beside it. More is against the rules.
constexpr size_t kMaxQueuedBytes = (protocol::kPeerWindowPieces + 4) * protocol::kPeerPieceBytes +
                                   2 * protocol::kMaxPlaintextBytes;
constexpr size_t kMaxQueuedMessages = 4'096;
constexpr size_t kMaxWaitingTexts = 64;
constexpr int kWorkPerTurn = 32;

// Hashing what is there of a file takes the receiver a while.
constexpr int64_t kHashedBytesPerMs = 50'000;

void Say(absl::string_view step) { Narration().Say(kPart, step); }

absl::Status VerdictInWords(v1::PeerFileVerdict verdict, uint64_t max_size_bytes) {
  switch (verdict) {
    case v1::PEER_FILE_VERDICT_ACCEPTED:
      return absl::OkStatus();
    case v1::PEER_FILE_VERDICT_NOT_WANTED:
      if (max_size_bytes > 0) {
        return absl::PermissionDeniedError(
            absl::StrCat("they take files of up to ", max_size_bytes,
                         " bytes only, and this one is larger. Ask them to allow more: blindcart "
                         "peer accept"));
      }
      return absl::PermissionDeniedError(
          "they do not take files from you. Ask them to allow it: blindcart peer accept");
    case v1::PEER_FILE_VERDICT_BUSY:
      return absl::UnavailableError(
          "they are receiving another file from you. Wait for it to end and try again");
    case v1::PEER_FILE_VERDICT_NO_SPACE:
      return absl::UnavailableError(
          "the other agent has no room for the file, or cannot write it. Ask them to look, and "
          "send "
          "it again");
    case v1::PEER_FILE_VERDICT_OVER_QUOTA:
      return absl::ResourceExhaustedError(
          "they keep no more files from you, or from anybody, until some are moved away: what they "
          "allow for is full. Ask them to make room (received_per_user_bytes and "
          "received_total_bytes in their agent's configuration)");
    case v1::PEER_FILE_VERDICT_TOO_OFTEN:
      return absl::ResourceExhaustedError(
          "files were offered to them too often, and their agent wants a pause. Try again in a few "
          "minutes");
    default:
      return absl::DataLossError(
          "what arrived is not what was offered: the file changed while it was sent, or was "
          "damaged "
          "on their disk. Nothing was kept; send it again");
  }
}

// Reads exactly `size` bytes, or fewer at the file's end.
absl::StatusOr<std::string> ReadPiece(int descriptor, uint64_t offset, size_t size) {
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got =
        pread(descriptor, &content[done], size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, "the file cannot be read");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

}  // namespace

// ---- PeerSessionCount

void PeerSessionCount::Add() {
  std::lock_guard<std::mutex> lock(mutex_);
  ++count_;
}

void PeerSessionCount::Remove() {
  std::lock_guard<std::mutex> lock(mutex_);
  --count_;
  changed_.notify_all();
}

int PeerSessionCount::count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return count_;
}

bool PeerSessionCount::AwaitNone(int64_t timeout_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                           [this] { return count_ == 0; });
}

// ---- The handshake's view of the host

class PeerSession::Verifier : public protocol::PeerVerifier {
 public:
  explicit Verifier(PeerSession& session) : session_(session) {}
  absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) override {
    absl::StatusOr<protocol::CertifiedPeer> peer =
        session_.use_.host->Verify(certificates, session_.expected_username_);
    if (peer.ok()) {
      session_.peer_certificates_ = certificates;
      Say(
          absl::StrCat("the other end's certificates were checked against the broker's authority "
                       "and its revocation list: they are ",
                       peer->username, "'s"));
    } else {
      Say("the other end's certificates are not accepted");
    }
    return peer;
  }

 private:
  PeerSession& session_;
};

// Keeps the session for as long as the link may call it.
class PeerSession::Handler : public LinkHandler {
 public:
  explicit Handler(std::shared_ptr<PeerSession> session) : session_(std::move(session)) {}
  void OnHandshake(const v1::HandshakeMessage& message) override { session_->OnHandshake(message); }
  void OnMessages(std::vector<std::string> messages) override {
    session_->OnMessages(std::move(messages));
  }
  void OnClosed(const absl::Status& status) override { session_->OnClosed(status); }

 private:
  const std::shared_ptr<PeerSession> session_;
};

// ---- Beginning and end

PeerSession::PeerSession(const PeerEnvironment& environment, uint64_t number, bool initiator,
                         uint64_t max_file_bytes, std::shared_ptr<PeerSessionCount> count,
                         std::string expected_username, std::string address)
    : use_(environment),
      number_(number),
      initiator_(initiator),
      expected_username_(std::move(expected_username)),
      address_(std::move(address)),
      count_(std::move(count)),
      verifier_(std::make_unique<Verifier>(*this)),
      max_file_bytes_(max_file_bytes) {
  count_->Add();
}

PeerSession::~PeerSession() {
  // It uses what may go once the count says that nobody is left.
  receiver_.reset();
  count_->Remove();
}

std::shared_ptr<PeerSession> PeerSession::Accept(const PeerEnvironment& environment,
                                                 uint64_t number, uint64_t max_file_bytes,
                                                 std::shared_ptr<PeerSessionCount> count) {
  return std::shared_ptr<PeerSession>(new PeerSession(environment, number, /*initiator=*/false,
                                                      max_file_bytes, std::move(count), "", ""));
}

std::shared_ptr<PeerSession> PeerSession::Initiate(const PeerEnvironment& environment,
                                                   uint64_t number, uint64_t max_file_bytes,
                                                   std::shared_ptr<PeerSessionCount> count,
                                                   protocol::PeerCertificates own_certificates,
                                                   std::string expected_username,
                                                   std::string address) {
  std::shared_ptr<PeerSession> session(
      new PeerSession(environment, number, /*initiator=*/true, max_file_bytes, std::move(count),
                      std::move(expected_username), std::move(address)));
  session->x_ = std::make_unique<protocol::PeerInitiator>(
      *environment.own, std::move(own_certificates), *session->verifier_, *environment.random);
  return session;
}

std::unique_ptr<LinkHandler> PeerSession::Attach(std::shared_ptr<Link> link) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    link_ = link;
  }
  if (initiator_) {
    absl::StatusOr<v1::HandshakeMessage> hello = x_->Start();
    if (hello.ok()) {
      Say("hello sent: own certificates, a nonce and two fresh X25519 keys");
      link->SendHandshake(*std::move(hello));
    } else {
      link->Close(hello.status());
    }
  }
  return std::make_unique<Handler>(shared_from_this());
}

void PeerSession::OnClosed(const absl::Status& status) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    if (why_ended_.ok()) {
      if (protocol::IsRefusal(status) && !established_) {
        why_ended_ = absl::PermissionDeniedError(
            "the other agent refused the session. It may not accept this agent's certificate (is "
            "it "
            "revoked, or do they know another key of yours?), its revocation list may be out of "
            "date, "
            "or the clocks of both machines differ by more than two minutes");
      } else if (!established_ && initiator_) {
        why_ended_ = absl::UnavailableError(absl::StrCat(
            "no agent answers on ", address_,
            " as one that listens for direct sessions. Ask them to run: blindcart peer "
            "listen"));
      } else {
        why_ended_ = absl::UnavailableError("the session broke. Connect again and repeat it");
      }
    }
    link_.reset();
    queue_.clear();
    queued_bytes_ = 0;
  }
  changed_.notify_all();
  use_.host->OnEnded(*this);
}

void PeerSession::EndWith(absl::Status why, absl::Status close) {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    ended_ = true;
    why_ended_ = std::move(why);
    link = link_;
  }
  changed_.notify_all();
  if (link != nullptr) link->Close(std::move(close));
}

void PeerSession::Refuse() {
  EndWith(absl::DataLossError("the other end broke the protocol's rules and was cut off"),
          protocol::Refused());
}

void PeerSession::Close() {
  if (established()) {
    v1::PeerMessage message;
    message.mutable_bye();
    (void)Send(message);
  }
  EndWith(absl::UnavailableError("the session was closed. Connect again"), absl::OkStatus());
}

void PeerSession::Break(const absl::Status& why) {
  EndWith(why, absl::CancelledError("the agent ends the session"));
}

void PeerSession::EndHandshakeIfPending() {
  if (established()) return;
  EndWith(absl::UnavailableError(
              absl::StrCat("the agent on ", address_, " did not end the handshake in time")),
          absl::CancelledError("handshake timeout"));
}

void PeerSession::EndIfSilent() {
  if (silent()) Break(absl::UnavailableError("the caller said nothing"));
}

void PeerSession::CloseIfExpired() {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    link = link_;
  }
  if (link != nullptr) link->CloseIfExpired();
}

bool PeerSession::established() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return established_ && !ended_;
}

bool PeerSession::ended() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return ended_;
}

bool PeerSession::silent() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return handshakes_heard_ == 0;
}

void PeerSession::set_max_file_bytes(uint64_t max_file_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  max_file_bytes_ = max_file_bytes;
}

uint64_t PeerSession::max_file_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return max_file_bytes_;
}

absl::optional<PeerReceiver::Progress> PeerSession::receiving() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return receiving_;
}

absl::optional<PeerRefusedFile> PeerSession::refused() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return refused_;
}

absl::Status PeerSession::EndedLocked() const {
  return why_ended_.ok() ? absl::UnavailableError("the session is over. Connect again")
                         : why_ended_;
}

absl::Status PeerSession::AwaitLocked(std::unique_lock<std::mutex>& lock, int64_t timeout_ms,
                                      const std::function<bool()>& ready) {
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return ended_ || ready(); });
  if (ready()) return absl::OkStatus();
  if (ended_) return EndedLocked();
  return absl::UnavailableError("the other agent does not answer. Try again later");
}

absl::Status PeerSession::AwaitEstablished() {
  absl::Status status;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    status = AwaitLocked(lock, use_.handshake_timeout_ms, [this] { return established_; });
    if (status.ok() && ended_) status = EndedLocked();
    if (ended_) return status;
  }
  if (!status.ok()) EndHandshakeIfPending();
  return status;
}

// ---- What arrives

void PeerSession::OnHandshake(const v1::HandshakeMessage& message) {
  int number = 0;
  bool awaiting_last = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    number = ++handshakes_heard_;
    awaiting_last = awaiting_last_;
  }
  // Each end hears two. The initiator's second comes here alone, when nothing works on the first.
  if (number > 2 || (initiator_ && number == 2 && !awaiting_last)) {
    Refuse();
    return;
  }
  if (!initiator_ || number == 1) {
    Work work;
    work.handshake = message;
    Enqueue(std::move(work));
    return;
  }
  // The responder may send its first frame right behind this message, so the channel has to stand
  // when this returns (link.h).
  const absl::Status status = FinishInitiator(message);
  if (!status.ok()) EndWith(status, protocol::Refused());
}

void PeerSession::OnMessages(std::vector<std::string> messages) {
  std::vector<Work> work(messages.size());
  for (size_t i = 0; i < messages.size(); ++i) work[i].message = std::move(messages[i]);
  Enqueue(std::move(work));
}

void PeerSession::Enqueue(Work work) {
  std::vector<Work> all;
  all.push_back(std::move(work));
  Enqueue(std::move(all));
}

void PeerSession::Enqueue(std::vector<Work> work) {
  bool start = false;
  bool too_much = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_) return;
    for (Work& one : work) {
      queued_bytes_ += one.message.size();
      queue_.push_back(std::move(one));
    }
    too_much = queued_bytes_ > kMaxQueuedBytes || queue_.size() > kMaxQueuedMessages;
    if (!too_much && !working_ && !queue_.empty()) {
      working_ = true;
      start = true;
    }
  }
  if (too_much) {
    Refuse();
    return;
  }
  if (start) RunWorkOff();
}

void PeerSession::RunWorkOff() {
  const absl::Status queued = use_.executor->Run([self = shared_from_this()] { self->WorkOff(); });
  if (!queued.ok()) {
    Break(absl::UnavailableError("the agent is busy with other sessions. Try again"));
  }
}

void PeerSession::WorkOff() {
  for (int turn = 0; turn < kWorkPerTurn; ++turn) {
    Work work;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (ended_) queue_.clear();
      if (queue_.empty()) {
        working_ = false;
        return;
      }
      work = std::move(queue_.front());
      queue_.pop_front();
      queued_bytes_ -= std::min(queued_bytes_, work.message.size());
    }
    Handle(work);
  }
  RunWorkOff();  // Others have their turn.
}

void PeerSession::Handle(const Work& work) {
  if (work.handshake.has_value()) {
    const absl::Status status = HandleHandshake(*work.handshake);
    if (!status.ok()) EndWith(status, protocol::Refused());
  } else if (work.admit) {
    const absl::Status admitted = use_.host->Admit(shared_from_this());
    if (!admitted.ok()) {
      EndWith(admitted, protocol::Refused());
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      established_ = true;
    }
    changed_.notify_all();
  } else if (!established() || !HandleMessage(work.message).ok()) {
    Refuse();
  }
}

// ---- Handshake

absl::Status PeerSession::InWords(RefusalReason reason, const absl::Status& verdict) const {
  if (!verdict.ok()) return verdict;
  Say(absl::StrCat("the session is refused: ", protocol::RefusalReasonName(reason)));
  if (initiator_) {
    return absl::DataLossError(absl::StrCat(
        "whoever answers on ", address_,
        " could not prove to hold the keys of the certificates shown. Somebody may stand in "
        "between. Nothing was sent"));
  }
  return absl::DataLossError("whoever called could not prove to hold the keys of its certificates");
}

absl::Status PeerSession::HandleHandshake(const v1::HandshakeMessage& message) {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    link = link_;
  }
  if (link == nullptr) return absl::CancelledError("the link is gone");
  if (initiator_) {
    absl::StatusOr<v1::HandshakeMessage> finish = x_->OnAnswer(message);
    if (!finish.ok()) return InWords(x_->refusal(), x_->verdict());
    Say("the other end's signature over the handshake so far was checked: it holds its key");
    Say("own signature sent, with a master secret that only the other end's RSA key opens");
    {
      std::lock_guard<std::mutex> lock(mutex_);
      awaiting_last_ = true;
    }
    link->SendHandshake(*std::move(finish));
    return absl::OkStatus();
  }
  if (!heard_hello_) {
    heard_hello_ = true;
    Say("somebody called: hello received");
    absl::StatusOr<protocol::PeerCertificates> own = use_.host->OwnCertificates();
    if (!own.ok()) return own.status();
    y_ = std::make_unique<protocol::PeerResponder>(*use_.own, *std::move(own), *verifier_,
                                                   *use_.random);
    absl::StatusOr<v1::HandshakeMessage> answer = y_->OnHello(message);
    if (!answer.ok()) return InWords(y_->refusal(), y_->verdict());
    Say("answer sent: own certificates, a nonce, two fresh X25519 keys and a signature");
    link->SendHandshake(*std::move(answer));
    return absl::OkStatus();
  }
  absl::StatusOr<v1::HandshakeMessage> last = y_->OnFinish(message);
  if (!last.ok()) return InWords(y_->refusal(), y_->verdict());
  Say("the caller's signature was checked, and the master secret opened");
  absl::StatusOr<protocol::SessionKeys> keys = y_->TakeKeys();
  if (!keys.ok()) return keys.status();
  const absl::Status established = Establish(*std::move(keys), y_->peer());
  if (!established.ok()) return established;
  link->SendHandshake(*std::move(last));
  return absl::OkStatus();
}

absl::Status PeerSession::FinishInitiator(const v1::HandshakeMessage& message) {
  const absl::Status finished = x_->OnFinished(message);
  if (!finished.ok()) return InWords(x_->refusal(), absl::OkStatus());
  absl::StatusOr<protocol::SessionKeys> keys = x_->TakeKeys();
  if (!keys.ok()) return keys.status();
  return Establish(*std::move(keys), x_->peer());
}

absl::Status PeerSession::Establish(protocol::SessionKeys keys, protocol::CertifiedPeer peer) {
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel = protocol::Channel::Create(
      std::move(keys), initiator_ ? protocol::Role::kInitiator : protocol::Role::kResponder,
      *use_.clock, {});
  if (!channel.ok()) return channel.status();
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    link = link_;
  }
  if (link == nullptr) return absl::CancelledError("the link is gone");
  Say("both ends' Finished agree: fresh keys stand that nobody else has");
  receiver_.emplace(
      *use_.received, peer.identity, use_.own->public_identity().fingerprint(),
      [this, fingerprint = peer.identity.fingerprint()](const std::string& sha256) {
        return use_.host->FindFile(fingerprint, sha256);
      },
      [this, fingerprint = peer.identity.fingerprint()] {
        return use_.host->FindStored(fingerprint);
      });
  peer_.emplace(std::move(peer));
  established_at_ms_ = use_.clock->NowUnixMs();
  link->Establish(*std::move(channel));
  // The host is asked before any message is looked at.
  Work admit;
  admit.admit = true;
  Enqueue(std::move(admit));
  return absl::OkStatus();
}

// ---- Messages

absl::Status PeerSession::Send(const v1::PeerMessage& message) {
  std::shared_ptr<Link> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || link_ == nullptr) return EndedLocked();
    link = link_;
  }
  const absl::Status sent = link->Send(message.SerializeAsString());
  if (sent.ok()) return sent;
  // The link says so before its handler hears of it, and who asks ended() next wants to know now.
  const absl::Status broke =
      absl::UnavailableError("the session broke. Connect again and repeat it");
  EndWith(broke, absl::CancelledError("the link does not take messages any more"));
  return broke;
}

absl::Status PeerSession::HandleMessage(const std::string& bytes) {
  absl::StatusOr<v1::PeerMessage> message = protocol::ParsePeerMessage(bytes);
  if (!message.ok()) return message.status();
  switch (message->kind_case()) {
    case v1::PeerMessage::kText: {
      const absl::Status standing = use_.host->CheckStanding(*this);
      if (!standing.ok()) {
        Break(standing);
        return absl::OkStatus();
      }
      const absl::Status kept = use_.host->TakeText(*this, message->text());
      v1::PeerMessage reply;
      reply.mutable_text_received()->set_message_id(message->text().message_id());
      reply.mutable_text_received()->set_kept(kept.ok());
      (void)Send(reply);
      return absl::OkStatus();
    }
    case v1::PeerMessage::kTextReceived: {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto waiting = texts_.find(message->text_received().message_id());
      if (waiting != texts_.end()) waiting->second = message->text_received().kept();
      changed_.notify_all();
      return absl::OkStatus();
    }
    case v1::PeerMessage::kFileAnswer:
    case v1::PeerMessage::kFileReceived:
    case v1::PeerMessage::kFileResult: {
      std::lock_guard<std::mutex> lock(mutex_);
      if (message->has_file_answer()) {
        if (outgoing_ == nullptr ||
            outgoing_->transfer_id != message->file_answer().transfer_id()) {
          return absl::OkStatus();
        }
        outgoing_->answer = message->file_answer();
      } else if (message->has_file_received()) {
        const v1::PeerFileReceived& received = message->file_received();
        if (outgoing_ == nullptr || outgoing_->transfer_id != received.transfer_id()) {
          return absl::OkStatus();
        }
        if (received.received_bytes() < outgoing_->received_bytes ||
            received.received_bytes() > outgoing_->offered_bytes) {
          return absl::InvalidArgumentError("received what was not sent");
        }
        outgoing_->received_bytes = received.received_bytes();
      } else {
        if (outgoing_ == nullptr ||
            outgoing_->transfer_id != message->file_result().transfer_id()) {
          return absl::OkStatus();
        }
        outgoing_->result = message->file_result().verdict();
      }
      changed_.notify_all();
      return absl::OkStatus();
    }
    case v1::PeerMessage::kFileOffer:
    case v1::PeerMessage::kFilePiece:
    case v1::PeerMessage::kFileEnd:
    case v1::PeerMessage::kFileStopped: {
      // Pieces wait hidden until the end, which is asked about.
      if (message->has_file_offer() || message->has_file_end()) {
        const absl::Status standing = use_.host->CheckStanding(*this);
        if (!standing.ok()) {
          Break(standing);
          return absl::OkStatus();
        }
      }
      const absl::Status handled = HandleFile(*message);
      std::lock_guard<std::mutex> lock(mutex_);
      receiving_ = receiver_->progress();
      return handled;
    }
    case v1::PeerMessage::kBye:
      EndWith(absl::UnavailableError("the other agent closed the session. Connect again"),
              absl::OkStatus());
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError("no message of a direct session");
  }
}

absl::Status PeerSession::HandleFile(const v1::PeerMessage& message) {
  v1::PeerMessage reply;
  if (message.has_file_offer()) {
    *reply.mutable_file_answer() = receiver_->OnOffer(message.file_offer(), max_file_bytes());
    Say(absl::StrCat(
        "a file is offered, and ",
        reply.file_answer().verdict() == v1::PEER_FILE_VERDICT_ACCEPTED ? "taken" : "not taken"));
    NoteVerdict({message.file_offer().name(), message.file_offer().size_bytes(),
                 reply.file_answer().verdict()});
  } else if (message.has_file_piece()) {
    const absl::optional<PeerReceiver::Progress> before = receiver_->progress();
    absl::StatusOr<PeerReceiver::Taken> taken = receiver_->OnPiece(message.file_piece());
    if (!taken.ok()) return taken.status();
    if (taken->received.has_value()) *reply.mutable_file_received() = *std::move(taken->received);
    if (taken->failed.has_value()) {
      NoteVerdict({before->name, before->size_bytes, taken->failed->verdict()});
      *reply.mutable_file_result() = *std::move(taken->failed);
    }
  } else if (message.has_file_end()) {
    const absl::optional<PeerReceiver::Progress> before = receiver_->progress();
    absl::StatusOr<absl::optional<PeerReceiver::Done>> done = receiver_->OnEnd(message.file_end());
    if (!done.ok()) return done.status();
    if (!done->has_value()) return absl::OkStatus();
    Say((*done)->result.verdict() == v1::PEER_FILE_VERDICT_ACCEPTED
            ? "the file's SHA-256 and its sender's signature were checked"
            : "the file's SHA-256 or its sender's signature is wrong: it was thrown away");
    NoteVerdict({before->name, before->size_bytes, (*done)->result.verdict()});
    if ((*done)->file.has_value()) {
      // The file is in its place; a record that could not be written takes nothing from that.
      (void)use_.host->TakeFile(*this, **done);
    }
    *reply.mutable_file_result() = (*done)->result;
  } else {
    receiver_->OnStopped(message.file_stopped());
  }
  if (reply.kind_case() != v1::PeerMessage::KIND_NOT_SET) (void)Send(reply);
  return absl::OkStatus();
}

void PeerSession::NoteVerdict(const PeerRefusedFile& file) {
  if (file.verdict == v1::PEER_FILE_VERDICT_BUSY) return;  // The other one is shown.
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (file.verdict == v1::PEER_FILE_VERDICT_ACCEPTED) {
      refused_.reset();
      return;
    }
    const bool known = refused_.has_value() && refused_->verdict == file.verdict;
    refused_ = file;
    if (known) return;
  }
  use_.host->FileRefused(*this, file);
}

absl::Status PeerSession::SendText(const std::string& message_id, const std::string& text) {
  v1::PeerMessage message;
  message.mutable_text()->set_message_id(message_id);
  message.mutable_text()->set_text(text);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || !established_) return EndedLocked();
    if (texts_.size() >= kMaxWaitingTexts) {
      return absl::UnavailableError("too many texts wait for that user already. Try again later");
    }
    texts_[message_id] = absl::nullopt;
  }
  const auto forget = absl::MakeCleanup([this, &message_id] {
    std::lock_guard<std::mutex> lock(mutex_);
    texts_.erase(message_id);
  });
  const absl::Status sent = Send(message);
  if (!sent.ok()) return sent;
  Say("a text was sealed under the session's keys and sent");
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Status answered =
      AwaitLocked(lock, use_.answer_timeout_ms, [&] { return texts_[message_id].has_value(); });
  if (!answered.ok()) return answered;
  if (!*texts_[message_id]) {
    return absl::UnavailableError(
        "the other agent could not keep the text (its disk may be full). Try again later");
  }
  return absl::OkStatus();
}

absl::Status PeerSession::SendFile(const std::string& path, const protocol::PeerFile& file,
                                   const OnProgress& on_progress) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "the file cannot be opened");
  const auto closer = absl::MakeCleanup([descriptor] { close(descriptor); });

  Outgoing outgoing;
  outgoing.transfer_id = use_.random->Bytes(protocol::kPeerIdBytes);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || !established_) return EndedLocked();
    if (outgoing_ != nullptr) {
      return absl::FailedPreconditionError(
          "another file is on its way to that user. Wait for it to end and try again");
    }
    outgoing_ = &outgoing;
  }
  const auto forget = absl::MakeCleanup([this] {
    std::lock_guard<std::mutex> lock(mutex_);
    outgoing_ = nullptr;
  });

  v1::PeerMessage message;
  v1::PeerFileOffer& offer = *message.mutable_file_offer();
  offer.set_transfer_id(outgoing.transfer_id);
  offer.set_name(file.name);
  offer.set_size_bytes(file.size_bytes);
  offer.set_sha256(file.sha256);
  absl::Status status = Send(message);
  if (!status.ok()) return status;
  Say("a file was offered: its name, its size and its SHA-256");
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t hashing_ms = static_cast<int64_t>(file.size_bytes / kHashedBytesPerMs);
    status = AwaitLocked(lock, use_.answer_timeout_ms + hashing_ms,
                         [&] { return outgoing.answer.has_value(); });
    if (!status.ok()) return status;
    status = VerdictInWords(outgoing.answer->verdict(), outgoing.answer->max_size_bytes());
    if (!status.ok()) return status;
    const uint64_t offset = outgoing.answer->offset_bytes();
    if (offset > file.size_bytes ||
        (offset != file.size_bytes && offset % protocol::kPeerPieceBytes != 0)) {
      lock.unlock();
      Refuse();
      return absl::DataLossError("the other agent's answer makes no sense");
    }
    outgoing.received_bytes = offset;
    outgoing.offered_bytes = offset;
  }
  status = SendPieces(descriptor, file, outgoing, on_progress);
  if (status.ok()) return status;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_ || outgoing.result.has_value()) return status;
  }
  message.Clear();
  message.mutable_file_stopped()->set_transfer_id(outgoing.transfer_id);
  (void)Send(message);
  return status;
}

absl::Status PeerSession::SendPieces(int descriptor, const protocol::PeerFile& file,
                                     Outgoing& outgoing, const OnProgress& on_progress) {
  FileProgress progress;
  progress.total_bytes = file.size_bytes;
  uint64_t sent = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    sent = progress.resumed_from_bytes = progress.sent_bytes = outgoing.received_bytes;
  }
  if (sent > 0) Say("the other end has a part of it already: going on from there");
  const uint64_t window = protocol::kPeerWindowPieces * protocol::kPeerPieceBytes;
  while (true) {
    if (on_progress != nullptr && !on_progress(progress)) {
      return absl::CancelledError("sending was stopped. What has come stays with the receiver");
    }
    if (progress.sent_bytes == file.size_bytes) break;
    while (sent < file.size_bytes && sent - progress.sent_bytes < window) {
      const absl::StatusOr<std::string> content =
          ReadPiece(descriptor, sent, protocol::PeerPieceBytesAt(sent, file.size_bytes));
      if (!content.ok()) return content.status();
      if (content->size() != protocol::PeerPieceBytesAt(sent, file.size_bytes)) {
        return absl::DataLossError("the file became shorter while it was sent. Send it again");
      }
      v1::PeerMessage message;
      message.mutable_file_piece()->set_transfer_id(outgoing.transfer_id);
      message.mutable_file_piece()->set_offset_bytes(sent);
      message.mutable_file_piece()->set_content(*content);
      sent += content->size();
      {
        std::lock_guard<std::mutex> lock(mutex_);
        outgoing.offered_bytes = sent;
      }
      const absl::Status status = Send(message);
      if (!status.ok()) return status;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    const absl::Status status = AwaitLocked(lock, use_.answer_timeout_ms, [&] {
      return outgoing.received_bytes > progress.sent_bytes || outgoing.result.has_value();
    });
    if (!status.ok()) return status;
    if (outgoing.result.has_value()) {
      const absl::Status failed = VerdictInWords(*outgoing.result, 0);
      return failed.ok() ? absl::DataLossError("the other agent's answer makes no sense") : failed;
    }
    progress.sent_bytes = outgoing.received_bytes;
  }

  v1::PeerMessage message;
  message.mutable_file_end()->set_transfer_id(outgoing.transfer_id);
  message.mutable_file_end()->set_sha256(file.sha256);
  message.mutable_file_end()->set_signature(
      protocol::SignPeerFile(*use_.own, peer().identity.fingerprint(), file));
  const absl::Status status = Send(message);
  if (!status.ok()) return status;
  Say("the whole file is there; its SHA-256 was signed and sent");
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Status answered =
      AwaitLocked(lock, use_.answer_timeout_ms, [&] { return outgoing.result.has_value(); });
  if (!answered.ok()) return answered;
  return VerdictInWords(*outgoing.result, 0);
}

}  // namespace blindcart::agent
