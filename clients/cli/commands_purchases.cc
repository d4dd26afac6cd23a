#include <memory>
#include <string>

#include "clients/cli/commands.h"
#include "clients/cli/purchase_view.h"

namespace blindcart::cli {
namespace {

struct DownloadArguments {
  std::string order;
  bool again = false;
};
struct VerifyArguments {
  std::string order;
};

ExitCode ListPurchases(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::ListPurchases,
                                 v1::ListPurchasesRequest(), AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->purchases().empty()) {
    context.console().Print("No purchases yet.");
  } else {
    PrintPurchases(context, *reply);
  }
  return ExitCode::kOk;
}

ExitCode Download(Context& context, const DownloadArguments& arguments) {
  const absl::StatusOr<v1::DownloadProgress> result =
      FollowDownload(context, arguments.order, arguments.again, /*json_lines=*/context.json());
  if (!result.ok()) return context.Fail(result.status());
  if (!context.json()) PrintDownloaded(context, *result);
  return ExitCode::kOk;
}

ExitCode Verify(Context& context, const VerifyArguments& arguments) {
  v1::VerifyRequest request;
  request.set_order(arguments.order);
  // Hashing a large file again takes a while.
  const auto reply =
      context.Ask(&v1::Agent::StubInterface::Verify, request, AgentClient::kBrowseTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    Table table({{"CHECK"}, {"RESULT"}, {"DETAIL"}});
    for (const v1::VerifyReply::Check& check : reply->checks()) {
      table.AddRow({check.name(),
                    check.ok() ? Cell("ok", Style::kGood) : Cell("FAILED", Style::kBad),
                    check.detail()});
    }
    context.console().Print(table);
  }
  if (reply->ok()) return ExitCode::kOk;
  return context.Refuse(ExitCode::kVerification,
                        "a check failed. Keep the purchases folder as it is: it is the evidence; "
                        "fetch the file once more with: blindcart download ORDER --again");
}

}  // namespace

void AddPurchaseCommands(CLI::App& app, Action& chosen) {
  CLI::App* purchases = AddCommand(app, "purchases", "List what you ordered, newest first",
                                   "  blindcart purchases\n"
                                   "  blindcart purchases stamp 3f9a12bc\n");
  // A parser calls back for the command around the one that was given too.
  purchases->callback([&chosen, purchases] {
    if (purchases->get_subcommands().empty()) chosen = &ListPurchases;
  });
  AddPurchaseStampCommand(*purchases, chosen);

  auto download_arguments = std::make_shared<DownloadArguments>();
  CLI::App* download =
      AddCommand(app, "download", "Fetch what you paid for; goes on where it was interrupted",
                 "  blindcart download 3f9a12bc\n  blindcart download 3f9a12bc --again\n");
  download->add_option("order", download_arguments->order, "Order id, or its beginning")
      ->required();
  download->add_flag("--again", download_arguments->again,
                     "Fetch it once more though the file is there");
  OnCommand(download, chosen, download_arguments, &Download);

  auto verify_arguments = std::make_shared<VerifyArguments>();
  CLI::App* verify =
      AddCommand(app, "verify", "Check a purchase's order, receipt and file once more, offline",
                 "  blindcart verify 3f9a12bc\n");
  verify->add_option("order", verify_arguments->order, "Order id, or its beginning")->required();
  OnCommand(verify, chosen, verify_arguments, &Verify);
}

}  // namespace blindcart::cli
