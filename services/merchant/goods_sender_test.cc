#include "services/merchant/goods_sender.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/hash.h"
#include "crypto/secret_bytes.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"
#include "services/common/files.h"
#include "services/common/testing/inline_executor.h"

namespace blindcart::merchant {
namespace {

// A stream whose broker is the test: it takes one message when it is told to.
class FakeStream : public GoodsStream {
 public:
  explicit FakeStream(std::shared_ptr<Events> events) : events_(std::move(events)) {}
  void Write(const v1::GoodsMessage& message) override {
    ASSERT_FALSE(writing_) << "one write at a time";
    writing_ = true;
    message_ = message;
  }
  void WritesDone() override { writes_done_ = true; }
  void Cancel() override { cancelled_ = true; }

  // Takes what is being written; false when nothing is.
  bool Take(v1::GoodsMessage* message) {
    if (!writing_) return false;
    *message = message_;
    writing_ = false;
    events_->OnWritten(true);
    return true;
  }
  void Finish(const absl::Status& status) {
    const std::shared_ptr<Events> events = std::move(events_);
    events->OnDone(status);
  }

  std::shared_ptr<Events> events_;
  v1::GoodsMessage message_;
  bool writing_ = false;
  bool writes_done_ = false;
  bool cancelled_ = false;
};

class FakeTransport : public GoodsTransport {
 public:
  std::shared_ptr<GoodsStream> Open(std::shared_ptr<GoodsStream::Events> events) override {
    streams.push_back(std::make_shared<FakeStream>(std::move(events)));
    return streams.back();
  }
  std::vector<std::shared_ptr<FakeStream>> streams;
};

// Counts the tasks that wait, and runs them when told to.
class StepExecutor : public Executor {
 public:
  absl::Status Run(std::function<void()> task) override {
    tasks.push_back(std::move(task));
    return absl::OkStatus();
  }
  void RunAll() {
    while (!tasks.empty()) {
      const std::function<void()> task = std::move(tasks.front());
      tasks.pop_front();
      task();
    }
  }
  std::deque<std::function<void()>> tasks;
};

class GoodsSenderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(::testing::TempDir(), "/",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(MakePrivateDirectory(folder_).ok());
    auto opened = catalog::GoodsStore::Open(folder_ + "/goods");
    ASSERT_TRUE(opened.ok());
    store_ = *std::move(opened);
  }

  static protocol::SessionKeys Keys() {
    protocol::SessionKeys keys;
    keys.session_id = std::string(16, 'd');
    keys.seal = crypto::SecretBytes::CopyOf(std::string(32, 's'));
    keys.mac = crypto::SecretBytes::CopyOf(std::string(32, 'm'));
    return keys;
  }

  GoodsSender::Job MakeJob(const std::string& content, uint64_t first_piece = 0) {
    const std::string path = folder_ + "/upload";
    EXPECT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/true).ok());
    const auto added = store_->Add(path, 1 << 30, nullptr);
    EXPECT_TRUE(added.ok());
    GoodsSender::Job job;
    job.delivery_id = std::string(16, 'd');
    job.keys = Keys();
    job.params.true_size_bytes = content.size();
    job.params.padded_size_bytes = *protocol::SizeClasses::Default().ClassFor(content.size());
    job.params.first_piece = first_piece;
    job.params.order_id = std::string(16, 'o');
    job.params.content_hash = added->content_hash;
    auto file = store_->OpenContent(added->content_hash);
    EXPECT_TRUE(file.ok());
    job.file = *std::move(file);
    job.transport = transport_;
    job.done = [this](bool complete) { results_.push_back(complete); };
    return job;
  }

  std::string folder_;
  std::unique_ptr<catalog::GoodsStore> store_;
  std::shared_ptr<FakeTransport> transport_ = std::make_shared<FakeTransport>();
  protocol::FakeClock clock_;
  crypto::DeterministicRandom random_{7};
  const crypto::Identity& merchant_ = crypto::TestIdentity(0);
  std::vector<bool> results_;
};

// The receiver's view of a whole delivery.
std::string Receive(FakeStream& stream, const GoodsSender::Job& sent, const std::string& before,
                    const crypto::Identity& merchant, protocol::SessionKeys keys) {
  protocol::DeliveryReceiver::Params params;
  params.true_size_bytes = sent.params.true_size_bytes;
  params.padded_size_bytes = sent.params.padded_size_bytes;
  params.first_piece = sent.params.first_piece;
  params.order_id = sent.params.order_id;
  params.expected_hash = sent.params.content_hash;
  crypto::Sha256Hasher hasher;
  hasher.Update(before);
  auto receiver = protocol::DeliveryReceiver::Create(std::move(keys), params,
                                                     merchant.public_identity(), std::move(hasher));
  EXPECT_TRUE(receiver.ok()) << receiver.status();
  v1::GoodsMessage message;
  EXPECT_TRUE(stream.Take(&message));
  EXPECT_EQ(message.header().delivery_id(), sent.delivery_id);
  std::string content = before;
  while (stream.Take(&message)) {
    const auto piece = (*receiver)->Open(message.frame());
    EXPECT_TRUE(piece.ok()) << piece.status();
    if (!piece.ok()) break;
    content.append(piece->data(), piece->size());
  }
  EXPECT_TRUE((*receiver)->finished());
  EXPECT_TRUE((*receiver)->Verdict().ok()) << (*receiver)->Verdict();
  return content;
}

TEST_F(GoodsSenderTest, SendsHeaderPiecesAndFinalFrame) {
  blindcart::testing::InlineExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 4);
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{65'536}, size_t{65'537}, size_t{3 * 1024 * 1024 + 3}}) {
    const std::string content = random_.Bytes(size);
    GoodsSender::Job job = MakeJob(content);
    GoodsSender::Job sent = MakeJob(content);
    const auto begin = sender.Prepare(std::move(job));
    ASSERT_TRUE(begin.ok()) << begin.status();
    (*begin)();
    FakeStream& stream = *transport_->streams.back();
    EXPECT_EQ(Receive(stream, sent, "", merchant_, Keys()), content) << size;
    EXPECT_TRUE(stream.writes_done_);
    EXPECT_EQ(sender.active(), 1u);
    stream.Finish(absl::OkStatus());
    EXPECT_EQ(sender.active(), 0u);
    EXPECT_TRUE(results_.back());
  }
}

TEST_F(GoodsSenderTest, ResumesAtAPiece) {
  blindcart::testing::InlineExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 4);
  const std::string content = random_.Bytes(600'000);
  for (const uint64_t first_piece : {uint64_t{1}, uint64_t{3}, uint64_t{4}}) {
    GoodsSender::Job job = MakeJob(content, first_piece);
    GoodsSender::Job sent = MakeJob(content, first_piece);
    const auto begin = sender.Prepare(std::move(job));
    ASSERT_TRUE(begin.ok()) << begin.status();
    (*begin)();
    const size_t had = std::min<size_t>(content.size(), first_piece * protocol::kPieceBytes);
    EXPECT_EQ(Receive(*transport_->streams.back(), sent, content.substr(0, had), merchant_, Keys()),
              content);
    transport_->streams.back()->Finish(absl::OkStatus());
    EXPECT_TRUE(results_.back());
  }
}

TEST_F(GoodsSenderTest, LooksAheadAFewPiecesAndNoFurther) {
  StepExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 4);
  const auto begin = sender.Prepare(MakeJob(random_.Bytes(16 * 1024 * 1024)));
  ASSERT_TRUE(begin.ok());
  (*begin)();
  FakeStream& stream = *transport_->streams.back();
  v1::GoodsMessage message;
  EXPECT_EQ(readers.tasks.size(), 1u);
  readers.RunAll();
  // The broker takes nothing: no producer runs any more.
  EXPECT_TRUE(readers.tasks.empty());
  ASSERT_TRUE(stream.Take(&message));  // The header.
  readers.RunAll();
  // The broker takes what was sealed ahead, one being written and kLookAhead waiting, and then there is
  // nothing, as nothing more was read.
  std::deque<std::function<void()>> held;
  size_t taken = 0;
  while (stream.Take(&message)) {
    ++taken;
    while (!readers.tasks.empty()) {
      held.push_back(std::move(readers.tasks.front()));
      readers.tasks.pop_front();
    }
  }
  EXPECT_EQ(taken, GoodsSender::kLookAhead + 1);
  EXPECT_EQ(held.size(), 1u) << "one producer was woken, not one for each piece";
  stream.Finish(absl::UnavailableError("gone"));
  for (const std::function<void()>& task : held) task();
  EXPECT_FALSE(results_.back());
}

TEST_F(GoodsSenderTest, ABoundedNumberAtOnce) {
  blindcart::testing::InlineExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 2);
  const auto first = sender.Prepare(MakeJob("1"));
  const auto second = sender.Prepare(MakeJob("2"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(sender.Prepare(MakeJob("3")).status()));
  (*first)();
  transport_->streams[0]->Finish(absl::UnavailableError("gone"));
  const auto third = sender.Prepare(MakeJob("3"));
  EXPECT_TRUE(third.ok());
  (*second)();
  (*third)();
  for (size_t i = 1; i < 3; ++i) transport_->streams[i]->Finish(absl::UnavailableError("gone"));
}

TEST_F(GoodsSenderTest, ABrokenStreamOrAnEarlyEndIsNoDelivery) {
  blindcart::testing::InlineExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 2);
  const auto first = sender.Prepare(MakeJob(random_.Bytes(1'000'000)));
  ASSERT_TRUE(first.ok());
  (*first)();
  transport_->streams[0]->events_->OnWritten(false);
  EXPECT_TRUE(transport_->streams[0]->cancelled_);
  transport_->streams[0]->Finish(absl::UnavailableError("gone"));
  EXPECT_EQ(results_, std::vector<bool>{false});
  // A broker that says "thank you" before everything is written did not take everything.
  const auto second = sender.Prepare(MakeJob(random_.Bytes(1'000'000)));
  ASSERT_TRUE(second.ok());
  (*second)();
  transport_->streams[1]->Finish(absl::OkStatus());
  EXPECT_EQ(results_, (std::vector<bool>{false, false}));
}

TEST_F(GoodsSenderTest, AReceiverThatTakesNothingLosesItsPlace) {
  blindcart::testing::InlineExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 2);
  const auto begin = sender.Prepare(MakeJob(random_.Bytes(3'000'000)));
  ASSERT_TRUE(begin.ok());
  (*begin)();
  FakeStream& stream = *transport_->streams[0];
  v1::GoodsMessage message;
  clock_.Advance(GoodsSender::kStallMs);
  ASSERT_TRUE(stream.Take(&message));
  clock_.Advance(GoodsSender::kStallMs);
  sender.Sweep();
  EXPECT_FALSE(stream.cancelled_);
  clock_.Advance(1);
  sender.Sweep();
  EXPECT_TRUE(stream.cancelled_);
  stream.Finish(absl::CancelledError("cancelled"));
  EXPECT_FALSE(results_.back());
}

TEST_F(GoodsSenderTest, GoodsThatShrankEndTheDelivery) {
  StepExecutor readers;
  GoodsSender sender(readers, clock_, merchant_, random_, 2);
  const std::string content = random_.Bytes(1'000'000);
  const auto begin = sender.Prepare(MakeJob(content));
  ASSERT_TRUE(begin.ok());
  (*begin)();
  for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/goods")) {
    std::filesystem::resize_file(entry.path(), 10);
  }
  readers.RunAll();
  EXPECT_TRUE(transport_->streams[0]->cancelled_);
  transport_->streams[0]->Finish(absl::CancelledError("cancelled"));
  EXPECT_FALSE(results_.back());
}

}  // namespace
}  // namespace blindcart::merchant
