// A broker that tampers with what it relays: sealed frames of shop sessions, and goods.

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/shop.pb.h"
#include "tests/adversaries/interposed.h"

namespace blindcart::testing {
namespace {

constexpr char kAlice[] = "alice";
constexpr size_t kGoodsBytes = 900'000;  // The 1 MiB class: four pieces and the final frame.

class MaliciousRelayTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    opened_ = Interposed::Open({{kAlice, "correct horse", "1001", "2468", "1000.00"}}).release();
    ASSERT_NE(opened_, nullptr);
    goods_ = new std::string(crypto::SystemRandom().Bytes(kGoodsBytes));
    ProductSpec product;
    product.title = "Goods";
    product.content = *goods_;
    product_ = new std::string(opened_->AddProduct(product));
    opened_->Do(kAlice, {"browse", Interposed::kShop});
  }
  static void TearDownTestSuite() {
    delete opened_;
    delete goods_;
    delete product_;
  }
  void SetUp() override { ASSERT_NE(opened_, nullptr); }

  std::string PaidOrder() {
    const std::string order = opened_->Checkout(kAlice, *product_);
    const Reply paid = opened_->Pay(kAlice, order);
    EXPECT_EQ(paid.exit_code, 0) << paid.err;
    return order;
  }
  Output Download(const std::string& order) {
    const auto output = opened_->market().Cli(kAlice, {"download", order});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.value_or(Output());
  }
  // The order's file; empty when there is none.
  std::string FileOf(const std::string& order) {
    const nlohmann::json list = opened_->Do(kAlice, {"purchases"});
    for (const auto& purchase : list["purchases"]) {
      if (purchase["order_id_hex"] == order) return purchase.value("file_path", "");
    }
    return "";
  }
  // While `hook` is in the way no file appears; once it is gone the download goes on and is whole.
  void ExpectRefusedThenWhole(const std::string& what,
                              std::function<std::vector<v1::GoodsMessage>(v1::GoodsMessage)> hook) {
    const std::string order = PaidOrder();
    Interposer::Hooks hooks;
    hooks.goods = std::move(hook);
    opened_->interposer().SetHooks(std::move(hooks));
    const Output refused = Download(order);
    EXPECT_NE(refused.exit_code, 0) << what;
    EXPECT_FALSE(refused.err.empty()) << what;
    EXPECT_EQ(FileOf(order), "") << what;
    opened_->interposer().SetHooks({});
    const Output whole = Download(order);
    EXPECT_EQ(whole.exit_code, 0) << what << ": " << whole.err;
    EXPECT_NE(FileOf(order), "") << what;
    const Reply verified = opened_->Cli(kAlice, {"verify", order});
    EXPECT_EQ(verified.exit_code, 0) << what << ": " << verified.err;
  }

  static Interposed* opened_;
  static std::string* goods_;
  static std::string* product_;
};

Interposed* MaliciousRelayTest::opened_ = nullptr;
std::string* MaliciousRelayTest::goods_ = nullptr;
std::string* MaliciousRelayTest::product_ = nullptr;

void Flip(std::string* bytes, size_t at) { (*bytes)[at] = static_cast<char>((*bytes)[at] ^ 1); }

TEST_F(MaliciousRelayTest, AlteredGoodsAreNeverWritten) {
  using Alter = std::function<void(v1::Frame&)>;
  const std::vector<std::pair<std::string, Alter>> alterations = {
      {"first byte", [](v1::Frame& f) { Flip(f.mutable_ciphertext(), 0); }},
      {"tag", [](v1::Frame& f) { Flip(f.mutable_ciphertext(), f.ciphertext().size() - 1); }},
      {"mac", [](v1::Frame& f) { Flip(f.mutable_mac(), 0); }},
      {"id", [](v1::Frame& f) { Flip(f.mutable_session_id(), 0); }},
      {"seq", [](v1::Frame& f) { f.set_seq(f.seq() + 1); }},
      {"cut", [](v1::Frame& f) { f.mutable_ciphertext()->pop_back(); }},
  };
  for (const auto& [name, alter] : alterations) {
    for (const uint64_t at : {uint64_t{0}, uint64_t{2}, uint64_t{4}}) {
      ExpectRefusedThenWhole(name + " of frame " + std::to_string(at),
                             [alter = alter, at](v1::GoodsMessage message) {
                               if (message.frame().seq() == at) alter(*message.mutable_frame());
                               return std::vector<v1::GoodsMessage>{std::move(message)};
                             });
    }
  }
}

TEST_F(MaliciousRelayTest, MissingRepeatedAndReorderedGoodsAreNotAccepted) {
  ExpectRefusedThenWhole("a dropped piece", [](v1::GoodsMessage message) {
    if (message.frame().seq() == 1) return std::vector<v1::GoodsMessage>{};
    return std::vector<v1::GoodsMessage>{std::move(message)};
  });
  ExpectRefusedThenWhole("no final frame", [](v1::GoodsMessage message) {
    // Told by its size: the agent asks again for what is missing, and then it is the first frame.
    if (message.frame().ciphertext().size() < kGoodsBytes / 4)
      return std::vector<v1::GoodsMessage>{};
    return std::vector<v1::GoodsMessage>{std::move(message)};
  });
  ExpectRefusedThenWhole("a repeated piece", [](v1::GoodsMessage message) {
    return std::vector<v1::GoodsMessage>{message, message};
  });
  auto held = std::make_shared<v1::GoodsMessage>();
  ExpectRefusedThenWhole("two pieces exchanged", [held](v1::GoodsMessage message) {
    if (message.frame().seq() == 1) {
      *held = std::move(message);
      return std::vector<v1::GoodsMessage>{};
    }
    if (message.frame().seq() == 2) {
      return std::vector<v1::GoodsMessage>{std::move(message), *held};
    }
    return std::vector<v1::GoodsMessage>{std::move(message)};
  });
}

TEST_F(MaliciousRelayTest, GoodsOfAnotherDeliveryAreNotAccepted) {
  opened_->recording().Clear();
  const std::string first = PaidOrder();
  EXPECT_EQ(Download(first).exit_code, 0);
  auto earlier = std::make_shared<std::vector<v1::GoodsMessage>>();
  for (const Recorded& recorded : opened_->recording().All()) {
    if (recorded.leg != Leg::kGoods) continue;
    earlier->emplace_back();
    ASSERT_TRUE(earlier->back().ParseFromString(recorded.bytes));
  }
  ASSERT_EQ(earlier->size(), 5u);
  ExpectRefusedThenWhole("frames of an earlier delivery", [earlier](v1::GoodsMessage message) {
    return std::vector<v1::GoodsMessage>{(*earlier)[message.frame().seq()]};
  });
  ExpectRefusedThenWhole("the same under this delivery's id", [earlier](v1::GoodsMessage message) {
    v1::GoodsMessage spliced = (*earlier)[message.frame().seq()];
    spliced.mutable_frame()->set_session_id(message.frame().session_id());
    return std::vector<v1::GoodsMessage>{std::move(spliced)};
  });
}

// What to do with the sealed part of a shop session on its way.
using AlterWire = std::function<void(v1::ShopWire&)>;

Interposer::Hooks AlterToCustomer(AlterWire alter, size_t copies = 1) {
  Interposer::Hooks hooks;
  hooks.to_customer = [alter = std::move(alter), copies](v1::BrokerToCustomer message) {
    if (message.has_shop_frame()) {
      v1::ShopWire wire;
      wire.ParseFromString(message.shop_frame().frame());
      alter(wire);
      message.mutable_shop_frame()->set_frame(wire.SerializeAsString());
      return std::vector<v1::BrokerToCustomer>(copies, message);
    }
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  return hooks;
}

Interposer::Hooks AlterToMerchant(AlterWire alter) {
  Interposer::Hooks hooks;
  hooks.from_customer = [alter = std::move(alter)](v1::CustomerMessage message) {
    if (message.has_shop_frame()) {
      v1::ShopWire wire;
      wire.ParseFromString(message.shop_frame().frame());
      alter(wire);
      message.mutable_shop_frame()->set_frame(wire.SerializeAsString());
    }
    return std::vector<v1::CustomerMessage>{std::move(message)};
  };
  return hooks;
}

TEST_F(MaliciousRelayTest, AlteredFramesOfAShopSessionOrderNothing) {
  const std::vector<std::pair<std::string, AlterWire>> alterations = {
      {"ciphertext", [](v1::ShopWire& w) { Flip(w.mutable_frame()->mutable_ciphertext(), 0); }},
      {"mac", [](v1::ShopWire& w) { Flip(w.mutable_frame()->mutable_mac(), 31); }},
      {"sid", [](v1::ShopWire& w) { Flip(w.mutable_frame()->mutable_session_id(), 0); }},
      {"seq", [](v1::ShopWire& w) { w.mutable_frame()->set_seq(w.frame().seq() + 1); }},
      {"emptied", [](v1::ShopWire& w) { w.mutable_frame()->clear_ciphertext(); }},
  };
  const int64_t before = opened_->BalanceMinor(kAlice);
  for (const auto& [name, alter] : alterations) {
    for (const bool to_customer : {true, false}) {
      opened_->interposer().SetHooks(to_customer ? AlterToCustomer(alter) : AlterToMerchant(alter));
      const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
      EXPECT_NE(reply.exit_code, 0) << name;
      EXPECT_FALSE(reply.err.empty()) << name;
    }
  }
  // Finished of the customer, which travels beside the first frame.
  opened_->interposer().SetHooks(AlterToMerchant([](v1::ShopWire& wire) {
    if (!wire.finished().empty()) Flip(wire.mutable_finished(), 0);
  }));
  EXPECT_NE(opened_->Cli(kAlice, {"checkout", *product_}).exit_code, 0);
  opened_->interposer().SetHooks({});
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before);
  EXPECT_NE(opened_->Checkout(kAlice, *product_), "");
}

TEST_F(MaliciousRelayTest, FramesOfAnotherSessionAreNotAccepted) {
  opened_->recording().Clear();
  EXPECT_NE(opened_->Checkout(kAlice, *product_), "");
  v1::ShopWire earlier;
  for (const Recorded& recorded : opened_->recording().All()) {
    v1::BrokerToCustomer message;
    if (recorded.leg == Leg::kToCustomer && message.ParseFromString(recorded.bytes) &&
        message.has_shop_frame()) {
      ASSERT_TRUE(earlier.ParseFromString(message.shop_frame().frame()));
    }
  }
  ASSERT_FALSE(earlier.frame().ciphertext().empty());
  opened_->interposer().SetHooks(AlterToCustomer([earlier](v1::ShopWire& wire) {
    const std::string sid = wire.frame().session_id();
    *wire.mutable_frame() = earlier.frame();
    wire.mutable_frame()->set_session_id(sid);
  }));
  EXPECT_NE(opened_->Cli(kAlice, {"checkout", *product_}).exit_code, 0);
  opened_->interposer().SetHooks({});
  EXPECT_NE(opened_->Checkout(kAlice, *product_), "");
}

TEST_F(MaliciousRelayTest, RepeatedFramesEndTheSessionAndNothingElse) {
  // The first copy is right and is used; the second ends the session, of which no more is wanted.
  opened_->interposer().SetHooks(AlterToCustomer([](v1::ShopWire&) {}, /*copies=*/2));
  (void)opened_->Cli(kAlice, {"checkout", *product_});
  opened_->interposer().SetHooks({});
  EXPECT_NE(opened_->Checkout(kAlice, *product_), "");
}

}  // namespace
}  // namespace blindcart::testing
