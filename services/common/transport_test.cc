#include "services/common/transport.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "crypto/tls_certificate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/broker.grpc.pb.h"
#include "protocol/refusal.h"
#include "services/common/grpc_link.h"
#include "services/common/status_conversion.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Answers each handshake message with the same body, then closes on "bye".
class EchoHandler : public LinkHandler {
 public:
  explicit EchoHandler(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  void OnHandshake(const v1::HandshakeMessage& message) override {
    if (message.body() == "bye") {
      link_->Close(protocol::Refused());
    } else {
      link_->SendHandshake(message);
    }
  }
  void OnMessages(std::vector<std::string>) override {}
  void OnClosed(const absl::Status&) override {}

 private:
  std::shared_ptr<Link> link_;
};

class EchoService : public v1::Broker::CallbackService {
 public:
  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* CustomerLink(
      grpc::CallbackServerContext* context) override {
    return AcceptGrpcLink(
        context, [](std::shared_ptr<Link> link) { return std::make_unique<EchoHandler>(link); },
        counters_);
  }

 private:
  protocol::RefusalCounters counters_;
};

struct Outcome {
  std::mutex mutex;
  std::condition_variable changed;
  std::string echoed;
  bool closed = false;
  absl::Status status;

  void WaitForClose() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return closed; });
  }
};

class ClientHandler : public LinkHandler {
 public:
  ClientHandler(std::shared_ptr<Link> link, Outcome& outcome)
      : link_(std::move(link)), outcome_(outcome) {
    Say("hello");
  }
  void OnHandshake(const v1::HandshakeMessage& message) override {
    {
      std::lock_guard<std::mutex> lock(outcome_.mutex);
      outcome_.echoed = message.body();
    }
    Say("bye");
  }
  void OnMessages(std::vector<std::string>) override {}
  void OnClosed(const absl::Status& status) override {
    std::lock_guard<std::mutex> lock(outcome_.mutex);
    outcome_.status = status;
    outcome_.closed = true;
    outcome_.changed.notify_all();
  }

 private:
  void Say(const std::string& body) {
    v1::HandshakeMessage message;
    message.set_body(body);
    link_->SendHandshake(message);
  }
  std::shared_ptr<Link> link_;
  Outcome& outcome_;
};

class TransportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/blindcart-transport-XXXXXX";  // Short: a socket's path has 107 bytes.
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    auto made = crypto::MakeSelfSignedCertificate(kBrokerTlsName, {kBrokerTlsName}, 30);
    ASSERT_TRUE(made.ok()) << made.status();
    tls_ = {made->certificate_pem, made->private_key_pem};
  }

  void TearDown() override { std::filesystem::remove_all(folder_); }

  // One round over a link: what came back and how it ended.
  void Talk(const std::shared_ptr<grpc::Channel>& channel, Outcome& outcome) {
    auto stub = v1::Broker::NewStub(channel);
    DialGrpcLink(
        *stub, LinkKind::kCustomer,
        [&outcome](std::shared_ptr<Link> link) {
          return std::make_unique<ClientHandler>(link, outcome);
        },
        counters_);
    outcome.WaitForClose();
  }

  std::string folder_;
  ServerTls tls_;
  EchoService service_;
  protocol::RefusalCounters counters_;
};

TEST_F(TransportTest, LinkOverTlsEndsWithTheOneRefusal) {
  auto server = ServerRunner::Start(service_, {{"127.0.0.1:0"}, tls_});
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_THAT((*server)->addresses()[0], StartsWith("127.0.0.1:"));
  EXPECT_NE((*server)->addresses()[0], "127.0.0.1:0");
  auto channel = DialBroker((*server)->addresses()[0], tls_.certificate_pem, false, "link");
  ASSERT_TRUE(channel.ok()) << channel.status();
  Outcome outcome;
  Talk(*channel, outcome);
  EXPECT_EQ(outcome.echoed, "hello");
  EXPECT_TRUE(protocol::IsRefusal(outcome.status)) << outcome.status;
}

TEST_F(TransportTest, AnotherRootIsNotTrusted) {
  auto server = ServerRunner::Start(service_, {{"127.0.0.1:0"}, tls_});
  ASSERT_TRUE(server.ok()) << server.status();
  auto other = crypto::MakeSelfSignedCertificate(kBrokerTlsName, {kBrokerTlsName}, 30);
  ASSERT_TRUE(other.ok());
  auto channel = DialBroker((*server)->addresses()[0], other->certificate_pem, false, "link");
  ASSERT_TRUE(channel.ok());
  Outcome outcome;
  Talk(*channel, outcome);
  EXPECT_EQ(outcome.echoed, "");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
}

// What the system's own TLS client prints when it connects with `options`.
std::string SClient(const std::string& address, const std::string& options) {
  const std::string command =
      "openssl s_client -connect " + address + " " + options + " -alpn h2 </dev/null 2>&1";
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  char buffer[4096];
  while (size_t got = fread(buffer, 1, sizeof(buffer), pipe)) output.append(buffer, got);
  pclose(pipe);
  return output;
}

TEST_F(TransportTest, OnlyTls13IsSpoken) {
  auto server = ServerRunner::Start(service_, {{"127.0.0.1:0"}, tls_});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = (*server)->addresses()[0];
  EXPECT_THAT(SClient(address, "-tls1_3"), HasSubstr("Cipher is TLS_"));
  EXPECT_THAT(SClient(address, "-tls1_2"), HasSubstr("Cipher is (NONE)"));
}

TEST_F(TransportTest, UnixSocketIsForItsOwnerOnlyAndGuarded) {
  const std::string path = folder_ + "/s.sock";
  auto server = ServerRunner::Start(service_, {{"unix:" + path}, {}});
  ASSERT_TRUE(server.ok()) << server.status();
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  Outcome outcome;
  Talk(DialLocal(path), outcome);
  EXPECT_EQ(outcome.echoed, "hello");
  EchoService second;
  EXPECT_EQ(ServerRunner::Start(second, {{"unix:" + path}, {}}).status().code(),
            absl::StatusCode::kAlreadyExists);
  server->reset();
  EXPECT_TRUE(ServerRunner::Start(second, {{"unix:" + path}, {}}).ok());
}

TEST_F(TransportTest, PlainTcpIsForLoopbackAndOnlyWhenAskedFor) {
  EXPECT_EQ(ServerRunner::Start(service_, {{"127.0.0.1:0"}, {}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ServerRunner::Start(service_, {{"0.0.0.0:0"}, {}, true}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DialBroker("192.0.2.1:7443", "", true, "link").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DialBroker("127.0.0.1:7443", "", false, "link").status().code(),
            absl::StatusCode::kInvalidArgument);
  auto server = ServerRunner::Start(service_, {{"127.0.0.1:0"}, {}, true});
  ASSERT_TRUE(server.ok()) << server.status();
  auto channel = DialBroker((*server)->addresses()[0], "", true, "link");
  ASSERT_TRUE(channel.ok());
  Outcome outcome;
  Talk(*channel, outcome);
  EXPECT_EQ(outcome.echoed, "hello");
}

TEST(AddressTest, LoopbackIsRecognised) {
  for (const char* yes : {"127.0.0.1:1", "127.8.9.10:443", "[::1]:7443", "localhost:80"}) {
    EXPECT_TRUE(IsLoopbackAddress(yes)) << yes;
  }
  for (const char* no : {"0.0.0.0:1", "127.example.com:1", "10.0.0.1:1", "[::]:1", "unix:/x",
                         "127.0.0.1", "localhost", ":1", ""}) {
    EXPECT_FALSE(IsLoopbackAddress(no)) << no;
  }
}

TEST(SourceOfPeerTest, NamesAddressesWithoutPortsAndNothingLocal) {
  EXPECT_EQ(SourceOfPeer("ipv4:192.0.2.1:4711"), "ipv4:192.0.2.1");
  EXPECT_EQ(SourceOfPeer("ipv6:%5B2001:db8::1%5D:4711"), "ipv6:%5B2001:db8::1%5D");
  EXPECT_EQ(SourceOfPeer("ipv4:127.0.0.1:4711"), "");
  EXPECT_EQ(SourceOfPeer("ipv6:%5B::1%5D:4711"), "");
  EXPECT_EQ(SourceOfPeer("unix:/run/broker.sock"), "");
  EXPECT_EQ(SourceOfPeer(""), "");
}

TEST(AddressTest, BadAddressesAreExplained) {
  EchoService service;
  for (const char* bad : {"nonsense", "host:port", "host:70000", "::1:7443", ""}) {
    EXPECT_EQ(ServerRunner::Start(service, {{bad}, {"c", "k"}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
  EXPECT_EQ(ServerRunner::Start(service, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ServerRunner::Start(service, {{"unix:" + std::string(200, 'x')}, {}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart
