#include "clients/cli/message_view.h"

#include "absl/strings/str_cat.h"
#include "clients/cli/format.h"

namespace blindcart::cli {
namespace {

Cell StateOf(const v1::UserMessage& message) {
  switch (message.state()) {
    case v1::MESSAGE_STATE_RECEIVED:
      return message.read() ? Cell("read") : Cell("new", Style::kGood);
    case v1::MESSAGE_STATE_QUEUED:
      return {"queued", Style::kWarning};
    case v1::MESSAGE_STATE_SENT:
      return "sent";
    case v1::MESSAGE_STATE_UNDELIVERED:
      return {"undelivered", Style::kBad};
    default:
      return {"not sent", Style::kBad};
  }
}

std::string Gist(const v1::UserMessage& message) {
  switch (message.kind()) {
    case v1::MESSAGE_KIND_FILE:
      return absl::StrCat(message.file_name(), ", ", FormatSize(message.size_bytes()));
    case v1::MESSAGE_KIND_NOTICE:
      return message.text();
    default:
      return message.text().substr(0, message.text().find('\n'));
  }
}

// In a column of its own: no text can pass for a notice of one's own agent.
Cell KindOf(const v1::UserMessage& message) {
  switch (message.kind()) {
    case v1::MESSAGE_KIND_FILE:
      return "file";
    case v1::MESSAGE_KIND_NOTICE:
      return {"notice", Style::kWarning};
    default:
      return "text";
  }
}

// Of what somebody sent: how far it is known that it was them.
Cell KeyOfSender(const v1::UserMessage& message) {
  if (message.outgoing() || message.kind() == v1::MESSAGE_KIND_NOTICE) return "";
  if (message.contact_verified()) return {"verified", Style::kGood};
  if (message.first_contact()) return {"first contact, key not verified", Style::kWarning};
  return {"not verified", Style::kWarning};
}

Cell KeyState(const v1::Contact& contact) {
  if (contact.blocked()) {
    return {absl::StrCat("blocked, ", contact.dropped_messages(), " dropped"), Style::kBad};
  }
  if (contact.key_changed()) return {"CHANGED: not accepted", Style::kBad};
  if (contact.verified()) return {"verified", Style::kGood};
  return {contact.first_contact_by_mail() ? "first contact by mail, key not verified" : "on trust",
          Style::kWarning};
}

}  // namespace

void PrintMessages(Context& context, const v1::ListMessagesReply& messages) {
  Table table({{"ID", Align::kRight},
               {"KIND"},
               {"USER"},
               {"KEY"},
               {"WHEN"},
               {"STATE"},
               {"MESSAGE", Align::kLeft, true}});
  for (const v1::UserMessage& message : messages.messages()) {
    table.AddRow({absl::StrCat(message.id()), KindOf(message),
                  absl::StrCat(message.outgoing() ? "to " : "", message.contact()),
                  KeyOfSender(message), FormatTime(message.stored_at_ms()), StateOf(message),
                  Gist(message)});
  }
  context.console().Print(table);
}

void PrintMessage(Context& context, const v1::UserMessage& message, const std::string& saved) {
  Table table = Table::Details();
  table.AddRow({"Message", absl::StrCat(message.id())});
  table.AddRow({message.outgoing() ? "To" : "From", message.contact()});
  if (!message.outgoing() && message.kind() != v1::MESSAGE_KIND_NOTICE) {
    table.AddRow({"Key", KeyOfSender(message)});
  }
  table.AddRow({"Written", FormatTime(message.sent_at_ms())});
  if (message.outgoing()) table.AddRow({"State", StateOf(message)});
  if (message.kind() == v1::MESSAGE_KIND_NOTICE) {
    table.AddRow({"Kind", "notice of your own agent; nobody sent it"});
  }
  if (message.kind() == v1::MESSAGE_KIND_FILE) {
    table.AddRow({"File", message.file_name()});
    table.AddRow({"Size", FormatSize(message.size_bytes())});
    table.AddRow({"Saved", saved.empty() ? absl::StrCat("not yet; blindcart message read ",
                                                        message.id(), " --save FILE")
                                         : saved});
  }
  context.console().Print(table);
  if (message.kind() != v1::MESSAGE_KIND_FILE) {
    context.console().Print("");
    context.console().Print(message.text());
  }
  if (message.first_contact() && !message.contact_verified()) {
    context.console().Complain(FirstContactWarning(message.contact()));
  }
}

void PrintContacts(Context& context, const v1::ListContactsReply& contacts) {
  Table table({{"USER"}, {"KEY"}, {"SINCE"}, {"FINGERPRINT"}});
  for (const v1::Contact& contact : contacts.contacts()) {
    table.AddRow({contact.username(), KeyState(contact), FormatTime(contact.first_seen_ms()),
                  ShortId(contact.fingerprint_hex())});
  }
  context.console().Print(table);
}

void PrintContact(Context& context, const v1::Contact& contact) {
  Table table = Table::Details();
  table.AddRow({"User", contact.username()});
  table.AddRow({"Key", KeyState(contact)});
  if (contact.fingerprint_hex().empty()) return context.console().Print(table);
  table.AddRow({"Fingerprint", contact.fingerprint_hex()});
  table.AddRow({"Safety number", {contact.safety_number(), Style::kBold}});
  if (contact.key_changed()) {
    table.AddRow({"Other key", contact.offered_fingerprint_hex()});
    table.AddRow({"Its number", {contact.offered_safety_number(), Style::kBold}});
  }
  context.console().Print(table);
  if (contact.key_changed()) {
    context.console().Print(absl::StrCat(
        "\nThe key of ", contact.username(),
        " has changed: a new installation, or somebody in between. Ask over another way which "
        "number they see. If it is the second one:\n  blindcart contacts accept ",
        contact.username(), " --fingerprint ", contact.offered_fingerprint_hex(),
        "\nIf it is the first one:\n  blindcart contacts accept ", contact.username(), " --keep"));
  } else if (!contact.verified() && !contact.blocked()) {
    context.console().Print(absl::StrCat(
        "\nCompare the number with the one that ", contact.username(),
        " sees, in person or by telephone. If it is the same, nobody stands in between:\n"
        "  blindcart contacts verify ",
        contact.username(), " --matches 'THEIR NUMBER'"));
  }
}

ExitCode ExitCodeOfSent(v1::MessageState state) {
  switch (state) {
    case v1::MESSAGE_STATE_SENT:
    case v1::MESSAGE_STATE_QUEUED:
      return ExitCode::kOk;
    case v1::MESSAGE_STATE_UNDELIVERED:
    case v1::MESSAGE_STATE_NO_RECIPIENT:
    case v1::MESSAGE_STATE_MAILBOX_FULL:
    case v1::MESSAGE_STATE_REFUSED:
      return ExitCode::kRefused;
    default:
      return ExitCode::kFailure;
  }
}

std::string WhyNotSent(const v1::UserMessage& message) {
  const std::string& user = message.contact();
  switch (message.state()) {
    case v1::MESSAGE_STATE_NO_RECIPIENT:
      return absl::StrCat("not sent: there is no user ", user,
                          ", or their agent has never been online with this broker");
    case v1::MESSAGE_STATE_MAILBOX_FULL:
      return absl::StrCat("not sent: the mailbox of ", user,
                          " is full. Try again when they have read some of it");
    case v1::MESSAGE_STATE_REFUSED:
      return absl::StrCat("not sent: the key of ", user,
                          " has changed. Look with: blindcart contacts verify ", user);
    case v1::MESSAGE_STATE_UNDELIVERED:
      return absl::StrCat("message ", message.id(), " could not be read by the agent of ", user,
                          ". Send it again");
    default:
      return "not sent, for a reason that this version does not know";
  }
}

std::string WhyQueued(const v1::SendMessageReply& reply) {
  return reply.beyond_allowance()
             ? "you have sent as much as the broker takes for now. It goes out by itself."
             : "the broker cannot be reached. It goes out by itself.";
}

std::string FirstContactWarning(const std::string& username) {
  return absl::StrCat("this is the first contact with ", username,
                      ": the key was taken on trust from the broker. To be sure that nobody stands "
                      "in between: blindcart contacts verify ",
                      username);
}

}  // namespace blindcart::cli
