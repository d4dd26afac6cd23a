#include "services/common/metrics_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/common/testing/http_get.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;
using testing::HttpGet;
using testing::HttpReply;

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = MetricsServer::Start(
        "127.0.0.1:0", {[this] { return absl::StrCat("scrapes ", ++scrapes_, "\n"); },
                        [this] { return ready_.load(); }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpReply Get(const std::string& path, const std::string& method = "GET") {
    absl::StatusOr<HttpReply> reply = HttpGet(server_->address(), path, method);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *std::move(reply) : HttpReply();
  }

  std::atomic<int> scrapes_{0};
  std::atomic<bool> ready_{true};
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, HasThreePages) {
  HttpReply reply = Get("/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "scrapes 1\n");
  EXPECT_THAT(reply.headers, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_EQ(Get("/metrics?x=y").body, "scrapes 2\n");
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_EQ(Get("/readyz").status, 200);
  ready_ = false;
  EXPECT_EQ(Get("/readyz").status, 503);
  EXPECT_EQ(Get("/healthz").status, 200);
}

TEST_F(MetricsServerTest, HasNothingElse) {
  for (const char* path : {"/", "/metrics/", "/metrics/x", "/etc/passwd", "/../../etc/passwd",
                           "/%2e%2e/etc/passwd", "/favicon.ico"}) {
    absl::StatusOr<HttpReply> reply = HttpGet(server_->address(), path);
    ASSERT_TRUE(reply.ok()) << path << reply.status();
    EXPECT_THAT(reply->status, ::testing::AnyOf(400, 404)) << path;
    EXPECT_FALSE(absl::StrContains(reply->body, "root:")) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    EXPECT_EQ(Get("/metrics", method).status, 405) << method;
  }
  EXPECT_EQ(scrapes_, 0);
  const HttpReply head = Get("/metrics", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(MetricsServerTest, AnswersManyAtOnce) {
  std::vector<std::thread> scrapers;
  std::atomic<int> good{0};
  for (int i = 0; i < 8; ++i) {
    scrapers.emplace_back([&] {
      for (int j = 0; j < 5; ++j) good += Get("/metrics").status == 200 ? 1 : 0;
    });
  }
  for (std::thread& scraper : scrapers) scraper.join();
  EXPECT_EQ(good, 40);
  EXPECT_EQ(scrapes_, 40);
}

// Sixteen silent peers would keep two threads for 40 seconds at five each; eight are free within two.
TEST_F(MetricsServerTest, SilentPeersDoNotKeepTheOthersOut) {
  const std::string& address = server_->address();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::vector<int> silent;
  for (int i = 0; i < 16; ++i) {
    silent.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(silent.back(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  }
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(Get("/readyz").status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
  for (const int fd : silent) close(fd);
}

TEST(MetricsServerAddressTest, SaysWhatItCannotListenOn) {
  const MetricsServer::Pages pages = {[] { return ""; }, [] { return true; }};
  for (const char* wrong : {"", "9464", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x",
                            "127.0.0.1:0,127.0.0.1:0", "127.0.0.1:80s"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckMetricsAddress(wrong))) << wrong;
    EXPECT_TRUE(absl::IsInvalidArgument(MetricsServer::Start(wrong, pages).status())) << wrong;
  }
  auto first = MetricsServer::Start("127.0.0.1:0", pages);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Status taken = MetricsServer::Start((*first)->address(), pages).status();
  EXPECT_TRUE(absl::IsUnavailable(taken)) << taken;
  EXPECT_THAT(std::string(taken.message()), HasSubstr((*first)->address()));
}

}  // namespace
}  // namespace blindcart
