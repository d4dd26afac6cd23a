// Those who watch over a service from outside: a scraper of its metrics port and a caller of gRPC's
// health and reflection services, whose messages are written by hand.
#ifndef BLINDCART_TESTS_SUPPORT_WATCHER_H_
#define BLINDCART_TESTS_SUPPORT_WATCHER_H_

#include <map>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "services/common/testing/http_get.h"
#include "tests/support/marketplace.h"

namespace blindcart::testing {

// Of a process that was started with metrics_listen.
absl::StatusOr<std::string> MetricsAddress(Process& process);

// Samples by name and labels, as written, such as blindcart_links{kind="customer"}.
using Samples = std::map<std::string, double>;
absl::StatusOr<Samples> Scrape(const std::string& metrics_address);
// The HTTP status of a page; 0 when nobody answers.
int PageStatus(const std::string& metrics_address, const std::string& path);

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialBrokerOf(const Marketplace& market);

// Whether the server says that `service` ("" is all of it) is serving. NotFound for one unknown.
absl::StatusOr<bool> IsServing(const std::shared_ptr<grpc::Channel>& channel,
                               const std::string& service);
// The answer to reflection's question for all services, undecoded; Unimplemented when it is off.
absl::StatusOr<std::string> AskForServices(const std::shared_ptr<grpc::Channel>& channel);

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_WATCHER_H_
