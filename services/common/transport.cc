#include "services/common/transport.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>

#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/files.h"

namespace blindcart {
namespace {

constexpr char kUnixPrefix[] = "unix:";
constexpr int kKeepaliveMs = 30'000;
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kConnectTimeoutMs = 10'000;
constexpr int kMaxMetadataBytes = 8 * 1024;

// gRPC 1.51 offers no way to set a lowest TLS version. It does take a list of cipher suites for
// versions up to 1.2, and one that neither end can use (there is no pre-shared key) leaves TLS 1.3
// alone, whose suites are listed elsewhere. Has to be in place before gRPC first makes credentials.
void AllowOnlyTls13() { setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1); }

// gRPC 1.51 ends its threads when its last object goes, and then now and then waits out a poller's
// ten seconds. Held once for the process, it never ends them; the process does.
void HoldGrpc() {
  static const bool held = [] {
    grpc_init();
    return true;
  }();
  static_cast<void>(held);
}

// Puts exactly the given plugins into a server. Without it, what a program is linked with, such as
// reflection, would add itself to every server.
class OnlyThesePlugins final : public grpc::ServerBuilderOption {
 public:
  explicit OnlyThesePlugins(
      std::vector<std::function<std::unique_ptr<grpc::ServerBuilderPlugin>()>> makers)
      : makers_(std::move(makers)) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->clear();
    for (const auto& make : makers_) plugins->push_back(make());
  }

 private:
  const std::vector<std::function<std::unique_ptr<grpc::ServerBuilderPlugin>()>> makers_;
};

// The same for the queue and threads that all callback calls of a process share: gRPC 1.51 ends them
// with their last user, and a connection that is closing at that moment then aborts the process
// ("ref_counted.h: prior > 0"). A server without an address, which is never used, keeps them.
void HoldCallbackThreads() {
  HoldGrpc();
  static grpc::Server* const held = [] {
    static auto* const service = new grpc::CallbackGenericService();
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(service);
    builder.SetOption(std::make_unique<OnlyThesePlugins>(
        std::vector<std::function<std::unique_ptr<grpc::ServerBuilderPlugin>()>>()));
    return builder.BuildAndStart().release();
  }();
  static_cast<void>(held);
}

std::string UnixPath(absl::string_view address) {
  return std::string(address.substr(sizeof(kUnixPrefix) - 1));
}

struct HostPort {
  std::string host;  // With brackets when IPv6.
  int port = 0;
};

absl::StatusOr<HostPort> SplitHostPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  HostPort result;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &result.port) || result.port < 0 ||
      result.port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address: write HOST:PORT, [IPV6]:PORT or unix:PATH"));
  }
  result.host = std::string(address.substr(0, colon));
  if (absl::StrContains(result.host, ':') && result.host.front() != '[') {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\": write an IPv6 address in brackets, as in [::1]:7443"));
  }
  return result;
}

// Makes way for a Unix socket: its folder is there, and no living server has it.
absl::Status PrepareUnixSocket(const std::string& path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the socket's path \"", path, "\" has to have 1 to ",
                     sizeof(address.sun_path) - 1, " bytes; choose a shorter folder"));
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty()) {
    const absl::Status made = MakePrivateDirectory(folder);
    if (!made.ok()) return made;
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(strerror(errno));
  absl::Cleanup close_fd = [fd] { close(fd); };
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("another server already listens on ", path, "; stop it or choose another"));
  }
  return absl::OkStatus();
}

void SetCommonServerArguments(grpc::ServerBuilder& builder, const ServerRunner::Options& options) {
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetMaxSendMessageSize(options.max_message_bytes);
  // A small compressed message would inflate before its size is checked.
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Two servers on one port would share its connections by chance.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

// An argument that is set twice keeps its first value, so the size is set here alone.
grpc::ChannelArguments ClientArguments(const std::string& purpose, int max_message_bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(max_message_bytes);
  arguments.SetMaxSendMessageSize(max_message_bytes);
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  // Not a pause, whatever its name: how long one attempt may take before it is given up.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // A proxy from the environment would see whom we talk to.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetString("blindcart.purpose", purpose);
  return arguments;
}

}  // namespace

bool IsUnixAddress(absl::string_view address) { return absl::StartsWith(address, kUnixPrefix); }

bool IsLoopbackAddress(absl::string_view address) {
  const absl::StatusOr<HostPort> parts = SplitHostPort(address);
  return parts.ok() && (parts->host == "localhost" || parts->host == "[::1]" ||
                        (absl::StartsWith(parts->host, "127.") &&
                         parts->host.find_first_not_of("0123456789.") == std::string::npos));
}

absl::Status CheckTcpAddress(absl::string_view address) { return SplitHostPort(address).status(); }

std::string SourceOfPeer(absl::string_view peer) {
  const bool is_ip = absl::StartsWith(peer, "ipv4:") || absl::StartsWith(peer, "ipv6:");
  const size_t port = peer.rfind(':');
  if (!is_ip || port < 6) return "";
  const absl::string_view host = peer.substr(0, port);
  if (absl::StartsWith(host, "ipv4:127.") || host == "ipv6:[::1]" || host == "ipv6:%5B::1%5D") {
    return "";
  }
  return std::string(host);
}

absl::StatusOr<std::unique_ptr<ServerRunner>> ServerRunner::Start(
    const std::vector<grpc::Service*>& services, const Options& options) {
  if (options.listen.empty()) {
    return absl::InvalidArgumentError("no address to listen on; name at least one");
  }
  AllowOnlyTls13();
  HoldCallbackThreads();
  grpc::ServerBuilder builder;
  SetCommonServerArguments(builder, options);
  std::vector<int> ports(options.listen.size(), 0);
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const std::string& address = options.listen[i];
    std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
    if (IsUnixAddress(address)) {
      const absl::Status prepared = PrepareUnixSocket(UnixPath(address));
      if (!prepared.ok()) return prepared;
    } else {
      const absl::StatusOr<HostPort> parts = SplitHostPort(address);
      if (!parts.ok()) return parts.status();
      if (!(options.plain_tcp_on_loopback && IsLoopbackAddress(address))) {
        if (options.tls.certificate_pem.empty() || options.tls.private_key_pem.empty()) {
          return absl::InvalidArgumentError(
              absl::StrCat(address, " needs TLS, but there is no certificate for it"));
        }
        grpc::SslServerCredentialsOptions tls;
        tls.pem_key_cert_pairs.push_back(
            {options.tls.private_key_pem, options.tls.certificate_pem});
        credentials = grpc::SslServerCredentials(tls);
      }
    }
    builder.AddListeningPort(address, credentials, &ports[i]);
  }
  for (grpc::Service* service : services) builder.RegisterService(service);
  builder.SetOption(std::make_unique<OnlyThesePlugins>(options.plugins));
  // Asked for by a switch of the whole process, which is as it was before when this server is built.
  const bool health_before = grpc::DefaultHealthCheckServiceEnabled();
  grpc::EnableDefaultHealthCheckService(!options.health_services.empty());
  // Sockets are made for their owner only; no moment in between is open to others. The mask is the
  // whole process's, so a server without such a socket leaves it alone.
  const bool has_socket =
      std::any_of(options.listen.begin(), options.listen.end(),
                  [](const std::string& address) { return IsUnixAddress(address); });
  const mode_t mask = has_socket ? umask(0177) : 0;
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (has_socket) umask(mask);
  grpc::EnableDefaultHealthCheckService(health_before);
  if (server == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.listen.front(),
                     options.listen.size() > 1 ? " or another of the addresses" : "",
                     "; it may be in use or not allowed"));
  }
  auto runner = std::unique_ptr<ServerRunner>(new ServerRunner());
  for (size_t i = 0; i < options.listen.size(); ++i) {
    const std::string& address = options.listen[i];
    if (IsUnixAddress(address)) {
      runner->addresses_.push_back(address);
    } else {
      runner->addresses_.push_back(absl::StrCat(SplitHostPort(address)->host, ":", ports[i]));
    }
  }
  runner->server_ = std::move(server);
  runner->health_services_ = options.health_services;
  for (const std::string& service : runner->health_services_) {
    runner->server_->GetHealthCheckService()->SetServingStatus(service, true);
  }
  return runner;
}

ServerRunner::~ServerRunner() { Shutdown(0); }

void ServerRunner::SetServing(bool serving) {
  std::lock_guard<std::mutex> lock(health_mutex_);
  if (stopped_serving_) serving = false;
  if (server_ == nullptr || health_services_.empty() || serving == serving_) return;
  serving_ = serving;
  server_->GetHealthCheckService()->SetServingStatus(serving);  // Of all that it knows.
}

void ServerRunner::StopServing() {
  {
    std::lock_guard<std::mutex> lock(health_mutex_);
    stopped_serving_ = true;
  }
  SetServing(false);
}

void ServerRunner::Shutdown(int grace_ms) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(grace_ms));
  server_->Wait();
  {
    std::lock_guard<std::mutex> lock(health_mutex_);
    server_.reset();
  }
  for (const std::string& address : addresses_) {
    if (IsUnixAddress(address)) unlink(UnixPath(address).c_str());
  }
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialBroker(const std::string& address,
                                                          const std::string& tls_root_pem,
                                                          bool plain_tcp,
                                                          const std::string& purpose) {
  AllowOnlyTls13();
  HoldCallbackThreads();
  grpc::ChannelArguments arguments = ClientArguments(purpose, kMaxGrpcMessageBytes);
  if (IsUnixAddress(address)) {
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  const absl::StatusOr<HostPort> parts = SplitHostPort(address);
  if (!parts.ok()) return parts.status();
  if (plain_tcp) {
    if (!IsLoopbackAddress(address)) {
      return absl::InvalidArgumentError(
          absl::StrCat("plain TCP is for loopback only, and ", address,
                       " is not; remove plain_tcp from the configuration"));
    }
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  if (tls_root_pem.empty()) {
    return absl::InvalidArgumentError(
        "the broker's card has no TLS root; ask the operator for a new card");
  }
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = tls_root_pem;
  arguments.SetSslTargetNameOverride(kBrokerTlsName);
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(tls), arguments);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialPeer(const std::string& address,
                                                        bool plain_tcp) {
  AllowOnlyTls13();
  HoldCallbackThreads();
  const absl::Status checked = CheckTcpAddress(address);
  if (!checked.ok()) return checked;
  const grpc::ChannelArguments arguments = ClientArguments("peer", kMaxGrpcMessageBytes);
  if (plain_tcp) {
    if (!IsLoopbackAddress(address)) {
      return absl::InvalidArgumentError(absl::StrCat("plain TCP is for loopback only, and ",
                                                     address, " is not; leave --plain-tcp out"));
    }
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  grpc::experimental::TlsChannelCredentialsOptions tls;
  tls.set_verify_server_certs(false);
  tls.set_check_call_host(false);
  tls.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::CreateCustomChannel(address, grpc::experimental::TlsCredentials(tls), arguments);
}

std::shared_ptr<grpc::Channel> DialLocal(const std::string& socket_path) {
  HoldGrpc();
  return grpc::CreateCustomChannel(absl::StrCat(kUnixPrefix, socket_path),
                                   grpc::InsecureChannelCredentials(),
                                   ClientArguments("local", kMaxLocalMessageBytes));
}

void BlockTerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForTerminationSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  int received = 0;
  sigwait(&signals, &received);
  return received;
}

bool WaitForTerminationSignal(int timeout_ms) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  timespec timeout{};
  timeout.tv_sec = timeout_ms / 1000;
  timeout.tv_nsec = static_cast<decltype(timeout.tv_nsec)>(timeout_ms % 1000) * 1'000'000;
  return sigtimedwait(&signals, nullptr, &timeout) > 0;
}

}  // namespace blindcart
