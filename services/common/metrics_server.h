// The port for those who watch over a service: plain HTTP with three pages and nothing else.
//
//   /metrics  what `metrics` returns (metrics.h)
//   /healthz  200 for as long as the process answers
//   /readyz   200 when it is ready for work (readiness.h), else 503
//
// Anybody who reaches the port may read them: it belongs on loopback or a network of its own.
// (prometheus-cpp's own server has no place for pages of other kinds; this is the one below it.)
//
// Thread safety: the pages are made on the server's threads, eight at once at most.
#ifndef BLINDCART_SERVICES_COMMON_METRICS_SERVER_H_
#define BLINDCART_SERVICES_COMMON_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct mg_connection;
struct mg_context;

namespace blindcart {

// Ok for "HOST:PORT" and "[V6]:PORT".
absl::Status CheckMetricsAddress(absl::string_view listen);

class MetricsServer {
 public:
  struct Pages {
    std::function<std::string()> metrics;
    std::function<bool()> ready;
  };

  // `listen` as in CheckMetricsAddress; port 0: the kernel chooses. Unavailable when it cannot be
  // listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              Pages pages);
  ~MetricsServer();  // Waits for requests under way.
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // The address in use, the port filled in.
  const std::string& address() const { return address_; }

 private:
  explicit MetricsServer(Pages pages) : pages_(std::move(pages)) {}
  static int OnRequest(mg_connection* connection);
  int Answer(mg_connection* connection) const;

  const Pages pages_;
  std::string address_;
  mg_context* context_ = nullptr;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_METRICS_SERVER_H_
