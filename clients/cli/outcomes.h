// The business answers in words: what went wrong and what to do. Pure functions; thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_OUTCOMES_H_
#define BLINDCART_CLIENTS_CLI_OUTCOMES_H_

#include <string>

#include "proto/agent.pb.h"
#include "proto/agent_bank.pb.h"

namespace blindcart::cli {

// "open", "declined", "expired", "paid", "delivered", "refunded".
std::string StatusWord(v1::OrderStatus status);

// For an outcome other than ORDERED.
std::string WhyNotOrdered(v1::CheckoutOutcome outcome);

// For an outcome other than SUCCESSFUL.
std::string WhyNotPaid(const v1::PayReply& reply);

// For an outcome other than DONE.
std::string WhyNotMoved(const v1::MoveMoneyReply& reply);

// "payment", "deposit", "withdrawal", "refund".
std::string EntryWord(v1::EntryKind kind);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_OUTCOMES_H_
