#include "services/broker/listing.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "crypto/encoding.h"
#include "google/protobuf/util/json_util.h"
#include "services/ledger/money.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kRowsPerRead = 512;
constexpr size_t kShortIdDigits = 16;

using Row = std::vector<std::string>;

// Columns padded to their widest cell; all cells are ASCII.
std::string Table(const std::string& heading, const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = heading.empty() ? "" : absl::StrCat(heading, "\n");
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i]);
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string Amount(int64_t amount_minor, const std::string& currency) {
  const absl::StatusOr<std::string> text = ledger::FormatAmount(amount_minor, currency);
  return text.ok() ? absl::StrCat(*text, " ", currency) : absl::StrCat(amount_minor);
}

std::string Time(int64_t time_ms) {
  if (time_ms == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(time_ms),
                          absl::LocalTimeZone());
}

std::string ShortId(const std::string& hex) { return hex.substr(0, kShortIdDigits); }

std::string StatusName(v1::OrderStatus status) {
  switch (status) {
    case v1::ORDER_STATUS_CREATED:
      return "created";
    case v1::ORDER_STATUS_DECLINED:
      return "declined";
    case v1::ORDER_STATUS_EXPIRED:
      return "expired";
    case v1::ORDER_STATUS_PAID:
      return "paid";
    case v1::ORDER_STATUS_DELIVERED:
      return "delivered";
    case v1::ORDER_STATUS_REFUNDED:
      return "refunded";
    default:
      return "?";
  }
}

v1::OrderStatus StatusOf(storage::OrderStatus status) {
  switch (status) {
    case storage::OrderStatus::kCreated:
      return v1::ORDER_STATUS_CREATED;
    case storage::OrderStatus::kDeclined:
      return v1::ORDER_STATUS_DECLINED;
    case storage::OrderStatus::kExpired:
      return v1::ORDER_STATUS_EXPIRED;
    case storage::OrderStatus::kPaid:
      return v1::ORDER_STATUS_PAID;
    case storage::OrderStatus::kDelivered:
      return v1::ORDER_STATUS_DELIVERED;
    case storage::OrderStatus::kRefunded:
      return v1::ORDER_STATUS_REFUNDED;
    case storage::OrderStatus::kInvalid:
      break;
  }
  return v1::ORDER_STATUS_UNSPECIFIED;
}

// Calls `add` for every row that `list` gives, page after page.
template <typename Cursor, typename List, typename Add>
absl::Status ForEach(Cursor after, const List& list, const Add& add) {
  while (true) {
    const auto rows = list(after);
    if (!rows.ok()) return rows.status();
    if (rows->empty()) return absl::OkStatus();
    for (const auto& row : *rows) after = add(row);
  }
}

}  // namespace

absl::StatusOr<v1::BrokerListing> ListStore(storage::Store& store, const ListingParts& parts) {
  v1::BrokerListing listing;
  const absl::Status read = store.Read([&](storage::Transaction& transaction) -> absl::Status {
    listing.Clear();
    absl::flat_hash_map<int64_t, std::string> numbers;
    absl::flat_hash_map<int64_t, std::string> names_of_customers;
    absl::flat_hash_map<int64_t, std::string> names_of_merchants;
    absl::Status status = ForEach(
        int64_t{0}, [&](int64_t after) { return transaction.accounts().List(after, kRowsPerRead); },
        [&](const storage::Account& account) {
          numbers[account.id] = account.number;
          if (parts.accounts) {
            v1::BrokerListing::Account* row = listing.add_accounts();
            row->set_number(account.number);
            row->set_kind(std::string(storage::AccountKindName(account.kind)));
            row->set_balance_minor(account.balance_minor);
            row->set_currency(account.currency);
          }
          return account.id;
        });
    if (!status.ok()) return status;
    status = ForEach(
        int64_t{0},
        [&](int64_t after) { return transaction.customers().List(after, kRowsPerRead); },
        [&](const storage::Customer& customer) {
          names_of_customers[customer.id] = customer.username;
          if (parts.customers) {
            v1::BrokerListing::Customer* row = listing.add_customers();
            row->set_username(customer.username);
            row->set_fingerprint_hex(crypto::HexEncode(customer.fingerprint));
            row->set_account_number(numbers[customer.account_id]);
            row->set_created_at_ms(customer.created_at_ms);
          }
          return customer.id;
        });
    if (!status.ok()) return status;
    status = ForEach(
        int64_t{0},
        [&](int64_t after) { return transaction.merchants().List(after, kRowsPerRead); },
        [&](const storage::Merchant& merchant) {
          names_of_merchants[merchant.id] = merchant.name;
          if (parts.merchants) {
            v1::BrokerListing::Merchant* row = listing.add_merchants();
            row->set_name(merchant.name);
            row->set_fingerprint_hex(crypto::HexEncode(merchant.fingerprint));
            row->set_account_number(numbers[merchant.account_id]);
          }
          return merchant.id;
        });
    if (!status.ok()) return status;
    if (parts.certificates) {
      status = ForEach(
          int64_t{0},
          [&](int64_t after) { return transaction.certificates().List(after, kRowsPerRead); },
          [&](const storage::IssuedCertificate& certificate) {
            v1::BrokerListing::Certificate* row = listing.add_certificates();
            row->set_serial_hex(crypto::HexEncode(certificate.serial));
            row->set_customer(names_of_customers[certificate.customer_id]);
            row->set_kind(std::string(storage::CertificateKindName(certificate.kind)));
            row->set_issued_at_ms(certificate.issued_at_ms);
            row->set_expires_at_ms(certificate.expires_at_ms);
            row->set_revoked_at_ms(certificate.revoked_at_ms);
            return certificate.certificate_id;
          });
    }
    if (!status.ok() || !parts.orders) return status;
    return ForEach(
        std::string(),
        [&](const std::string& after) { return transaction.orders().List(after, kRowsPerRead); },
        [&](const storage::Order& order) {
          v1::BrokerListing::Order* row = listing.add_orders();
          row->set_order_id_hex(crypto::HexEncode(order.order_id));
          row->set_customer(names_of_customers[order.customer_id]);
          row->set_merchant(names_of_merchants[order.merchant_id]);
          row->set_price_minor(order.price_minor);
          row->set_charge_minor(order.charge_minor);
          row->set_total_minor(order.total_minor);
          row->set_currency(order.currency);
          row->set_status(StatusOf(order.status));
          row->set_created_at_ms(order.created_at_ms);
          row->set_expires_at_ms(order.expires_at_ms);
          row->set_paid_at_ms(order.paid_at_ms);
          row->set_commitment_hex(crypto::HexEncode(order.commitment));
          return order.order_id;
        });
  });
  if (!read.ok()) return read;
  // Ids are random; people read orders by their time.
  std::stable_sort(listing.mutable_orders()->begin(), listing.mutable_orders()->end(),
                   [](const v1::BrokerListing::Order& a, const v1::BrokerListing::Order& b) {
                     return a.created_at_ms() < b.created_at_ms();
                   });
  return listing;
}

v1::BrokerAudit ToMessage(const ledger::AuditReport& report) {
  v1::BrokerAudit audit;
  audit.set_ok(report.problems.empty());
  audit.set_accounts(report.accounts);
  audit.set_customers(report.customers);
  audit.set_merchants(report.merchants);
  audit.set_orders(report.orders);
  audit.set_transfers(report.transfers);
  audit.set_entries(report.entries);
  for (const ledger::AuditProblem& problem : report.problems) {
    v1::BrokerAudit::Problem* row = audit.add_problems();
    row->set_table(problem.table);
    row->set_row(problem.row);
    row->set_what(problem.what);
  }
  return audit;
}

std::string ToText(const v1::BrokerListing& listing, const ListingParts& parts) {
  const bool headings =
      parts.customers + parts.merchants + parts.orders + parts.accounts + parts.certificates > 1;
  std::vector<std::string> tables;
  const auto add = [&](const char* heading, const std::vector<Row>& rows) {
    tables.push_back(Table(headings ? heading : "", rows));
  };
  if (parts.customers) {
    std::vector<Row> rows = {{"USERNAME", "ACCOUNT", "ENROLLED", "FINGERPRINT"}};
    for (const auto& row : listing.customers()) {
      rows.push_back({row.username(), row.account_number(), Time(row.created_at_ms()),
                      ShortId(row.fingerprint_hex())});
    }
    add("Customers", rows);
  }
  if (parts.merchants) {
    std::vector<Row> rows = {{"NAME", "ACCOUNT", "FINGERPRINT"}};
    for (const auto& row : listing.merchants()) {
      rows.push_back({row.name(), row.account_number(), ShortId(row.fingerprint_hex())});
    }
    add("Merchants", rows);
  }
  if (parts.orders) {
    std::vector<Row> rows = {
        {"ORDER", "CUSTOMER", "MERCHANT", "PRICE", "CHARGE", "TOTAL", "STATUS", "CREATED", "PAID"}};
    for (const auto& row : listing.orders()) {
      rows.push_back({ShortId(row.order_id_hex()), row.customer(), row.merchant(),
                      Amount(row.price_minor(), row.currency()),
                      Amount(row.charge_minor(), row.currency()),
                      Amount(row.total_minor(), row.currency()), StatusName(row.status()),
                      Time(row.created_at_ms()), Time(row.paid_at_ms())});
    }
    add("Orders", rows);
  }
  if (parts.accounts) {
    std::vector<Row> rows = {{"ACCOUNT", "KIND", "BALANCE"}};
    for (const auto& row : listing.accounts()) {
      rows.push_back({row.number(), row.kind(), Amount(row.balance_minor(), row.currency())});
    }
    add("Accounts", rows);
  }
  if (parts.certificates) {
    std::vector<Row> rows = {{"SERIAL", "CUSTOMER", "KIND", "ISSUED", "EXPIRES", "REVOKED"}};
    for (const auto& row : listing.certificates()) {
      rows.push_back({ShortId(row.serial_hex()), row.customer(), row.kind(),
                      Time(row.issued_at_ms()), Time(row.expires_at_ms()),
                      Time(row.revoked_at_ms())});
    }
    add("Certificates", rows);
  }
  return absl::StrJoin(tables, "\n");
}

std::string ToText(const v1::BrokerAudit& audit) {
  std::string text =
      absl::StrCat("Checked ", audit.accounts(), " accounts, ", audit.customers(), " customers, ",
                   audit.merchants(), " merchants, ", audit.orders(), " orders, ",
                   audit.transfers(), " transfers, ", audit.entries(), " entries.\n");
  for (const auto& problem : audit.problems()) {
    absl::StrAppend(&text, problem.table(), " ", problem.row(), ": ", problem.what(), "\n");
  }
  if (audit.ok()) absl::StrAppend(&text, "The books are right.\n");
  return text;
}

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) return absl::InternalError("cannot print the listing as JSON");
  return json;
}

}  // namespace blindcart::broker
