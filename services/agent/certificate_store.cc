#include "services/agent/certificate_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "protocol/login_handshake.h"

namespace blindcart::agent {
namespace {

using crypto::CertificatePurpose;
using crypto::CertificateVerdict;

absl::Status NoAuthority() {
  return absl::NotFoundError(
      "this agent does not know its broker's certificate authority yet. Log in, or put the "
      "broker's "
      "newest card in place of the agent's broker.card");
}

absl::Status StaleList() {
  return absl::FailedPreconditionError(
      "the revocation list is missing or too old, so nobody can tell which certificates were "
      "revoked. Log in to the broker once: the agent then fetches a new one");
}

absl::Status NotGood(absl::string_view subject, CertificateVerdict verdict) {
  if (verdict == CertificateVerdict::kRevocationMissing ||
      verdict == CertificateVerdict::kRevocationExpired) {
    return StaleList();
  }
  return absl::PermissionDeniedError(
      absl::StrCat(subject.empty() ? std::string("the certificate")
                                   : absl::StrCat("the certificate of ", subject),
                   " ", crypto::Describe(verdict)));
}

absl::StatusOr<crypto::Certificate> Judge(absl::string_view der,
                                          const crypto::Certificate& authority,
                                          CertificatePurpose purpose,
                                          const crypto::RevocationList& list, absl::Time now) {
  absl::StatusOr<crypto::Certificate> certificate = crypto::Certificate::Parse(der);
  if (!certificate.ok()) return NotGood("", CertificateVerdict::kMalformed);
  const CertificateVerdict verdict =
      crypto::VerifyCertificate(*certificate, authority, purpose, now, &list);
  if (verdict == CertificateVerdict::kGood) return certificate;
  // Whose name an authority did not vouch for is not worth repeating.
  return NotGood(verdict == CertificateVerdict::kWrongAuthority ? "" : certificate->subject(),
                 verdict);
}

}  // namespace

struct CertificateStore::Row {
  std::string authority;
  std::string signing;
  std::string encryption;
  std::string revocation_list;
};

absl::StatusOr<CertificateStore::Row> CertificateStore::ReadRow() {
  Row row;
  const absl::Status read = database_.Read([&](storage::SqliteDatabase& database) -> absl::Status {
    storage::SqliteStatement select = database.Prepare(
        "SELECT authority, signing, encryption, revocation_list FROM certificates WHERE id = 1");
    const absl::StatusOr<bool> found = select.Step();
    if (!found.ok() || !*found) return found.status();
    row.authority = select.ColumnBlob(0);
    row.signing = select.ColumnBlob(1);
    row.encryption = select.ColumnBlob(2);
    row.revocation_list = select.ColumnBlob(3);
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return row;
}

absl::Status CertificateStore::PinAuthority(const crypto::Certificate& authority) {
  if (!authority.IsFor(CertificatePurpose::kAuthority)) {
    return absl::InvalidArgumentError("what the broker names as its authority is none");
  }
  const absl::StatusOr<Row> row = ReadRow();
  if (!row.ok()) return row.status();
  if (row->authority == authority.der()) return absl::OkStatus();
  if (!row->authority.empty()) {
    return absl::FailedPreconditionError(
        "the broker shows another certificate authority than the one that this agent pinned. If "
        "the "
        "broker really has a new one, make a new agent with `agent init`");
  }
  return database_.Transact([&](storage::SqliteDatabase& database) {
    return database.Prepare("INSERT INTO certificates (id, authority) VALUES (1, ?)")
        .BindBlob(authority.der())
        .Run();
  });
}

absl::StatusOr<crypto::Certificate> CertificateStore::Authority() {
  const absl::StatusOr<Row> row = ReadRow();
  if (!row.ok()) return row.status();
  if (row->authority.empty()) return NoAuthority();
  return crypto::Certificate::Parse(row->authority);
}

absl::StatusOr<UserCertificates> CertificateStore::Own() {
  const absl::StatusOr<Row> row = ReadRow();
  if (!row.ok()) return row.status();
  if (row->signing.empty()) {
    return absl::NotFoundError(
        "you have no certificate yet; ask for one with: blindcart certificate request");
  }
  absl::StatusOr<crypto::Certificate> signing = crypto::Certificate::Parse(row->signing);
  if (!signing.ok()) return signing.status();
  absl::StatusOr<crypto::Certificate> encryption = crypto::Certificate::Parse(row->encryption);
  if (!encryption.ok()) return encryption.status();
  return UserCertificates{*std::move(signing), *std::move(encryption)};
}

absl::Status CertificateStore::SetOwn(const absl::optional<UserCertificates>& own) {
  return database_.Transact([&](storage::SqliteDatabase& database) -> absl::Status {
    storage::SqliteStatement update =
        own.has_value()
            ? database.Prepare("UPDATE certificates SET signing = ?, encryption = ? WHERE id = 1")
            : database.Prepare(
                  "UPDATE certificates SET signing = NULL, encryption = NULL WHERE id = 1");
    if (own.has_value()) {
      update.BindBlob(own->signing.der()).BindBlob(own->encryption.der());
    }
    const absl::Status updated = update.Run();
    if (!updated.ok()) return updated;
    return database.changes() == 1 || !own.has_value() ? absl::OkStatus() : NoAuthority();
  });
}

absl::StatusOr<crypto::RevocationList> CertificateStore::RevocationList() {
  const absl::StatusOr<Row> row = ReadRow();
  if (!row.ok()) return row.status();
  if (row->revocation_list.empty()) return StaleList();
  return crypto::RevocationList::Parse(row->revocation_list);
}

absl::Status CertificateStore::SetRevocationList(const crypto::RevocationList& list) {
  const absl::StatusOr<Row> row = ReadRow();
  if (!row.ok()) return row.status();
  if (row->authority.empty()) return NoAuthority();
  const absl::StatusOr<crypto::Certificate> authority = crypto::Certificate::Parse(row->authority);
  if (!authority.ok()) return authority.status();
  if (!list.IsSignedBy(*authority)) {
    return absl::PermissionDeniedError("the revocation list is not this broker's");
  }
  return database_.Transact([&](storage::SqliteDatabase& database) -> absl::Status {
    // What is there is read again here: another call may have put a newer one in its place.
    std::string current_der;
    {
      storage::SqliteStatement select =
          database.Prepare("SELECT revocation_list FROM certificates WHERE id = 1");
      const absl::StatusOr<bool> found = select.Step();
      if (!found.ok()) return found.status();
      if (*found) current_der = select.ColumnBlob(0);
    }
    if (!current_der.empty()) {
      const absl::StatusOr<crypto::RevocationList> current =
          crypto::RevocationList::Parse(current_der);
      if (current.ok() && current->number() > list.number()) return absl::OkStatus();
    }
    return database.Prepare("UPDATE certificates SET revocation_list = ? WHERE id = 1")
        .BindBlob(list.der())
        .Run();
  });
}

absl::StatusOr<CertifiedUser> CertificateStore::Verify(absl::string_view signing_der,
                                                       absl::string_view encryption_der) {
  const absl::StatusOr<crypto::Certificate> authority = Authority();
  if (!authority.ok()) return authority.status();
  const absl::StatusOr<crypto::RevocationList> list = RevocationList();
  if (!list.ok()) return list.status();
  return VerifyUserCertificates(signing_der, encryption_der, *authority, *list,
                                absl::FromUnixMillis(clock_.NowUnixMs()));
}

absl::StatusOr<CertifiedUser> VerifyUserCertificates(absl::string_view signing_der,
                                                     absl::string_view encryption_der,
                                                     const crypto::Certificate& authority,
                                                     const crypto::RevocationList& list,
                                                     absl::Time now) {
  const absl::StatusOr<crypto::Certificate> signing =
      Judge(signing_der, authority, CertificatePurpose::kSigning, list, now);
  if (!signing.ok()) return signing.status();
  const absl::StatusOr<crypto::Certificate> encryption =
      Judge(encryption_der, authority, CertificatePurpose::kEncryption, list, now);
  if (!encryption.ok()) return encryption.status();
  if (signing->subject() != encryption->subject()) {
    return absl::PermissionDeniedError("the two certificates belong to different people");
  }
  // An authority that certifies names which look like others' is not believed either.
  if (!protocol::IsValidUsername(signing->subject())) {
    return absl::PermissionDeniedError("the certificates' name is no username");
  }
  const absl::StatusOr<std::string> ed25519_key = signing->Ed25519Key();
  if (!ed25519_key.ok()) return ed25519_key.status();
  absl::StatusOr<crypto::RsaPublicKey> rsa_key = encryption->RsaKey();
  if (!rsa_key.ok()) return rsa_key.status();
  absl::StatusOr<crypto::PublicIdentity> identity =
      crypto::PublicIdentity::Create(*std::move(rsa_key), *ed25519_key);
  if (!identity.ok()) return identity.status();
  return CertifiedUser{signing->subject(), *std::move(identity)};
}

}  // namespace blindcart::agent
