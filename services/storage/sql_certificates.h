// The certificates of store.h in SQL, as sql_groups.h has the other groups.
#ifndef SERVICES_STORAGE_SQL_CERTIFICATES_H_
#define SERVICES_STORAGE_SQL_CERTIFICATES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/storage/sql_rows.h"
#include "services/storage/store.h"

namespace blindcart::storage {

template <typename Statement>
void ReadRow(const Statement& row, IssuedCertificate& certificate) {
  certificate.certificate_id = row.ColumnInt64(0);
  certificate.serial = row.ColumnBlob(1);
  certificate.customer_id = row.ColumnInt64(2);
  certificate.kind = CertificateKindOf(row.ColumnText(3));
  certificate.der = row.ColumnBlob(4);
  certificate.issued_at_ms = row.ColumnInt64(5);
  certificate.expires_at_ms = row.ColumnInt64(6);
  certificate.revoked_at_ms = row.ColumnInt64(7);
}

template <typename Statement>
void ReadRow(const Statement& row, Revocation& revocation) {
  revocation.revocation_id = row.ColumnInt64(0);
  revocation.serial = row.ColumnBlob(1);
  revocation.revoked_at_ms = row.ColumnInt64(2);
}

template <typename Database>
class SqlCertificates : public Certificates {
 public:
  // `database` must outlive the object.
  explicit SqlCertificates(Database& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const IssuedCertificate& certificate) override;
  absl::StatusOr<std::vector<IssuedCertificate>> ListOfCustomer(int64_t customer_id,
                                                                int64_t time_ms) override;
  absl::StatusOr<std::vector<IssuedCertificate>> List(int64_t after_id, int64_t limit) override;

  absl::Status Revoke(absl::string_view serial, int64_t revoked_at_ms) override;
  absl::StatusOr<std::vector<Revocation>> ListRevocations(int64_t time_ms, int64_t after_id,
                                                          int64_t limit) override;
  absl::StatusOr<int64_t> LastRevocationId() override;

  absl::Status SetBlocked(int64_t customer_id, bool blocked, int64_t decided_at_ms) override;
  absl::StatusOr<bool> IsBlocked(int64_t customer_id) override;

  absl::StatusOr<StoredRevocationList> GetRevocationList() override;
  absl::Status SetRevocationList(const StoredRevocationList& list) override;

 private:
  Database& database_;
};

template <typename Database>
absl::StatusOr<int64_t> SqlCertificates<Database>::Insert(const IssuedCertificate& certificate) {
  auto insert = database_.Prepare(
      "INSERT INTO certificates (serial, customer_id, kind, der, issued_at_ms, expires_at_ms)"
      " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING certificate_id");
  insert.BindBlob(certificate.serial)
      .BindInt64(certificate.customer_id)
      .BindText(CertificateKindName(certificate.kind))
      .BindBlob(certificate.der)
      .BindInt64(certificate.issued_at_ms)
      .BindInt64(certificate.expires_at_ms);
  return InsertReturningId(insert, "certificate");
}

template <typename Database>
absl::StatusOr<std::vector<IssuedCertificate>> SqlCertificates<Database>::ListOfCustomer(
    int64_t customer_id, int64_t time_ms) {
  auto query = database_.Prepare(
      "SELECT c.certificate_id, c.serial, c.customer_id, c.kind, c.der, c.issued_at_ms,"
      " c.expires_at_ms, r.revoked_at_ms FROM certificates c"
      " LEFT JOIN revocations r ON r.serial = c.serial"
      " WHERE c.customer_id = ? AND c.expires_at_ms > ? ORDER BY c.certificate_id");
  query.BindInt64(customer_id).BindInt64(time_ms);
  return ReadAll<IssuedCertificate>(query);
}

template <typename Database>
absl::StatusOr<std::vector<IssuedCertificate>> SqlCertificates<Database>::List(int64_t after_id,
                                                                               int64_t limit) {
  auto query = database_.Prepare(
      "SELECT c.certificate_id, c.serial, c.customer_id, c.kind, c.der, c.issued_at_ms,"
      " c.expires_at_ms, r.revoked_at_ms FROM certificates c"
      " LEFT JOIN revocations r ON r.serial = c.serial"
      " WHERE c.certificate_id > ? ORDER BY c.certificate_id LIMIT ?");
  query.BindInt64(after_id);
  return ReadPage<IssuedCertificate>(query, limit);
}

template <typename Database>
absl::Status SqlCertificates<Database>::Revoke(absl::string_view serial, int64_t revoked_at_ms) {
  {
    auto query = database_.Prepare("SELECT 1 FROM certificates WHERE serial = ?");
    const absl::StatusOr<bool> found = query.BindBlob(serial).Step();
    if (!found.ok()) return found.status();
    if (!*found) return absl::NotFoundError("no such certificate");
  }
  // Not an id of the database's own making: a revocation list says up to which id it goes, so ids
  // have to ascend in the order of commits.
  auto insert = database_.Prepare(
      "INSERT INTO revocations (revocation_id, serial, revoked_at_ms)"
      " SELECT COALESCE(MAX(revocation_id), 0) + 1, ?, ? FROM revocations WHERE TRUE"
      " ON CONFLICT DO NOTHING");
  insert.BindBlob(serial).BindInt64(revoked_at_ms);
  return InsertNew(database_, insert, "revocation");
}

template <typename Database>
absl::StatusOr<std::vector<Revocation>> SqlCertificates<Database>::ListRevocations(int64_t time_ms,
                                                                                   int64_t after_id,
                                                                                   int64_t limit) {
  auto query = database_.Prepare(
      "SELECT r.revocation_id, r.serial, r.revoked_at_ms FROM revocations r"
      " JOIN certificates c ON c.serial = r.serial"
      " WHERE r.revocation_id > ? AND c.expires_at_ms > ? ORDER BY r.revocation_id LIMIT ?");
  query.BindInt64(after_id).BindInt64(time_ms);
  return ReadPage<Revocation>(query, limit);
}

template <typename Database>
absl::StatusOr<int64_t> SqlCertificates<Database>::LastRevocationId() {
  auto query = database_.Prepare("SELECT max(revocation_id) FROM revocations");
  const absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  return *found ? query.ColumnInt64(0) : 0;
}

template <typename Database>
absl::Status SqlCertificates<Database>::SetBlocked(int64_t customer_id, bool blocked,
                                                   int64_t decided_at_ms) {
  return database_
      .Prepare(
          "INSERT INTO certificate_blocks (customer_id, blocked, decided_at_ms) VALUES (?, ?, ?)")
      .BindInt64(customer_id)
      .BindInt64(blocked ? 1 : 0)
      .BindInt64(decided_at_ms)
      .Run();
}

template <typename Database>
absl::StatusOr<bool> SqlCertificates<Database>::IsBlocked(int64_t customer_id) {
  auto query = database_.Prepare(
      "SELECT blocked FROM certificate_blocks WHERE customer_id = ?"
      " ORDER BY decision_id DESC LIMIT 1");
  const absl::StatusOr<bool> found = query.BindInt64(customer_id).Step();
  if (!found.ok()) return found.status();
  return *found && query.ColumnInt64(0) != 0;
}

template <typename Database>
absl::StatusOr<StoredRevocationList> SqlCertificates<Database>::GetRevocationList() {
  auto query = database_.Prepare(
      "SELECT number, last_revocation_id, made_at_ms, next_update_ms, der FROM revocation_list"
      " WHERE id = 1");
  const absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError("no revocation list");
  StoredRevocationList list;
  list.number = query.ColumnInt64(0);
  list.last_revocation_id = query.ColumnInt64(1);
  list.made_at_ms = query.ColumnInt64(2);
  list.next_update_ms = query.ColumnInt64(3);
  list.der = query.ColumnBlob(4);
  return list;
}

template <typename Database>
absl::Status SqlCertificates<Database>::SetRevocationList(const StoredRevocationList& list) {
  const absl::Status set =
      database_
          .Prepare(
              "INSERT INTO revocation_list (id, number, last_revocation_id, made_at_ms,"
              " next_update_ms, der) VALUES (1, ?, ?, ?, ?, ?)"
              " ON CONFLICT (id) DO UPDATE SET number = excluded.number,"
              " last_revocation_id = excluded.last_revocation_id,"
              " made_at_ms = excluded.made_at_ms, next_update_ms = excluded.next_update_ms,"
              " der = excluded.der WHERE revocation_list.number < excluded.number")
          .BindInt64(list.number)
          .BindInt64(list.last_revocation_id)
          .BindInt64(list.made_at_ms)
          .BindInt64(list.next_update_ms)
          .BindBlob(list.der)
          .Run();
  if (!set.ok()) return set;
  if (database_.changes() == 0) {
    return absl::FailedPreconditionError("a revocation list with a number that high is there");
  }
  return absl::OkStatus();
}

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_CERTIFICATES_H_
