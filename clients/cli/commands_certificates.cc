// Certificates: ask for them, show, export and revoke them; judge anybody's offline.
#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "crypto/certificate.h"
#include "crypto/encoding.h"
#include "google/protobuf/struct.pb.h"
#include "proto/agent_certificates.grpc.pb.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"

namespace blindcart::cli {
namespace {

constexpr mode_t kPublicMode = 0644;

struct RevokeArguments {
  bool yes = false;
};
struct ExportArguments {
  std::string out = ".";
  bool force = false;
};
struct VerifyArguments {
  std::string file;
  std::string card;
  std::string authority;
  std::string revocation_list;
  std::string purpose;
};

absl::StatusOr<v1::CertificatesReply> Fetch(Context& context) {
  return context.Ask<v1::AgentCertificates>(&v1::AgentCertificates::StubInterface::Show,
                                            v1::ShowCertificatesRequest(),
                                            AgentClient::kLocalTimeoutMs);
}

void Print(Context& context, const v1::CertificatesReply& reply) {
  if (context.json()) return context.console().PrintJson(reply);
  if (reply.certificates().empty()) {
    context.console().Print(
        "You have no certificate. Ask for one with: blindcart certificate request");
  }
  Table table = Table::Details();
  for (const v1::CertificateInfo& certificate : reply.certificates()) {
    table.AddRow({absl::StrCat("Certificate for ", certificate.purpose()),
                  {absl::StrCat(certificate.subject(), ", ", certificate.verdict()),
                   certificate.good() ? Style::kGood : Style::kBad}});
    table.AddRow({"  Serial", certificate.serial_hex()});
    table.AddRow({"  Valid", absl::StrCat(FormatTime(certificate.not_before_ms()), " to ",
                                          FormatTime(certificate.not_after_ms()))});
  }
  if (reply.renewal_at_ms() != 0) {
    table.AddRow({"Renewed by the agent from", FormatTime(reply.renewal_at_ms())});
  }
  if (reply.authority_pem().empty()) {
    table.AddRow({"Authority", "not known yet; log in once"});
  } else {
    table.AddRow({"Authority", reply.authority_name()});
    table.AddRow({"  SHA-256", reply.authority_sha256_hex()});
    table.AddRow({"  Valid until", FormatTime(reply.authority_not_after_ms())});
  }
  if (reply.revocation_list_pem().empty()) {
    table.AddRow({"Revocation list", "none yet; log in once"});
  } else {
    table.AddRow(
        {"Revocation list", absl::StrCat("number ", reply.revocation_list_number(), ", ",
                                         reply.revocation_list_entries(), " revoked, good until ",
                                         FormatTime(reply.revocation_list_next_update_ms()))});
  }
  context.console().Print(table);
}

ExitCode Request(Context& context) {
  const auto reply = context.Ask<v1::AgentCertificates>(
      &v1::AgentCertificates::StubInterface::Request, v1::RequestCertificatesRequest(),
      AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  Print(context, *reply);
  return ExitCode::kOk;
}

ExitCode Show(Context& context) {
  const auto reply = Fetch(context);
  if (!reply.ok()) return context.Fail(reply.status());
  Print(context, *reply);
  return ExitCode::kOk;
}

ExitCode Revoke(Context& context, const RevokeArguments& arguments) {
  if (!arguments.yes) {
    const absl::StatusOr<std::string> answer =
        AskLine(context,
                "Revoke all your certificates? Others then refuse direct sessions with you "
                "until you have new ones. [y/N] ",
                "to revoke without being asked, add --yes");
    if (!answer.ok()) return context.FailLocally(answer.status());
    if (*answer != "y" && *answer != "Y" && *answer != "yes") {
      context.console().Complain("nothing was revoked");
      return ExitCode::kFailure;
    }
  }
  const auto reply = context.Ask<v1::AgentCertificates>(
      &v1::AgentCertificates::StubInterface::Revoke, v1::RevokeCertificatesRequest(),
      AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->revoked() == 0) {
    context.console().Print("There was nothing to revoke.");
  } else {
    context.console().Print(absl::StrCat(
        "Revoked ", reply->revoked(), " certificates; the broker's revocation list names them."));
  }
  return ExitCode::kOk;
}

struct ExportedFile {
  std::string name;
  std::string content;
};

ExitCode Export(Context& context, const ExportArguments& arguments) {
  const auto reply = Fetch(context);
  if (!reply.ok()) return context.Fail(reply.status());
  if (reply->certificates().empty()) {
    return context.Fail(absl::FailedPreconditionError(
        "you have no certificate; ask for one with: blindcart certificate request"));
  }
  std::vector<ExportedFile> files;
  for (const v1::CertificateInfo& certificate : reply->certificates()) {
    // A user name holds nothing that a path could be made of.
    files.push_back({absl::StrCat(certificate.subject(), "-", certificate.purpose(), ".pem"),
                     certificate.pem()});
  }
  files.push_back({"authority.pem", reply->authority_pem()});
  if (!reply->revocation_list_pem().empty()) {
    files.push_back({"revocation-list.pem", reply->revocation_list_pem()});
  }
  struct stat info;
  if (stat(arguments.out.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return context.FailLocally(
        absl::InvalidArgumentError(absl::StrCat("--out: there is no folder ", arguments.out)));
  }
  for (const ExportedFile& file : files) {
    const absl::Status written = WriteFileAtomically(ResolvePath(arguments.out, file.name),
                                                     file.content, kPublicMode, arguments.force);
    if (absl::IsAlreadyExists(written)) {
      return context.Fail(
          absl::FailedPreconditionError(absl::StrCat(written.message(), "; --force replaces it")));
    }
    if (!written.ok()) return context.FailLocally(written);
  }
  if (context.json()) {
    google::protobuf::Struct written;
    auto& list = *(*written.mutable_fields())["files"].mutable_list_value();
    for (const ExportedFile& file : files) {
      list.add_values()->set_string_value(ResolvePath(arguments.out, file.name));
    }
    context.console().PrintJson(written);
    return ExitCode::kOk;
  }
  Table table({{"FILE"}});
  for (const ExportedFile& file : files) table.AddRow({ResolvePath(arguments.out, file.name)});
  context.console().Print(table);
  context.console().Print(absl::StrCat(
      "\nAnybody can check them without an account:\n  openssl verify -crl_check -CAfile "
      "authority.pem -CRLfile revocation-list.pem ",
      files.front().name));
  return ExitCode::kOk;
}

absl::StatusOr<std::string> AuthorityPem(Context& context, const VerifyArguments& arguments) {
  if (!arguments.authority.empty()) return ReadFile(arguments.authority);
  if (!arguments.card.empty()) {
    const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(arguments.card);
    if (!card.ok()) return card.status();
    if (!card->card.ca_certificate_pem().empty()) return card->card.ca_certificate_pem();
    return absl::FailedPreconditionError(
        absl::StrCat(arguments.card,
                     " names no certificate authority; ask the broker's operator "
                     "for a newer card"));
  }
  const auto reply = Fetch(context);
  if (!reply.ok()) return reply.status();
  if (!reply->authority_pem().empty()) return reply->authority_pem();
  return absl::FailedPreconditionError(
      "the agent does not know its broker's authority yet. Log in once, or name it with --card or "
      "--ca");
}

absl::StatusOr<std::string> RevocationListPem(Context& context, const VerifyArguments& arguments) {
  if (!arguments.revocation_list.empty()) {
    return ReadFile(arguments.revocation_list, 2 * crypto::kMaxRevocationListBytes);
  }
  // Only the agent's own broker's list is of use, and it is the agent who keeps it.
  if (!arguments.authority.empty() || !arguments.card.empty()) {
    return absl::InvalidArgumentError(
        "whether it was revoked cannot be seen without the authority's revocation list: name it "
        "with --crl");
  }
  const auto reply = Fetch(context);
  if (!reply.ok()) return reply.status();
  if (!reply->revocation_list_pem().empty()) return reply->revocation_list_pem();
  return absl::FailedPreconditionError(
      "the agent has no revocation list yet. Log in once, or name one with --crl");
}

struct NamedPurpose {
  const char* name;
  crypto::CertificatePurpose purpose;
};
constexpr NamedPurpose kPurposes[] = {
    {"signing", crypto::CertificatePurpose::kSigning},
    {"encryption", crypto::CertificatePurpose::kEncryption},
    {"time-stamping", crypto::CertificatePurpose::kTimeStamping},
};

// The one that was asked for, or else the one that the certificate itself names.
NamedPurpose PurposeOf(const VerifyArguments& arguments, const crypto::Certificate& certificate) {
  for (const NamedPurpose& named : kPurposes) {
    if (arguments.purpose.empty() ? certificate.IsFor(named.purpose)
                                  : arguments.purpose == named.name) {
      return named;
    }
  }
  return kPurposes[0];
}

ExitCode Verify(Context& context, const VerifyArguments& arguments) {
  const absl::StatusOr<std::string> pem = ReadFile(arguments.file);
  if (!pem.ok()) return context.Fail(pem.status());
  const auto certificate = crypto::Certificate::ParsePem(*pem);
  if (!certificate.ok()) {
    return context.Fail(
        ExitCode::kVerification,
        absl::DataLossError(absl::StrCat(
            "the certificate ", crypto::Describe(crypto::CertificateVerdict::kMalformed))));
  }
  const absl::StatusOr<std::string> authority_pem = AuthorityPem(context, arguments);
  if (!authority_pem.ok()) return context.Fail(authority_pem.status());
  const auto authority = crypto::Certificate::ParsePem(*authority_pem);
  if (!authority.ok()) {
    return context.Fail(absl::InvalidArgumentError("this authority is no certificate"));
  }
  const absl::StatusOr<std::string> list_pem = RevocationListPem(context, arguments);
  if (!list_pem.ok()) return context.Fail(list_pem.status());
  const auto list = crypto::RevocationList::ParsePem(*list_pem);
  if (!list.ok()) return context.Fail(list.status());

  const NamedPurpose purpose = PurposeOf(arguments, *certificate);
  const crypto::CertificateVerdict verdict =
      crypto::VerifyCertificate(*certificate, *authority, purpose.purpose, absl::Now(), &*list);
  if (verdict != crypto::CertificateVerdict::kGood) {
    return context.Fail(
        ExitCode::kVerification,
        absl::DataLossError(absl::StrCat("the certificate ", crypto::Describe(verdict))));
  }
  if (context.json()) {
    v1::CertificateInfo info;
    info.set_purpose(purpose.name);
    info.set_serial_hex(crypto::HexEncode(certificate->serial()));
    info.set_subject(certificate->subject());
    info.set_issuer(certificate->issuer());
    info.set_not_before_ms(absl::ToUnixMillis(certificate->not_before()));
    info.set_not_after_ms(absl::ToUnixMillis(certificate->not_after()));
    info.set_good(true);
    info.set_verdict(std::string(crypto::Describe(verdict)));
    context.console().PrintJson(info);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({absl::StrCat("Certificate for ", purpose.name),
                {absl::StrCat("of ", certificate->subject(), " is good"), Style::kGood}});
  table.AddRow({"Issued by", certificate->issuer()});
  table.AddRow({"Valid until", FormatTime(absl::ToUnixMillis(certificate->not_after()))});
  table.AddRow({"Not revoked as of", FormatTime(absl::ToUnixMillis(list->this_update()))});
  context.console().Print(table);
  return ExitCode::kOk;
}

}  // namespace

void AddCertificateCommands(CLI::App& app, Action& chosen) {
  CLI::App* certificate =
      AddCommand(app, "certificate", "Certificates that the broker issues for your keys",
                 "  blindcart certificate request\n"
                 "  blindcart certificate show\n"
                 "  blindcart certificate export --out certificates\n"
                 "  blindcart certificate verify bob-signing.pem\n");
  certificate->require_subcommand(1);

  OnCommand(AddCommand(*certificate, "request", "Have your keys certified; also while they are",
                       "  blindcart certificate request\n"),
            chosen, &Request);
  OnCommand(AddCommand(*certificate, "show",
                       "Show your certificates, the broker's authority and the revocation list",
                       "  blindcart certificate show\n"
                       "  blindcart --json certificate show\n"),
            chosen, &Show);

  auto export_arguments = std::make_shared<ExportArguments>();
  CLI::App* export_command =
      AddCommand(*certificate, "export",
                 "Write certificates, authority and revocation list as PEM files for others",
                 "  blindcart certificate export\n"
                 "  blindcart certificate export --out certificates --force\n");
  export_command->add_option("--out", export_arguments->out, "An existing folder")
      ->capture_default_str();
  export_command->add_flag("--force", export_arguments->force, "Replace files that are there");
  OnCommand(export_command, chosen, export_arguments, &Export);

  auto revoke_arguments = std::make_shared<RevokeArguments>();
  CLI::App* revoke = AddCommand(*certificate, "revoke",
                                "Revoke all your certificates, for good; you may ask for new ones",
                                "  blindcart certificate revoke\n"
                                "  blindcart certificate revoke --yes\n");
  revoke->add_flag("--yes", revoke_arguments->yes, "Do not ask");
  OnCommand(revoke, chosen, revoke_arguments, &Revoke);

  auto verify_arguments = std::make_shared<VerifyArguments>();
  CLI::App* verify =
      AddCommand(*certificate, "verify",
                 "Judge a certificate; with --card or --ca and --crl also without an agent",
                 "  blindcart certificate verify bob-signing.pem\n"
                 "  blindcart certificate verify bob-signing.pem --card broker.card --crl "
                 "revocation-list.pem\n"
                 "  blindcart certificate verify bob-encryption.pem --purpose encryption\n");
  verify->add_option("file", verify_arguments->file, "The certificate, PEM")->required();
  CLI::Option* card = verify->add_option("--card", verify_arguments->card,
                                         "The broker's card (default: the agent's broker)");
  verify->add_option("--ca", verify_arguments->authority, "The authority's certificate, PEM")
      ->excludes(card);
  verify->add_option("--crl", verify_arguments->revocation_list,
                     "The authority's revocation list, PEM (default: the agent's)");
  verify
      ->add_option("--purpose", verify_arguments->purpose,
                   "signing, encryption or time-stamping (default: what it was issued for)")
      ->check(CLI::IsMember({"signing", "encryption", "time-stamping"}));
  OnCommand(verify, chosen, verify_arguments, &Verify);
}

}  // namespace blindcart::cli
