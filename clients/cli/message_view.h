// Messages and contacts as people read them. Not thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_MESSAGE_VIEW_H_
#define BLINDCART_CLIENTS_CLI_MESSAGE_VIEW_H_

#include <string>

#include "clients/cli/context.h"
#include "clients/cli/exit_code.h"
#include "proto/agent_messages.pb.h"

namespace blindcart::cli {

void PrintMessages(Context& context, const v1::ListMessagesReply& messages);
// `saved`: where its file was put just now, or empty.
void PrintMessage(Context& context, const v1::UserMessage& message, const std::string& saved);
void PrintContacts(Context& context, const v1::ListContactsReply& contacts);
void PrintContact(Context& context, const v1::Contact& contact);

// Of an outgoing message. A queued one is as good as sent.
ExitCode ExitCodeOfSent(v1::MessageState state);
// What went wrong and what to do, for a message that was not sent or not read.
std::string WhyNotSent(const v1::UserMessage& message);

// Of a queued message: why, and that it goes out by itself.
std::string WhyQueued(const v1::SendMessageReply& reply);

// For somebody whose key was taken on trust just now.
std::string FirstContactWarning(const std::string& username);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_MESSAGE_VIEW_H_
