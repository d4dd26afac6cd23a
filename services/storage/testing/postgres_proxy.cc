#include "services/storage/testing/postgres_proxy.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/match.h"

namespace blindcart::storage::testing {
namespace {

constexpr char kSocketName[] = "/.s.PGSQL.5432";
constexpr size_t kReadBytes = 64 * 1024;

sockaddr_un AddressOf(const std::string& folder) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = folder + kSocketName;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof(address.sun_path) - 1));
  return address;
}

// Empty at the end.
std::string ReadSome(int socket) {
  std::string bytes(kReadBytes, '\0');
  const ssize_t count = recv(socket, &bytes[0], bytes.size(), 0);
  bytes.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return bytes;
}

bool WriteAll(int socket, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return false;
    sent += static_cast<size_t>(count);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresProxy>> PostgresProxy::Start(
    const std::string& server_folder) {
  std::string folder = "/tmp/blindcart-proxy-XXXXXX";
  if (mkdtemp(&folder[0]) == nullptr) return absl::ErrnoToStatus(errno, "no temporary folder");
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = AddressOf(folder);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, SOMAXCONN) != 0) {
    return absl::ErrnoToStatus(errno, "the proxy cannot listen");
  }
  std::unique_ptr<PostgresProxy> proxy(new PostgresProxy(server_folder, folder, listener));
  proxy->accepting_ = std::thread([raw = proxy.get()] { raw->Accept(); });
  return proxy;
}

PostgresProxy::~PostgresProxy() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    for (int client : open_) shutdown(client, SHUT_RDWR);
  }
  shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  for (std::thread& thread : serving_) thread.join();
  close(listener_);
  unlink((folder_ + kSocketName).c_str());
  rmdir(folder_.c_str());
}

void PostgresProxy::CutAt(const std::string& text, Cut cut) {
  std::lock_guard<std::mutex> lock(mutex_);
  text_ = text;
  cut_ = cut;
}

int PostgresProxy::cuts() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return cuts_;
}

void PostgresProxy::Accept() {
  for (;;) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (ending_) {
        close(client);
        return;
      }
      open_.push_back(client);
    }
    serving_.emplace_back([this, client] { Serve(client); });
  }
}

bool PostgresProxy::IsTheOne(const std::string& request, Cut* cut) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (text_.empty() || !absl::StrContains(request, text_)) return false;
  text_.clear();
  *cut = cut_;
  ++cuts_;
  return true;
}

void PostgresProxy::Serve(int client) {
  const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = AddressOf(server_folder_);
  bool cutting = false;
  Cut cut = Cut::kBeforeRequest;
  if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    for (;;) {
      pollfd ready[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (poll(ready, 2, -1) < 0) break;
      if (ready[0].revents != 0) {
        const std::string request = ReadSome(client);
        if (request.empty()) break;
        if (IsTheOne(request, &cut)) cutting = true;
        if (cutting && cut == Cut::kBeforeRequest) break;
        if (!WriteAll(server, request)) break;
      }
      if (ready[1].revents != 0) {
        const std::string answer = ReadSome(server);
        if (answer.empty() || cutting || !WriteAll(client, answer)) break;
      }
    }
  }
  close(server);
  std::lock_guard<std::mutex> lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), client));
  close(client);
}

}  // namespace blindcart::storage::testing
