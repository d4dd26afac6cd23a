// Debian's HAProxy on loopback, run with the very configuration that the containers get
// (deploy/haproxy/haproxy.cfg), on ports that the kernel chose.
//
// Thread safety: one thread at a time.
#ifndef BLINDCART_TESTS_DEPLOY_HAPROXY_H_
#define BLINDCART_TESTS_DEPLOY_HAPROXY_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tests/support/process.h"

namespace blindcart::testing {

// Keeps a loopback port for somebody else who binds it with SO_REUSEPORT, as HAProxy does: until this
// object goes, the kernel gives the port to nobody who asks for any.
class ReservedPort {
 public:
  ReservedPort();
  ~ReservedPort();
  ReservedPort(const ReservedPort&) = delete;
  ReservedPort& operator=(const ReservedPort&) = delete;

  int number() const { return number_; }
  std::string address() const;  // "127.0.0.1:PORT"

 private:
  int fd_ = -1;
  int number_ = 0;
};

class Haproxy {
 public:
  struct Broker {
    std::string address;        // HOST:PORT, TLS.
    std::string ready_address;  // The same host, plain HTTP with /readyz.
    std::string root_file;      // Its certificate.
  };
  struct Options {
    std::string certificate_file;  // Certificate and key.
    std::vector<Broker> brokers;   // Two.
    std::map<std::string, std::string> limits;
  };
  // Once it takes connections. NotFound without Debian's package (./setup.sh).
  static absl::StatusOr<std::unique_ptr<Haproxy>> Start(const Options& options);

  std::string customers_address() const { return customers_.address(); }
  std::string operator_address() const { return operator_.address(); }
  // Where merchants reach each broker.
  std::string broker_address(int number) const { return brokers_[number].address(); }

  // The body of a page for the operator, such as "/metrics"; Unavailable when it is not answered with
  // 200.
  absl::StatusOr<std::string> Page(const std::string& path) const;
  // A figure of /metrics, such as haproxy_server_status{proxy="customers",...}; -1 when there is none.
  double Figure(absl::string_view name_and_labels) const;

 private:
  Haproxy() = default;

  ReservedPort customers_;
  ReservedPort brokers_[2];
  ReservedPort operator_;
  std::unique_ptr<Process> process_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_DEPLOY_HAPROXY_H_
