#include "tests/deploy/haproxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace blindcart::testing {
namespace {

constexpr char kProgram[] = "/usr/sbin/haproxy";
constexpr char kConfiguration[] = "deploy/haproxy/haproxy.cfg";
constexpr int kStartTimeoutMs = 60'000;

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::pair<std::string, std::string> HostAndPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  return {address.substr(0, colon), address.substr(colon + 1)};
}

}  // namespace

ReservedPort::ReservedPort() {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  setsockopt(fd_, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    number_ = ntohs(address.sin_port);
  }
}

ReservedPort::~ReservedPort() { close(fd_); }

std::string ReservedPort::address() const { return absl::StrCat("127.0.0.1:", number_); }

absl::StatusOr<std::unique_ptr<Haproxy>> Haproxy::Start(const Options& options) {
  if (access(kProgram, X_OK) != 0) {
    return absl::NotFoundError("there is no HAProxy here; run ./setup.sh");
  }
  std::unique_ptr<Haproxy> haproxy(new Haproxy());
  std::map<std::string, std::string> environment = options.limits;
  environment["BLINDCART_CERTIFICATE"] = options.certificate_file;
  environment["BLINDCART_CUSTOMERS_BIND"] = haproxy->customers_.address();
  environment["BLINDCART_OPERATOR_BIND"] = haproxy->operator_.address();
  environment.insert({"BLINDCART_MAX_CONNECTIONS", "200"});
  environment.insert({"BLINDCART_MAX_CUSTOMERS", "100"});
  environment.insert({"BLINDCART_MAX_MERCHANTS", "30"});
  environment.insert({"BLINDCART_CHECK_INTERVAL", "200ms"});
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = absl::StrCat("BLINDCART_BROKER_", i + 1, "_");
    const auto [host, port] = HostAndPort(options.brokers[i].address);
    environment[prefix + "BIND"] = haproxy->brokers_[i].address();
    environment[prefix + "HOST"] = host;
    environment[prefix + "PORT"] = port;
    environment[prefix + "ROOT"] = options.brokers[i].root_file;
    environment[prefix + "READY_PORT"] = HostAndPort(options.brokers[i].ready_address).second;
  }
  auto process = Process::Start({kProgram, {"-db", "-f", kConfiguration}, environment, ""});
  if (!process.ok()) return process.status();
  haproxy->process_ = *std::move(process);
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(kStartTimeoutMs);
  while (!haproxy->Page("/metrics").ok()) {
    if (!haproxy->process_->running() || std::chrono::steady_clock::now() > deadline) {
      return absl::UnavailableError(absl::StrCat("HAProxy: ", haproxy->process_->err()));
    }
    std::this_thread::yield();
  }
  return haproxy;
}

absl::StatusOr<std::string> Haproxy::Page(const std::string& path) const {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(operator_.number());
  std::string answer;
  const std::string request = absl::StrCat("GET ", path, " HTTP/1.0\r\n\r\n");
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char buffer[16 * 1024];
    for (ssize_t got; (got = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, got);
  }
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos || !absl::StrContains(answer.substr(0, 16), " 200 ")) {
    return absl::UnavailableError(absl::StrCat(path, ": ", answer.substr(0, answer.find('\r'))));
  }
  return answer.substr(body + 4);
}

double Haproxy::Figure(absl::string_view name_and_labels) const {
  const absl::StatusOr<std::string> page = Page("/metrics");
  if (!page.ok()) return -1;
  for (absl::string_view line : absl::StrSplit(*page, '\n')) {
    double value = 0;
    if (absl::ConsumePrefix(&line, name_and_labels) && absl::ConsumePrefix(&line, " ") &&
        absl::SimpleAtod(line, &value)) {
      return value;
    }
  }
  return -1;
}

}  // namespace blindcart::testing
