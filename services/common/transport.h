// Transport settings that all three services share (docs/protocol.md section 2, architecture
// "Three services"): TLS 1.3 on TCP, Unix sockets on one machine, plain TCP on loopback only and
// only when asked for; compression off; sizes, streams, pings and connections bounded.
//
// Addresses: "HOST:PORT" (port 0 in a listen address: the kernel chooses), "[V6]:PORT",
// "unix:PATH". Errors: InvalidArgument for an address or key that cannot be used. Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_TRANSPORT_H_
#define BLINDCART_SERVICES_COMMON_TRANSPORT_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart {

// A gRPC message that is larger is cut off before it is read: the largest bucket, the largest frame
// beside it, and their framing.
inline constexpr int kMaxGrpcMessageBytes = 1024 * 1024 + 64 * 1024;

// The same on a local API, whose two ends trust each other: a whole catalogue in one answer.
inline constexpr int kMaxLocalMessageBytes = 64 * 1024 * 1024;

// The name in every broker's TLS certificate. The root is the broker's own and pinned by its card,
// so the name says nothing and an address may change freely.
inline constexpr char kBrokerTlsName[] = "broker.blindcart";

struct ServerTls {
  std::string certificate_pem;
  std::string private_key_pem;
};

bool IsUnixAddress(absl::string_view address);
bool IsLoopbackAddress(absl::string_view address);
// Ok for "HOST:PORT" and "[V6]:PORT"; InvalidArgument, in words, for anything else.
absl::Status CheckTcpAddress(absl::string_view address);

// Where a call comes from, of gRPC's name of its peer ("ipv4:192.0.2.1:4711" -> "ipv4:192.0.2.1");
// empty for Unix sockets and loopback.
std::string SourceOfPeer(absl::string_view peer);

// Builds and runs a server. Unix sockets are made for their owner only (mode 0600 in a 0700 folder)
// and a stale one is replaced; a live one is AlreadyExists.
class ServerRunner {
 public:
  struct Options {
    std::vector<std::string> listen;
    ServerTls tls;  // Needed when an address is TCP, unless plain_tcp_on_loopback.
    bool plain_tcp_on_loopback = false;
    int max_message_bytes = kMaxGrpcMessageBytes;
    int max_streams_per_connection = 64;
    // Full names of services. Not empty: gRPC's health service answers for them and for "", the whole
    // server; see SetServing.
    std::vector<std::string> health_services = {};
    // Nothing else that the program is linked with opens itself on the server.
    std::vector<std::function<std::unique_ptr<grpc::ServerBuilderPlugin>()>> plugins = {};
  };
  // The services must outlive the runner.
  static absl::StatusOr<std::unique_ptr<ServerRunner>> Start(
      const std::vector<grpc::Service*>& services, const Options& options);
  static absl::StatusOr<std::unique_ptr<ServerRunner>> Start(grpc::Service& service,
                                                             const Options& options) {
    return Start({&service}, options);
  }
  ~ServerRunner();  // Shuts down at once.

  // The addresses in use, ports filled in, in the order of Options::listen.
  const std::vector<std::string>& addresses() const { return addresses_; }
  // What the health service says; at first that the server is serving. Those who watch are told of a
  // change.
  void SetServing(bool serving);
  // Not serving from now on, whatever SetServing says later.
  void StopServing();
  // Ends all calls within `grace_ms` and stops.
  void Shutdown(int grace_ms);

 private:
  ServerRunner() = default;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> addresses_;
  std::vector<std::string> health_services_;
  std::mutex health_mutex_;
  bool serving_ = true;           // Under health_mutex_.
  bool stopped_serving_ = false;  // Under health_mutex_.
};

// A channel to a broker. `tls_root_pem` is the pinned root; ignored for Unix sockets. Two channels
// of different `purpose` never share a connection ("link", "goods").
absl::StatusOr<std::shared_ptr<grpc::Channel>> DialBroker(const std::string& address,
                                                          const std::string& tls_root_pem,
                                                          bool plain_tcp,
                                                          const std::string& purpose);

// A channel to another agent. Its TLS certificate is a throwaway one and is not looked at: who is
// there is proved inside (protocol/peer_handshake.h). TCP only; `plain_tcp` on loopback only.
absl::StatusOr<std::shared_ptr<grpc::Channel>> DialPeer(const std::string& address, bool plain_tcp);

// A channel to a local API on a Unix socket path (without "unix:").
std::shared_ptr<grpc::Channel> DialLocal(const std::string& socket_path);

// Blocks until SIGINT or SIGTERM. Call BlockTerminationSignals() first thing in main, before any
// thread starts.
void BlockTerminationSignals();
int WaitForTerminationSignal();
// The same for at most so long; whether one came.
bool WaitForTerminationSignal(int timeout_ms);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_TRANSPORT_H_
