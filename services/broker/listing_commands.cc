#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/broker/commands.h"
#include "services/broker/listing.h"
#include "services/ledger/audit.h"

namespace blindcart::broker {
namespace {

struct ListOptions {
  std::string data_dir;
  std::string what = "all";
  bool json = false;
};

struct AuditOptions {
  std::string data_dir;
  bool json = false;
};

absl::Status PrintJson(const google::protobuf::Message& message) {
  const absl::StatusOr<std::string> json = ToJson(message);
  if (!json.ok()) return json.status();
  std::cout << *json << std::flush;
  return absl::OkStatus();
}

absl::Status List(const ListOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  const auto wanted = [&](const char* part) {
    return options.what == "all" || options.what == part;
  };
  const ListingParts parts = {wanted("customers"), wanted("merchants"), wanted("orders"),
                              wanted("accounts"), wanted("certificates")};
  const absl::StatusOr<v1::BrokerListing> listing = ListStore(*broker->store, parts);
  if (!listing.ok()) return listing.status();
  if (options.json) return PrintJson(*listing);
  std::cout << ToText(*listing, parts) << std::flush;
  return absl::OkStatus();
}

absl::Status Audit(const AuditOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  const absl::StatusOr<ledger::AuditReport> report = ledger::AuditBooks(*broker->store);
  if (!report.ok()) return report.status();
  const v1::BrokerAudit audit = ToMessage(*report);
  if (options.json) {
    const absl::Status printed = PrintJson(audit);
    if (!printed.ok()) return printed;
  } else {
    std::cout << ToText(audit) << std::flush;
  }
  if (audit.ok()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      "the books are wrong in ", audit.problems_size(),
      " place(s). Stop the broker, keep a copy of its folder, and restore a sound backup"));
}

}  // namespace

void AddListingCommands(CLI::App& app, Run* run) {
  auto list = std::make_shared<ListOptions>();
  CLI::App* list_command =
      app.add_subcommand("list", "List what the broker knows; also while it serves");
  AddDataDirFlag(*list_command, &list->data_dir);
  list_command
      ->add_option("what", list->what,
                   "customers, merchants, orders, accounts, certificates or all")
      ->check(
          CLI::IsMember({"customers", "merchants", "orders", "accounts", "certificates", "all"}))
      ->capture_default_str();
  list_command->add_flag("--json", list->json, "One JSON document");
  list_command->footer("Examples:\n  broker list\n  broker list orders --json");
  list_command->callback([list, run] { *run = [list] { return List(*list); }; });

  auto audit = std::make_shared<AuditOptions>();
  CLI::App* audit_command = app.add_subcommand(
      "audit", "Prove the books, or name every row that breaks them; also while the broker serves");
  AddDataDirFlag(*audit_command, &audit->data_dir);
  audit_command->add_flag("--json", audit->json, "One JSON document");
  audit_command->footer("Exits with 1 when something is wrong.\nExample:\n  broker audit");
  audit_command->callback([audit, run] { *run = [audit] { return Audit(*audit); }; });
}

}  // namespace blindcart::broker
