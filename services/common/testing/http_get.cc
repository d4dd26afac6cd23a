#include "services/common/testing/http_get.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace blindcart::testing {

absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& path,
                                  const std::string& method) {
  absl::string_view port = address;
  int number = 0;
  if (!absl::ConsumePrefix(&port, "127.0.0.1:") || !absl::SimpleAtoi(port, &number)) {
    return absl::InvalidArgumentError(absl::StrCat("no address on loopback: ", address));
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError("no socket");
  absl::Cleanup close_fd = [fd] { close(fd); };
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(number));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return absl::UnavailableError(absl::StrCat("nobody listens on ", address));
  }
  const std::string request = absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: ", address,
                                           "\r\nConnection: close\r\n\r\n");
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return absl::UnavailableError("the request was not taken");
  }
  std::string answer;
  char buffer[16 * 1024];
  for (ssize_t got = 0; (got = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
    answer.append(buffer, static_cast<size_t>(got));
  }
  const size_t end = answer.find("\r\n\r\n");
  HttpReply reply;
  if (end == std::string::npos || !absl::StartsWith(answer, "HTTP/1.1 ") ||
      !absl::SimpleAtoi(answer.substr(9, 3), &reply.status)) {
    return absl::UnavailableError(absl::StrCat("no HTTP answer: ", answer));
  }
  reply.headers = answer.substr(0, end);
  reply.body = answer.substr(end + 4);
  return reply;
}

}  // namespace blindcart::testing
