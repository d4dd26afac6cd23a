// One plain HTTP request, as a scraper makes it.
#ifndef BLINDCART_SERVICES_COMMON_TESTING_HTTP_GET_H_
#define BLINDCART_SERVICES_COMMON_TESTING_HTTP_GET_H_

#include <string>

#include "absl/status/statusor.h"

namespace blindcart::testing {

struct HttpReply {
  int status = 0;
  std::string headers;
  std::string body;
};

// `address` is 127.0.0.1:PORT. Unavailable when nobody answers there.
absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& path,
                                  const std::string& method = "GET");

}  // namespace blindcart::testing

#endif  // BLINDCART_SERVICES_COMMON_TESTING_HTTP_GET_H_
