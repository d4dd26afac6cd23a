// Messages between users: write, list, read, answer; contacts and their keys.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "clients/cli/chat.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "clients/cli/message_view.h"
#include "clients/cli/peer_view.h"
#include "proto/agent_messages.grpc.pb.h"
#include "services/common/files.h"

namespace blindcart::cli {
namespace {

// More than any message holds; the agent says what one may hold.
constexpr size_t kMaxInputBytes = 1024 * 1024;

struct SendArguments {
  std::string to;
  int64_t reply_to = 0;
  std::vector<std::string> words;
  std::string file;
  bool timings = false;
};
struct InboxArguments {
  std::string contact;
  bool all = false;
  bool unread = false;
  uint32_t limit = 0;
};
struct ReadArguments {
  int64_t id = 0;
  std::string save;
};
struct DeleteArguments {
  int64_t id = 0;
  std::string contact;
  std::string before;
};
struct ChatArguments {
  std::string username;
};
struct ContactArguments {
  std::string username;
  std::string number;
  std::string fingerprint;
  bool keep = false;
};

// The message from standard input, several lines if need be.
absl::StatusOr<std::string> TextFromInput(Context& context) {
  if (context.console().options().in_is_terminal) {
    context.console().WriteRaw("Write the message; Ctrl-D on a line of its own ends it.\n");
  }
  std::string text;
  char buffer[4096];
  while (text.size() <= kMaxInputBytes && std::cin.read(buffer, sizeof(buffer)).gcount() > 0) {
    text.append(buffer, static_cast<size_t>(std::cin.gcount()));
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) {
    return absl::InvalidArgumentError(
        "the message is empty. Write it behind the command, into standard input, or name a file "
        "with --file");
  }
  return text;
}

absl::StatusOr<v1::SendMessageRequest> RequestOf(Context& context, const SendArguments& arguments) {
  v1::SendMessageRequest request;
  request.set_to(arguments.to);
  request.set_reply_to(arguments.reply_to);
  if (!arguments.file.empty()) {
    if (!arguments.words.empty()) {
      return absl::InvalidArgumentError("a message is a text or a file. Send two");
    }
    absl::StatusOr<std::string> content = ReadFile(arguments.file, kMaxInputBytes);
    if (!content.ok()) return content.status();
    request.set_file_name(arguments.file.substr(arguments.file.rfind('/') + 1));
    request.set_file_content(*std::move(content));
    return request;
  }
  if (!arguments.words.empty()) {
    request.set_text(absl::StrJoin(arguments.words, " "));
    return request;
  }
  absl::StatusOr<std::string> text = TextFromInput(context);
  if (!text.ok()) return text.status();
  request.set_text(*std::move(text));
  return request;
}

std::string Milliseconds(int64_t microseconds) {
  return absl::StrCat(microseconds / 1'000, ".",
                      absl::string_view(absl::StrCat(1'000 + microseconds % 1'000)).substr(1),
                      " ms");
}

ExitCode Send(Context& context, const SendArguments& arguments) {
  const absl::StatusOr<v1::SendMessageRequest> request = RequestOf(context, arguments);
  if (!request.ok()) return context.FailLocally(request.status());
  const auto reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::Send,
                                                    *request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  const v1::UserMessage& message = reply->message();
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    if (message.state() == v1::MESSAGE_STATE_SENT) {
      context.console().Print(
          absl::StrCat("Sent to ", message.contact(), " (message ", message.id(), ")."));
    }
    if (message.state() == v1::MESSAGE_STATE_QUEUED) {
      context.console().Print(absl::StrCat("Queued for ", message.contact(), " (message ",
                                           message.id(), "): ", WhyQueued(*reply)));
    }
    if (arguments.timings) {
      Table table = Table::Details();
      table.AddRow({"Key exchange", reply->key_exchange() ? Milliseconds(reply->key_exchange_us())
                                                          : "none: the session stands"});
      table.AddRow({"Encryption", Milliseconds(reply->encryption_us())});
      context.console().Print(table);
    }
  }
  if (reply->first_contact()) {
    context.console().Complain(FirstContactWarning(message.contact()));
  }
  const ExitCode code = ExitCodeOfSent(message.state());
  if (code == ExitCode::kOk) return code;
  return context.Refuse(code, WhyNotSent(message));
}

ExitCode Inbox(Context& context, const InboxArguments& arguments) {
  v1::ListMessagesRequest request;
  request.set_contact(arguments.contact);
  request.set_incoming_only(!arguments.all);
  request.set_unread_only(arguments.unread);
  request.set_limit(arguments.limit);
  const auto reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::List,
                                                    request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->messages().empty()) {
    context.console().Print(arguments.unread ? "Nothing unread." : "No messages.");
  } else {
    PrintMessages(context, *reply);
  }
  return ExitCode::kOk;
}

ExitCode Read(Context& context, const ReadArguments& arguments) {
  v1::ReadMessageRequest request;
  request.set_id(arguments.id);
  const auto reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::Read,
                                                    request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (!arguments.save.empty()) {
    if (reply->message().kind() != v1::MESSAGE_KIND_FILE) {
      return context.Fail(absl::InvalidArgumentError("that message holds no file to save"));
    }
    const absl::Status saved =
        WriteFileAtomically(arguments.save, reply->file_content(), 0600, /*replace=*/false);
    if (!saved.ok()) return context.FailLocally(saved);
  }
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (!reply->has_message()) {
    context.console().Print("Nothing unread.");
  } else {
    PrintMessage(context, reply->message(), arguments.save);
  }
  if (!reply->has_message() || reply->message().outgoing() || reply->message().read()) {
    return ExitCode::kOk;
  }
  if (!context.console().Written()) {
    return context.FailLocally(
        absl::DataLossError("the message could not be written out. It still counts as unread"));
  }
  v1::MarkReadRequest shown;
  shown.add_ids(reply->message().id());
  const auto marked = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::MarkRead,
                                                     shown, AgentClient::kLocalTimeoutMs);
  return marked.ok() ? ExitCode::kOk : context.Fail(marked.status());
}

ExitCode Delete(Context& context, const DeleteArguments& arguments) {
  if ((arguments.id == 0) == arguments.contact.empty()) {
    return context.Fail(absl::InvalidArgumentError(
        "name one message by its number, or --contact USER for all with that user"));
  }
  v1::DeleteMessagesRequest request;
  request.set_id(arguments.id);
  request.set_contact(arguments.contact);
  if (!arguments.before.empty()) {
    const absl::StatusOr<int64_t> before_ms = ParseLocalTime(arguments.before);
    if (!before_ms.ok()) return context.Fail(before_ms.status());
    request.set_before_ms(*before_ms);
  }
  const auto reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::Delete,
                                                    request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else {
    context.console().Print(absl::StrCat("Deleted ", reply->deleted(),
                                         reply->deleted() == 1 ? " message." : " messages."));
  }
  return ExitCode::kOk;
}

ExitCode Chat(Context& context, const ChatArguments& arguments) {
  return RunChat(context, arguments.username);
}

ExitCode Contacts(Context& context) {
  const auto reply =
      context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::ListContacts,
                                     v1::ListContactsRequest(), AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->contacts().empty()) {
    context.console().Print("No contacts yet. Who writes to you, or whom you write to, is one.");
  } else {
    PrintContacts(context, *reply);
    WarnOfCallers(context);
  }
  return ExitCode::kOk;
}

ExitCode ShowContact(Context& context, const absl::StatusOr<v1::Contact>& contact) {
  if (!contact.ok()) return context.Fail(contact.status());
  if (context.json()) {
    context.console().PrintJson(*contact);
  } else {
    PrintContact(context, *contact);
  }
  return ExitCode::kOk;
}

ExitCode VerifyContact(Context& context, const ContactArguments& arguments) {
  v1::ContactRequest request;
  request.set_username(arguments.username);
  auto reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::GetContact,
                                              request, AgentClient::kNetworkTimeoutMs);
  if (reply.ok() && !arguments.number.empty()) {
    v1::VerifyContactRequest verify;
    verify.set_username(arguments.username);
    verify.set_safety_number(arguments.number);
    reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::VerifyContact, verify,
                                           AgentClient::kLocalTimeoutMs);
    if (absl::IsFailedPrecondition(reply.status())) {
      return context.Fail(ExitCode::kVerification, reply.status());
    }
  }
  return ShowContact(context, reply);
}

ExitCode AcceptContact(Context& context, const ContactArguments& arguments) {
  absl::StatusOr<v1::Contact> reply = absl::UnknownError("");
  if (arguments.keep) {
    v1::ContactRequest request;
    request.set_username(arguments.username);
    reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::KeepContact, request,
                                           AgentClient::kLocalTimeoutMs);
  } else if (arguments.fingerprint.empty()) {
    return context.Fail(absl::InvalidArgumentError(
        absl::StrCat("say which key: --fingerprint HEX, as shown by: blindcart contacts verify ",
                     arguments.username, "; or --keep")));
  } else {
    v1::AcceptContactRequest request;
    request.set_username(arguments.username);
    request.set_fingerprint_hex(arguments.fingerprint);
    reply = context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::AcceptContact,
                                           request, AgentClient::kNetworkTimeoutMs);
  }
  return ShowContact(context, reply);
}

ExitCode BlockContact(Context& context, const ContactArguments& arguments) {
  v1::ContactRequest request;
  request.set_username(arguments.username);
  return ShowContact(context,
                     context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::BlockContact,
                                                    request, AgentClient::kNetworkTimeoutMs));
}

ExitCode UnblockContact(Context& context, const ContactArguments& arguments) {
  v1::ContactRequest request;
  request.set_username(arguments.username);
  return ShowContact(
      context, context.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::UnblockContact,
                                              request, AgentClient::kNetworkTimeoutMs));
}

void AddSendOptions(CLI::App* command, SendArguments& arguments) {
  command->add_option("text", arguments.words, "The message (default: standard input, all lines)");
  command->add_option("--file", arguments.file, "Send this file, of at most 255 KiB, instead");
  command->add_flag("--timings", arguments.timings,
                    "Show how long key exchange and encryption took");
}

}  // namespace

void AddMessageCommands(CLI::App& app, Action& chosen) {
  CLI::App* message = AddCommand(app, "message", "Write to other users, and read what they wrote",
                                 "  blindcart message send bob 'See you at eight'\n"
                                 "  blindcart message inbox\n"
                                 "  blindcart message read\n");
  message->require_subcommand(1);

  auto send_arguments = std::make_shared<SendArguments>();
  CLI::App* send = AddCommand(*message, "send", "Send a message that only its recipient can read",
                              "  blindcart message send bob 'See you at eight'\n"
                              "  blindcart message send bob < letter.txt\n"
                              "  blindcart message send bob --file map.png --timings\n");
  send->add_option("user", send_arguments->to, "The recipient's user name")->required();
  AddSendOptions(send, *send_arguments);
  OnCommand(send, chosen, send_arguments, &Send);

  auto reply_arguments = std::make_shared<SendArguments>();
  CLI::App* reply =
      AddCommand(*message, "reply", "Answer a message", "  blindcart message reply 12 'So do I'\n");
  reply->add_option("id", reply_arguments->reply_to, "Number of the message, as inbox shows it")
      ->required()
      ->check(CLI::PositiveNumber);
  AddSendOptions(reply, *reply_arguments);
  OnCommand(reply, chosen, reply_arguments, &Send);

  auto inbox_arguments = std::make_shared<InboxArguments>();
  CLI::App* inbox = AddCommand(*message, "inbox", "List messages, the newest first",
                               "  blindcart message inbox\n"
                               "  blindcart message inbox --unread\n"
                               "  blindcart message inbox --with bob --all\n");
  inbox->add_option("--with", inbox_arguments->contact, "Of this user only");
  inbox->add_flag("--all", inbox_arguments->all, "Those that you sent too");
  inbox->add_flag("--unread", inbox_arguments->unread, "Unread ones only");
  inbox->add_option("--limit", inbox_arguments->limit, "How many (default: 100)")
      ->check(CLI::Range(1, 1'000));
  OnCommand(inbox, chosen, inbox_arguments, &Inbox);

  auto read_arguments = std::make_shared<ReadArguments>();
  CLI::App* read = AddCommand(*message, "read", "Show a message",
                              "  blindcart message read\n"
                              "  blindcart message read 12\n"
                              "  blindcart message read 12 --save map.png\n");
  read->add_option("id", read_arguments->id,
                   "Number of the message, as inbox shows it (default: the oldest unread one)")
      ->check(CLI::PositiveNumber);
  read->add_option("--save", read_arguments->save,
                   "Where to put the file that the message holds; nothing there is replaced");
  OnCommand(read, chosen, read_arguments, &Read);

  auto delete_arguments = std::make_shared<DeleteArguments>();
  CLI::App* remove = AddCommand(*message, "delete", "Delete messages from this agent",
                                "  blindcart message delete 12\n"
                                "  blindcart message delete --contact bob\n"
                                "  blindcart message delete --contact bob --before 2026-05-01\n");
  CLI::Option* one =
      remove->add_option("number", delete_arguments->id, "Number of the message, as inbox shows it")
          ->check(CLI::PositiveNumber);
  CLI::Option* with =
      remove
          ->add_option("--contact", delete_arguments->contact,
                       "All messages with this user, sent and received, read and unread")
          ->excludes(one);
  remove
      ->add_option("--before", delete_arguments->before,
                   "Only what came or was written before this day or time")
      ->needs(with);
  OnCommand(remove, chosen, delete_arguments, &Delete);

  auto chat_arguments = std::make_shared<ChatArguments>();
  CLI::App* chat = AddCommand(*message, "chat", "Talk with a user, a line a message",
                              "  blindcart message chat bob\n");
  chat->add_option("user", chat_arguments->username, "The other's user name")->required();
  OnCommand(chat, chosen, chat_arguments, &Chat);

  CLI::App* contacts =
      AddCommand(app, "contacts", "List whom you write with, and whether their keys are verified",
                 "  blindcart contacts\n"
                 "  blindcart contacts verify bob\n"
                 "  blindcart contacts accept bob --fingerprint 5f1d3c...\n"
                 "  blindcart contacts block mallory\n");
  contacts->require_subcommand(0, 1);
  contacts->callback([contacts, &chosen] {
    if (contacts->get_subcommands().empty()) chosen = &Contacts;
  });

  auto verify_arguments = std::make_shared<ContactArguments>();
  CLI::App* verify =
      AddCommand(*contacts, "verify", "Show the safety number that you and a user should both see",
                 "  blindcart contacts verify bob\n"
                 "  blindcart contacts verify bob --matches '31415 92653 ...'\n");
  verify->add_option("user", verify_arguments->username, "The contact's user name")->required();
  verify->add_option("--matches", verify_arguments->number,
                     "The number as the other one sees it, learned by another way (by telephone, "
                     "in person): marks the contact as verified if it is the same");
  OnCommand(verify, chosen, verify_arguments, &VerifyContact);

  auto accept_arguments = std::make_shared<ContactArguments>();
  CLI::App* accept =
      AddCommand(*contacts, "accept", "Take a contact's changed key for theirs from now on",
                 "  blindcart contacts accept bob --fingerprint 5f1d3c...\n"
                 "  blindcart contacts accept bob --keep\n");
  accept->add_option("user", accept_arguments->username, "The contact's user name")->required();
  CLI::Option* fingerprint =
      accept->add_option("--fingerprint", accept_arguments->fingerprint,
                         "Of the key to accept, all 64 digits as `contacts verify` shows it");
  accept
      ->add_flag("--keep", accept_arguments->keep,
                 "Keep the known key; mail of the other is dropped from now on")
      ->excludes(fingerprint);
  OnCommand(accept, chosen, accept_arguments, &AcceptContact);

  auto block_arguments = std::make_shared<ContactArguments>();
  CLI::App* block =
      AddCommand(*contacts, "block", "Drop a user's mail unseen, and write to them no more",
                 "  blindcart contacts block mallory\n");
  block->add_option("user", block_arguments->username, "The user's name")->required();
  OnCommand(block, chosen, block_arguments, &BlockContact);

  auto unblock_arguments = std::make_shared<ContactArguments>();
  CLI::App* unblock = AddCommand(*contacts, "unblock", "Take a user's mail again",
                                 "  blindcart contacts unblock mallory\n");
  unblock->add_option("user", unblock_arguments->username, "The user's name")->required();
  OnCommand(unblock, chosen, unblock_arguments, &UnblockContact);
}

}  // namespace blindcart::cli
