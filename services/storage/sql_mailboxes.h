// The mailboxes of store.h in SQL, as sql_groups.h has the other groups.
#ifndef SERVICES_STORAGE_SQL_MAILBOXES_H_
#define SERVICES_STORAGE_SQL_MAILBOXES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "services/storage/sql_rows.h"
#include "services/storage/store.h"

namespace blindcart::storage {

template <typename Database>
class SqlMailboxes : public Mailboxes {
 public:
  // `database` must outlive the object.
  explicit SqlMailboxes(Database& database) : database_(database) {}

  absl::Status SetKeys(const MailKeys& keys) override;
  absl::StatusOr<MailKeys> GetKeys(int64_t customer_id) override;
  absl::Status AddPreKey(int64_t customer_id, const MailPreKey& pre_key) override;
  absl::StatusOr<MailPreKey> TakePreKey(int64_t customer_id) override;
  absl::StatusOr<int64_t> CountPreKeys(int64_t customer_id) override;

  absl::StatusOr<int64_t> Append(const Mail& mail) override;
  absl::StatusOr<std::vector<Mail>> List(int64_t recipient_id, int64_t after_number,
                                         int64_t limit) override;
  absl::StatusOr<std::vector<LastMailNumber>> LastNumbers(
      absl::Span<const int64_t> customer_ids) override;
  absl::Status Remove(int64_t recipient_id, int64_t mail_number) override;
  absl::StatusOr<MailboxUse> Use(int64_t recipient_id) override;
  absl::StatusOr<int64_t> RemoveExpired(int64_t now_ms, int64_t limit) override;

 private:
  Database& database_;
};

template <typename Database>
absl::Status SqlMailboxes<Database>::SetKeys(const MailKeys& keys) {
  absl::Status status =
      database_
          .Prepare(
              "DELETE FROM mail_pre_keys WHERE customer_id IN"
              " (SELECT customer_id FROM mail_keys WHERE customer_id = ? AND identity_key <> ?)")
          .BindInt64(keys.customer_id)
          .BindBlob(keys.identity_key)
          .Run();
  if (!status.ok()) return status;
  return database_
      .Prepare(
          "INSERT INTO mail_keys (customer_id, identity_key, identity_key_signature,"
          " signed_pre_key_id, signed_pre_key, signed_pre_key_signature, last_pre_key_id)"
          " VALUES (?, ?, ?, ?, ?, ?, 0)"
          " ON CONFLICT (customer_id) DO UPDATE SET"
          " last_pre_key_id = CASE WHEN mail_keys.identity_key = excluded.identity_key"
          "                   THEN mail_keys.last_pre_key_id ELSE 0 END,"
          " identity_key = excluded.identity_key,"
          " identity_key_signature = excluded.identity_key_signature,"
          " signed_pre_key_id = excluded.signed_pre_key_id,"
          " signed_pre_key = excluded.signed_pre_key,"
          " signed_pre_key_signature = excluded.signed_pre_key_signature")
      .BindInt64(keys.customer_id)
      .BindBlob(keys.identity_key)
      .BindBlob(keys.identity_key_signature)
      .BindInt64(keys.signed_pre_key_id)
      .BindBlob(keys.signed_pre_key)
      .BindBlob(keys.signed_pre_key_signature)
      .Run();
}

template <typename Database>
absl::StatusOr<MailKeys> SqlMailboxes<Database>::GetKeys(int64_t customer_id) {
  auto query = database_.Prepare(
      "SELECT identity_key, identity_key_signature, signed_pre_key_id, signed_pre_key,"
      " signed_pre_key_signature FROM mail_keys WHERE customer_id = ?");
  const absl::StatusOr<bool> found = query.BindInt64(customer_id).Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError("no such keys");
  MailKeys keys;
  keys.customer_id = customer_id;
  keys.identity_key = query.ColumnBlob(0);
  keys.identity_key_signature = query.ColumnBlob(1);
  keys.signed_pre_key_id = query.ColumnInt64(2);
  keys.signed_pre_key = query.ColumnBlob(3);
  keys.signed_pre_key_signature = query.ColumnBlob(4);
  return keys;
}

template <typename Database>
absl::Status SqlMailboxes<Database>::AddPreKey(int64_t customer_id, const MailPreKey& pre_key) {
  absl::Status status = database_
                            .Prepare(
                                "UPDATE mail_keys SET last_pre_key_id = ?"
                                " WHERE customer_id = ? AND last_pre_key_id < ?")
                            .BindInt64(pre_key.id)
                            .BindInt64(customer_id)
                            .BindInt64(pre_key.id)
                            .Run();
  if (!status.ok()) return status;
  if (database_.changes() == 0) {
    status = GetKeys(customer_id).status();
    return status.ok() ? absl::AlreadyExistsError("an id at or below an earlier one") : status;
  }
  return database_.Prepare("INSERT INTO mail_pre_keys (customer_id, id, pre_key) VALUES (?, ?, ?)")
      .BindInt64(customer_id)
      .BindInt64(pre_key.id)
      .BindBlob(pre_key.key)
      .Run();
}

template <typename Database>
absl::StatusOr<MailPreKey> SqlMailboxes<Database>::TakePreKey(int64_t customer_id) {
  MailPreKey taken;
  {
    auto query = database_.Prepare(
        "SELECT id, pre_key FROM mail_pre_keys WHERE customer_id = ? ORDER BY id LIMIT 1");
    const absl::StatusOr<bool> found = query.BindInt64(customer_id).Step();
    if (!found.ok()) return found.status();
    if (!*found) return absl::NotFoundError("no pre-key left");
    taken.id = query.ColumnInt64(0);
    taken.key = query.ColumnBlob(1);
  }
  const absl::Status removed =
      database_.Prepare("DELETE FROM mail_pre_keys WHERE customer_id = ? AND id = ?")
          .BindInt64(customer_id)
          .BindInt64(taken.id)
          .Run();
  if (!removed.ok()) return removed;
  return taken;
}

template <typename Database>
absl::StatusOr<int64_t> SqlMailboxes<Database>::CountPreKeys(int64_t customer_id) {
  auto query = database_.Prepare("SELECT COUNT(*) FROM mail_pre_keys WHERE customer_id = ?");
  const absl::StatusOr<bool> found = query.BindInt64(customer_id).Step();
  if (!found.ok()) return found.status();
  return query.ColumnInt64(0);
}

template <typename Database>
absl::StatusOr<int64_t> SqlMailboxes<Database>::Append(const Mail& mail) {
  absl::Status status = InsertNew(
      database_,
      database_
          .Prepare("INSERT INTO mail_ids (sender_id, message_id, expires_at_ms) VALUES (?, ?, ?)"
                   " ON CONFLICT DO NOTHING")
          .BindInt64(mail.sender_id)
          .BindBlob(mail.message_id)
          .BindInt64(mail.expires_at_ms),
      "message id");
  if (!status.ok()) return status;
  status = database_
               .Prepare(
                   "INSERT INTO mailboxes (customer_id, last_mail_number, items, bytes)"
                   " VALUES (?, 1, 1, ?)"
                   " ON CONFLICT (customer_id) DO UPDATE SET"
                   " last_mail_number = mailboxes.last_mail_number + 1,"
                   " items = mailboxes.items + 1, bytes = mailboxes.bytes + excluded.bytes")
               .BindInt64(mail.recipient_id)
               .BindInt64(static_cast<int64_t>(mail.sealed.size()))
               .Run();
  if (!status.ok()) return status;
  int64_t mail_number = 0;
  {
    auto query = database_.Prepare("SELECT last_mail_number FROM mailboxes WHERE customer_id = ?");
    const absl::StatusOr<bool> found = query.BindInt64(mail.recipient_id).Step();
    if (!found.ok()) return found.status();
    mail_number = query.ColumnInt64(0);
  }
  status = database_
               .Prepare(
                   "INSERT INTO mail (recipient_id, mail_number, sender_id, message_id, sealed,"
                   " stored_at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
               .BindInt64(mail.recipient_id)
               .BindInt64(mail_number)
               .BindInt64(mail.sender_id)
               .BindBlob(mail.message_id)
               .BindBlob(mail.sealed)
               .BindInt64(mail.stored_at_ms)
               .BindInt64(mail.expires_at_ms)
               .Run();
  if (!status.ok()) return status;
  return mail_number;
}

template <typename Database>
absl::StatusOr<std::vector<Mail>> SqlMailboxes<Database>::List(int64_t recipient_id,
                                                               int64_t after_number,
                                                               int64_t limit) {
  if (limit <= 0) return absl::InvalidArgumentError("a page needs a limit above zero");
  auto query = database_.Prepare(
      "SELECT mail_number, sender_id, message_id, sealed, stored_at_ms, expires_at_ms FROM mail"
      " WHERE recipient_id = ? AND mail_number > ? ORDER BY mail_number LIMIT ?");
  query.BindInt64(recipient_id).BindInt64(after_number).BindInt64(limit);
  std::vector<Mail> page;
  while (true) {
    const absl::StatusOr<bool> more = query.Step();
    if (!more.ok()) return more.status();
    if (!*more) return page;
    Mail& mail = page.emplace_back();
    mail.recipient_id = recipient_id;
    mail.mail_number = query.ColumnInt64(0);
    mail.sender_id = query.ColumnInt64(1);
    mail.message_id = query.ColumnBlob(2);
    mail.sealed = query.ColumnBlob(3);
    mail.stored_at_ms = query.ColumnInt64(4);
    mail.expires_at_ms = query.ColumnInt64(5);
  }
}

template <typename Database>
absl::StatusOr<std::vector<LastMailNumber>> SqlMailboxes<Database>::LastNumbers(
    absl::Span<const int64_t> customer_ids) {
  auto query = database_.Prepare(absl::StrCat(
      "SELECT customer_id, last_mail_number FROM mailboxes WHERE customer_id ", Database::kInIds));
  query.BindText(Database::Ids(customer_ids));
  return ReadAll<LastMailNumber>(query);
}

template <typename Database>
absl::Status SqlMailboxes<Database>::Remove(int64_t recipient_id, int64_t mail_number) {
  // The mailbox first, while the row still says its size; without the row both do nothing.
  absl::Status status =
      database_
          .Prepare(
              "UPDATE mailboxes SET items = items - 1, bytes = bytes -"
              " (SELECT length(sealed) FROM mail WHERE recipient_id = ? AND mail_number = ?)"
              " WHERE customer_id = ? AND EXISTS"
              " (SELECT 1 FROM mail WHERE recipient_id = ? AND mail_number = ?)")
          .BindInt64(recipient_id)
          .BindInt64(mail_number)
          .BindInt64(recipient_id)
          .BindInt64(recipient_id)
          .BindInt64(mail_number)
          .Run();
  if (!status.ok()) return status;
  return database_.Prepare("DELETE FROM mail WHERE recipient_id = ? AND mail_number = ?")
      .BindInt64(recipient_id)
      .BindInt64(mail_number)
      .Run();
}

template <typename Database>
absl::StatusOr<MailboxUse> SqlMailboxes<Database>::Use(int64_t recipient_id) {
  auto query = database_.Prepare("SELECT items, bytes FROM mailboxes WHERE customer_id = ?");
  const absl::StatusOr<bool> found = query.BindInt64(recipient_id).Step();
  if (!found.ok()) return found.status();
  MailboxUse use;
  if (*found) {
    use.items = query.ColumnInt64(0);
    use.bytes = query.ColumnInt64(1);
  }
  return use;
}

template <typename Database>
absl::StatusOr<int64_t> SqlMailboxes<Database>::RemoveExpired(int64_t now_ms, int64_t limit) {
  if (limit <= 0) return absl::InvalidArgumentError("a sweep needs a limit above zero");
  std::vector<std::pair<int64_t, int64_t>> expired;
  {
    auto query = database_.Prepare(
        "SELECT recipient_id, mail_number FROM mail WHERE expires_at_ms <= ?"
        " ORDER BY expires_at_ms LIMIT ?");
    query.BindInt64(now_ms).BindInt64(limit);
    while (true) {
      const absl::StatusOr<bool> more = query.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      expired.emplace_back(query.ColumnInt64(0), query.ColumnInt64(1));
    }
  }
  for (const auto& [recipient_id, mail_number] : expired) {
    const absl::Status removed = Remove(recipient_id, mail_number);
    if (!removed.ok()) return removed;
  }
  const absl::Status forgotten =
      database_
          .Prepare(
              "DELETE FROM mail_ids WHERE (sender_id, message_id) IN"
              " (SELECT sender_id, message_id FROM mail_ids WHERE expires_at_ms <= ?"
              "  ORDER BY expires_at_ms LIMIT ?)")
          .BindInt64(now_ms)
          .BindInt64(limit)
          .Run();
  if (!forgotten.ok()) return forgotten;
  return static_cast<int64_t>(expired.size()) + database_.changes();
}

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_MAILBOXES_H_
