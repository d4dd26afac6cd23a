#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "clients/cli/outcomes.h"
#include "clients/cli/purchase_view.h"
#include "crypto/secret_bytes.h"
#include "services/common/secret_input.h"
#include "services/ledger/money.h"

namespace blindcart::cli {
namespace {

struct CheckoutArguments {
  std::string product;
};
struct PayArguments {
  std::string order;
  std::string account;
  std::string pin_file;
  std::string total;
};
struct DeclineArguments {
  std::string order;
};
struct BuyArguments {
  std::string product;
  std::string account;
  std::string pin_file;
  bool yes = false;
};

absl::StatusOr<v1::PurchaseReply> AskForCheckout(Context& context, const std::string& product) {
  v1::CheckoutOrderRequest request;
  request.set_product(product);
  return context.Ask(&v1::Agent::StubInterface::Checkout, request, AgentClient::kNetworkTimeoutMs);
}

absl::StatusOr<v1::PurchaseReply> AskForDecline(Context& context, const std::string& order) {
  v1::DeclineRequest request;
  request.set_order(order);
  return context.Ask(&v1::Agent::StubInterface::Decline, request, AgentClient::kNetworkTimeoutMs);
}

absl::StatusOr<v1::Purchase> FindPurchase(Context& context, const std::string& order) {
  const auto list = context.Ask(&v1::Agent::StubInterface::ListPurchases,
                                v1::ListPurchasesRequest(), AgentClient::kLocalTimeoutMs);
  if (!list.ok()) return list.status();
  const std::string beginning = absl::AsciiStrToLower(order);
  const v1::Purchase* found = nullptr;
  for (const v1::Purchase& purchase : list->purchases()) {
    if (!absl::StartsWith(purchase.order_id_hex(), beginning)) continue;
    if (found != nullptr) {
      return absl::InvalidArgumentError("several orders begin with that id. Give more digits");
    }
    found = &purchase;
  }
  if (found == nullptr) {
    return absl::NotFoundError("no order here has that id. blindcart purchases lists them");
  }
  return *found;
}

// The account to pay from: the one named, else the customer's own.
absl::StatusOr<std::string> Account(Context& context, const std::string& given) {
  if (!given.empty()) return given;
  const auto reply = context.Ask(&v1::Agent::StubInterface::Balance, v1::BalanceRequest(),
                                 AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return reply.status();
  return reply->account_number();
}

absl::StatusOr<crypto::SecretBytes> ReadPin(const std::string& pin_file) {
  return ReadSecret({"PIN", pin_file, "--pin-file", "", false});
}

absl::StatusOr<v1::PayReply> AskForPayment(Context& context, const v1::Purchase& purchase,
                                           const std::string& account,
                                           const crypto::SecretBytes& pin, int64_t total_minor) {
  v1::PayRequest request;
  request.set_order(purchase.order_id_hex());
  request.set_account_number(account);
  request.set_pin(std::string(pin.view()));
  request.set_agreed_total_minor(total_minor);
  auto reply = context.Ask(&v1::Agent::StubInterface::Pay, request, AgentClient::kNetworkTimeoutMs);
  crypto::Wipe(*request.mutable_pin());
  return reply;
}

ExitCode Checkout(Context& context, const CheckoutArguments& arguments) {
  const auto reply = AskForCheckout(context, arguments.product);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) context.console().PrintJson(*reply);
  const ExitCode code = ExitCodeOf(reply->outcome());
  if (code != ExitCode::kOk) return context.Refuse(code, WhyNotOrdered(reply->outcome()));
  if (context.json()) return code;
  PrintPurchase(context, reply->purchase());
  const std::string order = ShortId(reply->purchase().order_id_hex());
  context.console().Print(absl::StrCat("\nPay for it:      blindcart pay ", order,
                                       "\nOr give it up:   blindcart decline ", order));
  return code;
}

ExitCode Pay(Context& context, const PayArguments& arguments) {
  const absl::StatusOr<v1::Purchase> purchase = FindPurchase(context, arguments.order);
  if (!purchase.ok()) return context.Fail(purchase.status());
  // What is agreed to is what was shown, whatever the agent may hold by the time it pays.
  int64_t total_minor = purchase->total_minor();
  if (!arguments.total.empty()) {
    const absl::StatusOr<int64_t> given =
        ledger::ParseAmount(arguments.total, purchase->currency());
    if (!given.ok()) return context.Fail(ExitCode::kUsage, given.status());
    total_minor = *given;
  }
  const absl::StatusOr<std::string> account = Account(context, arguments.account);
  if (!account.ok()) return context.Fail(account.status());
  if (!context.json() && arguments.pin_file.empty()) PrintPurchase(context, *purchase);
  const absl::StatusOr<crypto::SecretBytes> pin = ReadPin(arguments.pin_file);
  if (!pin.ok()) return context.FailLocally(pin.status());

  const absl::StatusOr<v1::PayReply> reply =
      AskForPayment(context, *purchase, *account, *pin, total_minor);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) context.console().PrintJson(*reply);
  const ExitCode code = ExitCodeOf(reply->outcome());
  if (code != ExitCode::kOk) return context.Refuse(code, WhyNotPaid(*reply));
  if (context.json()) return code;
  PrintPurchase(context, reply->purchase());
  context.console().Print(
      absl::StrCat("\nFetch it:   blindcart download ", ShortId(reply->purchase().order_id_hex())));
  return code;
}

ExitCode Decline(Context& context, const DeclineArguments& arguments) {
  const absl::StatusOr<v1::PurchaseReply> reply = AskForDecline(context, arguments.order);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    PrintPurchase(context, reply->purchase());
  }
  return ExitCode::kOk;
}

// Refuses before anything is ordered what could not be brought to its end.
absl::Status CanBeAnswered(Context& context, const BuyArguments& arguments) {
  if (!arguments.yes && !context.console().options().in_is_terminal) {
    return absl::FailedPreconditionError(
        "there is no terminal to confirm the purchase on. Nothing was ordered; give --yes to buy "
        "without being asked");
  }
  if (!arguments.pin_file.empty()) return ReadPin(arguments.pin_file).status();
  const int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0) {
    return absl::FailedPreconditionError(
        "there is no terminal to ask for the PIN on. Nothing was ordered; give it with --pin-file "
        "FILE");
  }
  close(terminal);
  return absl::OkStatus();
}

absl::StatusOr<bool> Confirmed(Context& context, const BuyArguments& arguments,
                               const v1::Purchase& purchase, const std::string& account) {
  if (arguments.yes) return true;
  const absl::StatusOr<std::string> line =
      AskLine(context,
              absl::StrCat("Pay ", FormatMoney(purchase.total_minor(), purchase.currency()),
                           " from account ", account, "? [y/N] "),
              "there is no terminal to confirm the purchase on. Give --yes");
  if (absl::IsCancelled(line.status())) return false;
  if (!line.ok()) return line.status();
  const std::string answer = absl::AsciiStrToLower(absl::StripAsciiWhitespace(*line));
  return answer == "y" || answer == "yes";
}

// A person said no: an order that nobody will pay need not stay open.
ExitCode GiveUp(Context& context, const v1::Purchase& purchase) {
  const absl::StatusOr<v1::PurchaseReply> declined =
      AskForDecline(context, purchase.order_id_hex());
  if (context.json()) {
    if (declined.ok()) context.AddPart("decline", *declined);
    return context.Fail(ExitCode::kFailure,
                        absl::CancelledError("not confirmed. Nothing was paid"));
  }
  return context.Refuse(ExitCode::kFailure,
                        declined.ok()
                            ? "not confirmed. The order was declined and nothing was paid"
                            : "not confirmed. Nothing was paid; the order expires by itself");
}

ExitCode Buy(Context& context, const BuyArguments& arguments) {
  const absl::Status answerable = CanBeAnswered(context, arguments);
  if (!answerable.ok()) return context.FailLocally(answerable);
  const absl::StatusOr<std::string> account = Account(context, arguments.account);
  if (!account.ok()) return context.Fail(account.status());

  const absl::StatusOr<v1::PurchaseReply> ordered = AskForCheckout(context, arguments.product);
  if (!ordered.ok()) return context.Fail(ordered.status());
  context.AddPart("checkout", *ordered);
  ExitCode code = ExitCodeOf(ordered->outcome());
  if (code != ExitCode::kOk) return context.Refuse(code, WhyNotOrdered(ordered->outcome()));
  const v1::Purchase& purchase = ordered->purchase();
  if (!context.json()) PrintPurchase(context, purchase);

  const absl::StatusOr<bool> confirmed = Confirmed(context, arguments, purchase, *account);
  if (!confirmed.ok()) return context.FailLocally(confirmed.status());
  if (!*confirmed) return GiveUp(context, purchase);
  const absl::StatusOr<crypto::SecretBytes> pin = ReadPin(arguments.pin_file);
  if (!pin.ok()) return context.FailLocally(pin.status());

  const absl::StatusOr<v1::PayReply> paid =
      AskForPayment(context, purchase, *account, *pin, purchase.total_minor());
  if (!paid.ok()) return context.Fail(paid.status());
  context.AddPart("pay", *paid);
  code = ExitCodeOf(paid->outcome());
  if (code != ExitCode::kOk) return context.Refuse(code, WhyNotPaid(*paid));

  const std::string order = paid->purchase().order_id_hex();
  if (!context.json()) {
    context.console().Print(
        absl::StrCat("Paid ", FormatMoney(purchase.total_minor(), purchase.currency()), "."));
  }
  const absl::StatusOr<v1::DownloadProgress> fetched =
      FollowDownload(context, order, /*again=*/false, /*json_lines=*/false);
  if (!fetched.ok()) {
    return context.Fail(
        ExitCodeOf(fetched.status()),
        absl::Status(fetched.status().code(),
                     absl::StrCat(fetched.status().message(),
                                  ". The order is paid; fetch it with: blindcart download ",
                                  ShortId(order))));
  }
  context.AddPart("download", *fetched);
  if (context.json()) {
    context.PrintParts();
  } else {
    PrintDownloaded(context, *fetched);
  }
  return ExitCode::kOk;
}

}  // namespace

void AddOrderCommands(CLI::App& app, Action& chosen) {
  static constexpr char kAccountHelp[] = "Account to pay from (default: yours)";
  static constexpr char kPinFileHelp[] =
      "File with the PIN, for its owner's eyes only (default: ask)";

  auto checkout_arguments = std::make_shared<CheckoutArguments>();
  CLI::App* checkout = AddCommand(app, "checkout", "Order a product without paying yet",
                                  "  blindcart checkout 3f9a12bc\n");
  checkout->add_option("product", checkout_arguments->product, "Product id, or its beginning")
      ->required();
  OnCommand(checkout, chosen, checkout_arguments, &Checkout);

  auto pay_arguments = std::make_shared<PayArguments>();
  CLI::App* pay = AddCommand(app, "pay", "Pay for an order; paying twice charges once",
                             "  blindcart pay 3f9a12bc\n"
                             "  blindcart pay 3f9a12bc --pin-file pin.txt --total 10.30\n");
  pay->add_option("order", pay_arguments->order, "Order id, or its beginning")->required();
  pay->add_option("--account", pay_arguments->account, kAccountHelp);
  pay->add_option("--pin-file", pay_arguments->pin_file, kPinFileHelp);
  pay->add_option("--total", pay_arguments->total,
                  "Pay only if this is the total, in the order's currency");
  OnCommand(pay, chosen, pay_arguments, &Pay);

  auto decline_arguments = std::make_shared<DeclineArguments>();
  CLI::App* decline =
      AddCommand(app, "decline", "Give up an unpaid order", "  blindcart decline 3f9a12bc\n");
  decline->add_option("order", decline_arguments->order, "Order id, or its beginning")->required();
  OnCommand(decline, chosen, decline_arguments, &Decline);

  auto buy_arguments = std::make_shared<BuyArguments>();
  CLI::App* buy = AddCommand(app, "buy", "Order, confirm, pay and download in one go",
                             "  blindcart buy 3f9a12bc\n"
                             "  blindcart buy 3f9a12bc --pin-file pin.txt --yes\n");
  buy->add_option("product", buy_arguments->product, "Product id, or its beginning")->required();
  buy->add_option("--account", buy_arguments->account, kAccountHelp);
  buy->add_option("--pin-file", buy_arguments->pin_file, kPinFileHelp);
  buy->add_flag("--yes", buy_arguments->yes, "Pay without asking for confirmation");
  OnCommand(buy, chosen, buy_arguments, &Buy);
}

}  // namespace blindcart::cli
