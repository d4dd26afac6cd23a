// The agent's process ends in the middle of its N-th write to the disk, for every N of taking in mail and
// sending some. After a new start each message must have been read exactly once by either reader:
// nothing that was acknowledged to the broker is lost, nothing is sent or read twice, and no session
// is out of step.

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crypto/random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"
#include "services/agent/messenger.h"
#include "services/agent/testing/fake_mailbox.h"
#include "services/storage/testing/fault_vfs.h"

namespace blindcart::agent {
namespace {

using crypto::TestIdentity;
using storage::testing::Fault;
using storage::testing::FaultVfs;
using testing::FakeMailbox;

using Texts = std::vector<std::string>;

std::string FreshFolder() {
  std::string pattern = ::testing::TempDir() + "/crash-XXXXXX";
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  return pattern;
}

std::string CopyOf(const std::string& folder) {
  const std::string copy = FreshFolder();
  std::filesystem::copy(folder, copy, std::filesystem::copy_options::recursive);
  return copy;
}

// Tells through a pipe what the broker was asked to store or to forget, before it is: what the doomed
// process did to the mailbox, its parent does to its own copy.
class ReportingTransport : public MailTransport {
 public:
  ReportingTransport(std::unique_ptr<MailTransport> inner, int pipe)
      : inner_(std::move(inner)), pipe_(pipe) {}

  std::string username() const override { return inner_->username(); }
  absl::StatusOr<v1::PublishKeysResult> PublishKeys(const v1::PublishKeysCall& call) override {
    return inner_->PublishKeys(call);
  }
  absl::StatusOr<v1::FetchKeysResult> FetchKeys(const v1::FetchKeysCall& call) override {
    return inner_->FetchKeys(call);
  }
  absl::StatusOr<v1::FetchMailResult> Fetch(const v1::FetchMailCall& call) override {
    return inner_->Fetch(call);
  }
  absl::StatusOr<v1::SendMailResult> Send(const v1::SendMailCall& call) override {
    Report('s', call.SerializeAsString());
    return inner_->Send(call);
  }
  absl::Status Acknowledge(const v1::AcknowledgeMailCall& call) override {
    Report('a', call.SerializeAsString());
    return inner_->Acknowledge(call);
  }

 private:
  void Report(char kind, const std::string& call) {
    const auto size = static_cast<uint32_t>(call.size());
    std::string bytes(1, kind);
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size).append(call);
    if (write(pipe_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) _exit(1);
  }

  const std::unique_ptr<MailTransport> inner_;
  const int pipe_;
};

bool ReadFully(int file, std::string* bytes, size_t size) {
  bytes->resize(size);
  for (size_t at = 0; at < size;) {
    const ssize_t got = read(file, &(*bytes)[at], size - at);
    if (got <= 0) return false;
    at += static_cast<size_t>(got);
  }
  return true;
}

class Agent {
 public:
  Agent(const std::string& folder, int identity, std::unique_ptr<MailTransport> transport,
        const protocol::Clock& clock)
      : transport_(std::move(transport)) {
    auto database = AgentDatabase::Open(folder + "/agent.db");
    if (!database.ok()) return;
    database_ = *std::move(database);
    messenger_ = std::make_unique<Messenger>(Messenger::Dependencies{&TestIdentity(identity),
                                                                     transport_.get(),
                                                                     database_.get(),
                                                                     &crypto::SystemRandom(),
                                                                     &clock,
                                                                     {}});
  }
  bool open() const { return messenger_ != nullptr; }
  Messenger* operator->() { return messenger_.get(); }
  bool Say(const std::string& to, const std::string& text) {
    Messenger::Outgoing outgoing;
    outgoing.to = to;
    outgoing.text = text;
    const auto sent = messenger_->Send(outgoing);
    return sent.ok() && sent->message.state == MessageState::kSent;
  }
  Texts Got() {
    Messenger::Filter filter;
    filter.incoming_only = true;
    Texts texts;
    const auto messages = messenger_->List(filter);
    for (const MessageRecord& message : *messages) texts.push_back(message.body);
    std::sort(texts.begin(), texts.end());
    return texts;
  }

 private:
  const std::unique_ptr<MailTransport> transport_;
  std::unique_ptr<AgentDatabase> database_;
  std::unique_ptr<Messenger> messenger_;
};

// What the doomed process does; each step that was confirmed to its user is told by a 'd'.
[[noreturn]] void Live(const std::string& folder, FakeMailbox& box, const protocol::Clock& clock,
                       int pipe, int64_t nth) {
  FaultVfs::Install();
  FaultVfs::FailFrom(Fault::kSuddenExit, nth);
  Agent bob(folder, 1, std::make_unique<ReportingTransport>(box.TransportFor("bob"), pipe), clock);
  if (!bob.open()) _exit(1);
  if (!bob->Receive().ok()) _exit(1);
  if (!bob.Say("alice", "answer")) _exit(1);
  if (write(pipe, "d", 1) != 1) _exit(1);
  _exit(0);
}

TEST(MessengerCrashTest, EachMessageIsReadOnceWhereverTheProcessEnds) {
  // Made before any fork.
  TestIdentity(0);
  TestIdentity(1);
  const protocol::FakeClock clock;
  FakeMailbox before;
  before.Enrol("alice", TestIdentity(0).public_identity());
  before.Enrol("bob", TestIdentity(1).public_identity());
  const std::string alice_before = FreshFolder();
  const std::string bob_before = FreshFolder();
  {
    Agent alice(alice_before, 0, before.TransportFor("alice"), clock);
    Agent bob(bob_before, 1, before.TransportFor("bob"), clock);
    ASSERT_TRUE(alice.open() && bob.open());
    ASSERT_TRUE(bob->OnConnected().ok());
    // A first message, with which its recipient makes the session, and one more.
    ASSERT_TRUE(alice.Say("bob", "1") && alice.Say("bob", "2"));
  }
  bool lived = false;
  int ends = 0;
  for (int64_t nth = 1; !lived; ++nth) {
    ASSERT_LT(nth, 1'000);
    SCOPED_TRACE(nth);
    const std::unique_ptr<FakeMailbox> box = before.Clone();
    const std::string alice_folder = CopyOf(alice_before);
    const std::string bob_folder = CopyOf(bob_before);

    int reports[2];
    ASSERT_EQ(pipe(reports), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(reports[0]);
      Live(bob_folder, *box, clock, reports[1], nth);
    }
    close(reports[1]);
    bool confirmed = false;
    const auto bobs = box->TransportFor("bob");
    for (std::string kind; ReadFully(reports[0], &kind, 1);) {
      if (kind == "d") {
        confirmed = true;
        continue;
      }
      std::string size_bytes;
      std::string bytes;
      ASSERT_TRUE(ReadFully(reports[0], &size_bytes, sizeof(uint32_t)));
      uint32_t size = 0;
      size_bytes.copy(reinterpret_cast<char*>(&size), sizeof size);
      ASSERT_TRUE(ReadFully(reports[0], &bytes, size));
      if (kind == "s") {
        v1::SendMailCall call;
        ASSERT_TRUE(call.ParseFromString(bytes));
        ASSERT_TRUE(bobs->Send(call).ok());
      } else {
        v1::AcknowledgeMailCall call;
        ASSERT_TRUE(call.ParseFromString(bytes));
        ASSERT_TRUE(bobs->Acknowledge(call).ok());
      }
    }
    close(reports[0]);
    int ended = 0;
    ASSERT_EQ(waitpid(child, &ended, 0), child);
    ASSERT_TRUE(WIFEXITED(ended));
    lived = WEXITSTATUS(ended) == 0;
    ASSERT_TRUE(lived || WEXITSTATUS(ended) == storage::testing::kSuddenExitCode)
        << WEXITSTATUS(ended);
    if (!lived) ++ends;

    Agent alice(alice_folder, 0, box->TransportFor("alice"), clock);
    Agent bob(bob_folder, 1, box->TransportFor("bob"), clock);
    ASSERT_TRUE(alice.open() && bob.open());
    ASSERT_TRUE(bob->Receive().ok() && bob->Flush().ok());
    EXPECT_EQ(bob.Got(), Texts({"1", "2"}));
    ASSERT_TRUE(alice->Receive().ok());
    // What was confirmed has come; what was not has come once at most.
    Texts got = alice.Got();
    EXPECT_TRUE(got == Texts({"answer"}) || (got.empty() && !confirmed));
    // And both go on.
    EXPECT_TRUE(bob.Say("alice", "more"));
    EXPECT_TRUE(alice->Receive().ok());
    got.push_back("more");
    EXPECT_EQ(alice.Got(), got);
    EXPECT_TRUE(alice.Say("bob", "3"));
    EXPECT_TRUE(bob->Receive().ok());
    EXPECT_EQ(bob.Got(), Texts({"1", "2", "3"}));
    std::filesystem::remove_all(alice_folder);
    std::filesystem::remove_all(bob_folder);
  }
  // It ended in the middle of opening, of each message, and of the log's emptying.
  EXPECT_GT(ends, 20);
}

}  // namespace
}  // namespace blindcart::agent
