// Warnings of keys that were taken on trust because a user was met directly. Not thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_PEER_VIEW_H_
#define BLINDCART_CLIENTS_CLI_PEER_VIEW_H_

#include <string>

#include "clients/cli/context.h"

namespace blindcart::cli {

// `they_called`: the user of this agent has done nothing for it.
std::string DirectContactWarning(const std::string& username, bool they_called);

// Of each user who called, whose key was pinned for that, and not compared since.
void WarnOfCallers(Context& context);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_PEER_VIEW_H_
