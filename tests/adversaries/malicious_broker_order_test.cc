// A broker that lies about shops, orders and payments, towards real agents and merchants.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "crypto/random.h"
#include "crypto/testing/test_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/shop.pb.h"
#include "protocol/order.h"
#include "protocol/shop_handshake.h"
#include "tests/adversaries/interposed.h"

namespace blindcart::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kUnreachable = 5;
constexpr int kVerification = 6;
constexpr char kAlice[] = "alice";
constexpr int64_t kPriceMinor = 1000;
constexpr char kGoods[] = "the goods themselves";

class MaliciousBrokerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    opened_ = Interposed::Open({{kAlice, "correct horse", "1001", "2468", "1000.00"}}).release();
    ASSERT_NE(opened_, nullptr);
    ProductSpec product;
    product.title = "A quiet title";
    product.description = "Something to read.";
    product.content = kGoods;
    product.format = "txt";
    product_ = new std::string(opened_->AddProduct(product));
    opened_->Do(kAlice, {"browse", Interposed::kShop});
  }
  static void TearDownTestSuite() {
    delete opened_;
    delete product_;
  }
  void SetUp() override { ASSERT_NE(opened_, nullptr); }
  void TearDown() override {
    if (opened_ == nullptr) return;
    opened_->interposer().SetHooks({});
    // Whatever the broker tried, an honest purchase works afterwards, and the books are right.
    EXPECT_EQ(opened_->Buy(kAlice, *product_), kGoods);
    const auto audit = opened_->market().BrokerCommand({"audit"});
    ASSERT_TRUE(audit.ok()) << audit.status();
    EXPECT_EQ(audit->exit_code, 0) << audit->out << audit->err;
  }

  // A hook that changes the named answer to the customer.
  void AlterGetOrder(const std::function<void(v1::GetOrderResult&)>& alter) {
    Interposer::Hooks hooks;
    hooks.to_customer = [alter](v1::BrokerToCustomer message) {
      if (message.has_get_order()) alter(*message.mutable_get_order());
      return std::vector<v1::BrokerToCustomer>{std::move(message)};
    };
    opened_->interposer().SetHooks(std::move(hooks));
  }

  static Interposed* opened_;
  static std::string* product_;
};

Interposed* MaliciousBrokerTest::opened_ = nullptr;
std::string* MaliciousBrokerTest::product_ = nullptr;

void Flip(std::string* bytes) { bytes->back() = static_cast<char>(bytes->back() ^ 1); }

TEST_F(MaliciousBrokerTest, CopyOfTheOrderThatDiffersInAnyFieldIsNotAccepted) {
  using Alter = std::function<void(v1::GetOrderResult&)>;
  const std::vector<std::pair<std::string, Alter>> alterations = {
      {"price", [](auto& r) { r.mutable_terms()->set_price_minor(kPriceMinor + 1); }},
      {"lower price", [](auto& r) { r.mutable_terms()->set_price_minor(1); }},
      {"currency", [](auto& r) { r.mutable_terms()->set_currency("USD"); }},
      {"expiry",
       [](auto& r) { r.mutable_terms()->set_expires_at_ms(r.terms().expires_at_ms() + 1); }},
      {"commitment", [](auto& r) { Flip(r.mutable_terms()->mutable_commitment()); }},
      {"sid", [](auto& r) { Flip(r.mutable_terms()->mutable_sid()); }},
      {"order id", [](auto& r) { Flip(r.mutable_terms()->mutable_order_id()); }},
      {"signature", [](auto& r) { Flip(r.mutable_terms()->mutable_signature()); }},
      {"merchant", [](auto& r) { Flip(r.mutable_merchant_fingerprint()); }},
      {"charge", [](auto& r) { r.set_charge_minor(r.charge_minor() + 1); }},
      {"total", [](auto& r) { r.set_total_minor(r.total_minor() + 1); }},
      {"charge and total",
       [](auto& r) {
         r.set_charge_minor(r.charge_minor() + 500);
         r.set_total_minor(r.total_minor() + 500);
       }},
      {"missing", [](auto& r) { r.Clear(); }},
  };
  const int64_t before = opened_->BalanceMinor(kAlice);
  for (const auto& [name, alter] : alterations) {
    AlterGetOrder(alter);
    const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
    EXPECT_EQ(reply.exit_code, kVerification) << name << ": " << reply.err;
    EXPECT_FALSE(reply.err.empty()) << name;
  }
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before);
}

TEST_F(MaliciousBrokerTest, MerchantAndCustomerToldDifferentTotalsIsNoticed) {
  Interposer::Hooks hooks;
  hooks.to_merchant = [](v1::BrokerToMerchant message) {
    if (message.has_offer_order()) {
      auto* offer = message.mutable_offer_order();
      offer->set_charge_minor(offer->charge_minor() + 100);
      offer->set_total_minor(offer->total_minor() + 100);
    }
    return std::vector<v1::BrokerToMerchant>{std::move(message)};
  };
  opened_->interposer().SetHooks(std::move(hooks));
  const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
  EXPECT_EQ(reply.exit_code, kVerification) << reply.err;
}

TEST_F(MaliciousBrokerTest, TermsChangedOnTheWayToTheBrokerAreRefusedByIt) {
  // Here the interposer is a network between merchant and broker that can write: the real broker
  // checks the merchant's signature.
  Interposer::Hooks hooks;
  hooks.from_merchant = [](v1::MerchantToBroker message) {
    if (message.has_offer_order()) {
      message.mutable_offer_order()->mutable_terms()->set_price_minor(1);
    }
    return std::vector<v1::MerchantToBroker>{std::move(message)};
  };
  opened_->interposer().SetHooks(std::move(hooks));
  const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
  EXPECT_NE(reply.exit_code, 0);
  EXPECT_FALSE(reply.err.empty());
}

TEST_F(MaliciousBrokerTest, AnsweringTheShopHelloItselfOpensNothing) {
  const crypto::Identity& evil = crypto::TestIdentity(0);
  std::mutex mutex;
  v1::OpenShopCall call;
  Interposer::Hooks hooks;
  hooks.from_customer = [&](v1::CustomerMessage message) {
    if (message.has_open_shop()) {
      std::lock_guard<std::mutex> lock(mutex);
      call = message.open_shop();
    }
    return std::vector<v1::CustomerMessage>{std::move(message)};
  };
  hooks.to_customer = [&](v1::BrokerToCustomer message) {
    if (message.has_open_shop()) {
      std::lock_guard<std::mutex> lock(mutex);
      protocol::ShopMerchant impostor(evil, crypto::SystemRandom());
      message.mutable_open_shop()->set_answer(
          impostor.OnHello(call.sid(), call.hello())->SerializeAsString());
    }
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  opened_->interposer().SetHooks(std::move(hooks));
  const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
  EXPECT_THAT(reply.exit_code, AnyOf(kUnreachable, kVerification)) << reply.err;
  EXPECT_FALSE(reply.err.empty());
}

TEST_F(MaliciousBrokerTest, AnotherKeyForAPinnedShopIsRefusedLoudly) {
  const std::string evil = crypto::TestIdentity(1).public_identity().Serialize();
  Interposer::Hooks hooks;
  hooks.to_customer = [evil](v1::BrokerToCustomer message) {
    if (message.has_get_shop() && message.get_shop().has_shop()) {
      message.mutable_get_shop()->mutable_shop()->set_identity(evil);
    }
    if (message.has_list_shops()) {
      for (auto& shop : *message.mutable_list_shops()->mutable_shops()) shop.set_identity(evil);
    }
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  opened_->interposer().SetHooks(std::move(hooks));
  const Reply reply = opened_->Cli(kAlice, {"checkout", *product_});
  EXPECT_NE(reply.exit_code, 0);
  EXPECT_THAT(reply.err, HasSubstr("key"));
  const nlohmann::json list = opened_->Do(kAlice, {"shops"});
  for (const auto& shop : list["shops"]) {
    EXPECT_TRUE(shop["key_changed"].get<bool>());
  }
}

// The payment fails at the real broker, since the interposer changes the total it is asked for.
Interposer::Hooks ClaimPaid(std::function<void(v1::PayResult&)> claim) {
  Interposer::Hooks hooks;
  hooks.from_customer = [](v1::CustomerMessage message) {
    if (message.has_pay()) {
      message.mutable_pay()->set_agreed_total_minor(message.pay().agreed_total_minor() + 1);
    }
    return std::vector<v1::CustomerMessage>{std::move(message)};
  };
  hooks.to_customer = [claim = std::move(claim)](v1::BrokerToCustomer message) {
    if (message.has_pay()) claim(*message.mutable_pay());
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  return hooks;
}

TEST_F(MaliciousBrokerTest, PaymentClaimedWithoutItsReceiptIsNotBelieved) {
  const int64_t before = opened_->BalanceMinor(kAlice);
  v1::Receipt stolen;
  stolen.set_order_id(std::string(protocol::kOrderIdBytes, 'o'));
  stolen.set_commitment(std::string(protocol::kCommitmentBytes, 'c'));
  stolen.set_merchant_fingerprint(
      opened_->parties().merchant(Interposed::kShop).public_identity().fingerprint());
  stolen.set_price_minor(kPriceMinor);
  stolen.set_charge_minor(10);
  stolen.set_total_minor(kPriceMinor + 10);
  stolen.set_currency("EUR");
  stolen.set_paid_at_ms(1'700'000'000'000);
  v1::Receipt forged = stolen;
  // The broker's true key signs, but for another order; and another key signs.
  protocol::SignReceipt(opened_->parties().broker(), &stolen);
  protocol::SignReceipt(crypto::TestIdentity(2), &forged);
  for (const auto& receipt :
       {absl::optional<v1::Receipt>(), absl::make_optional(stolen), absl::make_optional(forged)}) {
    opened_->interposer().SetHooks({});
    const std::string order = opened_->Checkout(kAlice, *product_);
    opened_->interposer().SetHooks(ClaimPaid([receipt](v1::PayResult& result) {
      result.set_outcome(v1::PAY_OUTCOME_SUCCESSFUL);
      if (receipt.has_value()) *result.mutable_receipt() = *receipt;
    }));
    const Reply reply = opened_->Pay(kAlice, order);
    EXPECT_EQ(reply.exit_code, kVerification) << reply.err;
    EXPECT_EQ(opened_->StatusAtMerchant(order), "ORDER_STATUS_CREATED");
    const Reply download = opened_->Cli(kAlice, {"download", order});
    EXPECT_NE(download.exit_code, 0) << "goods came out for an order that nobody paid";
  }
  opened_->interposer().SetHooks({});
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before);
}

TEST_F(MaliciousBrokerTest, PaymentDeniedIsChargedOnceAndDelivered) {
  const int64_t before = opened_->BalanceMinor(kAlice);
  const std::string order = opened_->Checkout(kAlice, *product_);
  Interposer::Hooks hooks;
  hooks.to_customer = [](v1::BrokerToCustomer message) {
    if (message.has_pay()) {
      message.mutable_pay()->Clear();
      message.mutable_pay()->set_outcome(v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
    }
    return std::vector<v1::BrokerToCustomer>{std::move(message)};
  };
  // The notice is withheld, too.
  hooks.to_merchant = [](v1::BrokerToMerchant message) {
    if (message.has_payment_notice()) return std::vector<v1::BrokerToMerchant>{};
    return std::vector<v1::BrokerToMerchant>{std::move(message)};
  };
  opened_->interposer().SetHooks(hooks);
  const Reply denied = opened_->Pay(kAlice, order);
  EXPECT_NE(denied.exit_code, 0);
  EXPECT_EQ(opened_->StatusAtMerchant(order), "ORDER_STATUS_CREATED");

  // Only the answer to a payment is honest again; the notice stays away, and the receipt opens the
  // delivery by itself.
  hooks.to_customer = nullptr;
  opened_->interposer().SetHooks(hooks);
  const Reply paid = opened_->Pay(kAlice, order);
  EXPECT_EQ(paid.exit_code, 0) << paid.err;
  const auto downloaded = opened_->market().Cli(kAlice, {"download", order});
  ASSERT_TRUE(downloaded.ok());
  EXPECT_EQ(downloaded->exit_code, 0) << downloaded->err;
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before - kPriceMinor - 10);
}

TEST_F(MaliciousBrokerTest, NoticeWithAForgedReceiptGivesNothingAway) {
  std::mutex mutex;
  v1::OrderTerms offered;
  Interposer::Hooks hooks;
  hooks.from_merchant = [&](v1::MerchantToBroker message) {
    if (message.has_offer_order()) {
      std::lock_guard<std::mutex> lock(mutex);
      offered = message.offer_order().terms();
    }
    return std::vector<v1::MerchantToBroker>{std::move(message)};
  };
  hooks.to_merchant = [&](v1::BrokerToMerchant message) {
    std::vector<v1::BrokerToMerchant> out = {message};
    if (message.has_offer_order()) {
      std::lock_guard<std::mutex> lock(mutex);
      v1::BrokerToMerchant forged;
      auto* notice = forged.mutable_payment_notice();
      notice->set_notice_id(1'000'000);
      notice->set_order_id(offered.order_id());
      notice->set_status(v1::ORDER_STATUS_PAID);
      auto* receipt = notice->mutable_receipt();
      receipt->set_order_id(offered.order_id());
      receipt->set_commitment(offered.commitment());
      receipt->set_merchant_fingerprint(
          opened_->parties().merchant(Interposed::kShop).public_identity().fingerprint());
      receipt->set_price_minor(offered.price_minor());
      receipt->set_charge_minor(10);
      receipt->set_total_minor(offered.price_minor() + 10);
      receipt->set_currency("EUR");
      receipt->set_paid_at_ms(1'700'000'000'000);
      protocol::SignReceipt(crypto::TestIdentity(3), receipt);
      out.push_back(std::move(forged));
    }
    return out;
  };
  opened_->interposer().SetHooks(hooks);
  const Reply checkout = opened_->Cli(kAlice, {"checkout", *product_});
  ASSERT_EQ(checkout.exit_code, 0) << checkout.err;
  const std::string order = checkout.json["purchase"]["order_id_hex"];
  EXPECT_EQ(opened_->StatusAtMerchant(order), "ORDER_STATUS_CREATED");
}

TEST_F(MaliciousBrokerTest, RepeatedNoticesAreHarmless) {
  Interposer::Hooks hooks;
  hooks.to_merchant = [](v1::BrokerToMerchant message) {
    const size_t copies = message.has_payment_notice() ? 3 : 1;
    return std::vector<v1::BrokerToMerchant>(copies, message);
  };
  opened_->interposer().SetHooks(hooks);
  const int64_t before = opened_->BalanceMinor(kAlice);
  EXPECT_EQ(opened_->Buy(kAlice, *product_), kGoods);
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before - kPriceMinor - 10);
}

TEST_F(MaliciousBrokerTest, RepeatedPaymentCallChargesOnce) {
  Interposer::Hooks hooks;
  hooks.from_customer = [](v1::CustomerMessage message) {
    std::vector<v1::CustomerMessage> out = {message};
    if (message.has_pay()) {
      message.set_call_id(message.call_id() + 1'000'000);
      out.push_back(std::move(message));
    }
    return out;
  };
  opened_->interposer().SetHooks(hooks);
  const int64_t before = opened_->BalanceMinor(kAlice);
  EXPECT_EQ(opened_->Buy(kAlice, *product_), kGoods);
  EXPECT_EQ(opened_->BalanceMinor(kAlice), before - kPriceMinor - 10);
}

}  // namespace
}  // namespace blindcart::testing
