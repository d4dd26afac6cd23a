// Purchases as people see them. Writes to the context's console.
#ifndef BLINDCART_CLIENTS_CLI_PURCHASE_VIEW_H_
#define BLINDCART_CLIENTS_CLI_PURCHASE_VIEW_H_

#include <string>

#include "clients/cli/context.h"
#include "proto/agent.pb.h"

namespace blindcart::cli {

void PrintPurchase(Context& context, const v1::Purchase& purchase);
void PrintPurchases(Context& context, const v1::ListPurchasesReply& reply);

// With --json one line per message; else a bar or lines on standard error. The last message, which
// tells where the file is.
absl::StatusOr<v1::DownloadProgress> FollowDownload(Context& context, const std::string& order,
                                                    bool again, bool json_lines);
void PrintDownloaded(Context& context, const v1::DownloadProgress& result);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_PURCHASE_VIEW_H_
