#include "services/agent/grpc_goods_stream.h"

#include <grpcpp/grpcpp.h>
#include <stdlib.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"
#include "services/common/transport.h"

namespace blindcart::agent {
namespace {

constexpr int64_t kLongMs = 20'000;

// Sends frames numbered from 0, as many as it is told.
class FakeGoods final : public v1::Broker::CallbackService {
 public:
  class Writer final : public grpc::ServerWriteReactor<v1::GoodsMessage> {
   public:
    explicit Writer(FakeGoods& goods) : goods_(goods) { Write(); }
    void OnWriteDone(bool ok) override {
      if (!ok) {
        Finish(grpc::Status::CANCELLED);
        return;
      }
      ++goods_.written;
      Write();
    }
    void OnCancel() override {
      goods_.cancelled = true;
      if (goods_.stall) Finish(grpc::Status::CANCELLED);
    }
    void OnDone() override {
      ++goods_.done;
      delete this;
    }

   private:
    void Write() {
      if (next_ == goods_.frames) {
        if (!goods_.stall) Finish(goods_.status);
        return;
      }
      message_.mutable_frame()->set_seq(next_++);
      message_.mutable_frame()->set_ciphertext(std::string(256 * 1024, 'x'));
      StartWrite(&message_);
    }
    FakeGoods& goods_;
    uint64_t next_ = 0;
    v1::GoodsMessage message_;
  };

  grpc::ServerWriteReactor<v1::GoodsMessage>* FetchGoods(grpc::CallbackServerContext* /*context*/,
                                                         const v1::GoodsHeader* header) override {
    delivery_id = header->delivery_id();
    return new Writer(*this);
  }

  uint64_t frames = 0;
  bool stall = false;  // Neither ends nor goes on.
  grpc::Status status = grpc::Status::OK;
  std::string delivery_id;
  std::atomic<uint64_t> written{0};
  std::atomic<int> done{0};
  std::atomic<bool> cancelled{false};
};

class GrpcGoodsStreamTest : public ::testing::Test {
 protected:
  GrpcGoodsStreamTest() {
    std::string folder = "/tmp/goods-XXXXXX";  // A socket's path is short.
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    ServerRunner::Options options;
    options.listen = {"unix:" + folder + "/s"};
    auto server = ServerRunner::Start(goods_, options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Broker::NewStub(*DialBroker(options.listen[0], "", false, "goods"));
  }
  ~GrpcGoodsStreamTest() override { server_->Shutdown(1000); }

  FakeGoods goods_;
  std::unique_ptr<ServerRunner> server_;
  std::unique_ptr<v1::Broker::Stub> stub_;
};

TEST_F(GrpcGoodsStreamTest, ReadsEveryFrameInOrderThenTheEnd) {
  goods_.frames = 40;
  const auto stream = FetchGrpcGoods(*stub_, "0123456789abcdef");
  v1::Frame frame;
  for (uint64_t i = 0; i < goods_.frames; ++i) {
    const auto next = stream->Next(&frame, kLongMs);
    ASSERT_TRUE(next.ok()) << next.status();
    ASSERT_TRUE(*next);
    EXPECT_EQ(frame.seq(), i);
    EXPECT_EQ(frame.ciphertext().size(), 256u * 1024);
  }
  const auto end = stream->Next(&frame, kLongMs);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(*end);
  EXPECT_EQ(goods_.delivery_id, "0123456789abcdef");
}

TEST_F(GrpcGoodsStreamTest, AnErrorIsUnavailable) {
  goods_.frames = 1;
  goods_.status = grpc::Status(grpc::StatusCode::NOT_FOUND, "");
  const auto stream = FetchGrpcGoods(*stub_, "id");
  v1::Frame frame;
  EXPECT_TRUE(stream->Next(&frame, kLongMs).ok());
  EXPECT_TRUE(absl::IsUnavailable(stream->Next(&frame, kLongMs).status()));
  EXPECT_TRUE(absl::IsUnavailable(stream->Next(&frame, kLongMs).status()));
}

TEST_F(GrpcGoodsStreamTest, ASlowReaderHoldsTheSenderUp) {
  goods_.frames = 1000;
  {
    const auto stream = FetchGrpcGoods(*stub_, "id");
    v1::Frame frame;
    ASSERT_TRUE(stream->Next(&frame, kLongMs).ok());
    // The look-ahead and what the connection itself holds, but never all of it.
    EXPECT_LT(goods_.written, 200u);
    ASSERT_TRUE(stream->Next(&frame, kLongMs).ok());
    EXPECT_EQ(frame.seq(), 1u);
  }
  // Letting go of the stream ends the call.
  EXPECT_TRUE(testing::TestWorld::Await([&] { return goods_.done == 1; }));
  EXPECT_LT(goods_.written, 1000u);
}

TEST_F(GrpcGoodsStreamTest, SilenceEndsInATimeout) {
  goods_.stall = true;
  const auto stream = FetchGrpcGoods(*stub_, "id");
  v1::Frame frame;
  EXPECT_TRUE(absl::IsUnavailable(stream->Next(&frame, 30).status()));
  stream->Cancel();
  EXPECT_TRUE(absl::IsUnavailable(stream->Next(&frame, kLongMs).status()));
  EXPECT_TRUE(testing::TestWorld::Await([&] { return goods_.cancelled.load(); }));
}

}  // namespace
}  // namespace blindcart::agent
