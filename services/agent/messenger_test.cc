#include "services/agent/messenger.h"

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/mail_content.h"
#include "protocol/mail_session.h"
#include "protocol/testing/fake_clock.h"
#include "protocol/testing/flip_bit.h"
#include "services/agent/message_store.h"
#include "services/agent/testing/fake_mailbox.h"

namespace blindcart::agent {
namespace {

using crypto::TestIdentity;
using testing::FakeMailbox;

constexpr int64_t kDayMs = 24 * 3'600'000LL;

std::string FreshFolder() {
  std::string pattern = ::testing::TempDir() + "/messenger-XXXXXX";
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  return pattern;
}

// One user's agent: its database, and a messenger over it.
class User {
 public:
  User(FakeMailbox& box, std::string name, int identity, crypto::RandomSource& random,
       const protocol::Clock& clock, Messenger::Limits limits = Messenger::Limits())
      : box_(box),
        name_(std::move(name)),
        identity_(identity),
        random_(random),
        clock_(clock),
        limits_(limits) {
    box_.Enrol(name_, TestIdentity(identity_).public_identity());
    Install();
  }

  // As after the end of the process and a new start.
  void Restart() {
    messenger_.reset();
    database_.reset();
    Open();
  }
  // A new installation: nothing of the database is left; the identity is another one when given.
  void Reinstall(int identity = -1) {
    if (identity >= 0) {
      identity_ = identity;
      box_.Enrol(name_, TestIdentity(identity_).public_identity());
    }
    messenger_.reset();
    database_.reset();
    Install();
  }
  // Another agent over a copy of the files as they are now: what a thief has.
  std::unique_ptr<User> Stolen() { return std::unique_ptr<User>(new User(this)); }

  Messenger& operator*() { return *messenger_; }
  Messenger* operator->() { return messenger_.get(); }
  AgentDatabase& database() { return *database_; }
  const std::string& folder() const { return folder_; }
  MailTransport& transport() { return *transport_; }

  MessageState Say(const std::string& to, const std::string& text) {
    Messenger::Outgoing outgoing;
    outgoing.to = to;
    outgoing.text = text;
    const auto sent = messenger_->Send(outgoing);
    EXPECT_TRUE(sent.ok()) << sent.status();
    return sent.ok() ? sent->message.state : MessageState::kRefused;
  }
  absl::StatusOr<Messenger::Sent> TrySay(const std::string& to, const std::string& text) {
    Messenger::Outgoing outgoing;
    outgoing.to = to;
    outgoing.text = text;
    return messenger_->Send(outgoing);
  }
  // Texts that came, oldest first; notices as "!".
  std::vector<std::string> Got() {
    Messenger::Filter filter;
    filter.incoming_only = true;
    filter.limit = 1'000;
    const auto messages = messenger_->List(filter);
    EXPECT_TRUE(messages.ok()) << messages.status();
    std::vector<std::string> texts;
    for (auto it = messages->rbegin(); it != messages->rend(); ++it) {
      texts.push_back(it->kind == MessageKind::kNotice ? "!" : it->body);
    }
    return texts;
  }
  std::vector<std::string> Receive() {
    const absl::Status received = messenger_->Receive();
    EXPECT_TRUE(received.ok()) << received;
    return Got();
  }
  // State of the newest outgoing message.
  MessageState LastState() {
    const auto messages = messenger_->List({});
    for (const MessageRecord& message : *messages) {
      if (message.outgoing) return message.state;
    }
    return MessageState::kRefused;
  }
  absl::Status Sql(const char* sql) {
    return database_->Transact([&](storage::SqliteDatabase& db) { return db.Execute(sql); });
  }
  int64_t Count(const std::string& sql) {
    int64_t count = -1;
    EXPECT_TRUE(database_
                    ->Read([&](storage::SqliteDatabase& db) -> absl::Status {
                      storage::SqliteStatement select = db.Prepare(sql);
                      const auto row = select.Step();
                      if (row.ok() && *row) count = select.ColumnInt64(0);
                      return row.status();
                    })
                    .ok());
    return count;
  }
  // The files' bytes.
  std::string Bytes() {
    std::string bytes;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      std::ifstream file(entry.path(), std::ios::binary);
      bytes.append(std::istreambuf_iterator<char>(file), {});
    }
    return bytes;
  }

 private:
  explicit User(User* victim)
      : box_(victim->box_),
        name_(victim->name_),
        identity_(victim->identity_),
        random_(victim->random_),
        clock_(victim->clock_),
        limits_(victim->limits_) {
    EXPECT_TRUE(victim->database_->Scrub().ok());
    folder_ = FreshFolder();
    std::filesystem::copy(victim->folder_, folder_, std::filesystem::copy_options::recursive);
    Open();
  }
  void Install() {
    folder_ = FreshFolder();
    Open();
    EXPECT_TRUE(messenger_->OnConnected().ok());
  }
  void Open() {
    auto database = AgentDatabase::Open(folder_ + "/agent.db");
    ASSERT_TRUE(database.ok()) << database.status();
    database_ = *std::move(database);
    transport_ = box_.TransportFor(name_);
    messenger_ = std::make_unique<Messenger>(Messenger::Dependencies{
        &TestIdentity(identity_), transport_.get(), database_.get(), &random_, &clock_, limits_});
  }

  FakeMailbox& box_;
  const std::string name_;
  int identity_;
  crypto::RandomSource& random_;
  const protocol::Clock& clock_;
  const Messenger::Limits limits_;
  std::string folder_;
  std::unique_ptr<AgentDatabase> database_;
  std::unique_ptr<MailTransport> transport_;
  std::unique_ptr<Messenger> messenger_;
};

using Texts = std::vector<std::string>;

class MessengerTest : public ::testing::Test {
 protected:
  void Offline(const std::string& call) {
    box_.before = [call](const std::string&, const std::string& name) {
      return name == call || call == "all" ? absl::UnavailableError("offline") : absl::OkStatus();
    };
  }
  void Online() {
    box_.before = nullptr;
    box_.after = nullptr;
  }
  void LoseAnswers(const std::string& call) {
    box_.after = [call](const std::string&, const std::string& name) {
      return name == call ? absl::UnavailableError("answer lost") : absl::OkStatus();
    };
  }
  void Meet() {
    EXPECT_EQ(alice_.Say("bob", "hello"), MessageState::kSent);
    EXPECT_EQ(bob_.Receive(), Texts({"hello"}));
    EXPECT_EQ(bob_.Say("alice", "hi"), MessageState::kSent);
    EXPECT_EQ(alice_.Receive(), Texts({"hi"}));
  }

  FakeMailbox box_;
  crypto::DeterministicRandom random_{21};
  protocol::FakeClock clock_;
  User alice_{box_, "alice", 0, random_, clock_};
  User bob_{box_, "bob", 1, random_, clock_};
};

TEST_F(MessengerTest, SendsToOneWhoIsNotThere) {
  const auto sent = alice_.TrySay("bob", "hello");
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->message.state, MessageState::kSent);
  EXPECT_TRUE(sent->first_contact);
  EXPECT_TRUE(sent->timings.key_exchange);
  EXPECT_GT(sent->timings.key_exchange_us, 0);
  EXPECT_GT(sent->timings.encryption_us, 0);
  const auto second = alice_.TrySay("bob", "again");
  ASSERT_TRUE(second.ok());
  EXPECT_FALSE(second->first_contact);
  EXPECT_FALSE(second->timings.key_exchange);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "again"}));
  EXPECT_TRUE(box_.Waiting("bob").empty());
  EXPECT_EQ(bob_.Say("alice", "answer"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"answer"}));
  // Nothing of it can be read in what the broker stored.
  for (const v1::MailItem& item : box_.all_mail()) {
    for (const char* text : {"hello", "again", "answer"}) {
      EXPECT_EQ(item.sealed().find(text), std::string::npos);
    }
  }
}

TEST_F(MessengerTest, LongConversationsOverRestarts) {
  Texts to_bob;
  Texts to_alice;
  for (int i = 0; i < 12; ++i) {
    for (int j = 0; j <= i % 5; ++j) {
      to_bob.push_back(absl::StrCat("a", i, ".", j));
      EXPECT_EQ(alice_.Say("bob", to_bob.back()), MessageState::kSent);
    }
    if (i % 3 == 0) bob_.Restart();
    EXPECT_EQ(bob_.Receive(), to_bob);
    if (i % 4 == 0) alice_.Restart();
    to_alice.push_back(absl::StrCat("b", i));
    EXPECT_EQ(bob_.Say("alice", to_alice.back()), MessageState::kSent);
    EXPECT_EQ(alice_.Receive(), to_alice);
  }
}

TEST_F(MessengerTest, ReadsListsAndReplies) {
  Meet();
  Messenger::Outgoing file;
  file.to = "bob";
  file.file_name = "notes.txt";
  file.file_content = std::string(protocol::kMaxMessageFileBytes, 'n');
  const auto sent = alice_->Send(file);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_LE(box_.sent().back().sealed().size(), protocol::kMaxSealedBytes);
  EXPECT_TRUE(bob_->Receive().ok());
  Messenger::Filter unread;
  unread.unread_only = true;
  const auto list = bob_->List(unread);
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].kind, MessageKind::kFile);
  EXPECT_EQ((*list)[0].file_name, "notes.txt");
  EXPECT_TRUE((*list)[0].body.empty());
  EXPECT_EQ((*list)[0].size_bytes, static_cast<int64_t>(protocol::kMaxMessageFileBytes));

  const auto first = bob_->NextUnread();
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->body, "hello");
  const auto second = bob_->Read((*list)[0].id);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->body, file.file_content);
  EXPECT_EQ(bob_->List(unread)->size(), 2u) << "nobody has said that they were shown";
  ASSERT_TRUE(bob_->MarkRead({(*first)->id, 99'999}).ok());
  EXPECT_EQ((*bob_->NextUnread())->id, second->id);
  ASSERT_TRUE(bob_->MarkRead({second->id}).ok());
  EXPECT_TRUE(bob_->List(unread)->empty());
  EXPECT_FALSE(bob_->NextUnread()->has_value());
  EXPECT_TRUE(absl::IsNotFound(bob_->Read(99'999).status()));

  Messenger::Outgoing reply;
  reply.to = "alice";
  reply.text = "to your hello";
  reply.reply_to = (*first)->id;
  ASSERT_TRUE(bob_->Send(reply).ok());
  EXPECT_TRUE(alice_->Receive().ok());
  ASSERT_TRUE(alice_->MarkRead({(*alice_->NextUnread())->id}).ok());
  const auto answer = alice_->NextUnread();
  ASSERT_TRUE(answer.ok() && answer->has_value());
  EXPECT_EQ((*answer)->body, "to your hello");
  EXPECT_EQ((*answer)->reply_to, (*first)->message_id);
  reply.reply_to = 99'999;
  EXPECT_TRUE(absl::IsNotFound(bob_->Send(reply).status()));

  Messenger::Filter paged;
  paged.limit = 1;
  const auto newest = bob_->List(paged);
  ASSERT_EQ(newest->size(), 1u);
  EXPECT_EQ(newest->front().body, "to your hello");
  paged.before_id = newest->front().id;
  EXPECT_EQ(bob_->List(paged)->front().kind, MessageKind::kFile);
}

TEST_F(MessengerTest, AListHoldsTheBeginningOfTexts) {
  std::string text;
  for (int i = 0; i < 600; ++i) text += "\xc3\xbc";  // ü
  EXPECT_EQ(alice_.Say("bob", text), MessageState::kSent);
  EXPECT_TRUE(bob_->Receive().ok());
  const auto listed = *bob_->List({});
  EXPECT_EQ(listed.front().body, text.substr(0, 1'000));
  EXPECT_EQ(listed.front().size_bytes, 1'200);
  EXPECT_EQ(bob_->Read(listed.front().id)->body, text);
}

TEST_F(MessengerTest, RefusesWhatCannotBeSent) {
  EXPECT_TRUE(absl::IsInvalidArgument(alice_.TrySay("bob", "").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_.TrySay("Not A Name", "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_.TrySay("alice", "x").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      alice_.TrySay("bob", std::string(protocol::kMaxMessageTextBytes + 1, 'x')).status()));
  EXPECT_TRUE(alice_->List({})->empty());
  EXPECT_EQ(alice_.Say("nobody", "x"), MessageState::kNoRecipient);
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_QUOTA;
  EXPECT_EQ(alice_.Say("bob", "too much"), MessageState::kMailboxFull);
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_STORED;
  // Neither goes out later; what follows is read.
  EXPECT_TRUE(alice_->Flush().ok());
  EXPECT_EQ(alice_.Say("bob", "fits"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"fits"}));
}

TEST_F(MessengerTest, WhatCannotGoNowGoesLaterInOrder) {
  Offline("all");
  EXPECT_EQ(alice_.Say("bob", "1"), MessageState::kQueued);
  EXPECT_EQ(alice_.Say("bob", "2"), MessageState::kQueued);
  alice_.Restart();
  EXPECT_EQ(alice_.Say("bob", "3"), MessageState::kQueued);
  EXPECT_FALSE(alice_->Flush().ok());
  Online();
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_BUSY;
  EXPECT_EQ(alice_.Say("bob", "4"), MessageState::kQueued);
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_STORED;
  EXPECT_TRUE(alice_->OnConnected().ok());
  EXPECT_EQ(alice_.LastState(), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"1", "2", "3", "4"}));
}

TEST_F(MessengerTest, ALostAnswerIsAskedForUnderTheSameIdAndBytes) {
  LoseAnswers("send");
  EXPECT_EQ(alice_.Say("bob", "once"), MessageState::kQueued);
  EXPECT_FALSE(alice_->Flush().ok());
  alice_.Restart();
  EXPECT_FALSE(alice_->Flush().ok());
  Online();
  EXPECT_TRUE(alice_->Flush().ok());
  EXPECT_EQ(alice_.LastState(), MessageState::kSent);
  std::set<std::string> different;
  for (const v1::SendMailCall& call : box_.sent()) {
    different.insert(call.message_id() + call.sealed());
  }
  EXPECT_GE(box_.sent().size(), 4u);
  EXPECT_EQ(different.size(), 1u);
  EXPECT_EQ(bob_.Receive(), Texts({"once"}));
  EXPECT_TRUE(alice_->Flush().ok());
  EXPECT_EQ(bob_.Receive(), Texts({"once"}));
}

TEST_F(MessengerTest, IsReadOnceHoweverOftenItComes) {
  EXPECT_EQ(alice_.Say("bob", "once"), MessageState::kSent);
  const v1::MailItem item = box_.Waiting("bob").front();
  Offline("acknowledge");
  EXPECT_FALSE(bob_->Receive().ok());
  EXPECT_FALSE(bob_->OnPush(item).ok());
  EXPECT_EQ(box_.Waiting("bob").size(), 1u);  // Kept until it is acknowledged.
  bob_.Restart();
  LoseAnswers("acknowledge");
  box_.before = nullptr;
  EXPECT_FALSE(bob_->Receive().ok());
  Online();
  EXPECT_EQ(bob_.Receive(), Texts({"once"}));
  EXPECT_TRUE(bob_->OnPush(item).ok());
  box_.Put("bob", item);
  EXPECT_EQ(bob_.Receive(), Texts({"once"}));
  EXPECT_TRUE(box_.Waiting("bob").empty());
}

TEST_F(MessengerTest, ADuplicateUnderAnotherIdIsNoNewsAlsoWhenItOpensNoMore) {
  Meet();
  EXPECT_EQ(alice_.Say("bob", "again"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "again"}));
  ASSERT_TRUE(bob_->Delete(bob_->List({})->front().id).ok());
  std::vector<v1::MailItem> all = box_.all_mail();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].sender() != "alice") continue;
    all[i].set_message_id(std::string(16, static_cast<char>(i)));
    box_.Put("bob", all[i]);
  }
  EXPECT_EQ(bob_.Receive(), Texts({"hello"}));
  EXPECT_TRUE(box_.Waiting("bob").empty());
  EXPECT_EQ(alice_.Receive(), Texts({"hi"})) << "nothing was answered";
}

TEST_F(MessengerTest, AStrangerIsAnsweredOnce) {
  User carol(box_, "carol", 2, random_, clock_);
  v1::MailItem damaged;
  damaged.set_sender("carol");
  damaged.set_sealed("damaged");
  const auto push = [&](char id) {
    damaged.set_message_id(std::string(16, id));
    EXPECT_TRUE(bob_->OnPush(damaged).ok());
  };
  push('1');
  ASSERT_EQ(box_.sent().size(), 1u);
  push('2');
  clock_.Advance(2 * 3'600'000);
  push('3');
  EXPECT_EQ(box_.sent().size(), 1u);
  // Who has been talked with is none.
  EXPECT_EQ(carol.Say("bob", "hello"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive().back(), "hello");
  push('4');
  EXPECT_EQ(box_.sent().size(), 3u);
}

TEST_F(MessengerTest, AFailureAtAnyWriteLeavesEverythingAsItWas) {
  // Each of these writes is part of taking in a first message; a failing one stands for a crash.
  for (const char* write : {"INSERT ON contacts", "DELETE ON mail_one_time_pre_keys",
                            "INSERT ON mail_sessions", "INSERT ON messages"}) {
    alice_.Reinstall();
    bob_.Reinstall();
    EXPECT_EQ(alice_.Say("bob", "first"), MessageState::kSent);
    ASSERT_TRUE(bob_.Sql(absl::StrCat("CREATE TRIGGER crash BEFORE ", write,
                                      " BEGIN SELECT RAISE(ABORT, 'crash'); END")
                             .c_str())
                    .ok());
    EXPECT_FALSE(bob_->Receive().ok()) << write;
    EXPECT_EQ(box_.Waiting("bob").size(), 1u);
    EXPECT_EQ(bob_.Count("SELECT count(*) FROM messages"), 0);
    EXPECT_EQ(bob_.Count("SELECT count(*) FROM mail_sessions"), 0);
    EXPECT_EQ(bob_.Count("SELECT count(*) FROM contacts"), 0);
    EXPECT_EQ(bob_.Count("SELECT count(*) FROM mail_one_time_pre_keys"), 100);
    ASSERT_TRUE(bob_.Sql("DROP TRIGGER crash").ok());
    bob_.Restart();
    EXPECT_EQ(bob_.Receive(), Texts({"first"})) << write;
  }
  // And under a session that stands, at both ends.
  for (const char* write : {"UPDATE ON mail_sessions", "INSERT ON messages"}) {
    const std::string trigger = absl::StrCat("CREATE TRIGGER crash BEFORE ", write,
                                             " BEGIN SELECT RAISE(ABORT, 'crash'); END");
    ASSERT_TRUE(alice_.Sql(trigger.c_str()).ok());
    EXPECT_FALSE(alice_.TrySay("bob", "never").ok());
    ASSERT_TRUE(alice_.Sql("DROP TRIGGER crash").ok());
    EXPECT_EQ(alice_.Say("bob", write), MessageState::kSent);
    ASSERT_TRUE(bob_.Sql(trigger.c_str()).ok());
    EXPECT_FALSE(bob_->Receive().ok());
    ASSERT_TRUE(bob_.Sql("DROP TRIGGER crash").ok());
    EXPECT_EQ(bob_.Receive().back(), write);
  }
  EXPECT_EQ(bob_.Got().size(), 3u);
}

TEST_F(MessengerTest, KeysArePublishedAndToppedUp) {
  EXPECT_EQ(box_.OneTimePreKeysLeft("bob"), 100u);
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_EQ(box_.OneTimePreKeysLeft("bob"), 100u);
  v1::FetchKeysCall call;
  call.set_username("bob");
  for (int i = 0; i < 80; ++i) EXPECT_TRUE(alice_.transport().FetchKeys(call).ok());
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_EQ(box_.OneTimePreKeysLeft("bob"), 20u);
  EXPECT_TRUE(alice_.transport().FetchKeys(call).ok());
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_EQ(box_.OneTimePreKeysLeft("bob"), 100u);

  // No key goes out twice, also when answers are lost.
  for (int i = 0; i < 3; ++i) {
    box_.DropOneTimePreKeys("bob");
    LoseAnswers("publish");
    EXPECT_FALSE(bob_->EnsureKeysPublished().ok());
  }
  Online();
  box_.DropOneTimePreKeys("bob");
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  std::set<uint32_t> ids;
  std::set<std::string> keys;
  size_t count = 0;
  for (const v1::PublishKeysCall& published : box_.published()) {
    for (const v1::OneTimePreKey& key : published.one_time_pre_keys()) {
      ++count;
      ids.insert(key.id());
      keys.insert(key.key());
    }
  }
  EXPECT_EQ(keys.size(), count);
  EXPECT_LE(bob_.Count("SELECT count(*) FROM mail_one_time_pre_keys"), 400);
}

TEST_F(MessengerTest, TheSignedPreKeyRotatesWeeklyAndTheLastOneServesOn) {
  const auto published_id = [&] { return box_.published().back().signed_pre_key().id(); };
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  const uint32_t first = published_id();
  clock_.Advance(6 * kDayMs);
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_EQ(published_id(), first);
  // Alice begins with the first one while Bob is away.
  EXPECT_EQ(alice_.Say("bob", "for the first key"), MessageState::kSent);
  clock_.Advance(2 * kDayMs);
  EXPECT_TRUE(bob_->OnConnected().ok());
  EXPECT_NE(published_id(), first);
  EXPECT_EQ(bob_.Got(), Texts({"for the first key"}));
  clock_.Advance(8 * kDayMs);
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_EQ(bob_.Count("SELECT count(*) FROM mail_signed_pre_keys"), 2);
  EXPECT_EQ(
      bob_.Count(absl::StrCat("SELECT count(*) FROM mail_signed_pre_keys WHERE id = ", first)), 0);
  // A clock that was wrong for a while leaves no key that never ages.
  const uint32_t third = published_id();
  clock_.ShiftUnix(-100 * kDayMs);
  EXPECT_TRUE(bob_->EnsureKeysPublished().ok());
  EXPECT_NE(published_id(), third);
}

TEST_F(MessengerTest, WorksWithoutOneTimePreKeys) {
  box_.DropOneTimePreKeys("bob");
  EXPECT_EQ(alice_.Say("bob", "without"), MessageState::kSent);
  EXPECT_EQ(protocol::ParseEnvelope(box_.sent().back().sealed())->initial().one_time_pre_key_id(),
            0u);
  EXPECT_EQ(bob_.Receive(), Texts({"without"}));
  EXPECT_EQ(bob_.Say("alice", "answer"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"answer"}));
  // A replay under another id makes no second message and no second session.
  v1::MailItem replay = box_.all_mail().front();
  replay.set_message_id(std::string(16, 'r'));
  ASSERT_TRUE(bob_.Sql("DELETE FROM mail_sessions").ok());
  box_.Put("bob", replay);
  EXPECT_EQ(bob_.Receive(), Texts({"without"}));
  EXPECT_EQ(bob_.Count("SELECT count(*) FROM mail_sessions"), 0);
}

TEST_F(MessengerTest, UsedPreKeySecretsAreGone) {
  EXPECT_EQ(alice_.Say("bob", "hello"), MessageState::kSent);
  const uint32_t id =
      protocol::ParseEnvelope(box_.sent().back().sealed())->initial().one_time_pre_key_id();
  ASSERT_NE(id, 0u);
  std::string secret;
  std::string session;
  ASSERT_TRUE(bob_.database()
                  .Read([&](storage::SqliteDatabase& db) -> absl::Status {
                    const auto key = MessageStore(db).FindOneTimePreKey(id);
                    if (!key.ok() || !key->has_value()) return absl::NotFoundError("");
                    secret = std::string((*key)->private_key().view());
                    return absl::OkStatus();
                  })
                  .ok());
  ASSERT_NE(bob_.Bytes().find(secret), std::string::npos);
  EXPECT_EQ(bob_.Receive(), Texts({"hello"}));
  EXPECT_EQ(bob_.Bytes().find(secret), std::string::npos);

  // So are the keys of an earlier state of the session.
  ASSERT_TRUE(bob_.database()
                  .Read([&](storage::SqliteDatabase& db) -> absl::Status {
                    const auto kept = MessageStore(db).LatestSession("alice");
                    if (!kept.ok() || !kept->has_value()) return absl::NotFoundError("");
                    v1::MailSessionState state;
                    state.ParseFromString(std::string((*kept)->state.view()));
                    session = state.ratchet().own_private_key();
                    return absl::OkStatus();
                  })
                  .ok());
  ASSERT_NE(bob_.Bytes().find(session), std::string::npos);
  EXPECT_EQ(bob_.Say("alice", "answer"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"answer"}));
  EXPECT_EQ(alice_.Say("bob", "again"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "again"}));
  EXPECT_EQ(bob_.Bytes().find(session), std::string::npos);
}

TEST_F(MessengerTest, TodaysStateOpensNothingOfYesterday) {
  Meet();
  EXPECT_EQ(alice_.Say("bob", "secret"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "secret"}));
  for (User* victim : {&alice_, &bob_}) {
    const auto thief = victim->Stolen();
    // The thief forgets what is written there in plain, and feeds on recorded mail.
    ASSERT_EQ(thief->Count("SELECT count(*) FROM mail_sessions"), 1);
    ASSERT_TRUE(thief->Sql("DELETE FROM messages").ok());
    for (const v1::MailItem& item : box_.all_mail()) {
      EXPECT_TRUE((*thief)->OnPush(item).ok());
    }
    EXPECT_FALSE(thief->Got().empty());
    for (const std::string& text : thief->Got()) EXPECT_EQ(text, "!");
  }
}

TEST_F(MessengerTest, AStolenStateHealsWithOneRoundTrip) {
  Meet();
  for (User* victim : {&alice_, &bob_}) {
    const auto thief = victim->Stolen();
    const size_t before = box_.all_mail().size();
    alice_.Say("bob", "ping");
    bob_->Receive().IgnoreError();
    bob_.Say("alice", "pong");
    alice_->Receive().IgnoreError();
    const size_t healed = box_.all_mail().size();
    alice_.Say("bob", "healed");
    bob_->Receive().IgnoreError();
    bob_.Say("alice", "healed too");
    EXPECT_EQ(alice_.Receive().back(), "healed too");
    EXPECT_EQ(bob_.Got().back(), "healed");

    const auto all = box_.all_mail();
    ASSERT_EQ(all.size(), healed + 2);
    for (size_t i = before; i < all.size(); ++i) {
      if (all[i].sender() == (victim == &alice_ ? "alice" : "bob")) continue;
      EXPECT_TRUE((*thief)->OnPush(all[i]).ok());
      // The theft is a real one: what was on its way then can be read.
      EXPECT_EQ(thief->Got().back() != "!", i < healed) << i;
    }
  }
}

TEST_F(MessengerTest, BothMayBeginAtOnce) {
  EXPECT_EQ(alice_.Say("bob", "from alice"), MessageState::kSent);
  EXPECT_EQ(bob_.Say("alice", "from bob"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"from alice"}));
  EXPECT_EQ(alice_.Receive(), Texts({"from bob"}));
  // Each now goes on in the other's session, and back: always readable.
  Texts to_bob = {"from alice"};
  Texts to_alice = {"from bob"};
  for (int i = 0; i < 6; ++i) {
    to_bob.push_back(absl::StrCat("a", i));
    to_alice.push_back(absl::StrCat("b", i));
    EXPECT_EQ(alice_.Say("bob", to_bob.back()), MessageState::kSent);
    EXPECT_EQ(bob_.Say("alice", to_alice.back()), MessageState::kSent);
    EXPECT_EQ(bob_.Receive(), to_bob);
    EXPECT_EQ(alice_.Receive(), to_alice);
  }
  EXPECT_EQ(alice_.Count("SELECT count(*) FROM mail_sessions"), 2);
}

TEST_F(MessengerTest, LostStateIsSaidToBoth) {
  Meet();
  EXPECT_EQ(alice_.Say("bob", "lost 1"), MessageState::kSent);
  EXPECT_EQ(alice_.Say("bob", "lost 2"), MessageState::kSent);
  bob_.Reinstall();  // Takes in its mail at once.
  EXPECT_EQ(bob_.Got(), Texts({"!", "!"}));
  EXPECT_TRUE(box_.Waiting("bob").empty());
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!"}));
  const auto all = alice_->List({});
  std::vector<MessageState> states;
  for (const MessageRecord& message : *all) {
    if (message.outgoing) states.push_back(message.state);
  }
  EXPECT_EQ(states, std::vector<MessageState>({MessageState::kUndelivered,
                                               MessageState::kUndelivered, MessageState::kSent}));
  EXPECT_NE((*all)[0].body.find("2 messages"), std::string::npos);

  EXPECT_EQ(alice_.Say("bob", "anew"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"!", "!", "anew"}));
  EXPECT_EQ(bob_.Say("alice", "works"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!", "works"}));
}

TEST_F(MessengerTest, WhatJoinsAnAnswerUntilItIsSealedGoesWithIt) {
  Meet();
  EXPECT_EQ(alice_.Say("bob", "lost 1"), MessageState::kSent);
  EXPECT_EQ(alice_.Say("bob", "lost 2"), MessageState::kSent);
  const v1::MailItem second = box_.Waiting("bob").back();
  box_.Remove("bob", second.mail_number());
  // Another thread notes the second one while keys are fetched for the answer about the first.
  box_.before = [&](const std::string& user, const std::string& call) {
    if (user != "bob" || call != "keys") return absl::OkStatus();
    return bob_.database().Transact([&](storage::SqliteDatabase& db) -> absl::Status {
      MessageStore store(db);
      const auto open = store.OpenUnreadable("alice");
      if (!open.ok() || !open->has_value()) return absl::NotFoundError("no answer to join");
      v1::MailUnreadable unreadable;
      unreadable.ParseFromString((*open)->body);
      unreadable.add_message_ids(second.message_id());
      return store.SetBody((*open)->id, unreadable.SerializeAsString());
    });
  };
  bob_.Reinstall();
  Online();
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(alice_.Count("SELECT count(*) FROM messages WHERE outgoing = 1 AND state = 4"), 2);
}

TEST_F(MessengerTest, WhatIsOnItsWayWhenStateIsLostIsSealedAnew) {
  Meet();
  Offline("send");
  EXPECT_EQ(alice_.Say("bob", "waits"), MessageState::kQueued);
  Online();
  bob_.Reinstall();
  EXPECT_EQ(bob_.Say("alice", "I am new here"), MessageState::kSent);
  // Sealed under the lost session it cannot be read; its sender hears of it and nothing is stuck.
  EXPECT_TRUE(alice_->OnConnected().ok());
  EXPECT_EQ(alice_.Got().back(), "I am new here");
  EXPECT_EQ(alice_.LastState(), MessageState::kSent);
  bob_->Receive().IgnoreError();
  alice_->Receive().IgnoreError();
  EXPECT_EQ(alice_.Say("bob", "once more"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive().back(), "once more");
}

TEST_F(MessengerTest, AChangedIdentityIsRefusedUntilAccepted) {
  Meet();
  bob_.Reinstall(2);
  EXPECT_EQ(bob_.Say("alice", "it is me, really"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!"}));
  EXPECT_EQ(box_.Waiting("alice").size(), 1u);  // Kept, unread.
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!"}));
  const auto refused = alice_.TrySay("bob", "who are you?");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_NE(refused.status().message().find("contacts accept bob"), std::string::npos);

  const auto contact = alice_->GetContact("bob");
  ASSERT_TRUE(contact.ok());
  EXPECT_EQ(contact->fingerprint, TestIdentity(1).public_identity().fingerprint());
  EXPECT_EQ(contact->offered_fingerprint, TestIdentity(2).public_identity().fingerprint());
  EXPECT_NE(contact->safety_number, contact->offered_safety_number);
  EXPECT_TRUE(
      absl::IsFailedPrecondition(alice_->AcceptIdentity("bob", contact->fingerprint).status()));
  const auto accepted = alice_->AcceptIdentity("bob", contact->offered_fingerprint);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_EQ(accepted->fingerprint, contact->offered_fingerprint);
  EXPECT_FALSE(accepted->verified);
  EXPECT_TRUE(accepted->offered_fingerprint.empty());
  EXPECT_EQ(alice_.Got(), Texts({"hi", "!", "it is me, really"}));
  EXPECT_EQ(alice_.Say("bob", "welcome back"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"welcome back"}));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      alice_->AcceptIdentity("bob", TestIdentity(3).public_identity().fingerprint()).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->AcceptIdentity("bob", "").status()));
}

TEST_F(MessengerTest, SoMuchMailOfAChangedIdentityIsHeldAndTheRestCounted) {
  Meet();
  bob_.Reinstall(2);
  for (int i = 0; i < 25; ++i) EXPECT_EQ(bob_.Say("alice", "me"), MessageState::kSent);
  const v1::MailItem dropped = box_.Waiting("alice").back();
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(alice_.Receive(), Texts({"hi", "!", "!"}));
    EXPECT_EQ(box_.Waiting("alice").size(), static_cast<size_t>(Messenger::kMaxHeldPerContact));
  }
  const auto count = [&] { return alice_->List({})->front().body.substr(0, 8); };
  EXPECT_EQ(count(), "5 more m");
  EXPECT_TRUE(alice_->OnPush(dropped).ok());
  EXPECT_EQ(count(), "5 more m") << "counted twice";
  EXPECT_EQ(bob_.Say("alice", "me"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!", "!"}));
  EXPECT_EQ(count(), "6 more m");
  EXPECT_FALSE(alice_->List({})->front().read);
  // What expires at the broker makes room.
  box_.Remove("alice", box_.Waiting("alice").front().mail_number());
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(bob_.Say("alice", "the last"), MessageState::kSent);
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(count(), "6 more m");
  ASSERT_TRUE(alice_->AcceptIdentity("bob", TestIdentity(2).public_identity().fingerprint()).ok());
  EXPECT_EQ(alice_.Got().size(), 3u + 20u);
  EXPECT_EQ(alice_.Got().back(), "the last");
  EXPECT_TRUE(box_.Waiting("alice").empty());
}

TEST_F(MessengerTest, MailOfARejectedIdentityIsDroppedUntilItIsAccepted) {
  Meet();
  bob_.Reinstall(2);
  const std::string fingerprint = TestIdentity(2).public_identity().fingerprint();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bob_.Say("alice", "me"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!"}));
  ASSERT_TRUE(alice_->KeepIdentity("bob").ok());
  EXPECT_TRUE(box_.Waiting("alice").empty());
  EXPECT_EQ(bob_.Say("alice", "me again"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!"}));
  EXPECT_TRUE(box_.Waiting("alice").empty());
  EXPECT_TRUE(alice_->GetContact("bob")->offered_fingerprint.empty());
  // Nor is anything sealed for it.
  ASSERT_TRUE(alice_.Sql("DELETE FROM mail_sessions").ok());
  const auto refused = alice_.TrySay("bob", "who are you?");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_NE(refused.status().message().find(
                absl::StrCat("contacts accept bob --fingerprint ", crypto::HexEncode(fingerprint))),
            std::string::npos);
  EXPECT_EQ(alice_.Got(), Texts({"hi", "!"}));
  // Another one is not the rejected one.
  User third(box_, "bob", 3, random_, clock_);
  EXPECT_EQ(third.Say("alice", "or me?"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!", "!"}));
  ASSERT_TRUE(alice_->KeepIdentity("bob").ok());
  // It was Bob's after all.
  ASSERT_TRUE(alice_->AcceptIdentity("bob", fingerprint).ok());
  EXPECT_EQ(bob_.Say("alice", "at last"), MessageState::kSent);
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "!", "!", "at last"}));
}

TEST_F(MessengerTest, NoticesOfChangesCountWithTheOthersOfTheHour) {
  Meet();
  v1::MailItem damaged;
  damaged.set_sender("bob");
  for (char i = 0; i < Messenger::kMaxNoticesPerHour - 1; ++i) {
    damaged.set_message_id(std::string(16, i));
    box_.Put("alice", damaged);
  }
  EXPECT_EQ(alice_.Receive().size(), static_cast<size_t>(Messenger::kMaxNoticesPerHour));
  User second(box_, "bob", 2, random_, clock_);
  User third(box_, "bob", 3, random_, clock_);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(second.Say("alice", "me"), MessageState::kSent);
    EXPECT_EQ(third.Say("alice", "me"), MessageState::kSent);
  }
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(alice_.Count("SELECT count(*) FROM messages WHERE kind = 3"),
            Messenger::kMaxNoticesPerHour + 1);
  EXPECT_NE(alice_->List({})->front().body.find("changed 5 more times"), std::string::npos);
  EXPECT_EQ(alice_->GetContact("bob")->offered_fingerprint,
            TestIdentity(3).public_identity().fingerprint());
}

TEST_F(MessengerTest, AnIdentityThatTheBrokerSwapsIsRefused) {
  // Bob is pinned, without a session.
  ASSERT_TRUE(alice_->GetContact("bob").ok());
  User mallory(box_, "mallory", 2, random_, clock_);
  v1::FetchKeysCall call;
  call.set_username("mallory");
  const auto mallorys = alice_.transport().FetchKeys(call);
  box_.alter_keys = [&](v1::FetchKeysResult* keys) { *keys = *mallorys; };
  EXPECT_TRUE(absl::IsFailedPrecondition(alice_.TrySay("bob", "secret").status()));
  EXPECT_EQ(alice_.LastState(), MessageState::kRefused);
  EXPECT_TRUE(box_.sent().empty());
  box_.alter_keys = nullptr;
  // The user finds out that Bob's key is what it was.
  ASSERT_TRUE(alice_->KeepIdentity("bob").ok());
  EXPECT_EQ(alice_.Say("bob", "hello"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello"}));
}

TEST_F(MessengerTest, AlteredKeysAreRefused) {
  const std::vector<std::function<void(v1::FetchKeysResult*)>> alterations = {
      [](v1::FetchKeysResult* k) { protocol::FlipBit(*k->mutable_identity_key(), 5); },
      [](v1::FetchKeysResult* k) { protocol::FlipBit(*k->mutable_identity_key_signature(), 5); },
      [](v1::FetchKeysResult* k) {
        protocol::FlipBit(*k->mutable_signed_pre_key()->mutable_key(), 5);
      },
      [](v1::FetchKeysResult* k) { k->mutable_signed_pre_key()->set_id(1); },
      [](v1::FetchKeysResult* k) { k->clear_signed_pre_key(); },
      [](v1::FetchKeysResult* k) { k->clear_public_identity(); },
      [](v1::FetchKeysResult* k) { k->mutable_one_time_pre_key()->set_key(std::string(32, '\0')); },
  };
  for (const auto& alteration : alterations) {
    box_.alter_keys = alteration;
    EXPECT_TRUE(absl::IsDataLoss(alice_.TrySay("bob", "secret").status()));
    EXPECT_EQ(alice_.LastState(), MessageState::kRefused);
  }
  EXPECT_TRUE(box_.sent().empty());
  EXPECT_TRUE(alice_->Contacts()->empty());
}

TEST_F(MessengerTest, AlteredMailIsRefusedAndTheSessionUnharmed) {
  Meet();
  const std::string good = [&] {
    EXPECT_EQ(alice_.Say("bob", "target"), MessageState::kSent);
    return box_.Waiting("bob").front().sealed();
  }();
  v1::MailItem item = box_.Waiting("bob").front();
  // Other ids, so that only the seal decides; some bytes of everywhere.
  item.set_mail_number(99'999);
  int refused = 0;
  for (size_t at = 0; at < good.size(); at += 61) {
    std::string altered = good;
    protocol::FlipBit(altered, at);
    item.set_sealed(altered);
    item.set_message_id(std::string(15, 'x') + static_cast<char>(refused++));
    EXPECT_TRUE(bob_->OnPush(item).ok());
  }
  item.set_sealed(good);
  item.set_message_id(std::string(16, 'y'));
  // As if another one had sent it.
  item.set_sender("carol");
  EXPECT_TRUE(bob_->OnPush(item).ok());
  for (const std::string& text : bob_.Got()) EXPECT_TRUE(text == "hello" || text == "!") << text;
  EXPECT_EQ(bob_.Receive().back(), "target");
  // Notices for at most so many an hour.
  EXPECT_LE(bob_.Count("SELECT count(*) FROM messages WHERE kind = 3 AND contact = 'alice'"),
            Messenger::kMaxNoticesPerHour);
  // Alice sent none of those: she is not bothered.
  EXPECT_EQ(alice_.Receive(), Texts({"hi"}));
  EXPECT_EQ(alice_.Say("bob", "still here"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive().back(), "still here");
}

TEST_F(MessengerTest, WhatIsBeyondTheNoticesOfAnHourIsCountedAndAnsweredOncePerSession) {
  Meet();
  constexpr int kLost = 50;
  for (int i = 0; i < kLost; ++i) EXPECT_EQ(alice_.Say("bob", "lost"), MessageState::kSent);
  bob_.Reinstall();  // Takes in its mail at once.
  EXPECT_EQ(bob_.Got().size(), static_cast<size_t>(Messenger::kMaxNoticesPerHour + 1));
  EXPECT_NE(bob_->List({})->front().body.find("30 more messages from alice"), std::string::npos);
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(alice_.Count("SELECT count(*) FROM messages WHERE outgoing = 1 AND state = 4"), kLost);

  // Damaged mail of a session that bob has not answered for yet, and more of it: told once.
  EXPECT_EQ(alice_.Say("bob", "hello again"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive().back(), "hello again");
  const auto damage = [&] {
    EXPECT_EQ(alice_.Say("bob", "damaged"), MessageState::kSent);
    v1::MailItem item = box_.Waiting("bob").back();
    box_.Remove("bob", item.mail_number());
    protocol::FlipBit(*item.mutable_sealed(), item.sealed().size() - 1);
    return item;
  };
  const v1::MailItem first = damage();
  EXPECT_TRUE(bob_->OnPush(first).ok());
  EXPECT_NE(bob_->List({})->front().body.find("hello again"), std::string::npos)
      << "no further notice";
  EXPECT_EQ(bob_.Count("SELECT count(*) FROM messages WHERE CAST(body AS TEXT) LIKE '31 more%'"),
            1);
  EXPECT_TRUE(bob_->OnPush(first).ok());
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_EQ(alice_.LastState(), MessageState::kUndelivered);
  const size_t sent = box_.sent().size();
  const v1::MailItem second = damage();
  EXPECT_TRUE(bob_->OnPush(second).ok());
  EXPECT_EQ(box_.sent().size(), sent + 2) << "alice's, and one answer under the newest session";
  const v1::MailItem third = damage();
  EXPECT_TRUE(bob_->OnPush(third).ok());
  EXPECT_EQ(box_.sent().size(), sent + 3) << "alice's alone";
  EXPECT_EQ(bob_.Count("SELECT count(*) FROM messages WHERE CAST(body AS TEXT) LIKE '33 more%'"),
            1);

  // In the next hour notices begin anew.
  clock_.Advance(3'600'001);
  EXPECT_TRUE(bob_->OnPush(damage()).ok());
  EXPECT_EQ(bob_.Count("SELECT count(*) FROM messages WHERE kind = 3"),
            Messenger::kMaxNoticesPerHour + 2);
}

TEST_F(MessengerTest, NobodyAnswersForEver) {
  Meet();
  box_.alter_mail = [](v1::MailItem* item) {
    protocol::FlipBit(*item->mutable_sealed(), item->sealed().size() - 1);
  };
  EXPECT_EQ(alice_.Say("bob", "damaged"), MessageState::kSent);
  const size_t before = box_.sent().size();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(bob_->Receive().ok());
    EXPECT_TRUE(alice_->Receive().ok());
  }
  EXPECT_LE(box_.sent().size() - before, 2 * Messenger::kMaxNoticesPerHour);
  box_.alter_mail = nullptr;
  clock_.Advance(2 * 3'600'000);
  EXPECT_EQ(alice_.Say("bob", "whole"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive().back(), "whole");
}

TEST_F(MessengerTest, WhatFindsNoRoomWaitsAtTheBrokerAndNothingGoesByItself) {
  Messenger::Limits limits;
  limits.messages_per_contact = 3;
  limits.bytes_per_contact = 100;
  limits.messages = 4;
  User carol(box_, "carol", 2, random_, clock_, limits);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(alice_.Say("carol", absl::StrCat("a", i)), MessageState::kSent);
  }
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(carol.Receive(), Texts({"a0", "a1", "a2", "!"})) << "told once";
    EXPECT_EQ(box_.Waiting("carol").size(), 2u);
  }
  EXPECT_NE(carol->List({})->front().body.find("message delete --contact alice"),
            std::string::npos);
  // Another one finds room until all of it is used up.
  EXPECT_EQ(bob_.Say("carol", "b0"), MessageState::kSent);
  EXPECT_EQ(bob_.Say("carol", "b1"), MessageState::kSent);
  EXPECT_EQ(carol.Receive(), Texts({"a0", "a1", "a2", "!", "b0", "!"}));
  EXPECT_EQ(box_.Waiting("carol").size(), 3u);
  carol.Restart();
  EXPECT_EQ(carol.Receive().size(), 6u);

  // Room is made; what waits comes in at once.
  const auto all = carol->List({});
  const int64_t first = all->back().id;
  EXPECT_TRUE(carol->Delete(first).ok());
  EXPECT_TRUE(absl::IsNotFound(carol->Delete(first).status()));
  EXPECT_EQ(carol.Got(), Texts({"a1", "a2", "!", "b0", "!", "a3", "!", "!"}));
  const auto deleted = carol->DeleteAll("alice", 0);
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(*deleted, 5) << "three messages, two notices";
  EXPECT_EQ(carol.Got(), Texts({"b0", "!", "!", "a4", "b1"}));
  EXPECT_TRUE(box_.Waiting("carol").empty());
  // Nothing that was deleted comes again, and no number is given twice.
  for (const v1::MailItem& item : box_.all_mail()) box_.Put("carol", item);
  EXPECT_EQ(carol.Receive(), Texts({"b0", "!", "!", "a4", "b1"}));
  const int64_t newest = carol->List({})->front().id;
  EXPECT_TRUE(carol->Delete(newest).ok());
  EXPECT_EQ(bob_.Say("carol", "b2"), MessageState::kSent);
  EXPECT_EQ(carol.Receive().back(), "b2");
  EXPECT_GT(carol->List({})->front().id, newest);

  // Bytes count too: this one is larger than what is left.
  EXPECT_EQ(alice_.Say("carol", std::string(99, 'x')), MessageState::kSent);
  EXPECT_EQ(carol.Receive().back(), "!");
  EXPECT_TRUE(carol->DeleteAll("alice", 0).ok());
  EXPECT_EQ(carol.Receive().back(), std::string(99, 'x'));
}

TEST_F(MessengerTest, DeletesWhatIsOldAndNotWhatHasYetToGoOut) {
  Meet();
  clock_.Advance(kDayMs);
  EXPECT_EQ(alice_.Say("bob", "unmistakable words"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "unmistakable words"}));
  EXPECT_EQ(*bob_->DeleteAll("alice", clock_.NowUnixMs() - 1'000), 2) << "hello and hi";
  EXPECT_EQ(bob_.Got(), Texts({"unmistakable words"}));
  EXPECT_EQ(*bob_->DeleteAll("carol", 0), 0);
  ASSERT_NE(bob_.Bytes().find("unmistakable"), std::string::npos);
  EXPECT_EQ(*bob_->DeleteAll("alice", 0), 1);
  EXPECT_EQ(bob_.Bytes().find("unmistakable"), std::string::npos);
  Offline("send");
  EXPECT_EQ(bob_.Say("alice", "on its way"), MessageState::kQueued);
  EXPECT_TRUE(absl::IsFailedPrecondition(bob_->Delete(bob_->List({})->front().id).status()));
  EXPECT_EQ(*bob_->DeleteAll("alice", 0), 0);
  Online();
  EXPECT_TRUE(bob_->Flush().ok());
  EXPECT_EQ(alice_.Receive(), Texts({"hi", "on its way"}));
  EXPECT_EQ(alice_.Say("bob", "the session stands"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"the session stands"}));
}

TEST_F(MessengerTest, MailOfTheBlockedIsDroppedUnseenAndCounted) {
  Meet();
  EXPECT_EQ(alice_.Say("bob", "before"), MessageState::kSent);
  const auto blocked = bob_->Block("alice");
  ASSERT_TRUE(blocked.ok()) << blocked.status();
  EXPECT_TRUE(blocked->blocked);
  EXPECT_TRUE(box_.Waiting("bob").empty()) << "what waited is dropped at once";
  for (int i = 0; i < 2; ++i) EXPECT_EQ(alice_.Say("bob", "more"), MessageState::kSent);
  const v1::MailItem again = box_.Waiting("bob").front();
  v1::MailItem damaged = again;
  damaged.set_message_id(std::string(16, 'd'));
  damaged.set_sealed("damaged");
  box_.Put("bob", damaged);
  EXPECT_EQ(bob_.Receive(), Texts({"hello"}));
  EXPECT_TRUE(bob_->OnPush(again).ok());
  EXPECT_TRUE(box_.Waiting("bob").empty());
  const auto contact = bob_->GetContact("alice");
  EXPECT_EQ(contact->dropped_messages, 4);
  EXPECT_FALSE(contact->fingerprint.empty());
  EXPECT_TRUE(absl::IsFailedPrecondition(bob_.TrySay("alice", "x").status()));
  EXPECT_EQ(alice_.Receive(), Texts({"hi"})) << "told nothing";

  bob_.Restart();
  ASSERT_TRUE(bob_->Unblock("alice").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(bob_->Unblock("alice").status()));
  EXPECT_EQ(alice_.Say("bob", "after"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "after"}));
  EXPECT_EQ(bob_.Say("alice", "yes"), MessageState::kSent);
  // Somebody who is no contact.
  EXPECT_TRUE(bob_->Block("mallory").ok());
  EXPECT_EQ(bob_->Contacts()->back().username, "mallory");
  EXPECT_TRUE(bob_->Contacts()->back().fingerprint.empty());
  User mallory(box_, "mallory", 2, random_, clock_);
  EXPECT_EQ(mallory.Say("bob", "hello"), MessageState::kSent);
  EXPECT_EQ(bob_.Receive(), Texts({"hello", "after"}));
  EXPECT_EQ(bob_->Contacts()->back().dropped_messages, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(bob_->Block("Not A Name").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(bob_->Block("bob").status()));
}

TEST_F(MessengerTest, WhatIsBeyondTheSendersAllowanceGoesOutLater) {
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_ALLOWANCE;
  const auto sent = alice_.TrySay("bob", "too much");
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->message.state, MessageState::kQueued);
  EXPECT_TRUE(sent->beyond_allowance);
  EXPECT_TRUE(absl::IsResourceExhausted(alice_->Flush()));
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_STORED;
  EXPECT_TRUE(alice_->Flush().ok());
  EXPECT_EQ(bob_.Receive(), Texts({"too much"}));
}

TEST_F(MessengerTest, ABrokerThatTalksNonsenseIsNotFollowed) {
  EXPECT_EQ(alice_.Say("bob", "hello"), MessageState::kSent);
  box_.alter_mail = [](v1::MailItem* item) { item->set_mail_number(0); };
  EXPECT_TRUE(absl::IsDataLoss(bob_->Receive()));
  box_.alter_mail = [](v1::MailItem* item) { item->set_sender("Not A Name"); };
  EXPECT_EQ(bob_.Receive(), Texts());
  box_.alter_mail = nullptr;
  box_.send_outcome = v1::SEND_MAIL_OUTCOME_UNSPECIFIED;
  EXPECT_TRUE(absl::IsDataLoss(alice_.TrySay("bob", "x").status()));
}

TEST_F(MessengerTest, SafetyNumbersAreComparedByBoth) {
  const auto alices = alice_->GetContact("bob");
  const auto bobs = bob_->GetContact("alice");
  ASSERT_TRUE(alices.ok() && bobs.ok());
  EXPECT_EQ(alices->safety_number, bobs->safety_number);
  EXPECT_FALSE(alices->verified);
  std::string wrong = bobs->safety_number;
  wrong[0] = wrong[0] == '1' ? '2' : '1';
  EXPECT_TRUE(absl::IsFailedPrecondition(alice_->MarkVerified("bob", wrong).status()));
  EXPECT_FALSE(alice_->GetContact("bob")->verified);
  const auto verified = alice_->MarkVerified("bob", bobs->safety_number);
  ASSERT_TRUE(verified.ok());
  EXPECT_TRUE(verified->verified);
  EXPECT_TRUE(alice_->Contacts()->front().verified);
  EXPECT_TRUE(absl::IsNotFound(alice_->GetContact("nobody").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->GetContact("Not A Name").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(alice_->GetContact("alice").status()));
  EXPECT_TRUE(absl::IsNotFound(alice_->MarkVerified("nobody", "1").status()));
  // A change of the identity ends the verification.
  bob_.Reinstall(2);
  bob_.Say("alice", "new");
  alice_->Receive().IgnoreError();
  EXPECT_FALSE(
      alice_->AcceptIdentity("bob", TestIdentity(2).public_identity().fingerprint())->verified);
}

TEST_F(MessengerTest, AFirstContactByMailIsMarkedUntilItIsVerified) {
  EXPECT_EQ(alice_.Say("bob", "first"), MessageState::kSent);
  EXPECT_EQ(alice_.Say("bob", "second"), MessageState::kSent);
  EXPECT_TRUE(bob_->Receive().ok());
  auto messages = *bob_->List({});
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_TRUE(messages[1].first_contact);
  EXPECT_FALSE(messages[1].contact_verified);
  EXPECT_FALSE(messages[0].first_contact);
  EXPECT_FALSE(messages[0].contact_verified);
  EXPECT_TRUE(bob_->Contacts()->front().by_mail);
  ASSERT_TRUE(bob_->MarkVerified("alice", alice_->GetContact("bob")->safety_number).ok());
  messages = *bob_->List({});
  EXPECT_TRUE(messages[1].contact_verified && messages[0].contact_verified);
  // Whom one has looked up oneself is met otherwise.
  EXPECT_FALSE(alice_->Contacts()->front().by_mail);
  EXPECT_EQ(bob_.Say("alice", "answer"), MessageState::kSent);
  EXPECT_TRUE(alice_->Receive().ok());
  EXPECT_FALSE(alice_->List({})->front().first_contact);
  // What this agent answers by itself is not its user's doing either.
  User carol(box_, "carol", 2, random_, clock_);
  EXPECT_EQ(carol.Say("bob", "damaged"), MessageState::kSent);
  box_.alter_mail = [](v1::MailItem* item) {
    protocol::FlipBit(*item->mutable_sealed(), item->sealed().size() - 1);
  };
  EXPECT_TRUE(bob_->Receive().ok());
  const auto contacts = *bob_->Contacts();
  ASSERT_EQ(contacts.back().username, "carol");
  EXPECT_TRUE(contacts.back().by_mail);
}

TEST_F(MessengerTest, ListenersHearWhatComesAndWhatBecameOfIt) {
  std::vector<std::string> heard;
  const uint64_t id = bob_->AddListener([&](const MessageRecord& message) {
    heard.push_back(absl::StrCat(message.outgoing ? "out " : "in ", message.body, " ",
                                 static_cast<int>(message.state)));
  });
  EXPECT_EQ(alice_.Say("bob", "hello"), MessageState::kSent);
  for (const v1::MailItem& item : box_.Waiting("bob")) EXPECT_TRUE(bob_->OnPush(item).ok());
  EXPECT_TRUE(box_.Waiting("bob").empty());
  EXPECT_EQ(bob_.Say("alice", "hi"), MessageState::kSent);
  alice_.Reinstall();
  EXPECT_TRUE(bob_->Receive().ok());
  bob_->RemoveListener(id);
  EXPECT_EQ(alice_.Say("bob", "unheard"), MessageState::kSent);
  EXPECT_TRUE(bob_->Receive().ok());
  ASSERT_EQ(heard.size(), 4u);
  EXPECT_EQ(heard[0], "in hello 1");
  EXPECT_EQ(heard[1], "out hi 3");
  EXPECT_EQ(heard[2], "out hi 4");  // Undelivered: Alice's agent has lost its state.
  EXPECT_EQ(heard[3].substr(0, 3), "in ");
}

TEST_F(MessengerTest, ManyAtOnce) {
  Meet();
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  threads.reserve(5);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i) {
        if (!alice_.TrySay("bob", absl::StrCat(t, ".", i)).ok()) ++failures;
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 8; ++i) {
        if (!bob_->Receive().ok()) ++failures;
        for (const v1::MailItem& item : box_.Waiting("bob")) {
          if (!bob_->OnPush(item).ok()) ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  const Texts got = bob_.Receive();
  EXPECT_EQ(got.size(), 1 + 24u);
  EXPECT_EQ(std::set<std::string>(got.begin(), got.end()).size(), 25u);
  EXPECT_EQ(std::count(got.begin(), got.end(), "!"), 0);
}

TEST_F(MessengerTest, NeedsALogin) {
  const std::unique_ptr<MailTransport> nobody = box_.TransportFor("");
  Messenger messenger(Messenger::Dependencies{
      &TestIdentity(0), nobody.get(), &alice_.database(), &random_, &clock_, {}});
  EXPECT_TRUE(absl::IsUnauthenticated(messenger.Send({"bob", "x", "", "", 0}).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(messenger.OnConnected()));
  EXPECT_TRUE(absl::IsUnauthenticated(messenger.GetContact("bob").status()));
  EXPECT_TRUE(messenger.List({}).ok());
  EXPECT_TRUE(messenger.Contacts().ok());
}

}  // namespace
}  // namespace blindcart::agent
