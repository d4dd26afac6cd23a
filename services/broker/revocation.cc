#include "services/broker/revocation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kRowsPerRead = 1'024;
constexpr int64_t kDayMs = 24 * 60 * 60'000;
// What may be issued for is three quarters of a list: the rest is for revoking what was issued.
constexpr size_t kIssuingBytes = crypto::kMaxRevocationListBytes / 4 * 3;
// A list is dated back by so much, for readers whose clocks are behind; less when it is short-lived.
constexpr int64_t kGraceMs = 5 * 60'000;
constexpr int64_t kGraceShare = 10;

}  // namespace

absl::StatusOr<int> RevokeAll(storage::Transaction& transaction, int64_t customer_id,
                              int64_t now_ms) {
  const absl::StatusOr<std::vector<storage::IssuedCertificate>> certificates =
      transaction.certificates().ListOfCustomer(customer_id, now_ms);
  if (!certificates.ok()) return certificates.status();
  int revoked = 0;
  for (const storage::IssuedCertificate& certificate : *certificates) {
    if (certificate.revoked_at_ms != 0) continue;
    const absl::Status status = transaction.certificates().Revoke(certificate.serial, now_ms);
    if (!status.ok()) return status;
    ++revoked;
  }
  return revoked;
}

absl::StatusOr<absl::optional<storage::StoredRevocationList>> FindCurrentRevocationList(
    storage::Transaction& transaction, const crypto::Certificate& authority, int64_t now_ms,
    int64_t lifetime_ms) {
  using Found = absl::optional<storage::StoredRevocationList>;
  absl::StatusOr<storage::StoredRevocationList> list =
      transaction.certificates().GetRevocationList();
  if (absl::IsNotFound(list.status())) return Found();
  if (!list.ok()) return list.status();
  const absl::StatusOr<int64_t> last = transaction.certificates().LastRevocationId();
  if (!last.ok()) return last.status();
  if (*last > list->last_revocation_id || list->next_update_ms - now_ms < lifetime_ms / 2) {
    return Found();
  }
  // The operator may have begun a new authority.
  const absl::StatusOr<crypto::RevocationList> parsed = crypto::RevocationList::Parse(list->der);
  if (!parsed.ok() || !parsed->IsSignedBy(authority)) return Found();
  return Found(*std::move(list));
}

absl::StatusOr<bool> IsRevocationListNearlyFull(storage::Transaction& transaction) {
  const absl::StatusOr<int64_t> last = transaction.certificates().LastRevocationId();
  if (!last.ok()) return last.status();
  const absl::StatusOr<storage::StoredRevocationList> list =
      transaction.certificates().GetRevocationList();
  if (!list.ok() && !absl::IsNotFound(list.status())) return list.status();
  const int64_t since = *last - (list.ok() ? list->last_revocation_id : 0);
  const size_t bytes = (list.ok() ? list->der.size() : 0) +
                       static_cast<size_t>(since) * crypto::kRevocationListEntryBytes;
  return bytes > kIssuingBytes;
}

absl::StatusOr<storage::StoredRevocationList> MakeRevocationList(
    storage::Transaction& transaction, const crypto::CertificateAuthority& authority,
    int64_t now_ms, int64_t lifetime_ms) {
  storage::StoredRevocationList list;
  // Not below the time in seconds: a database that was brought back from a backup knows earlier lists
  // only, and readers keep the list with the highest number.
  list.number = std::max<int64_t>(1, now_ms / 1'000);
  const absl::StatusOr<storage::StoredRevocationList> previous =
      transaction.certificates().GetRevocationList();
  if (previous.ok()) {
    list.number = std::max(list.number, previous->number + 1);
  } else if (!absl::IsNotFound(previous.status())) {
    return previous.status();
  }
  std::vector<crypto::RevokedSerial> revoked;
  int64_t after_id = 0;
  while (true) {
    const absl::StatusOr<std::vector<storage::Revocation>> page =
        transaction.certificates().ListRevocations(now_ms - kDayMs, after_id, kRowsPerRead);
    if (!page.ok()) return page.status();
    if (page->empty()) break;
    for (const storage::Revocation& revocation : *page) {
      revoked.push_back({revocation.serial, absl::FromUnixMillis(revocation.revoked_at_ms)});
    }
    after_id = page->back().revocation_id;
  }
  const absl::StatusOr<int64_t> last = transaction.certificates().LastRevocationId();
  if (!last.ok()) return last.status();
  list.last_revocation_id = *last;
  list.made_at_ms = now_ms - std::min(kGraceMs, lifetime_ms / kGraceShare);
  list.next_update_ms = now_ms + lifetime_ms;
  const absl::StatusOr<crypto::RevocationList> made = authority.MakeRevocationList(
      revoked, static_cast<uint64_t>(list.number), absl::FromUnixMillis(list.made_at_ms),
      absl::FromUnixMillis(list.next_update_ms));
  if (!made.ok()) return made.status();
  list.der = made->der();
  const absl::Status set = transaction.certificates().SetRevocationList(list);
  if (!set.ok()) return set;
  return list;
}

}  // namespace blindcart::broker
