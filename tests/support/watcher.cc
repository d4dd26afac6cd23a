#include "tests/support/watcher.h"

#include <chrono>
#include <utility>
#include <vector>

#include <grpcpp/generic/generic_stub.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/broker_card.h"
#include "services/common/status_conversion.h"
#include "services/common/transport.h"

namespace blindcart::testing {
namespace {

// One message there and one back; a stream that carries no more is no different.
absl::StatusOr<std::string> CallWithBytes(const std::shared_ptr<grpc::Channel>& channel,
                                          const std::string& method, const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const grpc::Slice slice(bytes);
  auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return FromGrpcStatus(status);
  std::vector<grpc::Slice> slices;
  if (!reply.Dump(&slices).ok()) return absl::DataLossError("no reply");
  std::string answer;
  for (const grpc::Slice& part : slices) {
    answer.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  return answer;
}

}  // namespace

absl::StatusOr<std::string> MetricsAddress(Process& process) {
  static constexpr char kPrefix[] = "metrics address=";
  absl::StatusOr<std::string> line = process.WaitForLine(kPrefix);
  if (!line.ok()) return line.status();
  return line->substr(sizeof(kPrefix) - 1);
}

absl::StatusOr<Samples> Scrape(const std::string& metrics_address) {
  const absl::StatusOr<HttpReply> page = HttpGet(metrics_address, "/metrics");
  if (!page.ok()) return page.status();
  if (page->status != 200) return absl::UnavailableError(page->headers);
  Samples samples;
  for (const absl::string_view line : absl::StrSplit(page->body, '\n', absl::SkipEmpty())) {
    if (line[0] == '#') continue;
    const size_t space = line.rfind(' ');
    double value = 0;
    if (space == absl::string_view::npos || !absl::SimpleAtod(line.substr(space + 1), &value) ||
        !samples.emplace(std::string(line.substr(0, space)), value).second) {
      return absl::DataLossError(absl::StrCat("not a sample, or one twice: ", line));
    }
  }
  return samples;
}

int PageStatus(const std::string& metrics_address, const std::string& path) {
  const absl::StatusOr<HttpReply> page = HttpGet(metrics_address, path);
  return page.ok() ? page->status : 0;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> DialBrokerOf(const Marketplace& market) {
  const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(market.broker_card());
  if (!card.ok()) return card.status();
  return DialBroker(market.broker_address(), card->card.tls_root_pem(), /*plain_tcp=*/false,
                    "watch");
}

absl::StatusOr<bool> IsServing(const std::shared_ptr<grpc::Channel>& channel,
                               const std::string& service) {
  // HealthCheckRequest: field 1 is the service; HealthCheckResponse: field 1 is 1 for SERVING and 2
  // for NOT_SERVING.
  std::string request;
  if (!service.empty()) {
    request = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  }
  const absl::StatusOr<std::string> reply =
      CallWithBytes(channel, "/grpc.health.v1.Health/Check", request);
  if (!reply.ok()) return reply.status();
  if (*reply == "\x08\x01") return true;
  if (*reply == "\x08\x02") return false;
  return absl::DataLossError("not an answer of the health service");
}

absl::StatusOr<std::string> AskForServices(const std::shared_ptr<grpc::Channel>& channel) {
  // ServerReflectionRequest: field 7 asks for a list of services.
  return CallWithBytes(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                       "\x3a\x01*");
}

}  // namespace blindcart::testing
