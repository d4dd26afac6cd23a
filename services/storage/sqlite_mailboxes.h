// The mailboxes of sqlite_store.h.
#ifndef SERVICES_STORAGE_SQLITE_MAILBOXES_H_
#define SERVICES_STORAGE_SQLITE_MAILBOXES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/storage/sqlite.h"
#include "services/storage/store.h"

namespace blindcart::storage {

class SqliteMailboxes : public Mailboxes {
 public:
  // `database` must outlive the object.
  explicit SqliteMailboxes(SqliteDatabase& database) : database_(database) {}

  absl::Status SetKeys(const MailKeys& keys) override;
  absl::StatusOr<MailKeys> GetKeys(int64_t customer_id) override;
  absl::Status AddPreKey(int64_t customer_id, const MailPreKey& pre_key) override;
  absl::StatusOr<MailPreKey> TakePreKey(int64_t customer_id) override;
  absl::StatusOr<int64_t> CountPreKeys(int64_t customer_id) override;

  absl::StatusOr<int64_t> Append(const Mail& mail) override;
  absl::StatusOr<std::vector<Mail>> List(int64_t recipient_id, int64_t after_number,
                                         int64_t limit) override;
  absl::Status Remove(int64_t recipient_id, int64_t mail_number) override;
  absl::StatusOr<MailboxUse> Use(int64_t recipient_id) override;
  absl::StatusOr<int64_t> RemoveExpired(int64_t now_ms, int64_t limit) override;

 private:
  SqliteDatabase& database_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_MAILBOXES_H_
