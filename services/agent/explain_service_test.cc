#include "services/agent/explain_service.h"

#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "crypto/encoding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"
#include "services/common/transport.h"

namespace blindcart::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using testing::TestWorld;

// Reads one stream of steps over a Unix socket, as the command line does.
class Reader {
 public:
  explicit Reader(v1::AgentExplain::Stub& stub) : stream_(stub.Explain(&context_)) { Steps(); }
  ~Reader() { context_.TryCancel(); }

  // All steps since the last call.
  std::vector<std::string> Steps() {
    std::vector<std::string> steps;
    v1::ExplainRequest request;
    request.set_mark(++mark_);
    EXPECT_TRUE(stream_->Write(request));
    v1::ExplainMessage message;
    while (message.mark() != mark_) {
      if (!stream_->Read(&message)) {
        ADD_FAILURE() << "the stream ended";
        break;
      }
      if (message.kind_case() == v1::ExplainMessage::kStep) steps.push_back(message.step());
      left_out_ += message.left_out();
    }
    return steps;
  }
  uint64_t left_out() const { return left_out_; }
  // Closes this side; what was said still arrives.
  std::vector<std::string> End() {
    std::vector<std::string> steps;
    stream_->WritesDone();
    v1::ExplainMessage message;
    while (stream_->Read(&message)) steps.push_back(message.step());
    EXPECT_TRUE(stream_->Finish().ok());
    return steps;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ExplainRequest, v1::ExplainMessage>> stream_;
  uint64_t mark_ = 0;
  uint64_t left_out_ = 0;
};

class ExplainServiceTest : public ::testing::Test {
 protected:
  explicit ExplainServiceTest(Narrator& narrator = Narration()) : service_(narrator) {
    std::string folder = "/tmp/explain-XXXXXX";  // A socket's path is short.
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    const std::string socket = folder + "/s";
    ServerRunner::Options options;
    options.listen = {"unix:" + socket};
    auto server = ServerRunner::Start(service_, options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::AgentExplain::NewStub(DialLocal(socket));
  }
  ~ExplainServiceTest() override { server_->Shutdown(5'000); }

  ExplainService service_;
  std::unique_ptr<ServerRunner> server_;
  std::unique_ptr<v1::AgentExplain::Stub> stub_;
};

TEST_F(ExplainServiceTest, TellsALoginStepByStep) {
  TestWorld world;
  Reader reader(*stub_);
  ASSERT_TRUE(world.Login().ok());
  EXPECT_THAT(
      reader.Steps(),
      ElementsAre(StartsWith("login: hello sent"), StartsWith("login: the broker's challenge rec"),
                  StartsWith("login: challenge verified"), StartsWith("login: keys established"),
                  StartsWith("login: the broker's Finished checked"),
                  StartsWith("login: our Finished sent"), HasSubstr("logged in")));
}

TEST_F(ExplainServiceTest, TellsALoginThatFails) {
  TestWorld world;
  Reader reader(*stub_);
  ASSERT_FALSE(world.Login("wrong password").ok());
  const std::vector<std::string> steps = reader.Steps();
  ASSERT_FALSE(steps.empty());
  EXPECT_THAT(steps.back(), HasSubstr("does not accept"));
}

TEST_F(ExplainServiceTest, TellsAPurchaseAndNoSecretOfIt) {
  TestWorld world;
  Reader reader(*stub_);
  ASSERT_TRUE(world.Login("correct horse").ok());
  const PurchaseRecord bought = world.Bought("A Quiet Book", "some content");
  ASSERT_TRUE(world.agent().downloader().Download(TestWorld::Id(bought), false, nullptr).ok());
  const std::string told = absl::StrJoin(reader.Steps(), "\n");
  size_t at = 0;
  for (const char* step :
       {"login: hello sent", "shop: hello sent through the broker", "shop: keys established",
        "shop: asked for what changed", "shop: a page of the catalogue", "checkout: product and a",
        "commitment computed anew", "checkout: the broker's copy compared",
        "payment: order, account", "payment: paid; the broker's receipt checked",
        "delivery: order key and receipt shown", "delivery: the shop delivers",
        "delivery: every piece came", "delivery: the content's hash"}) {
    const size_t found = told.find(step, at);
    ASSERT_NE(found, std::string::npos) << step << "\nin\n" << told;
    at = found;
  }
  for (const std::string& secret :
       {std::string("correct horse"), std::string("1234"), bought.order_key,
        crypto::HexEncode(bought.order_key), std::string("A Quiet Book"), bought.title,
        world.broker.account}) {
    EXPECT_THAT(told, Not(HasSubstr(secret)));
  }
}

TEST_F(ExplainServiceTest, WhatWasSaidBeforeTheReaderClosedItsSideStillArrives) {
  Reader reader(*stub_);
  Narration().Say("bank", "one");
  Narration().Say("bank", "two");
  EXPECT_THAT(reader.End(), ElementsAre("bank: one", "bank: two"));
}

class OwnNarratorTest : public ExplainServiceTest {
 protected:
  OwnNarratorTest() : ExplainServiceTest(narrator_) {}
  static Narrator& narrator_;
};
Narrator& OwnNarratorTest::narrator_ = *new Narrator();

TEST_F(OwnNarratorTest, ASlowReaderHoldsUpNobodyAndLearnsHowMuchItMissed) {
  constexpr size_t kSteps = 4 * ExplainService::kMaxQueuedSteps;
  Reader reader(*stub_);
  const std::string step(512, 'x');
  for (size_t i = 0; i < kSteps; ++i) narrator_.Say("bank", step);
  const size_t told = reader.Steps().size();
  EXPECT_GE(told, ExplainService::kMaxQueuedSteps);
  EXPECT_GT(reader.left_out(), 0u);
  EXPECT_EQ(told + reader.left_out(), kSteps);
}

TEST_F(OwnNarratorTest, SpeakingGoesOnWhenAReaderIsGone) {
  { Reader reader(*stub_); }
  Reader another(*stub_);
  narrator_.Say("bank", "still here");
  EXPECT_THAT(another.Steps(), ElementsAre("bank: still here"));
}

}  // namespace
}  // namespace blindcart::agent
