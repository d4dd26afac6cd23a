#include "services/agent/mail_guard.h"

#include <vector>

namespace blindcart::agent {
namespace {

using storage::SqliteStatement;

absl::StatusOr<int64_t> ReadNumber(SqliteStatement select) {
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return *row ? select.ColumnInt64(0) : 0;
}

}  // namespace

// ---- Mail that was dropped

absl::Status MailGuard::AddDropped(absl::string_view contact, absl::string_view message_id) {
  const absl::Status added =
      database_
          .Prepare(
              "INSERT INTO mail_dropped (contact, message_id) VALUES (?, ?) ON CONFLICT DO NOTHING")
          .BindText(contact)
          .BindBlob(message_id)
          .Run();
  if (!added.ok()) return added;
  return database_
      .Prepare(
          "DELETE FROM mail_dropped WHERE contact = ? AND number NOT IN "
          "(SELECT number FROM mail_dropped WHERE contact = ? ORDER BY number DESC LIMIT ?)")
      .BindText(contact)
      .BindText(contact)
      .BindInt64(kDroppedPerContact)
      .Run();
}

absl::StatusOr<bool> MailGuard::Dropped(absl::string_view contact, absl::string_view message_id) {
  SqliteStatement select =
      database_.Prepare("SELECT 1 FROM mail_dropped WHERE contact = ? AND message_id = ?");
  select.BindText(contact).BindBlob(message_id);
  return select.Step();
}

// ---- Blocked senders

absl::Status MailGuard::Block(absl::string_view contact) {
  return database_
      .Prepare("INSERT INTO mail_blocked (contact, dropped) VALUES (?, 0) ON CONFLICT DO NOTHING")
      .BindText(contact)
      .Run();
}

absl::Status MailGuard::Unblock(absl::string_view contact) {
  return database_.Prepare("DELETE FROM mail_blocked WHERE contact = ?").BindText(contact).Run();
}

absl::StatusOr<bool> MailGuard::IsBlocked(absl::string_view contact) {
  SqliteStatement select = database_.Prepare("SELECT 1 FROM mail_blocked WHERE contact = ?");
  select.BindText(contact);
  return select.Step();
}

absl::Status MailGuard::CountBlocked(absl::string_view contact) {
  return database_.Prepare("UPDATE mail_blocked SET dropped = dropped + 1 WHERE contact = ?")
      .BindText(contact)
      .Run();
}

// ---- Use

absl::StatusOr<MailGuard::Use> MailGuard::UseOf(absl::string_view contact) {
  SqliteStatement select = database_.Prepare("SELECT items, bytes FROM mail_use WHERE contact = ?");
  select.BindText(contact);
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return *row ? Use{select.ColumnInt64(0), select.ColumnInt64(1)} : Use();
}

absl::StatusOr<MailGuard::Use> MailGuard::TotalUse() {
  SqliteStatement select =
      database_.Prepare("SELECT coalesce(sum(items), 0), coalesce(sum(bytes), 0) FROM mail_use");
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return Use{select.ColumnInt64(0), select.ColumnInt64(1)};
}

// ---- Held mail

absl::StatusOr<bool> MailGuard::IsHeld(absl::string_view contact, absl::string_view message_id) {
  SqliteStatement select =
      database_.Prepare("SELECT 1 FROM mail_held WHERE contact = ? AND message_id = ?");
  select.BindText(contact).BindBlob(message_id);
  return select.Step();
}

absl::StatusOr<int64_t> MailGuard::CountHeld(absl::string_view contact) {
  SqliteStatement select = database_.Prepare("SELECT count(*) FROM mail_held WHERE contact = ?");
  select.BindText(contact);
  return ReadNumber(std::move(select));
}

absl::Status MailGuard::Hold(absl::string_view contact, absl::string_view message_id) {
  return database_.Prepare("INSERT INTO mail_held (contact, message_id) VALUES (?, ?)")
      .BindText(contact)
      .BindBlob(message_id)
      .Run();
}

absl::Status MailGuard::ForgetHeld(absl::string_view contact) {
  return database_.Prepare("DELETE FROM mail_held WHERE contact = ?").BindText(contact).Run();
}

absl::StatusOr<int64_t> MailGuard::LastHeld() {
  return ReadNumber(database_.Prepare("SELECT coalesce(max(number), 0) FROM mail_held"));
}

absl::Status MailGuard::RetainHeld(int64_t last,
                                   const std::set<std::pair<std::string, std::string>>& waiting) {
  std::vector<int64_t> gone;
  {
    SqliteStatement select =
        database_.Prepare("SELECT number, contact, message_id FROM mail_held WHERE number <= ?");
    select.BindInt64(last);
    for (;;) {
      const absl::StatusOr<bool> row = select.Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      if (waiting.count({select.ColumnText(1), select.ColumnBlob(2)}) == 0) {
        gone.push_back(select.ColumnInt64(0));
      }
    }
  }
  for (const int64_t number : gone) {
    const absl::Status forgotten =
        database_.Prepare("DELETE FROM mail_held WHERE number = ?").BindInt64(number).Run();
    if (!forgotten.ok()) return forgotten;
  }
  return absl::OkStatus();
}

// ---- Rejected identities

absl::Status MailGuard::Reject(absl::string_view contact, absl::string_view fingerprint,
                               absl::string_view identity) {
  const absl::Status added =
      database_
          .Prepare(
              "INSERT INTO mail_rejected (contact, fingerprint, identity) VALUES (?, ?, ?) "
              "ON CONFLICT DO NOTHING")
          .BindText(contact)
          .BindBlob(fingerprint)
          .BindBlob(identity)
          .Run();
  if (!added.ok()) return added;
  return database_
      .Prepare(
          "DELETE FROM mail_rejected WHERE contact = ? AND number NOT IN "
          "(SELECT number FROM mail_rejected WHERE contact = ? ORDER BY number DESC LIMIT ?)")
      .BindText(contact)
      .BindText(contact)
      .BindInt64(kRejectedPerContact)
      .Run();
}

absl::StatusOr<absl::optional<std::string>> MailGuard::FindRejected(absl::string_view contact,
                                                                    absl::string_view fingerprint) {
  SqliteStatement select =
      database_.Prepare("SELECT identity FROM mail_rejected WHERE contact = ? AND fingerprint = ?");
  select.BindText(contact).BindBlob(fingerprint);
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return *row ? absl::optional<std::string>(select.ColumnBlob(0)) : absl::nullopt;
}

absl::Status MailGuard::ForgetRejected(absl::string_view contact, absl::string_view fingerprint) {
  return database_.Prepare("DELETE FROM mail_rejected WHERE contact = ? AND fingerprint = ?")
      .BindText(contact)
      .BindBlob(fingerprint)
      .Run();
}

// ---- Answers

absl::Status MailGuard::AddAnswered(absl::string_view contact, absl::string_view session_id,
                                    int64_t now_ms) {
  const absl::Status added =
      database_
          .Prepare(
              "INSERT INTO mail_answered (contact, session_id, answered_at_ms) VALUES (?, ?, ?) "
              "ON CONFLICT (contact, session_id) DO UPDATE SET answered_at_ms = "
              "excluded.answered_at_ms")
          .BindText(contact)
          .BindBlob(session_id)
          .BindInt64(now_ms)
          .Run();
  if (!added.ok()) return added;
  return database_
      .Prepare(
          "DELETE FROM mail_answered WHERE contact = ? AND session_id NOT IN (SELECT session_id "
          "FROM mail_answered WHERE contact = ? ORDER BY answered_at_ms DESC LIMIT ?)")
      .BindText(contact)
      .BindText(contact)
      .BindInt64(kAnsweredPerContact)
      .Run();
}

absl::StatusOr<bool> MailGuard::Answered(absl::string_view contact, absl::string_view session_id,
                                         int64_t since_ms) {
  SqliteStatement select = database_.Prepare(
      "SELECT 1 FROM mail_answered WHERE contact = ? AND session_id = ? AND answered_at_ms >= ?");
  select.BindText(contact).BindBlob(session_id).BindInt64(since_ms);
  return select.Step();
}

absl::StatusOr<int64_t> MailGuard::CountAnswered(absl::string_view contact, int64_t since_ms) {
  SqliteStatement select = database_.Prepare(
      "SELECT count(*) FROM mail_answered WHERE contact = ? AND answered_at_ms >= ?");
  select.BindText(contact).BindInt64(since_ms);
  return ReadNumber(std::move(select));
}

// ---- Counted notices

absl::StatusOr<absl::optional<MailGuard::CountedNotice>> MailGuard::FindCounted(
    absl::string_view contact, Topic topic) {
  SqliteStatement select = database_.Prepare(
      "SELECT message, count, begun_at_ms FROM mail_counted_notices WHERE contact = ? AND topic = "
      "?");
  select.BindText(contact).BindInt64(static_cast<int64_t>(topic));
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<CountedNotice>();
  return absl::optional<CountedNotice>(
      CountedNotice{select.ColumnInt64(0), select.ColumnInt64(1), select.ColumnInt64(2)});
}

absl::Status MailGuard::SaveCounted(absl::string_view contact, Topic topic,
                                    const CountedNotice& notice) {
  return database_
      .Prepare(
          "INSERT INTO mail_counted_notices (contact, topic, message, count, begun_at_ms) "
          "VALUES (?, ?, ?, ?, ?) ON CONFLICT (contact, topic) DO UPDATE SET "
          "message = excluded.message, count = excluded.count, begun_at_ms = excluded.begun_at_ms")
      .BindText(contact)
      .BindInt64(static_cast<int64_t>(topic))
      .BindInt64(notice.message)
      .BindInt64(notice.count)
      .BindInt64(notice.begun_at_ms)
      .Run();
}

absl::Status MailGuard::ForgetCounted(absl::string_view contact, Topic topic) {
  return database_.Prepare("DELETE FROM mail_counted_notices WHERE contact = ? AND topic = ?")
      .BindText(contact)
      .BindInt64(static_cast<int64_t>(topic))
      .Run();
}

absl::Status MailGuard::ForgetCountedOfAll(Topic topic) {
  return database_.Prepare("DELETE FROM mail_counted_notices WHERE topic = ?")
      .BindInt64(static_cast<int64_t>(topic))
      .Run();
}

}  // namespace blindcart::agent
