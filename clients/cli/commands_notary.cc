#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "clients/cli/progress.h"
#include "crypto/encoding.h"
#include "crypto/file_descriptor.h"
#include "crypto/hash.h"
#include "crypto/time_stamp.h"
#include "proto/agent_notary.grpc.pb.h"
#include "protocol/clock.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"

namespace blindcart::cli {
namespace {

constexpr char kSuffix[] = ".tsr";
constexpr size_t kPieceBytes = 1024 * 1024;
constexpr mode_t kPublicMode = 0644;

struct NotarizeArguments {
  std::string file;
  std::string out;
  bool force = false;
};
struct VerifyArguments {
  std::string file;
  std::string time_stamp;
  std::string card;
  std::string ca;
};
struct ShowArguments {
  std::string time_stamp;
};
struct StampArguments {
  std::string order;
};

absl::Status CannotRead(const std::string& path, int error) {
  return absl::NotFoundError(absl::StrCat(path, " cannot be read: ", std::strerror(error),
                                          ". Check the name and its permissions"));
}

// The file's SHA-256, read once in pieces, with a bar on standard error.
absl::StatusOr<std::string> HashFile(Context& context, const std::string& path) {
  // A pipe that nobody writes to would hold up open(2) before it is known to be no file.
  const crypto::FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return CannotRead(path, errno);
  struct stat before;
  if (fstat(file.get(), &before) != 0) return CannotRead(path, errno);
  if (!S_ISREG(before.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no ordinary file"));
  }
  const auto size = static_cast<uint64_t>(before.st_size);
  Console& console = context.console();
  Progress bar(console.options().err_is_terminal ? console.options().width : 0);
  crypto::Sha256Hasher hasher;
  std::vector<char> piece(kPieceBytes);
  uint64_t done = 0;
  // One that grows is given up as soon as that shows: a writer could keep ahead for ever.
  while (done <= size) {
    if (!context.json()) {
      console.WriteRaw(bar.Update(done, size, protocol::SystemClock().NowMonotonicMs()));
    }
    const ssize_t got = read(file.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      console.WriteRaw(bar.Clear());
      return CannotRead(path, error);
    }
    if (got == 0) break;
    hasher.Update(absl::string_view(piece.data(), static_cast<size_t>(got)));
    done += static_cast<uint64_t>(got);
  }
  console.WriteRaw(bar.Clear());
  struct stat after;
  if (fstat(file.get(), &after) != 0 || done != size || after.st_size != before.st_size ||
      after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
      after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
    return absl::AbortedError(
        absl::StrCat(path, " was changed while it was read. Try again when nothing writes to it"));
  }
  return hasher.Finish();
}

v1::TimeStamp ToMessage(const crypto::TimeStamp& stamp) {
  v1::TimeStamp message;
  message.set_time_ms(stamp.time_ms);
  message.set_accuracy_ms(stamp.accuracy_ms);
  message.set_serial_hex(stamp.serial_hex);
  message.set_sha256_hex(crypto::HexEncode(stamp.sha256));
  message.set_authority(stamp.authority);
  return message;
}

void AddTimeStamp(const v1::TimeStamp& stamp, Style style, Table* table) {
  table->AddRow(
      {"Time",
       {absl::StrCat(FormatTime(stamp.time_ms()), ", within ", FormatDuration(stamp.accuracy_ms())),
        style}});
  table->AddRow({"SHA-256", stamp.sha256_hex()});
  table->AddRow({"Serial", stamp.serial_hex()});
  table->AddRow({"Signed by", stamp.authority()});
}

// Whether writing `out` would take away the document itself.
bool IsTheDocument(const std::string& out, const std::string& document) {
  struct stat there;
  if (lstat(out.c_str(), &there) != 0) return false;
  struct stat info;
  const auto same = [&] { return info.st_dev == there.st_dev && info.st_ino == there.st_ino; };
  return (stat(document.c_str(), &info) == 0 && same()) ||
         (lstat(document.c_str(), &info) == 0 && same());
}

// Why there is no time stamp.
ExitCode RefuseOutcome(Context& context, v1::NotaryOutcome outcome, int64_t retry_after_ms) {
  switch (outcome) {
    case v1::NOTARY_OUTCOME_TRY_LATER:
      return context.Refuse(ExitCode::kUnreachable,
                            absl::StrCat("too many time stamps in a short time. Try again in ",
                                         FormatDuration(retry_after_ms)));
    case v1::NOTARY_OUTCOME_BUSY:
      return context.Refuse(ExitCode::kUnreachable, "the notary is too busy now. Try again");
    case v1::NOTARY_OUTCOME_CLOCK:
      return context.Refuse(ExitCode::kRefused,
                            "the broker's clock went backwards, so its notary stamps nothing until "
                            "it is right again. Try later, or tell the broker's operator");
    case v1::NOTARY_OUTCOME_CLOSED:
      return context.Refuse(ExitCode::kRefused,
                            "this broker's notary is closed. Ask the broker's operator");
    default:
      return context.Fail(absl::DataLossError("the agent's answer makes no sense"));
  }
}

ExitCode Notarize(Context& context, const NotarizeArguments& arguments) {
  const std::string out =
      arguments.out.empty() ? absl::StrCat(arguments.file, kSuffix) : arguments.out;
  if (IsTheDocument(out, arguments.file)) {
    return context.Fail(ExitCode::kUsage,
                        absl::InvalidArgumentError(absl::StrCat(
                            out,
                            " is the document itself and was kept. Choose another name with "
                            "--out")));
  }
  // Asked before the work; the file is not replaced without --force afterwards either.
  struct stat info;
  if (!arguments.force && lstat(out.c_str(), &info) == 0) {
    return context.Fail(
        ExitCode::kFailure,
        absl::AlreadyExistsError(absl::StrCat(
            out, " is there already and was kept. Choose another name with --out, or --force")));
  }
  const absl::StatusOr<std::string> sha256 = HashFile(context, arguments.file);
  if (!sha256.ok()) return context.Fail(ExitCode::kFailure, sha256.status());
  v1::StampRequest request;
  request.set_sha256(*sha256);
  const auto reply = context.Ask<v1::AgentNotary>(&v1::AgentNotary::StubInterface::Stamp, request,
                                                  AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (reply->outcome() != v1::NOTARY_OUTCOME_STAMPED) {
    if (context.json()) context.console().PrintJson(*reply);
    return RefuseOutcome(context, reply->outcome(), reply->retry_after_ms());
  }
  const absl::Status written =
      WriteFileAtomically(out, reply->response(), kPublicMode, arguments.force);
  if (!written.ok()) return context.Fail(ExitCode::kFailure, written);
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"Time stamp", {out, Style::kGood}});
  AddTimeStamp(reply->time_stamp(), Style::kGood, &table);
  context.console().Print(table);
  return ExitCode::kOk;
}

// The CA certificate to believe: of the card, the file, or the agent.
absl::StatusOr<std::string> AuthorityOf(Context& context, const VerifyArguments& arguments) {
  if (!arguments.ca.empty()) {
    absl::StatusOr<std::string> pem = ReadFile(arguments.ca);
    if (pem.ok() && !crypto::CertificateEndMs(*pem).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(arguments.ca,
                       " holds no certificate in PEM, so nothing could be verified. "
                       "Give that of the broker's authority"));
    }
    return pem;
  }
  if (!arguments.card.empty()) {
    const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(arguments.card);
    if (!card.ok()) return card.status();
    if (card->card.ca_certificate_pem().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          arguments.card,
          " names no certificate authority. Ask the broker's operator for a new card"));
    }
    return card->card.ca_certificate_pem();
  }
  auto reply =
      context.Ask<v1::AgentNotary>(&v1::AgentNotary::StubInterface::GetNotaryAuthority,
                                   v1::GetNotaryAuthorityRequest(), AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return reply.status();
  return std::move(*reply->mutable_ca_certificate_pem());
}

// DataLoss for a file that is too large to be a time stamp.
absl::StatusOr<std::string> ReadTimeStampFile(const std::string& path) {
  absl::StatusOr<std::string> response = ReadFile(path, crypto::kMaxTimeStampResponseBytes);
  if (!absl::IsInvalidArgument(response.status())) return response;
  return absl::DataLossError(
      absl::StrCat(path, " is larger than a time stamp can be. It proves nothing about any file"));
}

ExitCode FailToRead(Context& context, const absl::Status& status) {
  return context.Fail(absl::IsDataLoss(status) ? ExitCode::kVerification : ExitCode::kFailure,
                      status);
}

ExitCode Verify(Context& context, const VerifyArguments& arguments) {
  const absl::StatusOr<std::string> response = ReadTimeStampFile(arguments.time_stamp);
  if (!response.ok()) return FailToRead(context, response.status());
  const absl::StatusOr<std::string> authority = AuthorityOf(context, arguments);
  if (!authority.ok()) {
    const bool from_agent = arguments.card.empty() && arguments.ca.empty();
    return from_agent ? context.Fail(authority.status())
                      : context.Fail(ExitCode::kFailure, authority.status());
  }
  const absl::StatusOr<std::string> sha256 = HashFile(context, arguments.file);
  if (!sha256.ok()) return context.Fail(ExitCode::kFailure, sha256.status());
  const absl::StatusOr<crypto::TimeStamp> stamp = crypto::VerifyTimeStamp(
      *response, {*sha256, absl::nullopt, *authority, protocol::SystemClock().NowUnixMs()});
  if (!stamp.ok()) {
    return context.Fail(
        ExitCode::kVerification,
        absl::Status(stamp.status().code(), absl::StrCat(stamp.status().message(),
                                                         ". It proves nothing about this file")));
  }
  const v1::TimeStamp message = ToMessage(*stamp);
  if (context.json()) {
    context.console().PrintJson(message);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"File", {absl::StrCat(arguments.file, " is unchanged since"), Style::kGood}});
  AddTimeStamp(message, Style::kGood, &table);
  context.console().Print(table);
  return ExitCode::kOk;
}

ExitCode Show(Context& context, const ShowArguments& arguments) {
  const absl::StatusOr<std::string> response = ReadTimeStampFile(arguments.time_stamp);
  if (!response.ok()) return FailToRead(context, response.status());
  const absl::StatusOr<crypto::TimeStamp> stamp = crypto::ReadTimeStamp(*response);
  if (!stamp.ok()) {
    return context.Fail(
        ExitCode::kVerification,
        absl::Status(stamp.status().code(),
                     absl::StrCat(arguments.time_stamp, ": ", stamp.status().message(),
                                  ". Give the file that blindcart notarize wrote")));
  }
  const v1::TimeStamp message = ToMessage(*stamp);
  if (context.json()) {
    context.console().PrintJson(message);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  AddTimeStamp(message, Style::kPlain, &table);
  context.console().Print(table);
  context.console().Print(
      "\nThis is what it says; nothing was verified. Verify it with the document:\n"
      "blindcart notary verify FILE FILE.tsr");
  return ExitCode::kOk;
}

ExitCode StampPurchase(Context& context, const StampArguments& arguments) {
  v1::StampPurchaseRequest request;
  request.set_order(arguments.order);
  const auto reply = context.Ask<v1::AgentNotary>(&v1::AgentNotary::StubInterface::StampPurchase,
                                                  request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (!reply->documents().empty()) {
    Table table({{"STAMPED"}, {"TIME"}, {"FILE (its time stamp beside it: .tsr)"}});
    for (const v1::StampPurchaseReply::Document& document : reply->documents()) {
      table.AddRow({document.name(),
                    FormatTime(document.time_stamp().time_ms()),
                    {document.document_path(), Style::kGood}});
    }
    context.console().Print(table);
  }
  if (reply->outcome() != v1::NOTARY_OUTCOME_STAMPED) {
    return RefuseOutcome(context, reply->outcome(), reply->retry_after_ms());
  }
  if (!context.json() && !reply->delivered()) {
    context.console().Print(
        "\nNothing was downloaded yet; stamp it again afterwards for the delivery too.");
  }
  return ExitCode::kOk;
}

}  // namespace

void AddPurchaseStampCommand(CLI::App& purchases, Action& chosen) {
  auto arguments = std::make_shared<StampArguments>();
  CLI::App* stamp =
      AddCommand(purchases, "stamp",
                 "Have the notary stamp a purchase's receipt, and its delivery once downloaded",
                 "  blindcart purchases stamp 3f9a12bc\n");
  stamp->add_option("order", arguments->order, "Order id, or its beginning")->required();
  OnCommand(stamp, chosen, arguments, &StampPurchase);
}

void AddNotaryCommands(CLI::App& app, Action& chosen) {
  auto notarize_arguments = std::make_shared<NotarizeArguments>();
  CLI::App* notarize =
      AddCommand(app, "notarize",
                 "Have the broker's notary stamp that a file existed now; only its hash leaves",
                 "  blindcart notarize will.pdf\n"
                 "  blindcart notarize will.pdf --out proof.tsr\n");
  notarize->add_option("file", notarize_arguments->file, "Any file")->required();
  notarize->add_option("--out", notarize_arguments->out, "Where the time stamp goes [FILE.tsr]");
  notarize->add_flag("--force", notarize_arguments->force, "Replace a file that is there");
  OnCommand(notarize, chosen, notarize_arguments, &Notarize);

  CLI::App* notary =
      AddCommand(app, "notary", "Verify and show time stamps, without an account",
                 "  blindcart notary verify will.pdf will.pdf.tsr --card broker.card\n"
                 "  blindcart notary show will.pdf.tsr\n");
  notary->require_subcommand(1);
  auto verify_arguments = std::make_shared<VerifyArguments>();
  CLI::App* verify = AddCommand(
      *notary, "verify", "Check that a file is the one that was stamped, and when; offline",
      "  blindcart notary verify will.pdf will.pdf.tsr\n"
      "  blindcart notary verify will.pdf will.pdf.tsr --card broker.card\n"
      "  blindcart notary verify will.pdf will.pdf.tsr --ca ca.pem\n"
      "Without --card or --ca the local agent says whose time stamps it believes. Take the card "
      "from\n"
      "the broker's operator, not from whoever gave you the file: they could have made up both.\n"
      "The same with other tools:\n"
      "  openssl ts -verify -data will.pdf -in will.pdf.tsr -CAfile ca.pem\n");
  verify->add_option("file", verify_arguments->file, "The document")->required();
  verify->add_option("time_stamp", verify_arguments->time_stamp, "Its time stamp")->required();
  CLI::Option* card = verify->add_option("--card", verify_arguments->card, "The broker's card");
  verify->add_option("--ca", verify_arguments->ca, "The broker's CA certificate (PEM)")
      ->excludes(card);
  OnCommand(verify, chosen, verify_arguments, &Verify);

  auto show_arguments = std::make_shared<ShowArguments>();
  CLI::App* show = AddCommand(*notary, "show", "Show what a time stamp says",
                              "  blindcart notary show will.pdf.tsr\n");
  show->add_option("time_stamp", show_arguments->time_stamp, "The time stamp")->required();
  OnCommand(show, chosen, show_arguments, &Show);
}

}  // namespace blindcart::cli
