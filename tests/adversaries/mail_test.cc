// What a broker can do to messages between users, over real processes: read its database, its log and
// everything that passes; and alter, repeat, reorder, drop, misname and swap keys.
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"
#include "services/common/files.h"
#include "services/storage/sqlite.h"
#include "tests/adversaries/interposed.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/haystack.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kAlice[] = "alice-the-writer";
constexpr char kBob[] = "bob-the-reader";
constexpr char kMallory[] = "mallory";

using Items = std::vector<v1::MailItem>;
// What the broker hands a recipient in place of a piece of mail.
using Handing = std::function<Items(v1::MailItem)>;

class MailTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    opened_ = Interposed::Open({{kAlice, "correct horse", "1001", "2468", "10.00"},
                                {kBob, "battery staple", "1002", "1357", "10.00"},
                                {kMallory, "tr0ubador", "1003", "1111", "10.00"}})
                  .release();
    ASSERT_NE(opened_, nullptr);
    // All three have published their keys, and alice has met the other two.
    for (const char* user : {kBob, kMallory}) {
      WaitUntil("keys are published", [&] {
        return opened_->Cli(kAlice, {"contacts", "verify", user}).exit_code == kOk;
      });
    }
  }
  static void TearDownTestSuite() { delete opened_; }
  void SetUp() override { ASSERT_NE(opened_, nullptr); }
  void TearDown() override {
    if (opened_ != nullptr) opened_->interposer().SetHooks({});
  }

  static Reply Send(const std::string& from, const std::string& to, const std::string& text) {
    return opened_->Cli(from, {"message", "send", to, text});
  }
  // Texts (or notices) that a user has from another, oldest first.
  static std::vector<std::string> Texts(const std::string& user, const std::string& from,
                                        const std::string& kind = "TEXT") {
    const json reply = opened_->Do(user, {"message", "inbox", "--with", from, "--limit", "1000"});
    std::vector<std::string> texts;
    for (const json& message : reply["messages"]) {
      if (message["kind"] == "MESSAGE_KIND_" + kind) {
        texts.insert(texts.begin(), message["text"].get<std::string>());
      }
    }
    return texts;
  }
  static int CountOf(const std::vector<std::string>& texts, const std::string& text) {
    int count = 0;
    for (const std::string& each : texts) count += each == text ? 1 : 0;
    return count;
  }
  static void WaitForText(const std::string& user, const std::string& from,
                          const std::string& text) {
    WaitUntil(text, [&] { return CountOf(Texts(user, from), text) > 0; });
  }
  static void WaitForNotices(const std::string& user, const std::string& from, size_t count) {
    WaitUntil("a notice", [&] { return Texts(user, from, "NOTICE").size() >= count; });
  }

  // Alice's mail is handed on so from now on, whether pushed or fetched; all other mail as it is.
  static void Hand(Handing handing) {
    Interposer::Hooks hooks;
    hooks.to_customer = [handing](v1::BrokerToCustomer message) {
      std::vector<v1::BrokerToCustomer> passed;
      if (message.mail().has_push() && message.mail().push().sender() == kAlice) {
        for (v1::MailItem& item : handing(message.mail().push())) {
          *message.mutable_mail()->mutable_push() = std::move(item);
          passed.push_back(message);
        }
        return passed;
      }
      if (message.mail().has_fetch()) {
        const v1::FetchMailResult page = message.mail().fetch();
        message.mutable_mail()->mutable_fetch()->clear_items();
        for (const v1::MailItem& item : page.items()) {
          const Items items = item.sender() == kAlice ? handing(item) : Items{item};
          for (const v1::MailItem& each : items) {
            *message.mutable_mail()->mutable_fetch()->add_items() = each;
          }
        }
      }
      passed.push_back(std::move(message));
      return passed;
    };
    opened_->interposer().SetHooks(std::move(hooks));
  }
  // Mail that an agent is asked to hand out again.
  static void RestartAgent(const std::string& user) {
    opened_->market().KillAgent(user);
    const absl::Status started = opened_->market().StartAgent(user);
    ASSERT_TRUE(started.ok()) << started;
    WaitUntil("logged in", [&] { return opened_->market().Login(user).ok(); });
  }
  // Every value of one column of an agent's database.
  static std::vector<std::string> Blobs(const std::string& user, const std::string& sql) {
    std::vector<std::string> blobs;
    const auto database = storage::SqliteDatabase::Open(
        opened_->market().agent_dir(user) + "/agent.db", storage::SqliteOptions());
    EXPECT_TRUE(database.ok()) << database.status();
    if (!database.ok()) return blobs;
    storage::SqliteStatement query = (*database)->Prepare(sql);
    while (true) {
      const absl::StatusOr<bool> row = query.Step();
      EXPECT_TRUE(row.ok()) << row.status();
      if (!row.ok() || !*row) return blobs;
      blobs.push_back(query.ColumnBlob(0));
    }
  }

  static Interposed* opened_;
};
Interposed* MailTest::opened_ = nullptr;

void Flip(std::string* bytes, size_t at) { (*bytes)[at] = static_cast<char>((*bytes)[at] ^ 1); }

// First, while alice has no session with bob: so that she has to ask for his keys.
TEST_F(MailTest, KeysOfAnotherAreNotUsedForWhomOneKnows) {
  // Mallory's keys, whole and rightly signed, as the broker hands them out.
  absl::optional<v1::FetchKeysResult> mallorys;
  for (const Recorded& recorded : opened_->recording().All()) {
    v1::BrokerToCustomer message;
    if (recorded.leg != Leg::kToCustomer || !message.ParseFromString(recorded.bytes)) continue;
    if (message.mail().fetch_keys().public_identity() ==
        opened_->parties().customer(kMallory).public_identity().Serialize()) {
      mallorys = message.mail().fetch_keys();
    }
  }
  ASSERT_TRUE(mallorys.has_value());
  opened_->recording().Clear();
  const auto hand_keys = [](std::function<void(v1::FetchKeysResult*)> alter) {
    Interposer::Hooks hooks;
    hooks.to_customer = [alter](v1::BrokerToCustomer message) {
      if (message.mail().has_fetch_keys()) {
        alter(message.mutable_mail()->mutable_fetch_keys());
      }
      return std::vector<v1::BrokerToCustomer>{std::move(message)};
    };
    opened_->interposer().SetHooks(std::move(hooks));
  };
  using Alter = std::function<void(v1::FetchKeysResult*)>;
  const std::vector<std::pair<std::string, Alter>> unsigned_keys = {
      {"identity key",
       [&](v1::FetchKeysResult* keys) {
         keys->set_identity_key(mallorys->identity_key());
         keys->set_identity_key_signature(mallorys->identity_key_signature());
       }},
      {"signed pre-key",
       [&](v1::FetchKeysResult* keys) {
         *keys->mutable_signed_pre_key() = mallorys->signed_pre_key();
       }},
      {"signature",
       [](v1::FetchKeysResult* keys) { Flip(keys->mutable_identity_key_signature(), 5); }},
      {"nothing signed", [](v1::FetchKeysResult* keys) { keys->clear_identity_key_signature(); }},
  };
  for (const auto& [what, alter] : unsigned_keys) {
    hand_keys(alter);
    EXPECT_EQ(Send(kAlice, kBob, "for bob's eyes").exit_code, kVerification) << what;
  }
  hand_keys([&](v1::FetchKeysResult* keys) { *keys = *mallorys; });
  const Reply swapped = Send(kAlice, kBob, "for bob's eyes");
  EXPECT_EQ(swapped.exit_code, kRefused);
  EXPECT_THAT(swapped.err, HasSubstr("has changed"));
  for (const Recorded& recorded : opened_->recording().All()) {
    v1::CustomerMessage message;
    if (recorded.leg == Leg::kFromCustomer && message.ParseFromString(recorded.bytes)) {
      EXPECT_FALSE(message.mail().has_send()) << "something was sent";
    }
  }
  opened_->interposer().SetHooks({});
  EXPECT_EQ(Send(kAlice, kBob, "for bob's eyes").exit_code, kRefused) << "until she decides";
  opened_->Do(kAlice, {"contacts", "accept", kBob, "--keep"});
  EXPECT_EQ(Send(kAlice, kBob, "hello bob").exit_code, kOk);
  WaitForText(kBob, kAlice, "hello bob");
  EXPECT_THAT(Texts(kBob, kAlice), ElementsAre("hello bob"));
}

TEST_F(MailTest, BrokerHoldsNoPlaintextAndNoSecretKey) {
  const std::string text = "an unmistakable message about nothing";
  const std::string answer = "another unmistakable sentence in return";
  const std::string content = crypto::SystemRandom().Bytes(20'000);
  const std::string path = opened_->market().folder() + "/unmistakable-name.bin";
  ASSERT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/true).ok());
  std::vector<std::string> secrets;
  for (const char* user : {kAlice, kBob}) {
    for (const char* table : {"mail_identity", "mail_signed_pre_keys", "mail_one_time_pre_keys"}) {
      const std::vector<std::string> keys =
          Blobs(user, absl::StrCat("SELECT private_key FROM ", table));
      EXPECT_THAT(keys, Not(IsEmpty())) << table;
      secrets.insert(secrets.end(), keys.begin(), keys.end());
    }
  }
  EXPECT_GT(secrets.size(), 150u);
  EXPECT_EQ(Send(kAlice, kBob, text).exit_code, kOk);
  opened_->Do(kAlice, {"message", "send", kBob, "--file", path});
  WaitForText(kBob, kAlice, text);
  EXPECT_EQ(Send(kBob, kAlice, answer).exit_code, kOk);
  WaitForText(kAlice, kBob, answer);

  Haystack broker;
  ASSERT_TRUE(broker.AddPath(opened_->market().broker_dir()).ok());
  broker.AddBytes("standard output", opened_->market().broker()->out());
  broker.AddBytes("log", opened_->market().broker()->err());
  for (const Recorded& recorded : opened_->recording().All()) {
    broker.AddBytes("traffic", recorded.bytes);
  }
  // The search works: what the broker does know is found.
  EXPECT_THAT(broker.Find(kBob), Not(IsEmpty()));
  const std::vector<std::string> ids =
      Blobs(kBob, "SELECT message_id FROM messages ORDER BY id LIMIT 1");
  ASSERT_EQ(ids.size(), 1u);
  EXPECT_THAT(broker.Find(ids[0]), Not(IsEmpty()));
  EXPECT_THAT(broker.Find(text), IsEmpty());
  EXPECT_THAT(broker.Find(answer), IsEmpty());
  EXPECT_THAT(broker.Find("unmistakable"), IsEmpty());
  EXPECT_THAT(broker.Find(content.substr(5'000, 32)), IsEmpty());
  for (const std::string& secret : secrets) {
    EXPECT_THAT(broker.Find(secret), IsEmpty()) << "a secret key";
  }
  // And the log names nobody.
  Haystack log;
  log.AddBytes("log", opened_->market().broker()->err());
  EXPECT_THAT(log.Find(kAlice), IsEmpty());
  EXPECT_THAT(log.Find(kBob), IsEmpty());
}

TEST_F(MailTest, AlteredMailIsNotAcceptedAndBothAreTold) {
  ASSERT_EQ(Send(kAlice, kBob, "before").exit_code, kOk);
  WaitForText(kBob, kAlice, "before");
  size_t notices = Texts(kBob, kAlice, "NOTICE").size();
  using Alter = std::function<void(v1::MailItem*)>;
  const std::vector<std::pair<std::string, Alter>> alterations = {
      {"altered at its beginning", [](v1::MailItem* item) { Flip(item->mutable_sealed(), 0); }},
      {"altered in the middle",
       [](v1::MailItem* item) { Flip(item->mutable_sealed(), item->sealed().size() / 2); }},
      {"altered at its end",
       [](v1::MailItem* item) { Flip(item->mutable_sealed(), item->sealed().size() - 1); }},
      {"cut",
       [](v1::MailItem* item) { item->mutable_sealed()->resize(item->sealed().size() / 2); }},
      {"empty", [](v1::MailItem* item) { item->clear_sealed(); }},
  };
  for (const auto& [what, alter] : alterations) {
    Hand([alter = alter](v1::MailItem item) {
      alter(&item);
      return Items{std::move(item)};
    });
    // Bob's agent may have told alice's before her command has ended.
    EXPECT_THAT(Send(kAlice, kBob, what).exit_code, AnyOf(kOk, kRefused));
    WaitForNotices(kBob, kAlice, ++notices);
    WaitUntil("alice is told", [&, text = what] {
      const json sent = opened_->Do(kAlice, {"message", "inbox", "--all", "--with", kBob});
      for (const json& message : sent["messages"]) {
        if (message["text"] == text) return message["state"] == "MESSAGE_STATE_UNDELIVERED";
      }
      return false;
    });
    EXPECT_THAT(Texts(kBob, kAlice), Not(Contains(what)));
  }
  opened_->interposer().SetHooks({});
  EXPECT_EQ(Send(kAlice, kBob, "whole again").exit_code, kOk);
  WaitForText(kBob, kAlice, "whole again");
}

TEST_F(MailTest, ReorderedMailIsReadAndDroppedMailComesWhenItIsHandedOver) {
  auto mutex = std::make_shared<std::mutex>();
  auto held = std::make_shared<Items>();
  // The first is kept back, the second comes, then the first.
  Hand([mutex, held](v1::MailItem item) {
    std::lock_guard<std::mutex> lock(*mutex);
    if (held->empty()) {
      held->push_back(std::move(item));
      return Items{};
    }
    Items turned = {std::move(item), held->front()};
    return turned;
  });
  EXPECT_EQ(Send(kAlice, kBob, "turned 1").exit_code, kOk);
  EXPECT_EQ(Send(kAlice, kBob, "turned 2").exit_code, kOk);
  WaitForText(kBob, kAlice, "turned 2");
  WaitForText(kBob, kAlice, "turned 1");

  Hand([](const v1::MailItem&) { return Items{}; });
  EXPECT_EQ(Send(kAlice, kBob, "dropped").exit_code, kOk);
  opened_->interposer().SetHooks({});
  EXPECT_EQ(Send(kAlice, kBob, "the next").exit_code, kOk);
  WaitForText(kBob, kAlice, "the next");
  RestartAgent(kBob);
  WaitForText(kBob, kAlice, "dropped");
  for (const char* text : {"turned 1", "turned 2", "dropped", "the next"}) {
    EXPECT_EQ(CountOf(Texts(kBob, kAlice), text), 1) << text;
  }
}

TEST_F(MailTest, MailIsNobodysButItsSenders) {
  const size_t before = Texts(kBob, kAlice).size();
  // Under mallory's name, with and without the session's beginning.
  const auto as_mallorys = [](v1::MailItem item) {
    item.set_sender(kMallory);
    return Items{std::move(item)};
  };
  Hand(as_mallorys);
  EXPECT_EQ(Send(kAlice, kBob, "whose is this?").exit_code, kOk);
  WaitForNotices(kBob, kMallory, 1);
  opened_->interposer().SetHooks({});
  EXPECT_THAT(Texts(kBob, kMallory), IsEmpty());
  // And mallory's own mail under alice's name: bob knows alice's key.
  Interposer::Hooks hooks;
  hooks.to_customer = [](v1::BrokerToCustomer message) {
    if (message.mail().push().sender() == kMallory) {
      message.mutable_mail()->mutable_push()->set_sender(kAlice);
    }
    if (message.mail().has_fetch()) {
      for (v1::MailItem& item : *message.mutable_mail()->mutable_fetch()->mutable_items()) {
        if (item.sender() == kMallory) item.set_sender(kAlice);
      }
    }
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  opened_->interposer().SetHooks(std::move(hooks));
  const size_t notices = Texts(kBob, kAlice, "NOTICE").size();
  EXPECT_EQ(Send(kMallory, kBob, "yours, alice").exit_code, kOk);
  WaitForNotices(kBob, kAlice, notices + 1);
  EXPECT_EQ(Texts(kBob, kAlice).size(), before);
  EXPECT_THAT(Texts(kBob, kMallory), IsEmpty());
}

// Last: what cannot be read is told to the sender only so often in an hour.
TEST_F(MailTest, RepeatedMailIsReadOnce) {
  auto mutex = std::make_shared<std::mutex>();
  auto seen = std::make_shared<Items>();
  // Everything so far again, and under new numbers and ids, with each piece of mail.
  Hand([mutex, seen](v1::MailItem item) {
    std::lock_guard<std::mutex> lock(*mutex);
    seen->push_back(item);
    Items all = {item};
    for (const v1::MailItem& earlier : *seen) {
      all.push_back(earlier);
      v1::MailItem renamed = earlier;
      renamed.set_mail_number(earlier.mail_number() + 1'000'000);
      all.push_back(renamed);
      renamed.set_message_id(std::string(16, 'r'));
      all.push_back(renamed);
    }
    return all;
  });
  for (const char* text : {"repeat 1", "repeat 2", "repeat 3"}) {
    EXPECT_EQ(Send(kAlice, kBob, text).exit_code, kOk);
    WaitForText(kBob, kAlice, text);
  }
  opened_->interposer().SetHooks({});
  EXPECT_EQ(Send(kAlice, kBob, "after the repeats").exit_code, kOk);
  WaitForText(kBob, kAlice, "after the repeats");
  RestartAgent(kBob);
  for (const char* text : {"repeat 1", "repeat 2", "repeat 3", "after the repeats"}) {
    EXPECT_EQ(CountOf(Texts(kBob, kAlice), text), 1) << text;
  }
}

}  // namespace
}  // namespace blindcart::testing
