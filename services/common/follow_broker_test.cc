#include "services/common/follow_broker.h"

#include <grpcpp/grpcpp.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/identity_chain.h"
#include "protocol/testing/fake_clock.h"
#include "services/common/log.h"
#include "services/common/transport.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const crypto::PublicIdentity& Public(int index) {
  return crypto::TestIdentity(index).public_identity();
}

v1::IdentityLink Link(int from, int to, int64_t counter) {
  return protocol::MakeIdentityLink(crypto::TestIdentity(from), Public(to), counter, 1);
}

// Whoever is at the broker's address.
class Somebody : public v1::Broker::Service {
 public:
  grpc::Status FollowIdentity(grpc::ServerContext*, const v1::FollowIdentityRequest* request,
                              v1::FollowIdentityReply* reply) override {
    asked_for = request->fingerprint();
    for (const v1::IdentityLink& link : answer) *reply->add_links() = link;
    return status;
  }

  // Not changed during a call.
  std::vector<v1::IdentityLink> answer;
  grpc::Status status;
  std::string asked_for;
};

class FollowBrokerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/blindcart-follow-XXXXXX";  // Short: a socket's path has 107 bytes.
    folder_ = mkdtemp(folder);
    ServerRunner::Options options;
    options.listen = {absl::StrCat("unix:", folder_, "/s")};
    runner_ = *ServerRunner::Start(somebody_, options);
    stub_ = v1::Broker::NewStub(*DialBroker(options.listen[0], "", false, "link"));
  }
  void TearDown() override {
    runner_->Shutdown(0);
    rmdir(folder_.c_str());
  }

  Somebody somebody_;
  std::string folder_;
  std::unique_ptr<ServerRunner> runner_;
  std::unique_ptr<v1::Broker::Stub> stub_;
  protocol::FakeClock clock_;
  PinnedBroker pinned_{Public(0), clock_};
};

TEST_F(FollowBrokerTest, FollowsFromWhereItIs) {
  somebody_.answer = {Link(0, 1, 1), Link(1, 2, 2)};
  absl::StatusOr<bool> followed = FollowBroker(*stub_, pinned_);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_TRUE(*followed);
  EXPECT_EQ(somebody_.asked_for, Public(0).fingerprint());
  EXPECT_EQ(pinned_.current()->fingerprint(), Public(2).fingerprint());

  somebody_.answer.clear();
  followed = FollowBroker(*stub_, pinned_);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_FALSE(*followed);
  EXPECT_EQ(somebody_.asked_for, Public(2).fingerprint());
}

TEST_F(FollowBrokerTest, NobodyWithoutTheOldKeyMovesIt) {
  ASSERT_TRUE(pinned_.Follow({Link(0, 1, 1)}).ok());
  const std::vector<std::vector<v1::IdentityLink>> answers = {
      {Link(9, 2, 2)},                                      // An impostor.
      {Link(0, 2, 2)},                                      // A thief of the retired key.
      {Link(0, 1, 1)},                                      // A replay.
      {Link(1, 2, 3)},                                      // A gap.
      {Link(1, 2, 2), Link(9, 3, 3)},                       // Half of it true.
      {Link(1, 0, 2)},                                      // Back.
      std::vector<v1::IdentityLink>(1'000, Link(1, 2, 2)),  // Too many.
  };
  for (size_t i = 0; i < answers.size(); ++i) {
    somebody_.answer = answers[i];
    const absl::StatusOr<bool> followed = FollowBroker(*stub_, pinned_);
    ASSERT_TRUE(followed.ok()) << i << followed.status();
    EXPECT_FALSE(*followed) << i;
    EXPECT_EQ(pinned_.current()->fingerprint(), Public(1).fingerprint()) << i;
  }
}

TEST_F(FollowBrokerTest, ABrokerThatDoesNotKnowTheQuestionHasNotChanged) {
  somebody_.status = grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  const absl::StatusOr<bool> followed = FollowBroker(*stub_, pinned_);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_FALSE(*followed);
  // An answer that is larger than anything that may come is cut off before it is read.
  somebody_.status = grpc::Status();
  v1::IdentityLink large = Link(0, 1, 1);
  large.set_next_identity(std::string(2 * 1024 * 1024, 'x'));
  somebody_.answer = {large};
  EXPECT_FALSE(FollowBroker(*stub_, pinned_).value_or(false));
  EXPECT_EQ(pinned_.current()->fingerprint(), Public(0).fingerprint());
}

TEST_F(FollowBrokerTest, WarnsOfEveryOtherRefusal) {
  ASSERT_TRUE(InitLog("follow_broker_test", "warning").ok());
  const auto logged = [&](grpc::StatusCode code) {
    somebody_.status = grpc::Status(code, "said by somebody");
    ::testing::internal::CaptureStderr();
    EXPECT_FALSE(FollowBroker(*stub_, pinned_).value_or(true));
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(logged(grpc::StatusCode::UNIMPLEMENTED), "");
  // A proxy that does not let the question through.
  const std::string refused = logged(grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(refused, HasSubstr("broker.identity_not_answered"));
  EXPECT_THAT(refused, HasSubstr("\"code\":7"));
  EXPECT_THAT(refused, Not(HasSubstr("somebody")));
}

TEST_F(FollowBrokerTest, SaysWhenNobodyIsThere) {
  runner_->Shutdown(0);
  EXPECT_TRUE(absl::IsUnavailable(FollowBroker(*stub_, pinned_).status()));
}

}  // namespace
}  // namespace blindcart
