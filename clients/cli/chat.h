// `blindcart message chat`: what the contact writes appears as it comes, and each line of standard
// input is sent, until the input ends, a line says /quit, or the agent goes away.
#ifndef BLINDCART_CLIENTS_CLI_CHAT_H_
#define BLINDCART_CLIENTS_CLI_CHAT_H_

#include <string>

#include "clients/cli/context.h"
#include "clients/cli/exit_code.h"

namespace blindcart::cli {

// Uses standard input by its descriptor. With --json, each message that comes and each answer to a
// line sent is a document on a line of its own.
ExitCode RunChat(Context& context, const std::string& username);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_CHAT_H_
