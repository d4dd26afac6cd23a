#include "services/common/metrics_server.h"

#include <civetweb.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/transport.h"

namespace blindcart {
namespace {

constexpr int kOk = 200;
constexpr int kNotFound = 404;
constexpr int kMethodNotAllowed = 405;
constexpr int kServiceUnavailable = 503;

const char* ReasonOf(int status) {
  switch (status) {
    case kOk:
      return "OK";
    case kNotFound:
      return "Not Found";
    case kMethodNotAllowed:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

// What the server has to say about itself would name its peers' addresses.
int DropLog(const mg_connection*, const char*) { return 1; }

}  // namespace

absl::Status CheckMetricsAddress(absl::string_view listen) {
  // The web server would take a comma to begin another address.
  if (absl::StrContains(listen, ',')) {
    return absl::InvalidArgumentError(absl::StrCat("\"", listen, "\" is no single address"));
  }
  return CheckTcpAddress(listen);
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    Pages pages) {
  const absl::Status checked = CheckMetricsAddress(listen);
  if (!checked.ok()) return checked;
  auto server = std::unique_ptr<MetricsServer>(new MetricsServer(std::move(pages)));
  mg_callbacks callbacks = {};
  callbacks.begin_request = &MetricsServer::OnRequest;
  callbacks.log_message = &DropLog;
  callbacks.log_access = &DropLog;
  const char* options[] = {"listening_ports", listen.c_str(), "num_threads", "8",
                           // Whoever connects and says nothing holds a thread for so long.
                           "request_timeout_ms", "1000", "enable_keep_alive", "no",
                           "enable_directory_listing", "no", nullptr};
  server->context_ = mg_start(&callbacks, server.get(), options);
  mg_server_port port = {};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &port) != 1) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listen, " for metrics; it may be in use or not allowed"));
  }
  server->address_ = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port.port);
  return server;
}

MetricsServer::~MetricsServer() {
  if (context_ != nullptr) mg_stop(context_);
}

int MetricsServer::OnRequest(mg_connection* connection) {
  return static_cast<const MetricsServer*>(mg_get_user_data(mg_get_context(connection)))
      ->Answer(connection);
}

int MetricsServer::Answer(mg_connection* connection) const {
  const mg_request_info& request = *mg_get_request_info(connection);
  const absl::string_view method = request.request_method;
  const absl::string_view page = request.local_uri;
  int status = kOk;
  std::string text;
  if (method != "GET" && method != "HEAD") {
    status = kMethodNotAllowed;
  } else if (page == "/metrics") {
    text = pages_.metrics();
  } else if (page == "/healthz") {
    text = "alive\n";
  } else if (page == "/readyz") {
    const bool ready = pages_.ready();
    if (!ready) status = kServiceUnavailable;
    text = ready ? "ready\n" : "not ready\n";
  } else {
    status = kNotFound;
  }
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: %zu\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            status, ReasonOf(status), text.size());
  if (method != "HEAD") mg_write(connection, text.data(), text.size());
  return status;
}

}  // namespace blindcart
