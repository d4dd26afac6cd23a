// An agent that answers what a test told it to, on a real Unix socket, and remembers what it was
// asked. An unscripted method fails with INTERNAL. Thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_TESTING_FAKE_AGENT_H_
#define BLINDCART_CLIENTS_CLI_TESTING_FAKE_AGENT_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <grpc/grpc.h>
#include "absl/status/statusor.h"
#include "proto/agent.grpc.pb.h"
#include "services/common/transport.h"

namespace blindcart::cli {

class FakeAgent final : public v1::Agent::Service {
 public:
  static absl::StatusOr<std::unique_ptr<FakeAgent>> Start(const std::string& socket_path) {
    // Taking all of gRPC down after each test can cost ten seconds.
    static const bool kept_up = (grpc_init(), true);
    (void)kept_up;
    auto agent = std::unique_ptr<FakeAgent>(new FakeAgent());
    ServerRunner::Options options;
    options.listen = {"unix:" + socket_path};
    options.max_message_bytes = kMaxLocalMessageBytes;
    auto runner = ServerRunner::Start(*agent, options);
    if (!runner.ok()) return runner.status();
    agent->runner_ = *std::move(runner);
    return agent;
  }
  ~FakeAgent() override { runner_.reset(); }

  void Script(const std::string& method, const google::protobuf::Message& reply) {
    std::lock_guard<std::mutex> lock(mutex_);
    answers_[method] = {grpc::Status::OK, reply.SerializeAsString()};
  }
  void Script(const std::string& method, grpc::StatusCode code, const std::string& words) {
    std::lock_guard<std::mutex> lock(mutex_);
    answers_[method] = {grpc::Status(code, words), ""};
  }
  void ScriptDownload(std::vector<v1::DownloadProgress> events, grpc::Status end) {
    std::lock_guard<std::mutex> lock(mutex_);
    events_ = std::move(events);
    answers_["Download"] = {std::move(end), ""};
  }

  int Calls(const std::string& method) const {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = requests_.find(method);
    return found == requests_.end() ? 0 : static_cast<int>(found->second.size());
  }
  // The last request of the method; an empty message when there was none.
  template <typename Request>
  Request Last(const std::string& method) const {
    std::lock_guard<std::mutex> lock(mutex_);
    Request request;
    const auto found = requests_.find(method);
    if (found != requests_.end()) request.ParseFromString(found->second.back());
    return request;
  }

  grpc::Status Login(grpc::ServerContext*, const v1::LoginRequest* request,
                     v1::LoginReply* reply) override {
    return Answer("Login", *request, reply);
  }
  grpc::Status Logout(grpc::ServerContext*, const v1::LogoutRequest* request,
                      v1::LogoutReply* reply) override {
    return Answer("Logout", *request, reply);
  }
  grpc::Status Status(grpc::ServerContext*, const v1::StatusRequest* request,
                      v1::StatusReply* reply) override {
    return Answer("Status", *request, reply);
  }
  grpc::Status ListShops(grpc::ServerContext*, const v1::ListShopsRequest* request,
                         v1::ListShopsReply* reply) override {
    return Answer("ListShops", *request, reply);
  }
  grpc::Status AddShop(grpc::ServerContext*, const v1::AddShopRequest* request,
                       v1::AddShopReply* reply) override {
    return Answer("AddShop", *request, reply);
  }
  grpc::Status Browse(grpc::ServerContext*, const v1::BrowseRequest* request,
                      v1::BrowseReply* reply) override {
    return Answer("Browse", *request, reply);
  }
  grpc::Status Search(grpc::ServerContext*, const v1::SearchRequest* request,
                      v1::SearchReply* reply) override {
    return Answer("Search", *request, reply);
  }
  grpc::Status Show(grpc::ServerContext*, const v1::ShowRequest* request,
                    v1::ShowReply* reply) override {
    return Answer("Show", *request, reply);
  }
  grpc::Status Checkout(grpc::ServerContext*, const v1::CheckoutOrderRequest* request,
                        v1::PurchaseReply* reply) override {
    return Answer("Checkout", *request, reply);
  }
  grpc::Status Pay(grpc::ServerContext*, const v1::PayRequest* request,
                   v1::PayReply* reply) override {
    return Answer("Pay", *request, reply);
  }
  grpc::Status Decline(grpc::ServerContext*, const v1::DeclineRequest* request,
                       v1::PurchaseReply* reply) override {
    return Answer("Decline", *request, reply);
  }
  grpc::Status Download(grpc::ServerContext*, const v1::DownloadRequest* request,
                        grpc::ServerWriter<v1::DownloadProgress>* writer) override {
    std::vector<v1::DownloadProgress> events;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      events = events_;
    }
    v1::DownloadProgress unused;
    grpc::Status end = Answer("Download", *request, &unused);
    for (const v1::DownloadProgress& event : events) writer->Write(event);
    return end;
  }
  grpc::Status ListPurchases(grpc::ServerContext*, const v1::ListPurchasesRequest* request,
                             v1::ListPurchasesReply* reply) override {
    return Answer("ListPurchases", *request, reply);
  }
  grpc::Status Verify(grpc::ServerContext*, const v1::VerifyRequest* request,
                      v1::VerifyReply* reply) override {
    return Answer("Verify", *request, reply);
  }
  grpc::Status Balance(grpc::ServerContext*, const v1::BalanceRequest* request,
                       v1::BalanceReply* reply) override {
    return Answer("Balance", *request, reply);
  }

 private:
  struct Answered {
    grpc::Status status;
    std::string reply;
  };

  FakeAgent() = default;

  template <typename Request, typename Reply>
  grpc::Status Answer(const std::string& method, const Request& request, Reply* reply) {
    std::lock_guard<std::mutex> lock(mutex_);
    requests_[method].push_back(request.SerializeAsString());
    const auto found = answers_.find(method);
    if (found == answers_.end()) {
      return grpc::Status(grpc::StatusCode::INTERNAL, method + " is not scripted");
    }
    reply->ParseFromString(found->second.reply);
    return found->second.status;
  }

  mutable std::mutex mutex_;
  std::map<std::string, Answered> answers_;
  std::map<std::string, std::vector<std::string>> requests_;
  std::vector<v1::DownloadProgress> events_;
  std::unique_ptr<ServerRunner> runner_;
};

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_TESTING_FAKE_AGENT_H_
