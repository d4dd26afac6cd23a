#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "crypto/secret_bytes.h"
#include "services/common/secret_input.h"

namespace blindcart::cli {
namespace {

struct LoginArguments {
  std::string username;
  std::string password_file;
};

// Who logged in last time is asked for nothing but the password.
absl::StatusOr<std::string> Username(Context& context, const std::string& given) {
  if (!given.empty()) return given;
  const auto status = context.Ask(&v1::Agent::StubInterface::Status, v1::StatusRequest(),
                                  AgentClient::kLocalTimeoutMs);
  if (!status.ok()) return status.status();
  if (!status->username().empty()) return status->username();
  return AskLine(context, "User name: ", "no user name. Give it with --username");
}

ExitCode Login(Context& context, const LoginArguments& arguments) {
  v1::LoginReply reply;
  const ExitCode code = LogIn(context, arguments.username, arguments.password_file, &reply);
  if (code != ExitCode::kOk) return code;
  if (context.json()) {
    context.console().PrintJson(reply);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"Logged in as", {reply.username(), Style::kGood}});
  table.AddRow({"Broker's key", reply.broker_fingerprint_hex()});
  context.console().Print(table);
  return ExitCode::kOk;
}

ExitCode Logout(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::Logout, v1::LogoutRequest(),
                                 AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    context.console().Print("Logged out.");
  }
  return ExitCode::kOk;
}

ExitCode Status(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::Status, v1::StatusRequest(),
                                 AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"Login", reply->logged_in()
                             ? Cell("as " + reply->username(), Style::kGood)
                             : Cell("none; log in with: blindcart login", Style::kWarning)});
  table.AddRow({"Connection", reply->connected() ? Cell("stands", Style::kGood)
                                                 : Cell("none at the moment", Style::kWarning)});
  table.AddRow({"Broker", reply->broker_address()});
  table.AddRow({"Broker's key", reply->broker_fingerprint_hex()});
  if (reply->broker_key_followed_at_ms() != 0) {
    table.AddRow(
        {"", absl::StrCat("in use here since ", FormatTime(reply->broker_key_followed_at_ms()),
                          ", announced under the key before it")});
  }
  table.AddRow({"Your key", reply->own_fingerprint_hex()});
  table.AddRow({"Purchases", reply->purchases_dir()});
  context.console().Print(table);
  return ExitCode::kOk;
}

ExitCode Balance(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::Balance, v1::BalanceRequest(),
                                 AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"Account", reply->account_number()});
  table.AddRow({"Balance", {FormatMoney(reply->balance_minor(), reply->currency()), Style::kBold}});
  context.console().Print(table);
  return ExitCode::kOk;
}

}  // namespace

ExitCode LogIn(Context& context, const std::string& username, const std::string& password_file,
               v1::LoginReply* reply) {
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return context.Fail(agent.status());
  const absl::StatusOr<std::string> name = Username(context, username);
  if (!name.ok()) {
    return absl::IsFailedPrecondition(name.status()) ? context.FailLocally(name.status())
                                                     : context.Fail(name.status());
  }
  absl::StatusOr<crypto::SecretBytes> password =
      ReadSecret({"password", password_file, "--password-file", "", false});
  if (!password.ok()) return context.FailLocally(password.status());

  v1::LoginRequest request;
  request.set_username(*name);
  request.set_password(std::string(password->view()));
  absl::StatusOr<v1::LoginReply> answered =
      context.Ask(&v1::Agent::StubInterface::Login, request, AgentClient::kNetworkTimeoutMs);
  crypto::Wipe(*request.mutable_password());
  if (!answered.ok()) return context.Fail(answered.status());
  *reply = *std::move(answered);
  return ExitCode::kOk;
}

void AddSessionCommands(CLI::App& app, Action& chosen) {
  auto login_arguments = std::make_shared<LoginArguments>();
  CLI::App* login = AddCommand(app, "login", "Log in to the broker",
                               "  blindcart login --username alice\n"
                               "  blindcart login --username alice --password-file password.txt\n");
  login->add_option("--username", login_arguments->username,
                    "User name (default: that of the last login)");
  login->add_option("--password-file", login_arguments->password_file,
                    "File with the password, for its owner's eyes only (default: ask)");
  OnCommand(login, chosen, login_arguments, &Login);

  OnCommand(
      AddCommand(app, "logout", "Log out; the agent forgets the password", "  blindcart logout\n"),
      chosen, &Logout);
  OnCommand(AddCommand(app, "status", "Show who is logged in, and whose keys are in use",
                       "  blindcart status\n  blindcart --json status\n"),
            chosen, &Status);
  OnCommand(
      AddCommand(app, "balance", "Show your account and what it holds", "  blindcart balance\n"),
      chosen, &Balance);
}

}  // namespace blindcart::cli
