// Goods over a real stream to a broker in the same process.
#include "services/merchant/grpc_goods.h"

#include <stdlib.h>

#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/common/transport.h"

namespace blindcart::merchant {
namespace {

// Keeps what arrives; refuses a delivery whose id begins with "no".
class KeepingBroker : public v1::Broker::CallbackService {
 public:
  class Reader : public grpc::ServerReadReactor<v1::GoodsMessage> {
   public:
    explicit Reader(KeepingBroker& broker) : broker_(broker) { StartRead(&message_); }
    void OnReadDone(bool ok) override {
      if (!ok) {
        broker_.ended.set_value(received_);
        Finish(grpc::Status::OK);
        return;
      }
      received_.push_back(message_);
      if (message_.header().delivery_id() == "no") {
        Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, ""));
        return;
      }
      StartRead(&message_);
    }
    void OnDone() override { delete this; }

   private:
    KeepingBroker& broker_;
    v1::GoodsMessage message_;
    std::vector<v1::GoodsMessage> received_;
  };

  grpc::ServerReadReactor<v1::GoodsMessage>* SendGoods(grpc::CallbackServerContext*,
                                                       v1::GoodsSent*) override {
    return new Reader(*this);
  }

  std::promise<std::vector<v1::GoodsMessage>> ended;
};

class WaitingEvents : public GoodsStream::Events {
 public:
  void OnWritten(bool ok) override { written.set_value(ok); }
  void OnDone(const absl::Status& status) override { done.set_value(status); }
  bool WaitWritten() {
    const bool ok = written.get_future().get();
    written = std::promise<bool>();
    return ok;
  }
  std::promise<bool> written;
  std::promise<absl::Status> done;
};

class GrpcGoodsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ServerRunner::Options options;
    char folder[] = "/tmp/blindcart-goods-XXXXXX";  // Short: a socket's path has 107 bytes.
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    options.listen = {absl::StrCat("unix:", folder_, "/broker.sock")};
    auto runner = ServerRunner::Start(broker_, options);
    ASSERT_TRUE(runner.ok()) << runner.status();
    runner_ = *std::move(runner);
    auto channel = DialBroker(options.listen[0], "", false, "goods");
    ASSERT_TRUE(channel.ok());
    transport_ = std::make_unique<GrpcGoodsTransport>(v1::Broker::NewStub(*channel));
  }
  void TearDown() override {
    runner_.reset();
    std::filesystem::remove_all(folder_);
  }
  static v1::GoodsMessage Header(const std::string& id) {
    v1::GoodsMessage message;
    message.mutable_header()->set_delivery_id(id);
    return message;
  }

  std::string folder_;
  KeepingBroker broker_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<GrpcGoodsTransport> transport_;
};

TEST_F(GrpcGoodsTest, CarriesEveryMessageAndTheEnd) {
  auto events = std::make_shared<WaitingEvents>();
  const std::shared_ptr<GoodsStream> stream = transport_->Open(events);
  v1::GoodsMessage message = Header("delivery");
  stream->Write(message);
  ASSERT_TRUE(events->WaitWritten());
  message.mutable_frame()->set_ciphertext(std::string(256 * 1024, 'c'));
  for (uint64_t seq = 0; seq < 5; ++seq) {
    message.mutable_frame()->set_seq(seq);
    stream->Write(message);
    ASSERT_TRUE(events->WaitWritten());
  }
  stream->WritesDone();
  EXPECT_TRUE(events->done.get_future().get().ok());
  const std::vector<v1::GoodsMessage> received = broker_.ended.get_future().get();
  ASSERT_EQ(received.size(), 6u);
  EXPECT_EQ(received[0].header().delivery_id(), "delivery");
  EXPECT_EQ(received[5].frame().seq(), 4u);
  EXPECT_EQ(received[5].frame().ciphertext().size(), 256u * 1024);
}

TEST_F(GrpcGoodsTest, ABrokersRefusalEndsTheStream) {
  auto events = std::make_shared<WaitingEvents>();
  const std::shared_ptr<GoodsStream> stream = transport_->Open(events);
  v1::GoodsMessage message = Header("no");
  stream->Write(message);
  events->WaitWritten();
  // Sooner or later a write tells that nobody listens any more.
  message.mutable_frame()->set_ciphertext(std::string(256 * 1024, 'c'));
  do {
    stream->Write(message);
  } while (events->WaitWritten());
  stream->Cancel();
  EXPECT_FALSE(events->done.get_future().get().ok());
}

TEST_F(GrpcGoodsTest, CancelEndsTheStreamAlsoTwiceAndAfterItsEnd) {
  auto events = std::make_shared<WaitingEvents>();
  const std::shared_ptr<GoodsStream> stream = transport_->Open(events);
  stream->Cancel();
  stream->Cancel();
  EXPECT_FALSE(events->done.get_future().get().ok());
  stream->Cancel();
}

}  // namespace
}  // namespace blindcart::merchant
