#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/display_text.h"
#include "clients/cli/format.h"
#include "clients/cli/peer_view.h"
#include "clients/cli/progress.h"
#include "proto/agent_peer.grpc.pb.h"
#include "protocol/clock.h"

namespace blindcart::cli {
namespace {

using Peer = v1::AgentPeer::StubInterface;

constexpr int kShortFingerprintDigits = 16;
// Before each line of a text in the inbox.
constexpr char kTextPrefix[] = "  | ";

struct ListenArguments {
  std::string address = "127.0.0.1:0";
  std::string announce;
  bool plain_tcp = false;
  uint64_t max_file_bytes = 0;
  bool stop = false;
};
struct ConnectArguments {
  std::string peer;
  std::string address;
  bool plain_tcp = false;
  uint64_t max_file_bytes = 0;
};
struct SendArguments {
  std::string username;
  std::string text;
};
struct SendFileArguments {
  std::string username;
  std::string path;
};
struct AcceptArguments {
  std::string username;
  uint64_t max_file_bytes = 0;
};
struct UserArguments {
  std::string username;
};
struct InboxArguments {
  std::string username;
  std::string since;
  uint32_t limit = 0;
};

std::string FilesWord(uint64_t max_file_bytes) {
  return max_file_bytes == 0 ? "not taken" : absl::StrCat("up to ", FormatSize(max_file_bytes));
}

std::string Refused(const std::string& username, const v1::PeerRefusedFile& file) {
  return absl::StrCat(username, " wanted to send ", file.name(), ", ",
                      FormatSize(file.size_bytes()), ", and it was not taken: ", file.reason());
}

ExitCode StopListening(Context& context) {
  const auto reply = context.Ask<v1::AgentPeer>(
      &Peer::StopListening, v1::PeerStopListeningRequest(), AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    context.console().Print(reply->was_listening() ? "Stopped listening."
                                                   : "The agent did not listen.");
  }
  return ExitCode::kOk;
}

ExitCode Listen(Context& context, const ListenArguments& arguments) {
  if (arguments.stop) return StopListening(context);
  v1::PeerListenRequest request;
  request.set_address(arguments.address);
  request.set_announce(arguments.announce);
  request.set_plain_tcp(arguments.plain_tcp);
  request.set_max_file_bytes(arguments.max_file_bytes);
  const auto reply =
      context.Ask<v1::AgentPeer>(&Peer::Listen, request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  Table table = Table::Details();
  table.AddRow({"Listening on", {reply->address(), Style::kGood}});
  table.AddRow({"Known to the broker",
                reply->announced() ? Cell("yes", Style::kGood)
                                   : Cell("not yet; once it can be reached", Style::kWarning)});
  table.AddRow({"Files", FilesWord(arguments.max_file_bytes)});
  context.console().Print(table);
  return ExitCode::kOk;
}

void PrintSession(Context& context, const v1::PeerSessionView& session) {
  Table table = Table::Details();
  table.AddRow({"User", {session.username(), Style::kGood}});
  table.AddRow({"Key", session.fingerprint_hex()});
  if (!session.address().empty()) table.AddRow({"Address", session.address()});
  table.AddRow({"Files from them", FilesWord(session.max_file_bytes())});
  context.console().Print(table);
  if (session.first_contact()) {
    context.console().Complain(DirectContactWarning(session.username(), session.address().empty()));
  }
}

ExitCode Connect(Context& context, const ConnectArguments& arguments) {
  v1::PeerConnectRequest request;
  request.set_peer(arguments.peer);
  request.set_address(arguments.address);
  request.set_plain_tcp(arguments.plain_tcp);
  request.set_max_file_bytes(arguments.max_file_bytes);
  const auto reply =
      context.Ask<v1::AgentPeer>(&Peer::Connect, request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    PrintSession(context, reply->session());
  }
  return ExitCode::kOk;
}

ExitCode Sessions(Context& context) {
  const auto reply = context.Ask<v1::AgentPeer>(&Peer::Sessions, v1::PeerSessionsRequest(),
                                                AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  context.console().Print(reply->listening_on().empty()
                              ? "Not listening."
                              : absl::StrCat("Listening on ", reply->listening_on(), ", ",
                                             reply->announced() ? "known" : "not known",
                                             " to the broker."));
  if (reply->sessions().empty()) {
    context.console().Print("No direct session stands.");
    return ExitCode::kOk;
  }
  Table table({{"USER"},
               {"SINCE"},
               {"BY"},
               {"FILES FROM THEM"},
               {"COMING IN", Align::kLeft, true},
               {"KEY"}});
  for (const v1::PeerSessionView& session : reply->sessions()) {
    std::string incoming = "-";
    if (session.has_incoming_file()) {
      const v1::PeerIncomingFile& file = session.incoming_file();
      incoming = absl::StrCat(FormatSize(file.received_bytes()), " of ",
                              FormatSize(file.size_bytes()), " ", file.name());
    }
    table.AddRow({{session.username(), Style::kBold},
                  FormatTime(session.established_at_ms()),
                  session.address().empty() ? "them" : "us",
                  FilesWord(session.max_file_bytes()),
                  incoming,
                  {session.fingerprint_hex().substr(0, kShortFingerprintDigits),
                   session.first_contact() ? Style::kWarning : Style::kPlain}});
  }
  context.console().Print(table);
  for (const v1::PeerSessionView& session : reply->sessions()) {
    if (session.first_contact()) {
      context.console().Complain(
          DirectContactWarning(session.username(), session.address().empty()));
    }
    if (session.has_refused_file()) {
      context.console().Complain(Refused(session.username(), session.refused_file()));
    }
  }
  return ExitCode::kOk;
}

absl::Status SendText(Context& context, const std::string& username, const std::string& text) {
  v1::PeerSendTextRequest request;
  request.set_username(username);
  request.set_text(text);
  return context.Ask<v1::AgentPeer>(&Peer::SendText, request, AgentClient::kNetworkTimeoutMs)
      .status();
}

ExitCode Send(Context& context, const SendArguments& arguments) {
  const absl::Status sent = SendText(context, arguments.username, arguments.text);
  if (!sent.ok()) return context.Fail(sent);
  if (context.json()) {
    context.console().PrintJson(v1::PeerSendTextReply());
  } else {
    context.console().Print(absl::StrCat("Sent: ", arguments.username, "'s agent has it."));
  }
  return ExitCode::kOk;
}

ExitCode SendFile(Context& context, const SendFileArguments& arguments) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(arguments.path, error);
  if (error) return context.FailLocally(absl::InvalidArgumentError("that path is none"));
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return context.Fail(agent.status());
  v1::PeerSendFileRequest request;
  request.set_username(arguments.username);
  request.set_path(path.string());
  Console& console = context.console();
  const Console::Options& terminal = console.options();
  Progress bar(terminal.err_is_terminal ? terminal.width : 0);
  grpc::ClientContext call;
  const auto stub = (*agent)->Stub<v1::AgentPeer>();
  const auto reader = stub->SendFile(&call, request);
  v1::PeerFileProgress progress;
  v1::PeerFileProgress last;
  while (reader->Read(&progress)) {
    last = progress;
    if (context.json()) {
      console.PrintJson(progress, /*one_line=*/true);
    } else {
      console.WriteRaw(bar.Update(progress.sent_bytes(), progress.total_bytes(),
                                  protocol::SystemClock().NowMonotonicMs()));
    }
  }
  console.WriteRaw(bar.Clear());
  const absl::Status status = (*agent)->InWords(reader->Finish());
  context.CatchUpExplanation();
  if (!status.ok()) return context.Fail(status);
  if (!last.done()) {
    return context.Fail(absl::InternalError(
        "the agent ended without a result. Send it again: what has come stays with them"));
  }
  if (!context.json()) {
    Table table = Table::Details();
    table.AddRow({"Sent", {last.name(), Style::kGood}});
    table.AddRow({"To", arguments.username});
    table.AddRow({"Size", FormatSize(last.total_bytes())});
    if (last.resumed_from_bytes() > 0) {
      table.AddRow({"Gone on from", FormatSize(last.resumed_from_bytes())});
    }
    table.AddRow(
        {"SHA-256", absl::StrCat(last.sha256_hex(), ", checked by them and signed by us")});
    console.Print(table);
  }
  return ExitCode::kOk;
}

ExitCode Accept(Context& context, const AcceptArguments& arguments) {
  v1::PeerAcceptFilesRequest request;
  request.set_username(arguments.username);
  request.set_max_file_bytes(arguments.max_file_bytes);
  const auto reply =
      context.Ask<v1::AgentPeer>(&Peer::AcceptFiles, request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(ExitCode::kRefused, reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    context.console().Print(absl::StrCat("Files from ", arguments.username, " in this session: ",
                                         FilesWord(arguments.max_file_bytes)));
  }
  return ExitCode::kOk;
}

ExitCode Close(Context& context, const UserArguments& arguments) {
  v1::PeerCloseRequest request;
  request.set_username(arguments.username);
  const auto reply =
      context.Ask<v1::AgentPeer>(&Peer::Close, request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(ExitCode::kRefused, reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    context.console().Print(absl::StrCat("Closed what stood with ", arguments.username, "."));
  }
  return ExitCode::kOk;
}

ExitCode Inbox(Context& context, const InboxArguments& arguments) {
  v1::PeerInboxRequest request;
  request.set_username(arguments.username);
  request.set_limit(arguments.limit);
  if (!arguments.since.empty()) {
    const absl::StatusOr<int64_t> since_ms = ParseLocalTime(arguments.since);
    if (!since_ms.ok()) return context.Fail(since_ms.status());
    request.set_since_ms(*since_ms);
  }
  const auto reply =
      context.Ask<v1::AgentPeer>(&Peer::Inbox, request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  if (reply->texts().empty() && reply->files().empty()) {
    context.console().Print(arguments.since.empty()
                                ? "Nothing was sent or received in direct sessions yet."
                                : "Nothing was sent or received in direct sessions since then.");
    return ExitCode::kOk;
  }
  const std::set<std::string> callers(reply->unchecked_callers().begin(),
                                      reply->unchecked_callers().end());
  if (reply->more()) context.console().Print("(Earlier ones are left out; see --limit.)");
  for (const v1::PeerTextView& text : reply->texts()) {
    const std::string who = text.outgoing() ? absl::StrCat("to ", text.username())
                                            : absl::StrCat("from ", text.username());
    context.console().Print(absl::StrCat(
        FormatTime(text.at_ms()), " ", who,
        text.outgoing() && !text.delivered() ? " (not known to have arrived)" : "",
        !text.outgoing() && callers.count(text.username()) > 0
            ? " (first contact, key not compared)"
            : "",
        ":\n", PrefixLines(kTextPrefix, text.text(), context.console().options().width)));
  }
  if (!reply->files().empty()) {
    Table table({{"RECEIVED"},
                 {"FROM"},
                 {"SIZE", Align::kRight},
                 {"SHA-256", Align::kLeft, true},
                 {"FILE", Align::kLeft, true}});
    for (const v1::PeerFileView& file : reply->files()) {
      table.AddRow({FormatTime(file.at_ms()),
                    file.username(),
                    FormatSize(file.size_bytes()),
                    file.sha256_hex(),
                    {file.path(), Style::kGood}});
    }
    context.console().Print(table);
  }
  for (const std::string& caller : callers) {
    if (arguments.username.empty() || arguments.username == caller) {
      context.console().Complain(DirectContactWarning(caller, /*they_called=*/true));
    }
  }
  return ExitCode::kOk;
}

// What `username` sends and what happens to the session, as it happens; until it is stopped.
class Follower {
 public:
  Follower(Context& context, AgentClient& agent, const std::string& username) : context_(context) {
    v1::PeerWatchRequest request;
    request.set_username(username);
    stub_ = agent.Stub<v1::AgentPeer>();
    reader_ = stub_->Watch(&call_, request);
    v1::PeerNews watching;
    began_ = reader_->Read(&watching);
    if (began_) thread_ = std::thread([this] { Follow(); });
  }
  ~Follower() {
    call_.TryCancel();
    if (thread_.joinable()) thread_.join();
    v1::PeerNews rest;
    while (reader_->Read(&rest)) {
    }
    (void)reader_->Finish();
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // Nothing that happens from now on is missed.
  bool began() const { return began_; }

 private:
  void Follow() {
    v1::PeerNews news;
    while (reader_->Read(&news)) {
      if (context_.json()) {
        context_.console().PrintJson(news, /*one_line=*/true);
      } else if (news.kind() == v1::PEER_NEWS_KIND_TEXT) {
        context_.console().Print(PrefixLines(absl::StrCat(news.username(), ": "), news.text(),
                                             context_.console().options().width));
      } else if (news.kind() == v1::PEER_NEWS_KIND_FILE) {
        context_.console().Print(absl::StrCat("(", news.username(), " sent a file of ",
                                              FormatSize(news.size_bytes()), ": ", news.path(),
                                              ")"));
      } else if (news.kind() == v1::PEER_NEWS_KIND_FILE_REFUSED) {
        context_.console().Print(
            absl::StrCat("(", Refused(news.username(), news.refused_file()), ")"));
      } else if (news.kind() == v1::PEER_NEWS_KIND_OPENED && news.first_contact()) {
        context_.console().Complain(DirectContactWarning(news.username(), /*they_called=*/true));
      } else if (news.kind() == v1::PEER_NEWS_KIND_CLOSED) {
        context_.console().Print(absl::StrCat("(the session with ", news.username(),
                                              " ended; what you write opens it again)"));
      }
    }
  }

  Context& context_;
  std::unique_ptr<Peer> stub_;
  grpc::ClientContext call_;
  std::unique_ptr<grpc::ClientReaderInterface<v1::PeerNews>> reader_;
  bool began_ = false;
  std::thread thread_;
};

ExitCode Chat(Context& context, const UserArguments& arguments) {
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return context.Fail(agent.status());
  const Follower follower(context, **agent, arguments.username);
  if (!follower.began()) {
    return context.Fail(absl::UnavailableError("the agent does not tell what happens. Try again"));
  }
  const auto sessions = context.Ask<v1::AgentPeer>(&Peer::Sessions, v1::PeerSessionsRequest(),
                                                   AgentClient::kLocalTimeoutMs);
  if (!sessions.ok()) return context.Fail(sessions.status());
  bool stands = false;
  for (const v1::PeerSessionView& session : sessions->sessions()) {
    stands = stands || session.username() == arguments.username;
  }
  if (!stands) {
    v1::PeerConnectRequest request;
    request.set_peer(arguments.username);
    const auto connected =
        context.Ask<v1::AgentPeer>(&Peer::Connect, request, AgentClient::kNetworkTimeoutMs);
    if (!connected.ok()) return context.Fail(connected.status());
    if (!context.json()) PrintSession(context, connected->session());
  }
  if (context.console().options().in_is_terminal) {
    context.console().Complain("type a line and Enter to send it, Ctrl-D to leave");
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line.empty()) continue;
    const absl::Status sent = SendText(context, arguments.username, line);
    if (!sent.ok()) return context.Fail(sent);
  }
  return ExitCode::kOk;
}

CLI::Option* AddUser(CLI::App* command, std::string& username) {
  return command->add_option("user", username, "Username of the other end");
}

void AddSize(CLI::App* command, const std::string& name, uint64_t& bytes,
             const std::string& description) {
  command->add_option(name, bytes, description)->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
}

}  // namespace

void AddPeerCommands(CLI::App& app, Action& chosen) {
  CLI::App* peer = app.add_subcommand(
      "peer", "Talk and send files directly to another user's agent, without the broker");
  peer->fallthrough();
  peer->require_subcommand(1);
  peer->footer(
      "Both ends need a certificate (blindcart certificate request). What passes is sealed\n"
      "between the two agents; the broker is asked for an address at most, and may be off.\n"
      "More: blindcart peer COMMAND --help");

  auto listen_arguments = std::make_shared<ListenArguments>();
  CLI::App* listen =
      AddCommand(*peer, "listen", "Let other users' agents connect to this one",
                 "  blindcart peer listen --address 192.168.1.20:7444 --accept-files 100MB\n"
                 "  blindcart peer listen --address 0.0.0.0:7444 --announce home.example:7444\n"
                 "  blindcart peer listen --stop\n"
                 "\nThe agent keeps listening until it ends or is told to stop; stopping ends what "
                 "came in.\n");
  listen
      ->add_option("--address", listen_arguments->address,
                   "HOST:PORT of this machine; without it only this machine is served")
      ->capture_default_str();
  listen->add_option("--announce", listen_arguments->announce,
                     "What to tell the broker, when others reach this machine under another one");
  listen->add_flag("--plain-tcp", listen_arguments->plain_tcp, "Without TLS; on loopback only");
  AddSize(listen, "--accept-files", listen_arguments->max_file_bytes,
          "Take files of up to this size, such as 100MB");
  listen->add_flag("--stop", listen_arguments->stop, "Listen no longer");
  OnCommand(listen, chosen, listen_arguments, &Listen);

  auto connect_arguments = std::make_shared<ConnectArguments>();
  CLI::App* connect = AddCommand(*peer, "connect", "Open a session with another user's agent",
                                 "  blindcart peer connect bob\n"
                                 "  blindcart peer connect bob --address 192.168.1.20:7444\n"
                                 "  blindcart peer connect 192.168.1.20:7444\n");
  connect->add_option("peer", connect_arguments->peer, "Username, or HOST:PORT")->required();
  connect->add_option("--address", connect_arguments->address,
                      "Where that user listens; else the broker is asked, or it is as last time");
  connect->add_flag("--plain-tcp", connect_arguments->plain_tcp, "Without TLS; on loopback only");
  AddSize(connect, "--accept-files", connect_arguments->max_file_bytes,
          "Take files of up to this size from them");
  OnCommand(connect, chosen, connect_arguments, &Connect);

  OnCommand(AddCommand(*peer, "sessions", "Show whether this agent listens, and with whom it talks",
                       "  blindcart peer sessions\n"),
            chosen, &Sessions);

  auto send_arguments = std::make_shared<SendArguments>();
  CLI::App* send = AddCommand(*peer, "send", "Send a text; opens a session when none stands",
                              "  blindcart peer send bob \"Are you there?\"\n");
  AddUser(send, send_arguments->username)->required();
  send->add_option("text", send_arguments->text, "Up to 16 KiB")->required();
  OnCommand(send, chosen, send_arguments, &Send);

  auto chat_arguments = std::make_shared<UserArguments>();
  CLI::App* chat = AddCommand(*peer, "chat", "Write and read, line by line, as it happens",
                              "  blindcart peer chat bob\n");
  AddUser(chat, chat_arguments->username)->required();
  OnCommand(chat, chosen, chat_arguments, &Chat);

  auto file_arguments = std::make_shared<SendFileArguments>();
  CLI::App* send_file =
      AddCommand(*peer, "send-file", "Send a file; goes on where it was interrupted",
                 "  blindcart peer send-file bob thesis.pdf\n");
  AddUser(send_file, file_arguments->username)->required();
  send_file->add_option("file", file_arguments->path, "The file")->required();
  OnCommand(send_file, chosen, file_arguments, &SendFile);

  auto accept_arguments = std::make_shared<AcceptArguments>();
  CLI::App* accept =
      AddCommand(*peer, "accept", "Take files from a user in the session that stands",
                 "  blindcart peer accept bob 2GB\n  blindcart peer accept bob 0\n");
  AddUser(accept, accept_arguments->username)->required();
  accept->add_option("size", accept_arguments->max_file_bytes, "The largest file; 0: none")
      ->required()
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
  OnCommand(accept, chosen, accept_arguments, &Accept);

  auto inbox_arguments = std::make_shared<InboxArguments>();
  CLI::App* inbox = AddCommand(*peer, "inbox", "Show what was said and which files came",
                               "  blindcart peer inbox\n"
                               "  blindcart peer inbox bob --since 2026-05-01 --limit 500\n");
  AddUser(inbox, inbox_arguments->username);
  inbox->add_option("--since", inbox_arguments->since, "Only from this day or time on");
  inbox
      ->add_option("--limit", inbox_arguments->limit,
                   "How many texts and files, the latest (default: 100; at most 1000)")
      ->check(CLI::Range(1, 1'000));
  OnCommand(inbox, chosen, inbox_arguments, &Inbox);

  auto close_arguments = std::make_shared<UserArguments>();
  CLI::App* close =
      AddCommand(*peer, "close", "End the session with a user", "  blindcart peer close bob\n");
  AddUser(close, close_arguments->username)->required();
  OnCommand(close, chosen, close_arguments, &Close);
}

}  // namespace blindcart::cli
