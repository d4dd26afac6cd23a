#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "clients/cli/outcomes.h"
#include "proto/agent_bank.grpc.pb.h"
#include "services/ledger/money.h"

namespace blindcart::cli {
namespace {

struct MoveArguments {
  std::string amount;
};
struct StatementArguments {
  std::string since;
  bool csv = false;
};
struct TellerArguments {
  std::string username;
  std::string password_file;
};

enum class Direction { kDeposit, kWithdraw };

// What was typed, in minor units of the account's currency.
absl::StatusOr<int64_t> ReadAmount(Context& context, const std::string& text) {
  const auto balance = context.Ask(&v1::Agent::StubInterface::Balance, v1::BalanceRequest(),
                                   AgentClient::kNetworkTimeoutMs);
  if (!balance.ok()) return balance.status();
  const absl::StatusOr<int64_t> amount =
      ledger::ParseAmount(absl::StripAsciiWhitespace(text), balance->currency());
  if (amount.ok()) return amount;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "': ", amount.status().message(), ". Nothing was moved"));
}

// From now on the same command is another one. Failing changes nothing: then it is still this one.
void Acknowledge(Context& context, const std::string& request_id_hex) {
  v1::AcknowledgeMoveRequest request;
  request.set_request_id_hex(request_id_hex);
  context
      .Ask<v1::AgentBank>(&v1::AgentBank::StubInterface::AcknowledgeMove, request,
                          AgentClient::kLocalTimeoutMs)
      .status()
      .IgnoreError();
}

ExitCode Move(Context& context, Direction direction, const std::string& text) {
  const absl::StatusOr<int64_t> amount = ReadAmount(context, text);
  if (!amount.ok()) return context.Fail(amount.status());
  v1::MoveMoneyRequest request;
  request.set_amount_minor(*amount);
  const bool deposit = direction == Direction::kDeposit;
  const auto reply = context.Ask<v1::AgentBank>(
      deposit ? &v1::AgentBank::StubInterface::Deposit : &v1::AgentBank::StubInterface::Withdraw,
      request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) context.console().PrintJson(*reply, /*one_line=*/true);
  const ExitCode code = ExitCodeOf(reply->outcome());
  if (code != ExitCode::kOk) return context.Refuse(code, WhyNotMoved(*reply));
  if (!context.json()) {
    Table table = Table::Details();
    table.AddRow({deposit ? "Deposited" : "Withdrawn",
                  {FormatMoney(reply->amount_minor(), reply->currency()), Style::kGood}});
    table.AddRow(
        {"Balance", {FormatMoney(reply->balance_minor(), reply->currency()), Style::kBold}});
    context.console().Print(table);
  }
  if (reply->repeated() && !context.json()) {
    context.console().Print(absl::StrCat("\nThis is the ", deposit ? "deposit" : "withdrawal",
                                         " begun at ", FormatTime(reply->begun_at_ms()),
                                         ", whose answer had been lost: it counts once, and the "
                                         "balance is that of then. For another "
                                         "one, run the command again."));
  }
  if (context.console().AllWritten()) Acknowledge(context, reply->request_id_hex());
  return code;
}

ExitCode Deposit(Context& context, const MoveArguments& arguments) {
  return Move(context, Direction::kDeposit, arguments.amount);
}

ExitCode Withdraw(Context& context, const MoveArguments& arguments) {
  return Move(context, Direction::kWithdraw, arguments.amount);
}

// Writes a statement page by page, in the form that was asked for.
class StatementWriter {
 public:
  enum class Form { kTable, kCsv, kJson };

  StatementWriter(Console& console, Form form) : console_(console), form_(form) {}

  void Add(const v1::StatementPage& page) {
    // It begins with the balance before its first line, which an empty page may not know yet.
    if (!begun_ && page.lines().empty()) {
      empty_ = page;
      return;
    }
    if (!begun_) Begin(page);
    for (const v1::StatementLine& line : page.lines()) Add(line, page.currency());
    any_ = any_ || !page.lines().empty();
  }
  // `complete`: all of it came.
  void End(bool complete) {
    if (!begun_ && complete) Begin(empty_);
    if (form_ == Form::kJson && begun_) {
      console_.PrintPart(absl::StrCat("],\"complete\":", complete ? "true" : "false", "}\n"));
    } else if (form_ == Form::kTable && begun_ && complete && !any_) {
      console_.Print("No entries.");
    }
  }
  bool begun() const { return begun_; }

 private:
  void Begin(const v1::StatementPage& page) {
    begun_ = true;
    switch (form_) {
      case Form::kCsv:
        console_.PrintPart("time,kind,order,transfer,amount,balance,currency\n");
        break;
      case Form::kJson: {
        v1::StatementPage head = page;
        head.clear_lines();
        // Its empty list stands in for the lines, which follow one by one.
        std::string text = ToJson(head, /*one_line=*/true);
        const size_t lines = text.find("\"lines\":[],");
        if (lines != std::string::npos) text.erase(lines, std::string("\"lines\":[],").size());
        text.pop_back();
        console_.PrintPart(absl::StrCat(text, ",\"lines\":["));
        break;
      }
      case Form::kTable:
        console_.Print(absl::StrCat("Account ", page.account_number(), "\n\n",
                                    Row("Time", "Kind", "Order", "Amount", "Balance")));
        if (page.balance_before_minor() != 0) {
          console_.Print(
              Row("", "before", "", "", FormatMoney(page.balance_before_minor(), page.currency())));
        }
    }
  }
  void Add(const v1::StatementLine& line, const std::string& currency) {
    switch (form_) {
      case Form::kCsv:
        console_.PrintPart(absl::StrCat(
            FormatTime(line.created_at_ms()), ",", EntryWord(line.kind()), ",", line.order_id_hex(),
            ",", line.transfer_id_hex(), ",", Plain(line.amount_minor(), currency), ",",
            Plain(line.balance_minor(), currency), ",", currency, "\n"));
        break;
      case Form::kJson:
        console_.PrintPart(absl::StrCat(first_ ? "" : ",", ToJson(line, /*one_line=*/true)));
        first_ = false;
        break;
      case Form::kTable:
        console_.Print(Row(FormatTime(line.created_at_ms()), EntryWord(line.kind()),
                           ShortId(line.order_id_hex()), FormatMoney(line.amount_minor(), currency),
                           FormatMoney(line.balance_minor(), currency)));
    }
  }
  static std::string Plain(int64_t amount_minor, const std::string& currency) {
    const absl::StatusOr<std::string> amount = ledger::FormatAmount(amount_minor, currency);
    return amount.ok() ? *amount : absl::StrCat(amount_minor);
  }
  // Widths do not wait for the last page.
  static std::string Row(const std::string& time, const std::string& kind, const std::string& order,
                         const std::string& amount, const std::string& balance) {
    return absl::StrFormat("%-25s  %-10s  %-8s  %15s  %16s", time, kind, order, amount, balance);
  }

  Console& console_;
  const Form form_;
  v1::StatementPage empty_;  // The last one before it began.
  bool begun_ = false;
  bool any_ = false;
  bool first_ = true;
};

ExitCode Statement(Context& context, const StatementArguments& arguments) {
  v1::StatementRequest request;
  if (!arguments.since.empty()) {
    const absl::StatusOr<int64_t> since_ms = ParseLocalTime(arguments.since);
    if (!since_ms.ok()) return context.Fail(since_ms.status());
    request.set_since_ms(*since_ms);
  }
  if (arguments.csv && context.json()) {
    return context.Fail(absl::InvalidArgumentError("--csv and --json do not go together"));
  }
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return context.Fail(agent.status());
  StatementWriter writer(context.console(), arguments.csv    ? StatementWriter::Form::kCsv
                                            : context.json() ? StatementWriter::Form::kJson
                                                             : StatementWriter::Form::kTable);
  grpc::ClientContext call;
  const auto stub = (*agent)->Stub<v1::AgentBank>();
  const auto reader = stub->Statement(&call, request);
  v1::StatementPage page;
  while (reader->Read(&page)) writer.Add(page);
  const absl::Status status = (*agent)->InWords(reader->Finish());
  context.CatchUpExplanation();
  writer.End(status.ok());
  if (status.ok()) return ExitCode::kOk;
  if (!writer.begun()) return context.Fail(status);
  return context.Refuse(ExitCodeOf(status),
                        absl::StrCat("the statement is not complete: ", status.message()));
}

// One line of standard input; false at its end.
bool ReadLine(Context& context, const std::string& prompt, std::string* line) {
  if (context.console().options().in_is_terminal) context.console().WriteRaw(prompt);
  if (std::getline(std::cin, *line)) return true;
  if (context.console().options().in_is_terminal) context.console().WriteRaw("\n");
  return false;
}

ExitCode Check(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::Balance, v1::BalanceRequest(),
                                 AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply, /*one_line=*/true);
  } else {
    context.console().Print(
        absl::StrCat("Balance  ", FormatMoney(reply->balance_minor(), reply->currency())));
  }
  return ExitCode::kOk;
}

// Whether `word` is `command` or a beginning of it.
bool Means(const std::string& word, absl::string_view command) {
  return !word.empty() && absl::StartsWith(command, word);
}

ExitCode Teller(Context& context, const TellerArguments& arguments) {
  static constexpr char kMenu[] = "CHECK, WITHDRAW AMOUNT, DEPOSIT AMOUNT or QUIT";
  const auto status = context.Ask(&v1::Agent::StubInterface::Status, v1::StatusRequest(),
                                  AgentClient::kLocalTimeoutMs);
  if (!status.ok()) return context.Fail(status.status());
  if (!status->logged_in()) {
    v1::LoginReply login;
    const ExitCode code = LogIn(context, arguments.username, arguments.password_file, &login);
    if (code != ExitCode::kOk) return code;
  }
  if (!context.json()) context.console().Print(absl::StrCat("Type ", kMenu, "."));
  ExitCode first_failure = ExitCode::kOk;
  std::string line;
  while (ReadLine(context, "> ", &line)) {
    const std::string typed(absl::StripAsciiWhitespace(line));
    if (typed.empty()) continue;
    const size_t space = typed.find_first_of(" \t");
    const std::string word = absl::AsciiStrToUpper(typed.substr(0, space));
    std::string rest =
        space == std::string::npos
            ? ""
            : std::string(absl::StripAsciiWhitespace(absl::string_view(typed).substr(space)));
    const bool withdraw = Means(word, "WITHDRAW");
    ExitCode code = ExitCode::kOk;
    if (Means(word, "QUIT") && rest.empty()) break;
    if (Means(word, "CHECK") && rest.empty()) {
      code = Check(context);
    } else if (withdraw || Means(word, "DEPOSIT")) {
      if (rest.empty() && !ReadLine(context, "Amount: ", &rest)) {
        code = context.Fail(ExitCode::kUsage,
                            absl::InvalidArgumentError("no amount was given. Nothing was moved"));
        if (first_failure == ExitCode::kOk) first_failure = code;
        break;
      }
      code = Move(context, withdraw ? Direction::kWithdraw : Direction::kDeposit, rest);
    } else {
      code =
          context.Fail(ExitCode::kUsage,
                       absl::InvalidArgumentError(absl::StrCat("type ", kMenu, "; nothing done")));
    }
    if (first_failure == ExitCode::kOk) first_failure = code;
  }
  // A person has seen what failed; a script learns it here.
  return context.console().options().in_is_terminal ? ExitCode::kOk : first_failure;
}

}  // namespace

void AddBankCommands(CLI::App& app, Action& chosen) {
  static constexpr char kAmountHelp[] = "In your account's currency, such as 12 or 12.50";

  auto deposit_arguments = std::make_shared<MoveArguments>();
  CLI::App* deposit =
      AddCommand(app, "deposit", "Put money into your account, if the broker lets you",
                 "  blindcart deposit 12.50\n");
  deposit->add_option("amount", deposit_arguments->amount, kAmountHelp)->required();
  OnCommand(deposit, chosen, deposit_arguments, &Deposit);

  auto withdraw_arguments = std::make_shared<MoveArguments>();
  CLI::App* withdraw =
      AddCommand(app, "withdraw", "Take money out of your account",
                 "  blindcart withdraw 12.50\n\n"
                 "When the answer gets lost, run the same command again: it never counts twice.\n");
  withdraw->add_option("amount", withdraw_arguments->amount, kAmountHelp)->required();
  OnCommand(withdraw, chosen, withdraw_arguments, &Withdraw);

  auto statement_arguments = std::make_shared<StatementArguments>();
  CLI::App* statement = AddCommand(app, "statement", "List what moved on your account",
                                   "  blindcart statement\n"
                                   "  blindcart statement --since 2026-05-01\n"
                                   "  blindcart statement --csv > statement.csv\n");
  statement->add_option("--since", statement_arguments->since,
                        "Begin at that local day, or at '2026-05-01 18:30'");
  statement->add_flag("--csv", statement_arguments->csv,
                      "Comma-separated values, for spreadsheets");
  OnCommand(statement, chosen, statement_arguments, &Statement);

  auto teller_arguments = std::make_shared<TellerArguments>();
  CLI::App* teller = AddCommand(
      app, "teller", "Talk to the bank at a prompt: CHECK, WITHDRAW, DEPOSIT, QUIT",
      "  blindcart teller\n"
      "  printf 'CHECK\\nWITHDRAW 10\\nQUIT\\n' | blindcart teller\n\n"
      "Words may be shortened (c, w 10). Without a terminal the exit code is that of the first\n"
      "line that failed.\n");
  teller->add_option("--username", teller_arguments->username,
                     "Whom to log in when nobody is (default: that of the last login)");
  teller->add_option("--password-file", teller_arguments->password_file,
                     "File with the password, for its owner's eyes only (default: ask)");
  OnCommand(teller, chosen, teller_arguments, &Teller);
}

}  // namespace blindcart::cli
