#include "services/broker/certificates.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "crypto/certification_request.h"
#include "crypto/identity.h"
#include "protocol/login_handshake.h"
#include "protocol/refusal.h"
#include "services/broker/revocation.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

// Certificates are valid from a little before they are made, for clocks that are behind; less when
// they are short-lived.
constexpr int64_t kGraceMs = 60 * 60'000;
constexpr int64_t kGraceShare = 10;

// For so long a repeated request gets what the first got; less when certificates are short-lived.
constexpr int64_t kRepeatMs = 60 * 60'000;
constexpr int64_t kRepeatShare = 4;

bool IsAddress(const std::string& address) {
  if (address.size() > Certificates::kMaxAddressBytes) return false;
  for (char c : address) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

// One writer serves everybody: nobody fills its queue.
absl::Status TooMuchUnderWay() { return absl::ResourceExhaustedError("too much is under way"); }

absl::Status KeepOldListWhenTooLarge(const absl::Status& made) {
  if (!absl::IsResourceExhausted(made)) return made;
  LogWarning("certificates.revocation_list_too_large");
  return absl::OkStatus();
}

storage::IssuedCertificate CopyOf(const crypto::Certificate& certificate, int64_t customer_id,
                                  storage::CertificateKind kind, int64_t now_ms) {
  storage::IssuedCertificate copy;
  copy.serial = certificate.serial();
  copy.customer_id = customer_id;
  copy.kind = kind;
  copy.der = certificate.der();
  copy.issued_at_ms = now_ms;
  copy.expires_at_ms = absl::ToUnixMillis(certificate.not_after());
  return copy;
}

}  // namespace

Certificates::Certificates(const Options& options, const crypto::CertificateAuthority* authority,
                           storage::Store& store, storage::CommitQueue& commits,
                           const protocol::Clock& clock, crypto::RandomSource& random)
    : options_(options),
      authority_(authority),
      store_(store),
      commits_(commits),
      clock_(clock),
      random_(random),
      listeners_(commits, clock, random) {}

absl::Status Certificates::Handle(int64_t customer_id, LinkId link_id,
                                  const v1::CertificateCall& call, Answer answer) {
  switch (call.kind_case()) {
    case v1::CertificateCall::kRequest:
      return Request(customer_id, call.request(), std::move(answer));
    case v1::CertificateCall::kRevoke:
      return Revoke(customer_id, std::move(answer));
    case v1::CertificateCall::kRevocationList:
      return FetchRevocationList(customer_id, std::move(answer));
    case v1::CertificateCall::kAnnounce:
      return Announce(customer_id, link_id, call.announce(), std::move(answer));
    case v1::CertificateCall::kFindPeer:
      return FindPeer(call.find_peer(), answer);
    case v1::CertificateCall::KIND_NOT_SET:
      break;
  }
  return protocol::Refused();
}

absl::Status Certificates::Commit(
    int64_t customer_id,
    std::function<absl::Status(storage::Transaction&, v1::CertificateResult&)> job, Answer answer) {
  if (!under_way_.Enter(customer_id)) return TooMuchUnderWay();
  auto result = std::make_shared<v1::CertificateResult>();
  const absl::Status submitted = commits_.Submit(
      [job = std::move(job), result](storage::Transaction& transaction) {
        result->Clear();
        return job(transaction, *result);
      },
      [this, customer_id, result, answer = std::move(answer)](const absl::Status& status) {
        under_way_.Leave(customer_id);
        if (!status.ok()) {
          LogWarning("certificates.commit_failed", {{"code", static_cast<int>(status.code())}});
          return answer(status);
        }
        answer(std::move(*result));
      });
  if (!submitted.ok()) under_way_.Leave(customer_id);
  return submitted;
}

absl::Status Certificates::Request(int64_t customer_id, const v1::RequestCertificateCall& call,
                                   Answer answer) {
  const absl::StatusOr<crypto::CertificationRequest> request =
      crypto::ParseCertificationRequest(call.certification_request());
  if (!request.ok()) return protocol::Refused();
  storage::Customer customer;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    absl::StatusOr<storage::Customer> found = transaction.customers().Get(customer_id);
    if (found.ok()) customer = *std::move(found);
    return found.status();
  });
  if (!read.ok()) return read;
  if (request->subject != customer.username || request->identity.Serialize() != customer.identity) {
    return protocol::Refused();
  }
  return Commit(
      customer_id,
      [this, customer = std::move(customer)](storage::Transaction& transaction,
                                             v1::CertificateResult& result) {
        return IssuePair(transaction, customer, clock_.NowUnixMs(), result.mutable_request());
      },
      std::move(answer));
}

absl::Status Certificates::IssuePair(storage::Transaction& transaction,
                                     const storage::Customer& customer, int64_t now_ms,
                                     v1::RequestCertificateResult* result) {
  const absl::StatusOr<std::vector<storage::IssuedCertificate>> live =
      transaction.certificates().ListOfCustomer(customer.id, now_ms);
  if (!live.ok()) return live.status();
  const absl::StatusOr<bool> blocked = transaction.certificates().IsBlocked(customer.id);
  if (!blocked.ok()) return blocked.status();
  if (authority_ == nullptr || *blocked) {
    result->set_refusal(*blocked ? v1::CERTIFICATE_REFUSAL_BLOCKED
                                 : v1::CERTIFICATE_REFUSAL_NO_AUTHORITY);
    return absl::OkStatus();
  }
  const absl::StatusOr<crypto::PublicIdentity> identity =
      crypto::PublicIdentity::Parse(customer.identity);
  if (!identity.ok()) return absl::DataLossError("unreadable identity");
  if (FindRecentPair(*live, customer.username, *identity, now_ms, result)) return absl::OkStatus();
  if (static_cast<int64_t>(live->size()) + 2 > options_.max_per_customer) {
    result->set_refusal(v1::CERTIFICATE_REFUSAL_TOO_MANY);
    return absl::OkStatus();
  }
  const absl::StatusOr<bool> full = IsRevocationListNearlyFull(transaction);
  if (!full.ok()) return full.status();
  if (*full) {
    LogWarning("certificates.revocation_list_nearly_full");
    result->set_refusal(v1::CERTIFICATE_REFUSAL_LIST_FULL);
    return absl::OkStatus();
  }
  const crypto::ValidityPeriod validity = {
      absl::FromUnixMillis(now_ms - std::min(kGraceMs, options_.lifetime_ms / kGraceShare)),
      absl::FromUnixMillis(now_ms + options_.lifetime_ms)};
  const absl::StatusOr<crypto::Certificate> signing =
      authority_->IssueSigning(customer.username, identity->ed25519(), validity, random_);
  if (!signing.ok()) return signing.status();
  const absl::StatusOr<crypto::Certificate> encryption =
      authority_->IssueEncryption(customer.username, identity->rsa(), validity, random_);
  if (!encryption.ok()) return encryption.status();
  for (const storage::IssuedCertificate& copy :
       {CopyOf(*signing, customer.id, storage::CertificateKind::kSigning, now_ms),
        CopyOf(*encryption, customer.id, storage::CertificateKind::kEncryption, now_ms)}) {
    const absl::Status inserted = transaction.certificates().Insert(copy).status();
    if (!inserted.ok()) return inserted;
  }
  result->set_issued(true);
  result->set_signing_certificate(signing->der());
  result->set_encryption_certificate(encryption->der());
  result->set_authority_certificate(authority_->certificate().der());
  return absl::OkStatus();
}

bool Certificates::FindRecentPair(const std::vector<storage::IssuedCertificate>& live,
                                  const std::string& username,
                                  const crypto::PublicIdentity& identity, int64_t now_ms,
                                  v1::RequestCertificateResult* result) const {
  if (live.size() < 2) return false;
  const storage::IssuedCertificate& signing_copy = live[live.size() - 2];
  const storage::IssuedCertificate& encryption_copy = live.back();
  const int64_t repeat_ms = std::min(kRepeatMs, options_.lifetime_ms / kRepeatShare);
  for (const storage::IssuedCertificate* copy : {&signing_copy, &encryption_copy}) {
    if (copy->revoked_at_ms != 0 || now_ms < copy->issued_at_ms ||
        now_ms - copy->issued_at_ms >= repeat_ms) {
      return false;
    }
  }
  const auto signing = crypto::Certificate::Parse(signing_copy.der);
  const auto encryption = crypto::Certificate::Parse(encryption_copy.der);
  if (!signing.ok() || !encryption.ok()) return false;
  // The operator may have begun a new authority, or enrolled new keys.
  const auto is_good = [&](const crypto::Certificate& certificate,
                           crypto::CertificatePurpose purpose) {
    return certificate.subject() == username &&
           crypto::VerifyCertificateWithoutRevocation(certificate, authority_->certificate(),
                                                      purpose, absl::FromUnixMillis(now_ms)) ==
               crypto::CertificateVerdict::kGood;
  };
  if (!is_good(*signing, crypto::CertificatePurpose::kSigning) ||
      !is_good(*encryption, crypto::CertificatePurpose::kEncryption)) {
    return false;
  }
  const auto ed25519 = signing->Ed25519Key();
  const auto rsa = encryption->RsaKey();
  if (!ed25519.ok() || *ed25519 != identity.ed25519() || !rsa.ok() ||
      rsa->SpkiDer() != identity.rsa().SpkiDer()) {
    return false;
  }
  result->set_issued(true);
  result->set_signing_certificate(signing->der());
  result->set_encryption_certificate(encryption->der());
  result->set_authority_certificate(authority_->certificate().der());
  return true;
}

absl::Status Certificates::Revoke(int64_t customer_id, Answer answer) {
  return Commit(
      customer_id,
      [this, customer_id](storage::Transaction& transaction,
                          v1::CertificateResult& result) -> absl::Status {
        const int64_t now_ms = clock_.NowUnixMs();
        const absl::StatusOr<int> revoked = RevokeAll(transaction, customer_id, now_ms);
        if (!revoked.ok()) return revoked.status();
        result.mutable_revoke()->set_revoked(static_cast<uint32_t>(*revoked));
        if (*revoked == 0 || authority_ == nullptr) return absl::OkStatus();
        const absl::Status listed = MakeRevocationList(transaction, *authority_, now_ms,
                                                       options_.revocation_list_lifetime_ms)
                                        .status();
        // Revoked they are all the same, and listed once older ones have expired.
        return KeepOldListWhenTooLarge(listed);
      },
      std::move(answer));
}

absl::Status Certificates::FetchRevocationList(int64_t customer_id, Answer answer) {
  v1::CertificateResult result;
  v1::FetchRevocationListResult& list = *result.mutable_revocation_list();
  if (authority_ == nullptr) {
    answer(std::move(result));
    return absl::OkStatus();
  }
  list.set_authority_certificate(authority_->certificate().der());
  // The operator may have revoked somebody a moment ago: whoever asks now learns of it now.
  absl::optional<storage::StoredRevocationList> found;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    absl::StatusOr<absl::optional<storage::StoredRevocationList>> current =
        FindCurrentRevocationList(transaction, authority_->certificate(), clock_.NowUnixMs(),
                                  options_.revocation_list_lifetime_ms);
    if (!current.ok()) return current.status();
    found = *std::move(current);
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  if (found.has_value()) {
    list.set_revocation_list(std::move(found->der));
    answer(std::move(result));
    return absl::OkStatus();
  }
  return Commit(
      customer_id,
      [this](storage::Transaction& transaction, v1::CertificateResult& current) -> absl::Status {
        // Rather the list before than none, for as long as it is good.
        const absl::Status made = KeepOldListWhenTooLarge(MakeListIfDue(transaction));
        if (!made.ok()) return made;
        absl::StatusOr<storage::StoredRevocationList> stored =
            transaction.certificates().GetRevocationList();
        if (!stored.ok()) return stored.status();
        current.mutable_revocation_list()->set_revocation_list(std::move(stored->der));
        current.mutable_revocation_list()->set_authority_certificate(
            authority_->certificate().der());
        return absl::OkStatus();
      },
      std::move(answer));
}

absl::Status Certificates::MakeListIfDue(storage::Transaction& transaction) {
  const int64_t now_ms = clock_.NowUnixMs();
  const absl::StatusOr<absl::optional<storage::StoredRevocationList>> current =
      FindCurrentRevocationList(transaction, authority_->certificate(), now_ms,
                                options_.revocation_list_lifetime_ms);
  if (!current.ok() || current->has_value()) return current.status();
  return MakeRevocationList(transaction, *authority_, now_ms, options_.revocation_list_lifetime_ms)
      .status();
}

absl::Status Certificates::Announce(int64_t customer_id, LinkId link_id,
                                    const v1::AnnounceAddressCall& call, Answer answer) {
  if (!IsAddress(call.address())) return protocol::Refused();
  if (!under_way_.Enter(customer_id)) return TooMuchUnderWay();
  listeners_.Announce(customer_id, link_id, call.address(),
                      [this, customer_id, answer = std::move(answer)](const absl::Status& status) {
                        under_way_.Leave(customer_id);
                        if (!status.ok()) return answer(status);
                        v1::CertificateResult result;
                        result.mutable_announce();
                        answer(std::move(result));
                      });
  return absl::OkStatus();
}

absl::Status Certificates::FindPeer(const v1::FindPeerCall& call, const Answer& answer) {
  if (!protocol::IsValidUsername(call.username())) return protocol::Refused();
  v1::CertificateResult result;
  v1::FindPeerResult& peer = *result.mutable_find_peer();
  const int64_t now_ms = clock_.NowUnixMs();
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    peer.Clear();
    const absl::StatusOr<storage::Customer> customer =
        transaction.customers().FindByUsername(call.username());
    if (absl::IsNotFound(customer.status())) return absl::OkStatus();
    if (!customer.ok()) return customer.status();
    absl::StatusOr<std::string> address = listeners_.Find(transaction, customer->id);
    if (!address.ok()) return address.status();
    if (address->empty()) return absl::OkStatus();
    peer.set_found(true);
    peer.set_address(*std::move(address));
    const absl::StatusOr<std::vector<storage::IssuedCertificate>> live =
        transaction.certificates().ListOfCustomer(customer->id, now_ms);
    if (!live.ok()) return live.status();
    for (const storage::IssuedCertificate& certificate : *live) {
      if (certificate.kind == storage::CertificateKind::kSigning &&
          certificate.revoked_at_ms == 0) {
        peer.set_signing_certificate(certificate.der);
      }
    }
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  answer(std::move(result));
  return absl::OkStatus();
}

}  // namespace blindcart::broker
