// The proxy of the containers, run on loopback before real brokers: purchases pass through it, a
// killed broker is taken out and comes back, and its limits and rules hold.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "crypto/tls_certificate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/broker.grpc.pb.h"
#include "services/common/transport.h"
#include "services/storage/testing/postgres_server.h"
#include "tests/deploy/haproxy.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/marketplace.h"
#include "tests/support/process.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using storage::testing::PostgresServer;
using ::testing::HasSubstr;

constexpr char kBrokerProgram[] = "services/broker/broker";
constexpr char kShop[] = "quiet-books";
const CustomerSpec kAlice = {"alice", "violet umbrella 7", "1001", "2468", "100.00"};

class Folder {
 public:
  Folder() { made_ = mkdtemp(path_.data()) != nullptr; }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  bool made() const { return made_; }
  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
    return path_ + "/" + name;
  }

 private:
  std::string path_ = "/tmp/blindcart-haproxy-XXXXXX";  // Short: sockets lie in it.
  bool made_ = false;
};

// A broker of several, with its readiness on a port of its own. Takes the same ports at every start.
class ServedBroker {
 public:
  explicit ServedBroker(std::string dir) : dir_(std::move(dir)) {}
  absl::Status Start() {
    std::vector<std::string> arguments = {"serve", "--data-dir", dir_, "--listen",
                                          address_.empty() ? "127.0.0.1:0" : address_};
    auto process = Process::Start(
        {kBrokerProgram, arguments, {{"BLINDCART_PASSPHRASE", Marketplace::kPassphrase}}, ""});
    if (!process.ok()) return process.status();
    absl::StatusOr<std::string> metrics = (*process)->WaitForLine("metrics address=");
    if (!metrics.ok()) return metrics.status();
    absl::StatusOr<std::string> ready = (*process)->WaitForLine("ready address=");
    if (!ready.ok()) return ready.status();
    if (address_.empty()) {
      address_ = ready->substr(ready->find('=') + 1);
      metrics_address_ = metrics->substr(metrics->find('=') + 1);
      ReplaceInFile(dir_ + "/broker.textproto", "metrics_listen: \"127.0.0.1:0\"",
                    "metrics_listen: \"" + metrics_address_ + "\"");
    }
    process_ = *std::move(process);
    return absl::OkStatus();
  }
  void Kill() { process_.reset(); }
  Haproxy::Broker contact() const {
    return {address_, metrics_address_, dir_ + "/tls/certificate.pem"};
  }
  const std::string& dir() const { return dir_; }

 private:
  const std::string dir_;
  std::string address_;
  std::string metrics_address_;
  std::unique_ptr<Process> process_;
};

// Two brokers over one PostgreSQL behind the proxy, a shop linked to both, and a customer.
class BehindHaproxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(folder_.made());
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    absl::StatusOr<std::unique_ptr<Marketplace>> market =
        Marketplace::Create(folder_.path(), {"--store", *server_->CreateDatabase()});
    ASSERT_TRUE(market.ok()) << market.status();
    market_ = *std::move(market);
    brokers_.emplace_back(market_->broker_dir());
    brokers_.emplace_back(folder_.path() + "/second");
    const absl::StatusOr<Output> joined =
        RunToEnd({kBrokerProgram,
                  {"join", "--from", brokers_[0].dir(), "--data-dir", brokers_[1].dir(), "--listen",
                   "127.0.0.1:1"},
                  {},
                  ""});
    ASSERT_TRUE(joined.ok()) << joined.status();
    ASSERT_EQ(joined->exit_code, 0) << joined->err;
    for (ServedBroker& broker : brokers_) {
      ReplaceInFile(broker.dir() + "/broker.textproto", "metrics_listen: \"\"",
                    "metrics_listen: \"127.0.0.1:0\"");
      const absl::Status started = broker.Start();
      ASSERT_TRUE(started.ok()) << started;
    }
    StartHaproxy();
    ASSERT_NE(haproxy_, nullptr);
    StartShopAndCustomer();
  }

  void StartHaproxy() {
    Haproxy::Options options;
    options.certificate_file = folder_.Write(
        "certificate.pem", FileContent(brokers_[0].dir() + "/tls/certificate.pem") +
                               FileContent(brokers_[0].dir() + "/tls/private_key.pem"));
    options.brokers = {brokers_[0].contact(), brokers_[1].contact()};
    absl::StatusOr<std::unique_ptr<Haproxy>> haproxy = Haproxy::Start(options);
    ASSERT_TRUE(haproxy.ok()) << haproxy.status();
    haproxy_ = *std::move(haproxy);
  }

  void StartShopAndCustomer() {
    absl::Status status = market_->AddMerchant(kShop, "2001", haproxy_->broker_address(0));
    ASSERT_TRUE(status.ok()) << status;
    std::ofstream(market_->merchant_dir(kShop) + "/merchant.textproto", std::ios::app)
        << "brokers { address: \"" << haproxy_->broker_address(1)
        << "\" card_path: \"broker.card\" }\n";
    status = market_->StartMerchant(kShop);
    ASSERT_TRUE(status.ok()) << status;
    status = market_->AddCustomer(kAlice, haproxy_->customers_address());
    ASSERT_TRUE(status.ok()) << status;
    status = market_->StartAgent(kAlice.username);
    ASSERT_TRUE(status.ok()) << status;
    WaitUntil("HAProxy sees both brokers", [&] { return IsUp(0) && IsUp(1); });
    status = market_->Login(kAlice.username);
    ASSERT_TRUE(status.ok()) << status;
    WaitUntil("the shop is linked to both brokers", [&] {
      const absl::StatusOr<Output> shown = market_->MerchantCommand(kShop, {"status", "--json"});
      if (!shown.ok() || shown->exit_code != 0) return false;
      const json status = json::parse(shown->out);
      for (const json& broker : status["brokers"]) {
        if (!broker.value("connected", false)) return false;
      }
      return status["brokers"].size() == 2;
    });
  }

  static std::string Labels(int broker) {
    return absl::StrCat("{proxy=\"customers\",server=\"broker-", broker + 1, "\"");
  }
  bool IsUp(int broker) const {
    return haproxy_->Figure(
               absl::StrCat("haproxy_server_status", Labels(broker), ",state=\"UP\"}")) == 1;
  }
  // The broker that HAProxy sends the customer to; -1 when to none or both.
  int BrokerOfAlice() const {
    int found = -1;
    for (int i = 0; i < 2; ++i) {
      if (haproxy_->Figure(absl::StrCat("haproxy_server_current_sessions", Labels(i), "}")) <= 0) {
        continue;
      }
      if (found >= 0) return -1;
      found = i;
    }
    return found;
  }

  // False when it has to be tried again.
  bool TryToBuy(const std::string& id) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"browse", kShop},
          {"buy", id, "--account", kAlice.account, "--pin-file", market_->pin_file(kAlice.username),
           "--yes"}}) {
      const absl::StatusOr<Output> output = market_->Cli(kAlice.username, arguments);
      if (!output.ok() || output->exit_code != kOk) {
        last_error_ = output.ok() ? output->err : std::string(output.status().message());
        return false;
      }
    }
    return true;
  }
  void OfferAndBuy(const std::string& title, uint32_t seed) {
    const std::string content = Content(700'000, seed);
    const absl::StatusOr<std::string> id =
        market_->AddProduct(kShop, Goods(title, "2.00", content));
    ASSERT_TRUE(id.ok()) << id.status();
    WaitUntil("a purchase passes", [&] { return TryToBuy(*id); });
    const std::string file =
        absl::StrCat(market_->agent_dir(kAlice.username), "/purchases/", title, ".pdf");
    EXPECT_TRUE(FileContent(file) == content) << last_error_;
  }

  Folder folder_;
  std::unique_ptr<PostgresServer> server_;
  std::unique_ptr<Marketplace> market_;
  std::vector<ServedBroker> brokers_;
  std::unique_ptr<Haproxy> haproxy_;
  std::string last_error_;
};

TEST_F(BehindHaproxyTest, PurchasesPassAndAKilledBrokerIsTakenOutUntilItIsBack) {
  ASSERT_NE(haproxy_, nullptr);
  OfferAndBuy("Before", 1);
  const int killed = BrokerOfAlice();
  ASSERT_GE(killed, 0);

  brokers_[killed].Kill();
  OfferAndBuy("Meanwhile", 2);
  WaitUntil("HAProxy has taken the broker out", [&] { return !IsUp(killed); });
  EXPECT_TRUE(IsUp(1 - killed));
  EXPECT_EQ(BrokerOfAlice(), 1 - killed);
  EXPECT_TRUE(haproxy_->Page("/healthz").ok());

  ASSERT_TRUE(brokers_[killed].Start().ok());
  WaitUntil("HAProxy has taken the broker in again", [&] { return IsUp(killed); });
  OfferAndBuy("Afterwards", 3);

  const absl::StatusOr<Output> audit = market_->BrokerCommand({"audit"});
  ASSERT_TRUE(audit.ok()) << audit.status();
  EXPECT_EQ(audit->exit_code, 0) << audit->out << audit->err;
  const absl::StatusOr<Output> orders = market_->BrokerCommand({"list", "orders", "--json"});
  ASSERT_TRUE(orders.ok()) << orders.status();
  EXPECT_EQ(json::parse(orders->out)["orders"].size(), 3u);

  brokers_[0].Kill();
  brokers_[1].Kill();
  WaitUntil("HAProxy says that there is no broker",
            [&] { return !haproxy_->Page("/healthz").ok(); });
}

// The proxy alone, with nobody behind it.
class HaproxyAloneTest : public ::testing::Test {
 protected:
  void Start(const std::map<std::string, std::string>& limits) {
    ASSERT_TRUE(folder_.made());
    const absl::StatusOr<crypto::TlsCertificate> tls =
        crypto::MakeSelfSignedCertificate(kBrokerTlsName, {kBrokerTlsName}, /*days=*/2);
    ASSERT_TRUE(tls.ok()) << tls.status();
    root_pem_ = tls->certificate_pem;
    Haproxy::Options options;
    options.certificate_file =
        folder_.Write("certificate.pem", tls->certificate_pem + tls->private_key_pem);
    const std::string root = folder_.Write("root.pem", root_pem_);
    options.brokers = {{nobody_[0].address(), nobody_[1].address(), root},
                       {nobody_[2].address(), nobody_[3].address(), root}};
    options.limits = limits;
    absl::StatusOr<std::unique_ptr<Haproxy>> haproxy = Haproxy::Start(options);
    ASSERT_TRUE(haproxy.ok()) << haproxy.status();
    haproxy_ = *std::move(haproxy);
  }

  std::unique_ptr<v1::Broker::Stub> Dial(const std::string& address) {
    return v1::Broker::NewStub(*DialBroker(address, root_pem_, /*plain_tcp=*/false, "link"));
  }
  // What becomes of one empty customer's link.
  static grpc::Status TryCustomerLink(v1::Broker::Stub& stub, int timeout_s = 60) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(timeout_s));
    const auto stream = stub.CustomerLink(&context);
    v1::LinkMessage message;
    while (stream->Read(&message)) {
    }
    return stream->Finish();
  }

  double CustomersConnections() const {
    return haproxy_->Figure("haproxy_frontend_current_sessions{proxy=\"customers\"}");
  }

  Folder folder_;
  ReservedPort nobody_[4];
  std::string root_pem_;
  std::unique_ptr<Haproxy> haproxy_;
};

TEST_F(HaproxyAloneTest, LetsThroughWhatBelongsToADoorAndSaysThatNoBrokerIsThere) {
  Start({});
  ASSERT_NE(haproxy_, nullptr);
  const auto customers = Dial(haproxy_->customers_address());
  const grpc::Status link = TryCustomerLink(*customers);
  EXPECT_EQ(link.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(link.error_message(), HasSubstr("no broker is ready"));
  {
    grpc::ClientContext context;
    v1::FollowIdentityReply followed;
    EXPECT_EQ(customers->FollowIdentity(&context, {}, &followed).error_code(),
              grpc::StatusCode::UNAVAILABLE)
        << "nobody learns of changed keys";
  }
  {
    grpc::ClientContext context;
    v1::GoodsSent sent;
    const auto goods = customers->SendGoods(&context, &sent);
    goods->WritesDone();
    EXPECT_EQ(goods->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED)
        << "a merchant's call at the customers' door";
  }
  const auto merchants = Dial(haproxy_->broker_address(1));
  {
    grpc::ClientContext context;
    v1::GoodsSent sent;
    const auto goods = merchants->SendGoods(&context, &sent);
    goods->WritesDone();
    EXPECT_EQ(goods->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

bool IsStillOpen(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}
int Connect(const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

class SilentConnections {
 public:
  SilentConnections(const std::string& address, int count) {
    for (int i = 0; i < count; ++i) Add(address);
  }
  ~SilentConnections() {
    for (const int fd : fds_) close(fd);
  }
  SilentConnections(const SilentConnections&) = delete;
  SilentConnections& operator=(const SilentConnections&) = delete;

  void Add(const std::string& address) { fds_.push_back(Connect(address)); }
  // Those that the other end has closed. Which of several it is, HAProxy's threads race for.
  int CutOff() const {
    return static_cast<int>(fds_.size() - std::count_if(fds_.begin(), fds_.end(), IsStillOpen));
  }

 private:
  std::vector<int> fds_;
};

TEST_F(HaproxyAloneTest, HoldsEachSourceToSoManyConnectionsAndRequests) {
  Start({{"BLINDCART_SOURCE_CONNECTIONS", "3"},
         {"BLINDCART_SOURCE_NEW_CONNECTIONS_PER_10S", "1000"},
         {"BLINDCART_SOURCE_REQUESTS_PER_10S", "5"}});
  ASSERT_NE(haproxy_, nullptr);
  {
    SilentConnections silent(haproxy_->customers_address(), 3);
    // One door's connections count at the others.
    silent.Add(haproxy_->broker_address(0));
    WaitUntil("one of four is cut off", [&] { return silent.CutOff() == 1; });
  }
  WaitUntil("the connections are forgotten", [&] { return CustomersConnections() == 0; });

  const auto stub = Dial(haproxy_->customers_address());
  int refused = 0;
  for (int i = 0; i < 10; ++i) {
    const grpc::Status status = TryCustomerLink(*stub);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    if (status.error_message().find("too many requests") != std::string::npos) ++refused;
  }
  EXPECT_GE(refused, 1);
}

TEST_F(HaproxyAloneTest, SilenceAtTheOperatorsDoorShutsNoOther) {
  Start({{"BLINDCART_MAX_CONNECTIONS", "40"}});
  ASSERT_NE(haproxy_, nullptr);
  const SilentConnections silent(haproxy_->operator_address(), 40);
  // Sooner than the five seconds after which silence at that door ends.
  EXPECT_THAT(
      TryCustomerLink(*Dial(haproxy_->customers_address()), /*timeout_s=*/4).error_message(),
      HasSubstr("no broker is ready"));
}

TEST_F(HaproxyAloneTest, SilenceAtTheCustomersDoorShutsNoOther) {
  Start({{"BLINDCART_MAX_CONNECTIONS", "40"},
         {"BLINDCART_MAX_CUSTOMERS", "20"},
         {"BLINDCART_MAX_MERCHANTS", "8"},
         {"BLINDCART_SOURCE_CONNECTIONS", "100"},
         {"BLINDCART_SOURCE_NEW_CONNECTIONS_PER_10S", "100"}});
  ASSERT_NE(haproxy_, nullptr);
  const SilentConnections silent(haproxy_->customers_address(), 40);
  EXPECT_THAT(TryCustomerLink(*Dial(haproxy_->broker_address(1))).error_message(),
              HasSubstr("no broker is ready"));
  // The operator's page is answered, too.
  WaitUntil("the customers' places are taken", [&] { return CustomersConnections() == 20; });
}

// A shop's and an agent's connections, and their next ones while the old ones are ending, are few.
TEST_F(HaproxyAloneTest, ASourceHasSixteenConnectionsUnlessSaidOtherwise) {
  Start({});
  ASSERT_NE(haproxy_, nullptr);
  const SilentConnections silent(haproxy_->customers_address(), 17);
  WaitUntil("one of seventeen is cut off", [&] { return silent.CutOff() == 1; });
}

}  // namespace
}  // namespace blindcart::testing
