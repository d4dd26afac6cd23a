// Several brokers over one PostgreSQL: any customer on any of them, merchants linked to all, and
// brokers that are killed in turn while everybody buys and writes.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/testing/postgres_server.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

namespace fs = std::filesystem;

using nlohmann::json;
using storage::testing::PostgresServer;
using ::testing::HasSubstr;

constexpr int64_t kPrice = 1'00;
constexpr int64_t kTotal = 1'01;

size_t Occurrences(const std::string& text, const std::string& word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++count;
  return count;
}

class SeveralBrokersTest : public ::testing::Test {
 protected:
  void Open(const std::vector<ShopSpec>& shops, const std::vector<CustomerSpec>& customers,
            size_t brokers) {
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    shops_ = shops;
    customers_ = customers;
    shopping_ = Shopping::Open(shops, customers, {"--store", *server_->CreateDatabase()}, brokers);
    ASSERT_NE(shopping_, nullptr);
    WaitForLinks();
  }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }

  // Until every shop has a link to every broker.
  void WaitForLinks() {
    for (const ShopSpec& shop : shops_) {
      WaitUntil(shop.name + " is linked to every broker", [&] {
        const absl::StatusOr<Output> output =
            market().MerchantCommand(shop.name, {"status", "--json"});
        if (!output.ok() || output->exit_code != 0) return false;
        const json status = json::parse(output->out, nullptr, /*allow_exceptions=*/false);
        if (!status.is_object() || status["brokers"].size() != market().brokers()) return false;
        const json& links = status["brokers"];
        return std::all_of(links.begin(), links.end(),
                           [](const json& link) { return link.value("connected", false); });
      });
    }
  }

  // The number of the broker that a customer is, or was last, connected to.
  size_t BrokerOf(const std::string& user) {
    const json status = shopping().Ask(user, {"status"});
    for (size_t i = 0; i < market().brokers(); ++i) {
      if (status.is_object() && status["broker_address"] == market().broker_address(i)) return i;
    }
    ADD_FAILURE() << user << " is at none of the brokers: " << status;
    return 0;
  }
  // Agents begin anywhere, so this takes a few beginnings.
  void PlaceAt(const std::string& user, size_t number) {
    for (int i = 0; BrokerOf(user) != number; ++i) {
      ASSERT_LT(i, 100);
      shopping().RestartAgent(user);
    }
  }

  std::unique_ptr<PostgresServer> server_;
  std::vector<ShopSpec> shops_;
  std::vector<CustomerSpec> customers_;
  std::unique_ptr<Shopping> shopping_;
};

TEST_F(SeveralBrokersTest, WhoIsAtOneBrokerReachesWhoIsAtAnother) {
  Open({{"quiet-books", "2001", 0}},
       {{"alice", "violet umbrella 7", "1001", "2468", "100.00"},
        {"bob", "yellow bicycle 3", "1002", "1357", "100.00"}},
       /*brokers=*/2);
  ASSERT_FALSE(HasFatalFailure());
  PlaceAt("alice", 0);
  PlaceAt("bob", 1);
  const std::string content = Content(300'000, 1);
  const std::string product = shopping().Offer("quiet-books", Goods("A book", "1.00", content));
  for (const char* user : {"alice", "bob"}) {
    const std::string order = shopping().Checkout(user, product);
    shopping().Pay(user, order);
    shopping().ExpectDelivered(user, order, content);
    EXPECT_EQ(shopping().Balance(user), 100'00 - kTotal);
    shopping().WaitForStatusAtShop("quiet-books", order, "ORDER_STATUS_DELIVERED");
  }

  // Mail crosses without anybody asking for it: the round of an agent comes only every five minutes.
  const auto inbox = [&](const char* user) {
    std::vector<std::string> texts;
    const json reply = shopping().Ask(user, {"message", "inbox"});
    for (const json& message : reply["messages"]) texts.push_back(message["text"]);
    return texts;
  };
  shopping().Ask("alice", {"message", "send", "bob", "from the first broker"});
  WaitUntil("bob has mail", [&] { return inbox("bob").size() == 1; });
  shopping().Ask("bob", {"message", "send", "alice", "from the second broker"});
  WaitUntil("alice has mail", [&] { return inbox("alice").size() == 1; });
  EXPECT_EQ(inbox("bob"), std::vector<std::string>{"from the first broker"});

  // Who listens at one broker is found at the other.
  for (const char* user : {"alice", "bob"}) shopping().Ask(user, {"certificate", "request"});
  shopping().Ask("bob", {"peer", "listen"});
  WaitUntil("alice finds bob", [&] {
    return shopping().Run("alice", {"peer", "connect", "bob"}).exit_code == kOk;
  });

  // What was ordered at one broker is paid at the other.
  const std::string order = shopping().Checkout("bob", product);
  market().KillBroker(1);
  shopping().Pay("bob", order);
  EXPECT_EQ(BrokerOf("bob"), 0u);
  shopping().WaitForStatusAtShop("quiet-books", order, "ORDER_STATUS_PAID");
  shopping().ExpectDelivered("bob", order, content);
  EXPECT_EQ(shopping().Balance("bob"), 100'00 - 2 * kTotal);
  shopping().ExpectBooksRight();

  // Nothing that is there is overwritten, and no address is on the card twice.
  const auto join = [&](const std::string& data_dir, const std::string& listen) {
    const absl::StatusOr<Output> output = RunToEnd(
        {"services/broker/broker",
         {"join", "--from", market().broker_dir(), "--data-dir", data_dir, "--listen", listen},
         {},
         ""});
    EXPECT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output.ok() ? output->exit_code : -1, 1);
    return output.ok() ? output->err : std::string();
  };
  EXPECT_THAT(join(market().broker_dir(1), "127.0.0.1:7999"), HasSubstr("not empty"));
  EXPECT_THAT(join(market().folder() + "/third", market().broker_address(1)),
              HasSubstr("the card names"));
}

// The key is changed and only the first broker is started again with it.
TEST_F(SeveralBrokersTest, WhoStillServesWithTheOldKeyEndsWhenAnotherServesWithTheNew) {
  Open({{"quiet-books", "2001", 0}}, {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}},
       /*brokers=*/2);
  ASSERT_FALSE(HasFatalFailure());
  PlaceAt("alice", 1);
  const std::string content = Content(50'000, 1);
  const std::string product = shopping().Offer("quiet-books", Goods("A book", "1.00", content));
  const std::string before = shopping().Checkout("alice", product);
  const absl::StatusOr<Output> rotated = market().BrokerCommand({"rotate-key"});
  ASSERT_TRUE(rotated.ok()) << rotated.status();
  ASSERT_EQ(rotated->exit_code, 0) << rotated->err;
  ASSERT_TRUE(market().StopBroker().ok());
  EXPECT_TRUE(market().broker(1)->running()) << "nobody serves with the new one yet";
  ASSERT_TRUE(market().StartBroker().ok());

  const absl::StatusOr<int> ended = market().broker(1)->Wait(60'000);
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_EQ(*ended, 1) << "so that a supervisor starts it again";
  EXPECT_THAT(market().broker(1)->err(), HasSubstr("serves with the changed key"));
  market().KillBroker(1);
  fs::remove_all(market().broker_dir(1) + "/identity");
  fs::copy(market().broker_dir() + "/identity", market().broker_dir(1) + "/identity");
  fs::copy_file(market().broker_card(), market().broker_dir(1) + "/broker.card",
                fs::copy_options::overwrite_existing);
  ASSERT_TRUE(market().StartBroker(1).ok());
  WaitForLinks();
  shopping().WaitUntilOnline("alice", "quiet-books");
  const std::string after = shopping().Checkout("alice", product);
  for (const std::string& order : {before, after}) {
    shopping().Pay("alice", order);
    shopping().ExpectDelivered("alice", order, content);
    shopping().WaitForStatusAtShop("quiet-books", order, "ORDER_STATUS_DELIVERED");
  }
  shopping().ExpectBooksRight();
}

// One customer who buys and writes until told to stop.
struct Shopper {
  std::string name;
  std::string friend_name;
  int rounds = 0;  // Under the test's mutex.
  // Written by the shopper's thread, read after its end.
  std::vector<std::string> paid;
  std::vector<std::string> sent;
  // Commands that failed, with the broker that was the latest to be killed.
  std::vector<std::pair<size_t, std::string>> problems;
};

TEST_F(SeveralBrokersTest, KillingThemInTurnCostsAReconnectionAndNoMoney) {
  std::vector<CustomerSpec> customers;
  for (int i = 1; i <= 8; ++i) {
    customers.push_back({absl::StrCat("customer", i), absl::StrCat("violet umbrella ", i),
                         absl::StrCat("100", i), "2468", "500.00"});
  }
  Open({{"quiet-books", "2001", 0}, {"loud-music", "2002", 0}}, customers, /*brokers=*/3);
  ASSERT_FALSE(HasFatalFailure());
  const std::string content = Content(100'000, 2);
  const std::vector<std::string> products = {
      shopping().Offer("quiet-books", Goods("A quiet book", "1.00", content)),
      shopping().Offer("loud-music", Goods("A loud song", "1.00", content))};
  ASSERT_FALSE(HasFailure());

  constexpr size_t kNoKill = 99;
  std::atomic<bool> stop{false};
  std::atomic<size_t> being_killed{kNoKill};
  std::mutex mutex;
  std::condition_variable round_ended;
  std::vector<Shopper> shoppers(customers.size());
  const auto command = [&](Shopper& shopper, const std::vector<std::string>& arguments) {
    const absl::StatusOr<Output> output = market().Cli(shopper.name, [&] {
      std::vector<std::string> all = {"--json"};
      all.insert(all.end(), arguments.begin(), arguments.end());
      return all;
    }());
    if (output.ok() && output->exit_code == kOk) {
      const json reply = json::parse(output->out, nullptr, /*allow_exceptions=*/false);
      // Progress is told in several lines.
      return std::pair(true, reply.is_discarded() ? json() : reply);
    }
    shopper.problems.emplace_back(
        being_killed,
        absl::StrCat(absl::StrJoin(arguments, " "), ": ",
                     output.ok() ? absl::StrCat(output->exit_code, " ", output->out, output->err)
                                 : std::string(output.status().message())));
    return std::pair(false, json());
  };
  const auto shop = [&](Shopper& shopper) {
    for (int round = 0; !stop; ++round) {
      const auto [ordered, order] =
          command(shopper, {"checkout", products[static_cast<size_t>(round) % products.size()]});
      if (ordered) {
        const std::string id = order["purchase"]["order_id_hex"];
        const auto [paid, answer] = command(shopper, shopping().PayArguments(shopper.name, id));
        if (paid) {
          shopper.paid.push_back(id);
          command(shopper, {"download", id});
        }
      }
      const std::string text = absl::StrCat("message ", round, " of ", shopper.name);
      if (command(shopper, {"message", "send", shopper.friend_name, text}).first) {
        shopper.sent.push_back(text);
      }
      std::lock_guard<std::mutex> lock(mutex);
      ++shopper.rounds;
      round_ended.notify_all();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shoppers.size(); ++i) {
    shoppers[i].name = customers[i].username;
    shoppers[i].friend_name = customers[(i + 3) % customers.size()].username;
    threads.emplace_back([&, i] { shop(shoppers[i]); });
  }
  const auto wait_for_rounds = [&](int more) {
    std::unique_lock<std::mutex> lock(mutex);
    std::vector<int> wanted;
    for (const Shopper& shopper : shoppers) wanted.push_back(shopper.rounds + more);
    EXPECT_TRUE(round_ended.wait_for(lock, std::chrono::minutes(3), [&] {
      for (size_t i = 0; i < shoppers.size(); ++i) {
        if (shoppers[i].rounds < wanted[i]) return false;
      }
      return true;
    })) << "somebody does not shop on";
  };
  const auto logins = [&](const Shopper& shopper) {
    return Occurrences(market().agent(shopper.name)->err(), "\"broker.connected\"");
  };

  std::map<std::string, size_t> expected_logins;
  std::set<std::pair<std::string, size_t>> hit;  // Who was at the broker that was killed.
  for (size_t number = 0; number < market().brokers(); ++number) {
    wait_for_rounds(1);
    being_killed = number;
    for (const Shopper& shopper : shoppers) {
      expected_logins[shopper.name] = logins(shopper);
      if (BrokerOf(shopper.name) == number) {
        ++expected_logins[shopper.name];
        hit.emplace(shopper.name, number);
      }
    }
    market().KillBroker(number);
    // A round that begins after the kill ends without the broker.
    wait_for_rounds(2);
    for (const Shopper& shopper : shoppers) {
      EXPECT_EQ(logins(shopper), expected_logins[shopper.name])
          << shopper.name << " when broker " << number << " was killed";
    }
    const absl::Status started = market().StartBroker(number);
    EXPECT_TRUE(started.ok()) << started;
    WaitForLinks();
  }
  wait_for_rounds(1);
  stop = true;
  for (std::thread& thread : threads) thread.join();

  int64_t sales = 0;
  for (const Shopper& shopper : shoppers) {
    std::set<size_t> kills;
    for (const auto& [number, problem] : shopper.problems) {
      EXPECT_TRUE(hit.count({shopper.name, number}) > 0) << shopper.name << ": " << problem;
      EXPECT_TRUE(kills.insert(number).second) << shopper.name << ", once more: " << problem;
    }
    // What was paid is delivered, whatever broke in between.
    std::set<std::string> orders;
    const json reply = shopping().Ask(shopper.name, {"purchases"});
    for (const json& purchase : reply["purchases"]) {
      const std::string id = purchase["order_id_hex"];
      // A payment whose answer was lost, or that was never begun: the same again settles it.
      if (purchase["status"] == "ORDER_STATUS_CREATED") shopping().Pay(shopper.name, id);
      shopping().ExpectDelivered(shopper.name, id, content);
      EXPECT_TRUE(orders.insert(id).second);
    }
    EXPECT_THAT(shopper.paid, ::testing::Each(::testing::AnyOfArray(orders)));
    const auto paid = static_cast<int64_t>(orders.size());
    EXPECT_EQ(shopping().Balance(shopper.name), 500'00 - paid * kTotal) << shopper.name;
    sales += paid;
  }
  EXPECT_FALSE(hit.empty()) << "nobody was ever at a broker that was killed";
  EXPECT_EQ(shopping().AccountBalance("2001") + shopping().AccountBalance("2002"), sales * kPrice);
  EXPECT_EQ(shopping().AccountBalance("BROKER"), sales * (kTotal - kPrice));
  shopping().ExpectBooksRight();

  for (size_t i = 0; i < shoppers.size(); ++i) {
    const Shopper& reader = shoppers[(i + 3) % shoppers.size()];
    std::vector<std::string> received;
    WaitUntil(absl::StrCat(reader.name, " has all mail"), [&] {
      received.clear();
      const json reply = shopping().Ask(reader.name, {"message", "inbox", "--limit", "1000"});
      for (const json& message : reply["messages"]) received.push_back(message["text"]);
      return received.size() >= shoppers[i].sent.size();
    });
    EXPECT_THAT(received, ::testing::UnorderedElementsAreArray(shoppers[i].sent)) << reader.name;
  }
}

}  // namespace
}  // namespace blindcart::testing
