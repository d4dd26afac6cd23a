#include "tests/support/tcp_recorder.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace blindcart::testing {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool SendAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data += sent;
    size -= static_cast<size_t>(sent);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpRecorder>> TcpRecorder::Start(const std::string& upstream) {
  auto recorder = std::unique_ptr<TcpRecorder>(new TcpRecorder());
  if (!absl::SimpleAtoi(upstream.substr(upstream.rfind(':') + 1), &recorder->upstream_port_)) {
    return absl::InvalidArgumentError(absl::StrCat("no port in ", upstream));
  }
  recorder->listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(recorder->listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(recorder->listener_, 16) != 0 ||
      getsockname(recorder->listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      pipe2(recorder->stop_, O_CLOEXEC) != 0) {
    return absl::UnavailableError(strerror(errno));
  }
  recorder->address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  recorder->thread_ = std::thread([r = recorder.get()] { r->Run(); });
  return recorder;
}

TcpRecorder::~TcpRecorder() {
  if (thread_.joinable()) {
    close(stop_[1]);
    thread_.join();
    close(stop_[0]);
  }
  if (listener_ >= 0) close(listener_);
}

std::string TcpRecorder::Bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

void TcpRecorder::CutAfter(size_t more_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  cut_at_ = bytes_.size() + more_bytes;
}

int TcpRecorder::cuts() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return cuts_;
}

void TcpRecorder::Run() {
  // Sockets stand in pairs: what comes from one of a pair goes to the other.
  std::vector<pollfd> fds = {{stop_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
  std::vector<char> buffer(256 * 1024);
  while (true) {
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) break;
    if (fds[0].revents != 0) break;
    for (size_t i = 2; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      const size_t peer = i % 2 == 0 ? i + 1 : i - 1;
      const ssize_t got = recv(fds[i].fd, buffer.data(), buffer.size(), 0);
      if (got > 0) {
        bool cut = false;
        {
          std::lock_guard<std::mutex> lock(mutex_);
          bytes_.append(buffer.data(), static_cast<size_t>(got));
          cut = cut_at_ != 0 && bytes_.size() >= cut_at_;
          if (cut) {
            cut_at_ = 0;
            ++cuts_;
          }
        }
        if (cut) {
          for (size_t end = 2; end < fds.size(); ++end) {
            if (fds[end].fd >= 0) close(fds[end].fd);
            fds[end] = {-1, 0, 0};
          }
          break;
        }
        if (SendAll(fds[peer].fd, buffer.data(), static_cast<size_t>(got))) continue;
      }
      // A negative descriptor is skipped by poll; its place keeps the pairs together.
      for (const size_t end : {i, peer}) {
        if (fds[end].fd >= 0) close(fds[end].fd);
        fds[end] = {-1, 0, 0};
      }
    }
    if (fds[1].revents != 0) {
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      const sockaddr_in address = Loopback(upstream_port_);
      if (client < 0 ||
          connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        if (client >= 0) close(client);
        close(server);
        continue;
      }
      fds.push_back({client, POLLIN, 0});
      fds.push_back({server, POLLIN, 0});
    }
  }
  for (size_t i = 2; i < fds.size(); ++i) {
    if (fds[i].fd >= 0) close(fds[i].fd);
  }
}

}  // namespace blindcart::testing
