// All groups of store.h over one connection to a SQL database.
#ifndef SERVICES_STORAGE_SQL_TRANSACTION_H_
#define SERVICES_STORAGE_SQL_TRANSACTION_H_

#include "services/storage/sql_certificates.h"
#include "services/storage/sql_groups.h"
#include "services/storage/sql_listeners.h"
#include "services/storage/sql_mailboxes.h"
#include "services/storage/sql_tokens.h"
#include "services/storage/store.h"

namespace blindcart::storage {

// Lives as long as its connection, which must outlive it. A backend names its own classes of the
// groups that it does in its own way.
template <typename Database, typename AccountsGroup = SqlAccounts<Database>,
          typename NoticesGroup = SqlNotices<Database>>
class SqlTransaction : public Transaction {
 public:
  explicit SqlTransaction(Database& database)
      : database_(database),
        accounts_(database),
        customers_(database),
        merchants_(database),
        orders_(database),
        transfers_(database),
        requests_(database),
        notices_(database),
        mailboxes_(database),
        listeners_(database),
        meta_(database),
        tokens_(database),
        certificates_(database) {}

  AccountsGroup& accounts() override { return accounts_; }
  Customers& customers() override { return customers_; }
  Merchants& merchants() override { return merchants_; }
  Orders& orders() override { return orders_; }
  Transfers& transfers() override { return transfers_; }
  Requests& requests() override { return requests_; }
  Notices& notices() override { return notices_; }
  Mailboxes& mailboxes() override { return mailboxes_; }
  Listeners& listeners() override { return listeners_; }
  Meta& meta() override { return meta_; }
  Tokens& tokens() override { return tokens_; }
  Certificates& certificates() override { return certificates_; }

  Database& database() { return database_; }

 private:
  Database& database_;
  AccountsGroup accounts_;
  SqlCustomers<Database> customers_;
  SqlMerchants<Database> merchants_;
  SqlOrders<Database> orders_;
  SqlTransfers<Database> transfers_;
  SqlRequests<Database> requests_;
  NoticesGroup notices_;
  SqlMailboxes<Database> mailboxes_;
  SqlListeners<Database> listeners_;
  SqlMeta<Database> meta_;
  SqlTokens<Database> tokens_;
  SqlCertificates<Database> certificates_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_TRANSACTION_H_
