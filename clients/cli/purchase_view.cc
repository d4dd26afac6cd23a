#include "clients/cli/purchase_view.h"

#include "absl/strings/str_cat.h"
#include "clients/cli/format.h"
#include "clients/cli/outcomes.h"
#include "clients/cli/progress.h"
#include "protocol/clock.h"

namespace blindcart::cli {
namespace {

Cell StatusCell(const v1::Purchase& purchase) {
  switch (purchase.status()) {
    case v1::ORDER_STATUS_CREATED:
      return {StatusWord(purchase.status()), Style::kWarning};
    case v1::ORDER_STATUS_PAID:
    case v1::ORDER_STATUS_DELIVERED:
      return {StatusWord(purchase.status()), Style::kGood};
    default:
      return {StatusWord(purchase.status()), Style::kFaint};
  }
}

}  // namespace

void PrintPurchase(Context& context, const v1::Purchase& purchase) {
  const std::string& currency = purchase.currency();
  Cell status = StatusCell(purchase);
  if (purchase.status() == v1::ORDER_STATUS_CREATED) {
    absl::StrAppend(&status.text, " until ", FormatTime(purchase.expires_at_ms()));
  } else if (purchase.paid_at_ms() != 0) {
    absl::StrAppend(&status.text, purchase.status() == v1::ORDER_STATUS_PAID ? " " : ", paid ",
                    FormatTime(purchase.paid_at_ms()));
  }
  Table table = Table::Details();
  table.AddRow({"Order", purchase.order_id_hex()});
  table.AddRow({"Title", {purchase.title(), Style::kBold}});
  table.AddRow({"Shop", purchase.shop()});
  table.AddRow({"Price", FormatMoney(purchase.price_minor(), currency)});
  table.AddRow({"Charge", FormatMoney(purchase.charge_minor(), currency)});
  table.AddRow({"Total", {FormatMoney(purchase.total_minor(), currency), Style::kBold}});
  table.AddRow({"Size", FormatSize(purchase.size_bytes())});
  table.AddRow({"Status", status});
  if (!purchase.file_path().empty()) table.AddRow({"File", purchase.file_path()});
  context.console().Print(table);
}

void PrintPurchases(Context& context, const v1::ListPurchasesReply& reply) {
  Table table({{"ORDER"},
               {"ORDERED"},
               {"SHOP"},
               {"TITLE", Align::kLeft, true},
               {"TOTAL", Align::kRight},
               {"STATUS"},
               {"FILE", Align::kLeft, true}});
  for (const v1::Purchase& purchase : reply.purchases()) {
    table.AddRow({ShortId(purchase.order_id_hex()), FormatTime(purchase.created_at_ms()),
                  purchase.shop(), purchase.title(),
                  FormatMoney(purchase.total_minor(), purchase.currency()), StatusCell(purchase),
                  purchase.file_path().empty() ? Cell("-") : Cell(purchase.file_path())});
  }
  context.console().Print(table);
}

absl::StatusOr<v1::DownloadProgress> FollowDownload(Context& context, const std::string& order,
                                                    bool again, bool json_lines) {
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return agent.status();
  v1::DownloadRequest request;
  request.set_order(order);
  request.set_again(again);
  Console& console = context.console();
  const Console::Options& terminal = console.options();
  Progress bar(terminal.err_is_terminal ? terminal.width : 0);
  v1::DownloadProgress last;
  const absl::Status status =
      (*agent)->Download(request, [&](const v1::DownloadProgress& progress) {
        last = progress;
        if (json_lines) {
          console.PrintJson(progress, /*one_line=*/true);
        } else if (!context.json()) {
          console.WriteRaw(bar.Update(progress.received_bytes(), progress.total_bytes(),
                                      protocol::SystemClock().NowMonotonicMs()));
        }
      });
  console.WriteRaw(bar.Clear());
  if (!status.ok()) return status;
  if (!last.done()) {
    return absl::InternalError(
        "the agent ended the download without a result. Try again: what has "
        "arrived is kept");
  }
  return last;
}

void PrintDownloaded(Context& context, const v1::DownloadProgress& result) {
  Table table = Table::Details();
  table.AddRow({"File", {result.file_path(), Style::kGood}});
  table.AddRow({"Size", FormatSize(result.total_bytes())});
  table.AddRow({"SHA-256", absl::StrCat(result.content_sha256_hex(), ", as the shop promised")});
  context.console().Print(table);
}

}  // namespace blindcart::cli
