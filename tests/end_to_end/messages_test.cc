// Messages between users over real processes: sent to somebody who is away, pushed to somebody who is
// there, kept and delivered exactly once across restarts of everybody, refused when the mailbox is
// full or a key has changed, and said plainly when an agent has lost its memory.
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/sqlite.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/process.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<Shopping> OpenMarket() {
  return Shopping::Open({}, {{"alice", "violet umbrella 7", "1001", "2468", "100.00"},
                             {"bob", "yellow bicycle 3", "1002", "1357", "5.00"}});
}

// The tests share one market; each sees only what came after it began.
class MessagesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = OpenMarket().release(); }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  void SetUp() override {
    Begin(shared_);
    if (HasFatalFailure()) return;
    WaitForEmptyMailboxes();
    for (const char* user : {"alice", "bob"}) {
      while (shopping().Ask(user, {"message", "read"}).contains("message")) {
      }
      base_[user] = LatestId(user);
    }
  }
  void Begin(Shopping* market) {
    shopping_ = market;
    ASSERT_NE(shopping_, nullptr);
    for (const char* user : {"alice", "bob"}) WaitForKeys(user);
  }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }

  // From the broker's database; -1 and a failure when it cannot be read.
  int64_t Count(const std::string& sql) {
    int64_t count = -1;
    const absl::Status done = OnDatabase([&](storage::SqliteDatabase& database) -> absl::Status {
      storage::SqliteStatement query = database.Prepare(sql);
      const absl::StatusOr<bool> row = query.Step();
      if (row.ok() && *row) count = query.ColumnInt64(0);
      return row.status();
    });
    EXPECT_TRUE(done.ok()) << done;
    return count;
  }
  absl::Status OnDatabase(const std::function<absl::Status(storage::SqliteDatabase&)>& work) {
    const auto database = storage::SqliteDatabase::Open(market().broker_dir() + "/broker.db",
                                                        storage::SqliteOptions());
    if (!database.ok()) return database.status();
    return work(**database);
  }
  int64_t PreKeys(const std::string& user) {
    return Count(
        absl::StrCat("SELECT COUNT(*) FROM mail_pre_keys WHERE customer_id ="
                     " (SELECT id FROM customers WHERE username = '",
                     user, "')"));
  }
  void WaitForKeys(const std::string& user) {
    WaitUntil(user + " has published keys", [&] { return PreKeys(user) > 0; });
  }
  void WaitForEmptyMailboxes() {
    WaitUntil("all mail is acknowledged", [&] { return Count("SELECT COUNT(*) FROM mail") == 0; });
  }

  // The state that the answer names.
  std::string Send(const std::string& from, const std::string& to, const std::string& text,
                   int expected_exit_code = kOk) {
    const json reply = shopping().Ask(from, {"message", "send", to, text}, expected_exit_code);
    return reply.is_object() && reply.contains("message")
               ? reply["message"]["state"].get<std::string>()
               : "";
  }
  // What a user has from another, oldest first: the texts.
  std::vector<std::string> Texts(const std::string& user, const std::string& kind = "TEXT",
                                 const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"message", "inbox"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const json reply = shopping().Ask(user, arguments);
    std::vector<std::string> texts;
    for (const json& message : reply["messages"]) {
      if (message["kind"] == "MESSAGE_KIND_" + kind && Int(message["id"]) > base_[user]) {
        texts.insert(texts.begin(), message["text"].get<std::string>());
      }
    }
    return texts;
  }
  void WaitForTexts(const std::string& user, size_t count, const std::string& kind = "TEXT") {
    WaitUntil(absl::StrCat(user, " has ", count, " messages"),
              [&] { return Texts(user, kind).size() >= count; });
  }
  // The state of the latest message from one to the other.
  std::string LatestState(const std::string& from, const std::string& to) {
    const json reply = shopping().Ask(from, {"message", "inbox", "--all", "--with", to});
    for (const json& message : reply["messages"]) {
      if (message["outgoing"].get<bool>()) return message["state"].get<std::string>();
    }
    return "";
  }
  std::unique_ptr<Process> Chat(const std::string& user, const std::string& with) {
    Command command = market().CliCommand(user, {"message", "chat", with});
    command.open_input = true;
    auto process = Process::Start(command);
    EXPECT_TRUE(process.ok()) << process.status();
    if (!process.ok()) return nullptr;
    Process& chat = **process;
    WaitUntil(user + "'s chat stands", [&] { return absl::StrContains(chat.err(), "/quit"); });
    return *std::move(process);
  }
  void StartAgent(const std::string& user) {
    const absl::Status started = market().StartAgent(user);
    ASSERT_TRUE(started.ok()) << started;
  }
  void Reconfigure(const std::string& from, const std::string& to) {
    market().KillBroker();
    ReplaceInFile(market().broker_dir() + "/broker.textproto", from, to);
    const absl::Status started = market().StartBroker();
    ASSERT_TRUE(started.ok()) << started;
    for (const char* user : {"alice", "bob"}) {
      if (market().agent(user) != nullptr) WaitForConnection(user);
    }
  }
  void WaitForConnection(const std::string& user) {
    WaitUntil(user + " is connected", [&] {
      const Answer status = shopping().Run(user, {"status"});
      return status.json.is_object() && status.json["connected"].get<bool>();
    });
  }

  // Of everything that the user has sent and received; 0 when there is nothing.
  int64_t LatestId(const std::string& user) {
    const json messages =
        shopping().Ask(user, {"message", "inbox", "--all", "--limit", "1"})["messages"];
    return messages.empty() ? 0 : Int(messages[0]["id"]);
  }

  std::map<std::string, int64_t> base_;  // By user: what was there when the test began.

 private:
  static Shopping* shared_;
  Shopping* shopping_ = nullptr;
};
Shopping* MessagesTest::shared_ = nullptr;

// A market of its own, for what would be in the way of other tests.
class MessagesAloneTest : public MessagesTest {
 protected:
  static void SetUpTestSuite() {}
  static void TearDownTestSuite() {}
  void SetUp() override {
    own_ = OpenMarket();
    Begin(own_.get());
  }

 private:
  std::unique_ptr<Shopping> own_;
};

TEST_F(MessagesTest, WaitForAnAbsentReaderAcrossRestartsOfAllThreeAndComeOnce) {
  market().KillAgent("bob");
  EXPECT_EQ(Send("alice", "bob", "the first"), "MESSAGE_STATE_SENT");
  shopping().RestartBroker();
  shopping().RestartAgent("alice");
  EXPECT_EQ(Send("alice", "bob", "the second"), "MESSAGE_STATE_SENT");
  shopping().RestartBroker();
  EXPECT_EQ(Count("SELECT COUNT(*) FROM mail"), 2) << "kept until acknowledged";
  StartAgent("bob");
  shopping().LogIn("bob");
  WaitForTexts("bob", 2);
  WaitForEmptyMailboxes();
  EXPECT_THAT(Texts("bob"), ElementsAre("the first", "the second"));
  shopping().RestartAgent("bob");
  shopping().RestartBroker();
  WaitForConnection("bob");
  WaitForConnection("alice");
  EXPECT_THAT(Texts("bob"), ElementsAre("the first", "the second"));
  // The session has outlived all of that, in both directions.
  EXPECT_EQ(shopping().Ask("bob", {"message", "reply", absl::StrCat(LatestId("bob")),
                                   "answer"})["key_exchange"],
            false);
  WaitForTexts("alice", 1);
  EXPECT_THAT(Texts("alice"), ElementsAre("answer"));
}

TEST_F(MessagesTest, ReaderSeesEachOnceAndInOrder) {
  Send("alice", "bob", "one");
  Send("alice", "bob", "two\n  lines");
  WaitForTexts("bob", 2);
  EXPECT_THAT(Texts("bob", "TEXT", {"--unread"}), ElementsAre("one", "two\n  lines"));
  EXPECT_EQ(shopping().Ask("bob", {"message", "read"})["message"]["text"], "one");
  EXPECT_EQ(shopping().Ask("bob", {"message", "read"})["message"]["text"], "two\n  lines");
  EXPECT_FALSE(shopping().Ask("bob", {"message", "read"}).contains("message"));
  EXPECT_THAT(Texts("bob", "TEXT", {"--unread"}), IsEmpty());
  const int64_t second = LatestId("bob");
  EXPECT_EQ(shopping().Ask("bob", {"message", "read", absl::StrCat(second - 1)})["message"]["text"],
            "one");
  shopping().Ask("bob", {"message", "read", "9999"}, kFailure);
  const json reply = shopping().Ask("bob", {"message", "reply", absl::StrCat(second), "three"});
  EXPECT_EQ(reply["message"]["contact"], "alice");
  WaitForTexts("alice", 1);
  const json answer = shopping().Ask("alice", {"message", "read"})["message"];
  const json sent = shopping().Ask("alice", {"message", "inbox", "--all"})["messages"];
  EXPECT_EQ(answer["reply_to_hex"], sent[1]["message_id_hex"]);
}

TEST_F(MessagesTest, WhatIsDeletedIsGoneAndTheBlockedAreNotHeard) {
  Send("alice", "bob", "one");
  Send("alice", "bob", "two");
  WaitForTexts("bob", 2);
  const std::string newest = absl::StrCat(LatestId("bob"));
  EXPECT_EQ(Int(shopping().Ask("bob", {"message", "delete", newest})["deleted"]), 1);
  EXPECT_THAT(Texts("bob"), ElementsAre("one"));
  shopping().Ask("bob", {"message", "delete", newest}, kFailure);
  shopping().Ask("bob", {"message", "delete"}, kUsage);
  shopping().Ask("bob", {"message", "delete", newest, "--contact", "alice"}, kUsage);
  const json none =
      shopping().Ask("bob", {"message", "delete", "--contact", "alice", "--before", "2020-01-01"});
  EXPECT_EQ(Int(none["deleted"]), 0);
  EXPECT_GE(Int(shopping().Ask("bob", {"message", "delete", "--contact", "alice"})["deleted"]), 1);
  EXPECT_THAT(Texts("bob"), IsEmpty());

  EXPECT_EQ(shopping().Ask("bob", {"contacts", "block", "alice"})["blocked"], true);
  EXPECT_EQ(Send("alice", "bob", "unheard"), "MESSAGE_STATE_SENT");
  WaitForEmptyMailboxes();
  EXPECT_THAT(Texts("bob"), IsEmpty());
  const json contacts = shopping().Ask("bob", {"contacts"})["contacts"];
  ASSERT_EQ(contacts.size(), 1u);
  EXPECT_EQ(Int(contacts[0]["dropped_messages"]), 1);
  const Answer refused = shopping().Run("bob", {"message", "send", "alice", "x"});
  EXPECT_EQ(refused.exit_code, kRefused);
  EXPECT_THAT(refused.err, HasSubstr("contacts unblock alice"));
  EXPECT_EQ(shopping().Ask("bob", {"contacts", "unblock", "alice"})["blocked"], false);
  EXPECT_EQ(Send("alice", "bob", "heard"), "MESSAGE_STATE_SENT");
  WaitForTexts("bob", 1);
  EXPECT_THAT(Texts("bob"), ElementsAre("heard"));
}

TEST_F(MessagesTest, AFileArrivesAsItIsAndReplacesNothing) {
  const std::string path = market().folder() + "/map.bin";
  const std::string content = Content(200'000, 3);
  const absl::Status written = [&] {
    FILE* file = fopen(path.c_str(), "wb");
    const bool ok =
        file != nullptr && fwrite(content.data(), 1, content.size(), file) == content.size();
    if (file != nullptr) fclose(file);
    return ok ? absl::OkStatus() : absl::InternalError("cannot write");
  }();
  ASSERT_TRUE(written.ok());
  const int64_t before = LatestId("bob");
  shopping().Ask("alice", {"message", "send", "bob", "--file", path});
  WaitUntil("the file is there", [&] { return LatestId("bob") > before; });
  const json message = shopping().Ask("bob", {"message", "inbox"})["messages"][0];
  const std::string id = absl::StrCat(Int(message["id"]));
  EXPECT_EQ(message["file_name"], "map.bin");
  const std::string saved = market().folder() + "/saved.bin";
  shopping().Ask("bob", {"message", "read", id, "--save", saved});
  EXPECT_EQ(FileContent(saved), content);
  EXPECT_NE(shopping().Run("bob", {"message", "read", id, "--save", saved}).exit_code, kOk)
      << "an existing file was replaced";
  const auto is_unread = [&] {
    return !shopping().Ask("bob", {"message", "inbox", "--unread"})["messages"].empty();
  };
  EXPECT_FALSE(is_unread());
  // What could not be saved, or not be shown, still counts as unread; nor is an answer a look at it.
  const int64_t file = LatestId("bob");
  Send("alice", "bob", "look at this");
  WaitUntil("the text is there", [&] { return LatestId("bob") > file; });
  const std::string text = absl::StrCat(LatestId("bob"));
  EXPECT_NE(shopping().Run("bob", {"message", "read", text, "--save", saved}).exit_code, kOk);
  EXPECT_TRUE(is_unread());
  const Command read = market().CliCommand("bob", {"message", "read", text});
  Command into_full_disk;
  into_full_disk.program = "/bin/sh";
  into_full_disk.arguments = {"-c", "\"$@\" > /dev/full", "sh", read.program};
  into_full_disk.arguments.insert(into_full_disk.arguments.end(), read.arguments.begin(),
                                  read.arguments.end());
  const absl::StatusOr<Output> unwritten = RunToEnd(into_full_disk);
  ASSERT_TRUE(unwritten.ok()) << unwritten.status();
  EXPECT_EQ(unwritten->exit_code, kFailure);
  EXPECT_TRUE(is_unread());
  shopping().Ask("bob", {"message", "reply", text, "at what?"});
  EXPECT_TRUE(is_unread());
  shopping().Ask("bob", {"message", "read", text});
  EXPECT_FALSE(is_unread());
  const std::string large = market().folder() + "/large.bin";
  std::filesystem::copy_file(path, large);
  std::filesystem::resize_file(large, 300'000);
  shopping().Ask("alice", {"message", "send", "bob", "--file", large}, kUsage);
}

TEST_F(MessagesTest, ChatIsLiveInBothDirections) {
  Send("alice", "bob", "before");
  WaitForTexts("bob", 1);
  const auto alice = Chat("alice", "bob");
  const auto bob = Chat("bob", "alice");
  ASSERT_NE(alice, nullptr);
  ASSERT_NE(bob, nullptr);
  const auto sees = [](Process& chat, const std::string& text) {
    const auto line = chat.WaitForLineThat(
        [&](const std::string& candidate) { return absl::StrContains(candidate, text); });
    EXPECT_TRUE(line.ok()) << line.status();
    return line.value_or("");
  };
  EXPECT_THAT(sees(*bob, "before"), HasSubstr("alice:"));
  alice->Write("how are you?\n");
  EXPECT_THAT(sees(*bob, "how are you?"), HasSubstr("alice:"));
  bob->Write("well\n\nand you?\n");
  EXPECT_THAT(sees(*alice, "well"), HasSubstr("bob:"));
  EXPECT_THAT(sees(*alice, "and you?"), HasSubstr("bob:"));
  WaitUntil("what was shown counts as read",
            [&] { return Texts("bob", "TEXT", {"--unread"}).empty(); });
  // The broker restarts in the middle; the chat goes on.
  shopping().RestartBroker();
  WaitForConnection("alice");
  WaitForConnection("bob");
  alice->Write("still there?\n");
  sees(*bob, "still there?");
  bob->Write("/quit\n");
  alice->CloseInput();
  for (Process* chat : {alice.get(), bob.get()}) {
    const auto exit_code = chat->Wait(60'000);
    ASSERT_TRUE(exit_code.ok()) << exit_code.status();
    EXPECT_EQ(*exit_code, kOk) << chat->err();
  }
  const std::string shown = bob->out();
  EXPECT_EQ(shown.find("still there?"), shown.rfind("still there?")) << "shown twice: " << shown;
}

TEST_F(MessagesTest, AChatBeginsWithAllThatIsUnreadHoweverMuchAndInOrder) {
  // More than the agent hands over ahead of a reader.
  constexpr int kCount = 24;
  for (int i = 0; i < kCount; ++i) {
    Command send = market().CliCommand("alice", {"message", "send", "bob"});
    send.input = absl::StrCat("begin ", i, "\n", std::string(60'000, 'x'), "\nend ", i, "\n");
    const absl::StatusOr<Output> sent = RunToEnd(send);
    ASSERT_TRUE(sent.ok()) << sent.status();
    ASSERT_EQ(sent->exit_code, kOk) << sent->err;
  }
  WaitForTexts("bob", kCount);
  const auto bob = Chat("bob", "alice");
  ASSERT_NE(bob, nullptr);
  const std::string last = absl::StrCat("alice: end ", kCount - 1);
  const auto line = bob->WaitForLineThat(
      [&](const std::string& candidate) { return absl::StrContains(candidate, last); });
  ASSERT_TRUE(line.ok()) << line.status();
  WaitUntil("all of it counts as read", [&] { return Texts("bob", "TEXT", {"--unread"}).empty(); });
  bob->CloseInput();
  const auto exit_code = bob->Wait(60'000);
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, kOk) << bob->err();
  const std::string shown = bob->out();
  size_t at = 0;
  for (int i = 0; i < kCount; ++i) {
    const std::string begin = absl::StrCat("alice: begin ", i, "\n");
    at = shown.find(begin, at);
    ASSERT_NE(at, std::string::npos) << i;
    EXPECT_EQ(shown.find(begin), shown.rfind(begin)) << "shown twice";
  }
}

TEST_F(MessagesTest, WhatIsWrittenWhileTheBrokerIsAwayGoesOutByItself) {
  Send("alice", "bob", "one");
  WaitForTexts("bob", 1);
  market().KillBroker();
  EXPECT_EQ(Send("alice", "bob", "two"), "MESSAGE_STATE_QUEUED");
  EXPECT_EQ(Send("alice", "bob", "three"), "MESSAGE_STATE_QUEUED");
  market().KillAgent("alice");
  StartAgent("alice");
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  shopping().LogIn("alice");
  WaitForTexts("bob", 3);
  EXPECT_THAT(Texts("bob"), ElementsAre("one", "two", "three"));
  WaitUntil("alice knows", [&] { return LatestState("alice", "bob") == "MESSAGE_STATE_SENT"; });
}

TEST_F(MessagesAloneTest, NobodyAFullMailboxAndExpiryAreAsConfigured) {
  EXPECT_EQ(Send("alice", "nobody", "hello", kRefused), "MESSAGE_STATE_NO_RECIPIENT");
  shopping().Ask("alice", {"message", "send", "alice", "hello"}, kUsage);
  shopping().Ask("alice", {"message", "send", "not a name", "hello"}, kUsage);
  market().KillAgent("bob");
  Reconfigure("max_mailbox_messages: 1000", "max_mailbox_messages: 2");
  EXPECT_EQ(Send("alice", "bob", "one"), "MESSAGE_STATE_SENT");
  EXPECT_EQ(Send("alice", "bob", "two"), "MESSAGE_STATE_SENT");
  EXPECT_EQ(Send("alice", "bob", "three", kRefused), "MESSAGE_STATE_MAILBOX_FULL");
  StartAgent("bob");
  shopping().LogIn("bob");
  WaitForTexts("bob", 2);
  WaitForEmptyMailboxes();
  EXPECT_EQ(Send("alice", "bob", "four"), "MESSAGE_STATE_SENT");
  WaitForTexts("bob", 3);
  EXPECT_THAT(Texts("bob"), ElementsAre("one", "two", "four"));

  market().KillAgent("bob");
  Reconfigure("mail_lifetime_ms: 2592000000", "mail_lifetime_ms: 1000");
  EXPECT_EQ(Send("alice", "bob", "too late"), "MESSAGE_STATE_SENT");
  WaitForEmptyMailboxes();
  StartAgent("bob");
  shopping().LogIn("bob");
  WaitForConnection("bob");
  EXPECT_EQ(Send("alice", "bob", "pushed at once"), "MESSAGE_STATE_SENT");
  WaitForTexts("bob", 4);
  EXPECT_THAT(Texts("bob"), ElementsAre("one", "two", "four", "pushed at once"))
      << "a gap in the sequence is no failure";
}

TEST_F(MessagesAloneTest, WorksWithoutOneTimePreKeysAndReplenishesThem) {
  EXPECT_EQ(PreKeys("bob"), 100);
  market().KillAgent("bob");
  market().KillBroker();
  ASSERT_TRUE(OnDatabase([](storage::SqliteDatabase& database) {
                return database.Execute("DELETE FROM mail_pre_keys");
              }).ok());
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  WaitForConnection("alice");
  const Answer first = shopping().Run("alice", {"message", "send", "bob", "without", "--timings"});
  EXPECT_EQ(first.json["key_exchange"], true);
  EXPECT_GT(Int(first.json["key_exchange_us"]), 0);
  EXPECT_GT(Int(first.json["encryption_us"]), 0);
  EXPECT_THAT(first.err, HasSubstr("contacts verify bob")) << "its key is taken on trust";
  StartAgent("bob");
  shopping().LogIn("bob");
  WaitForTexts("bob", 1);
  WaitUntil("bob's pre-keys are there again", [&] { return PreKeys("bob") == 100; });
}

TEST_F(MessagesTest, TextComesFromTheCommandLineOrTheInputAndStepsAreExplained) {
  const absl::StatusOr<Output> second =
      market().Cli("alice", {"--explain", "message", "send", "bob", "s3cret words", "--timings"});
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->exit_code, kOk);
  EXPECT_THAT(second->out, HasSubstr("Encryption"));
  EXPECT_THAT(second->err, HasSubstr("messages:"));
  EXPECT_THAT(second->err, ::testing::Not(HasSubstr("s3cret")));
  Command letter = market().CliCommand("alice", {"message", "send", "bob"});
  letter.input = "Dear Bob,\n\nsee you.\n";
  const absl::StatusOr<Output> third = RunToEnd(letter);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->exit_code, kOk) << third->err;
  WaitForTexts("bob", 2);
  EXPECT_THAT(Texts("bob"), ElementsAre("s3cret words", "Dear Bob,\n\nsee you."));
  letter.input = "";
  const absl::StatusOr<Output> empty = RunToEnd(letter);
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->exit_code, kUsage);
}

TEST_F(MessagesTest, AnAgentThatLostItsMemorySaysSoToBoth) {
  Send("alice", "bob", "one");
  WaitForTexts("bob", 1);
  Send("bob", "alice", "yes");
  WaitForTexts("alice", 1);
  market().KillAgent("bob");
  EXPECT_EQ(Send("alice", "bob", "for the old installation"), "MESSAGE_STATE_SENT");
  // Bob sets the agent up anew with the key files that are left.
  for (const char* file : {"agent.db", "agent.db-wal", "agent.db-shm"}) {
    std::filesystem::remove(market().agent_dir("bob") + "/" + file);
  }
  base_["bob"] = 0;
  StartAgent("bob");
  shopping().LogIn("bob");
  WaitForTexts("bob", 1, "NOTICE");
  EXPECT_THAT(Texts("bob", "NOTICE").back(), HasSubstr("could not be read"));
  EXPECT_THAT(Texts("bob"), IsEmpty());
  WaitForTexts("alice", 1, "NOTICE");
  EXPECT_THAT(Texts("alice", "NOTICE").back(), HasSubstr("could not read"));
  WaitUntil("alice's message is undelivered",
            [&] { return LatestState("alice", "bob") == "MESSAGE_STATE_UNDELIVERED"; });
  WaitForEmptyMailboxes();
  EXPECT_EQ(Send("alice", "bob", "again"), "MESSAGE_STATE_SENT");
  WaitForTexts("bob", 1);
  EXPECT_THAT(Texts("bob"), ElementsAre("again"));
  EXPECT_EQ(Send("bob", "alice", "good"), "MESSAGE_STATE_SENT");
  WaitForTexts("alice", 2);
}

TEST_F(MessagesTest, SafetyNumbersAgreeAndMarkAContactAsVerified) {
  EXPECT_EQ(shopping().Run("alice", {"contacts"}).exit_code, kOk);
  const json bob = shopping().Ask("alice", {"contacts", "verify", "bob"});
  const json alice = shopping().Ask("bob", {"contacts", "verify", "alice"});
  EXPECT_EQ(bob["safety_number"], alice["safety_number"]);
  EXPECT_EQ(bob["verified"], false);
  std::string number = alice["safety_number"];
  EXPECT_EQ(number.size(), 71u) << "60 digits in groups of 5";
  std::string wrong = number;
  wrong[0] = wrong[0] == '1' ? '2' : '1';
  shopping().Ask("alice", {"contacts", "verify", "bob", "--matches", wrong}, kVerification);
  EXPECT_EQ(shopping().Ask("alice", {"contacts", "verify", "bob"})["verified"], false);
  shopping().Ask("alice", {"contacts", "verify", "bob", "--matches", number});
  shopping().RestartAgent("alice");
  EXPECT_EQ(shopping().Ask("alice", {"contacts"})["contacts"][0]["verified"], true);
  shopping().Ask("alice", {"contacts", "verify", "nobody"}, kFailure);
  shopping().Ask("alice", {"contacts", "accept", "bob"}, kUsage);
  shopping().Ask("alice", {"contacts", "accept", "bob", "--fingerprint", "12"}, kUsage);
  shopping().Ask(
      "alice",
      {"contacts", "accept", "bob", "--fingerprint", alice["fingerprint_hex"].get<std::string>()},
      kRefused);
}

TEST_F(MessagesAloneTest, AChangedKeyIsRefusedUntilItIsAccepted) {
  Send("alice", "bob", "to the first bob");
  WaitForTexts("bob", 1);
  // Bob has done nothing to know alice: he is told.
  const json first = shopping().Ask("bob", {"message", "inbox"})["messages"];
  EXPECT_EQ(first[0]["first_contact"], true);
  EXPECT_EQ(first[0]["contact_verified"], false);
  EXPECT_EQ(shopping().Ask("bob", {"contacts"})["contacts"][0]["first_contact_by_mail"], true);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"message", "inbox"}, {"message", "read"}}) {
    const absl::StatusOr<Output> shown = market().Cli("bob", command);
    ASSERT_TRUE(shown.ok()) << shown.status();
    EXPECT_THAT(shown->out, HasSubstr("first contact, key not verified"));
  }
  const absl::StatusOr<Output> contacts = market().Cli("bob", {"contacts"});
  ASSERT_TRUE(contacts.ok()) << contacts.status();
  EXPECT_THAT(contacts->out, HasSubstr("first contact by mail, key not verified"));
  WaitForEmptyMailboxes();
  // How often bob's identity key is the one that he published first.
  ASSERT_TRUE(OnDatabase([](storage::SqliteDatabase& database) {
                return database.Execute("CREATE TABLE test_first_keys AS SELECT * FROM mail_keys");
              }).ok());
  const auto first_key_published = [this] {
    return Count(
        "SELECT COUNT(*) FROM mail_keys JOIN test_first_keys USING (customer_id, identity_key)"
        " WHERE customer_id = (SELECT id FROM customers WHERE username = 'bob')");
  };
  EXPECT_EQ(first_key_published(), 1);
  // Bob loses the computer with the keys; the operator enrols him anew under his name. There is an
  // account to spare whose agent makes the new keys.
  const CustomerSpec spare = {"newbob", "yellow bicycle 3", "1003", "1357", "5.00"};
  ASSERT_TRUE(market().AddCustomer(spare).ok());
  market().KillAgent("bob");
  market().KillBroker();
  ASSERT_TRUE(OnDatabase([](storage::SqliteDatabase& database) {
                return database.Execute(
                    "CREATE TEMP TABLE fresh AS SELECT identity, fingerprint FROM customers"
                    "  WHERE username = 'newbob';"
                    "UPDATE customers SET fingerprint = zeroblob(32) WHERE username = 'newbob';"
                    "UPDATE customers SET identity = (SELECT identity FROM fresh),"
                    "  fingerprint = (SELECT fingerprint FROM fresh) WHERE username = 'bob';");
              }).ok());
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  StartAgent("newbob");
  WaitUntil("bob logs in with the new key", [&] {
    const Answer answer = shopping().Run(
        "newbob", {"login", "--username", "bob", "--password-file", market().password_file("bob")});
    return answer.exit_code == kOk;
  });
  WaitForConnection("alice");
  WaitUntil("the new keys are published", [&] { return first_key_published() == 0; });
  // Somebody with another key writes under bob's name: not read, and not answered.
  EXPECT_EQ(Send("newbob", "alice", "it is me, bob"), "MESSAGE_STATE_SENT");
  WaitForTexts("alice", 1, "NOTICE");
  EXPECT_THAT(Texts("alice", "NOTICE").back(), HasSubstr("has changed"));
  EXPECT_THAT(Texts("alice"), IsEmpty());
  const Answer refused = shopping().Run("alice", {"message", "send", "bob", "a secret"});
  EXPECT_EQ(refused.exit_code, kRefused);
  const json contact = shopping().Ask("alice", {"contacts", "verify", "bob"});
  const std::string accept = absl::StrCat("contacts accept bob --fingerprint ",
                                          contact["offered_fingerprint_hex"].get<std::string>());
  EXPECT_THAT(refused.err, HasSubstr(accept));
  EXPECT_THAT(Texts("alice", "NOTICE").back(), HasSubstr(accept));
  EXPECT_EQ(contact["key_changed"], true);
  EXPECT_EQ(contact["offered_safety_number"],
            shopping().Ask("newbob", {"contacts", "verify", "alice"})["safety_number"]);

  shopping().Ask("alice", {"contacts", "accept", "bob", "--fingerprint", std::string(64, '0')},
                 kRefused);
  shopping().Ask("alice", {"contacts", "accept", "bob", "--fingerprint",
                           contact["offered_fingerprint_hex"].get<std::string>()});
  WaitForTexts("alice", 1);
  EXPECT_THAT(Texts("alice"), ElementsAre("it is me, bob")) << "it waited at the broker";
  EXPECT_EQ(Send("alice", "bob", "so it is"), "MESSAGE_STATE_SENT");
  WaitForTexts("newbob", 1);
  EXPECT_THAT(Texts("newbob"), ElementsAre("so it is"));
}

}  // namespace
}  // namespace blindcart::testing
