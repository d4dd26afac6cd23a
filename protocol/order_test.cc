#include "protocol/order.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"
#include "proto/order.pb.h"
#include "proto/shop.pb.h"

namespace blindcart::protocol {
namespace {

const crypto::Identity& Merchant() { return crypto::TestIdentity(0); }
const crypto::Identity& Broker() { return crypto::TestIdentity(1); }

const std::string kOrderId(16, 'o');
const std::string kSid(16, 's');
const std::string kProductId(16, 'p');
const std::string kSalt(32, 'a');
const std::string kContentHash(32, 'h');
const std::string kOrderKey(32, 'k');
const std::string kPng("\x89PNG\r\n\x1a\n...", 11);

v1::Product GoodProduct() {
  v1::Product product;
  product.set_product_id(kProductId);
  product.set_version(7);
  product.set_title("Walden");
  product.set_description("Life in the woods.\n\nSecond edition.");
  product.set_price_minor(1250);
  product.set_currency("EUR");
  product.set_picture(kPng);
  product.set_format("epub");
  product.set_size_bytes(123456);
  product.set_content_hash(kContentHash);
  return product;
}

v1::CheckoutResult GoodCheckout() {
  v1::CheckoutResult result;
  result.set_outcome(v1::CHECKOUT_OUTCOME_ORDERED);
  result.set_product_id(kProductId);
  result.set_title("Walden");
  result.set_content_hash(kContentHash);
  result.set_salt(kSalt);
  result.set_charge_minor(38);
  result.set_total_minor(1288);
  result.set_size_bytes(123456);
  result.set_format("epub");
  v1::OrderTerms* terms = result.mutable_terms();
  terms->set_order_id(kOrderId);
  terms->set_sid(kSid);
  terms->set_price_minor(1250);
  terms->set_currency("EUR");
  terms->set_expires_at_ms(1'700'000'000'000);
  terms->set_commitment(OrderCommitment(
      {kSalt, kProductId, "Walden", kContentHash, 1250, crypto::Sha256(kOrderKey)}));
  SignTerms(Merchant(), terms);
  return result;
}

v1::GetOrderResult GoodBrokerCopy() {
  v1::GetOrderResult copy;
  copy.set_found(true);
  *copy.mutable_terms() = GoodCheckout().terms();
  copy.set_merchant_fingerprint(Merchant().public_identity().fingerprint());
  copy.set_charge_minor(38);
  copy.set_total_minor(1288);
  copy.set_status(v1::ORDER_STATUS_CREATED);
  return copy;
}

v1::Receipt GoodReceipt() {
  const v1::OrderTerms terms = GoodCheckout().terms();
  v1::Receipt receipt;
  receipt.set_order_id(terms.order_id());
  receipt.set_commitment(terms.commitment());
  receipt.set_merchant_fingerprint(Merchant().public_identity().fingerprint());
  receipt.set_price_minor(1250);
  receipt.set_charge_minor(38);
  receipt.set_total_minor(1288);
  receipt.set_currency("EUR");
  receipt.set_paid_at_ms(1'699'999'999'999);
  SignReceipt(Broker(), &receipt);
  return receipt;
}

std::string Flipped(std::string bytes) {
  bytes[bytes.size() / 2] ^= 1;
  return bytes;
}

// One alteration of a message, and a word that its refusal must contain.
template <typename Message>
struct Alteration {
  const char* name;
  std::function<void(Message*)> alter;
  absl::StatusCode code;
  const char* says;
};

constexpr absl::StatusCode kBounds = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kDiffers = absl::StatusCode::kDataLoss;
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

template <typename Message>
void ExpectEachRefused(const Message& good, const std::vector<Alteration<Message>>& alterations,
                       const std::function<absl::Status(const Message&)>& check) {
  ASSERT_TRUE(check(good).ok()) << check(good);
  for (const Alteration<Message>& alteration : alterations) {
    Message altered = good;
    alteration.alter(&altered);
    const absl::Status status = check(altered);
    EXPECT_EQ(status.code(), alteration.code) << alteration.name << ": " << status;
    EXPECT_TRUE(absl::StrContains(status.message(), alteration.says))
        << alteration.name << ": " << status;
  }
}

TEST(OrderCommitmentTest, GoldenBytes) {
  // Each field after its length: salt, product id, title, content hash, price 0x4e2, H(order key).
  const std::string bytes = std::string("\0\0\0\x20", 4) + std::string(32, 'a') +
                            std::string("\0\0\0\x10", 4) + std::string(16, 'p') +
                            std::string("\0\0\0\x06", 4) + "Walden" + std::string("\0\0\0\x20", 4) +
                            std::string(32, 'h') + std::string("\0\0\0\x08", 4) +
                            std::string("\0\0\0\0\0\0\x04\xe2", 8) + std::string("\0\0\0\x20", 4) +
                            crypto::Sha256(std::string(32, 'k'));
  ASSERT_EQ(bytes.size(), 6 * 4 + 32 + 16 + 6 + 32 + 8 + 32u);
  const std::string commitment =
      OrderCommitment({kSalt, kProductId, "Walden", kContentHash, 1250, crypto::Sha256(kOrderKey)});
  EXPECT_EQ(commitment, crypto::Sha256(bytes));
  // Computed apart, with Python's hashlib.
  EXPECT_EQ(crypto::HexEncode(commitment),
            "0090fea84d1d21dfa94497353fd2a9f6102f037958ff978ea570c2cc4f900591");
}

TEST(OrderCommitmentTest, EveryFieldChangesIt) {
  const std::string key_hash = crypto::Sha256(kOrderKey);
  const CommitmentInput good{kSalt, kProductId, "Walden", kContentHash, 1250, key_hash};
  std::set<std::string> seen = {OrderCommitment(good)};
  const auto expect_new = [&seen](CommitmentInput changed) {
    EXPECT_TRUE(seen.insert(OrderCommitment(changed)).second);
  };
  const std::string salt = Flipped(kSalt), product = Flipped(kProductId),
                    hash = Flipped(kContentHash), key = Flipped(key_hash);
  CommitmentInput changed = good;
  changed.salt = salt;
  expect_new(changed);
  changed = good;
  changed.product_id = product;
  expect_new(changed);
  changed = good;
  changed.title = "Waldem";
  expect_new(changed);
  changed = good;
  changed.title = "";
  expect_new(changed);
  changed = good;
  changed.content_hash = hash;
  expect_new(changed);
  for (const int64_t price : {int64_t{1251}, int64_t{1249}, int64_t{-1250}, kMin, kMax}) {
    changed = good;
    changed.price_minor = price;
    expect_new(changed);
  }
  changed = good;
  changed.order_key_hash = key;
  expect_new(changed);
  // Bytes that move from one field to its neighbour.
  const std::string longer = kProductId + "W";
  changed = good;
  changed.product_id = longer;
  changed.title = "alden";
  expect_new(changed);
}

TEST(OrderTermsTest, SignatureCoversTheDocumentedBytes) {
  const v1::OrderTerms terms = GoodCheckout().terms();
  const std::string bytes = std::string("\0\0\0\x10", 4) + kOrderId + std::string("\0\0\0\x10", 4) +
                            kSid + std::string("\0\0\0\x08\0\0\0\0\0\0\x04\xe2", 12) +
                            std::string("\0\0\0\x03", 4) + "EUR" +
                            std::string("\0\0\0\x08\0\0\x01\x8b\xcf\xe5\x68\x00", 12) +
                            std::string("\0\0\0\x20", 4) + terms.commitment();
  EXPECT_EQ(terms.signature(), Merchant().Sign("blindcart/v1 order", bytes));
}

std::vector<Alteration<v1::OrderTerms>> TermsOutOfBounds() {
  using T = v1::OrderTerms;
  return {
      {"no id", [](T* t) { t->clear_order_id(); }, kBounds, "id"},
      {"short id", [](T* t) { t->set_order_id(std::string(15, 'o')); }, kBounds, "id"},
      {"long id", [](T* t) { t->set_order_id(std::string(17, 'o')); }, kBounds, "id"},
      {"short sid", [](T* t) { t->set_sid(std::string(15, 's')); }, kBounds, "session"},
      {"long sid", [](T* t) { t->set_sid(std::string(17, 's')); }, kBounds, "session"},
      {"no price", [](T* t) { t->set_price_minor(0); }, kBounds, "price"},
      {"negative", [](T* t) { t->set_price_minor(-1250); }, kBounds, "price"},
      {"lowest", [](T* t) { t->set_price_minor(kMin); }, kBounds, "price"},
      {"over", [](T* t) { t->set_price_minor(kMaxPriceMinor + 1); }, kBounds, "price"},
      {"highest", [](T* t) { t->set_price_minor(kMax); }, kBounds, "price"},
      {"no currency", [](T* t) { t->clear_currency(); }, kBounds, "currency"},
      {"small letters", [](T* t) { t->set_currency("eur"); }, kBounds, "currency"},
      {"two letters", [](T* t) { t->set_currency("EU"); }, kBounds, "currency"},
      {"four letters", [](T* t) { t->set_currency("EURO"); }, kBounds, "currency"},
      {"digit", [](T* t) { t->set_currency("EU1"); }, kBounds, "currency"},
      {"no expiry", [](T* t) { t->set_expires_at_ms(0); }, kBounds, "expiry"},
      {"early", [](T* t) { t->set_expires_at_ms(-1); }, kBounds, "expiry"},
      {"late", [](T* t) { t->set_expires_at_ms(kMaxTimeMs + 1); }, kBounds, "expiry"},
      {"no commitment", [](T* t) { t->clear_commitment(); }, kBounds, "commitment"},
      {"short commitment", [](T* t) { t->mutable_commitment()->pop_back(); }, kBounds,
       "commitment"},
      {"long commitment", [](T* t) { t->mutable_commitment()->push_back('x'); }, kBounds,
       "commitment"},
  };
}

TEST(OrderTermsTest, ValidateTermsBoundsEveryField) {
  ExpectEachRefused<v1::OrderTerms>(GoodCheckout().terms(), TermsOutOfBounds(), ValidateTerms);
  v1::OrderTerms edge = GoodCheckout().terms();
  for (const int64_t price : {int64_t{1}, kMaxPriceMinor}) {
    edge.set_price_minor(price);
    EXPECT_TRUE(ValidateTerms(edge).ok());
  }
  for (const int64_t time : {int64_t{1}, kMaxTimeMs}) {
    edge.set_expires_at_ms(time);
    EXPECT_TRUE(ValidateTerms(edge).ok());
  }
}

std::vector<Alteration<v1::OrderTerms>> TermsAltered() {
  using T = v1::OrderTerms;
  return {
      {"id", [](T* t) { t->set_order_id(Flipped(t->order_id())); }, kDiffers, "signature"},
      {"sid", [](T* t) { t->set_sid(Flipped(t->sid())); }, kDiffers, "signature"},
      {"price", [](T* t) { t->set_price_minor(1249); }, kDiffers, "signature"},
      {"currency", [](T* t) { t->set_currency("USD"); }, kDiffers, "signature"},
      {"expiry", [](T* t) { t->set_expires_at_ms(t->expires_at_ms() + 1); }, kDiffers, "signature"},
      {"commitment", [](T* t) { t->set_commitment(Flipped(t->commitment())); }, kDiffers,
       "signature"},
      {"signature", [](T* t) { t->set_signature(Flipped(t->signature())); }, kDiffers, "signature"},
      {"broker's signature", [](T* t) { SignTerms(Broker(), t); }, kDiffers, "signature"},
      {"no signature", [](T* t) { t->clear_signature(); }, kBounds, "signature"},
      {"long signature", [](T* t) { t->mutable_signature()->push_back('x'); }, kBounds,
       "signature"},
      {"signature of another purpose",
       [](T* t) {
         std::string price("\0\0\0\0\0\0\x04\xe2", 8), expiry("\0\0\x01\x8b\xcf\xe5\x68\x00", 8);
         t->set_signature(
             Merchant().Sign("blindcart/v1 receipt",
                             crypto::LengthPrefixed({t->order_id(), t->sid(), price, t->currency(),
                                                     expiry, t->commitment()})));
       },
       kDiffers, "signature"},
  };
}

TEST(OrderTermsTest, VerifyTermsCatchesEveryAlteration) {
  const std::function<absl::Status(const v1::OrderTerms&)> check = [](const v1::OrderTerms& terms) {
    return VerifyTerms(Merchant().public_identity(), terms);
  };
  ExpectEachRefused(GoodCheckout().terms(), TermsAltered(), check);
  ExpectEachRefused(GoodCheckout().terms(), TermsOutOfBounds(), check);
}

TEST(OrderTermsTest, EveryBitOfTheSignatureCounts) {
  const v1::OrderTerms good = GoodCheckout().terms();
  for (size_t bit = 0; bit < good.signature().size() * 8; ++bit) {
    v1::OrderTerms altered = good;
    (*altered.mutable_signature())[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    EXPECT_FALSE(VerifyTerms(Merchant().public_identity(), altered).ok()) << bit;
  }
}

TEST(ReceiptTest, SignatureCoversTheDocumentedBytes) {
  const v1::Receipt receipt = GoodReceipt();
  const std::string bytes = std::string("\0\0\0\x10", 4) + kOrderId + std::string("\0\0\0\x20", 4) +
                            receipt.commitment() + std::string("\0\0\0\x20", 4) +
                            Merchant().public_identity().fingerprint() +
                            std::string("\0\0\0\x08\0\0\0\0\0\0\x04\xe2", 12) +
                            std::string("\0\0\0\x08\0\0\0\0\0\0\x00\x26", 12) +
                            std::string("\0\0\0\x08\0\0\0\0\0\0\x05\x08", 12) +
                            std::string("\0\0\0\x03", 4) + "EUR" +
                            std::string("\0\0\0\x08\0\0\x01\x8b\xcf\xe5\x67\xff", 12);
  EXPECT_EQ(receipt.signature(), Broker().Sign("blindcart/v1 receipt", bytes));
}

std::vector<Alteration<v1::Receipt>> ReceiptOutOfBounds() {
  using R = v1::Receipt;
  return {
      {"short id", [](R* r) { r->mutable_order_id()->pop_back(); }, kBounds, "order id"},
      {"long commitment", [](R* r) { r->mutable_commitment()->push_back('x'); }, kBounds,
       "commitment"},
      {"no merchant", [](R* r) { r->clear_merchant_fingerprint(); }, kBounds, "merchant"},
      {"no price", [](R* r) { r->set_price_minor(0); }, kBounds, "price"},
      {"negative price", [](R* r) { r->set_price_minor(kMin); }, kBounds, "price"},
      {"huge price", [](R* r) { r->set_price_minor(kMax); }, kBounds, "price"},
      {"negative charge", [](R* r) { r->set_charge_minor(-1); }, kBounds, "charge"},
      {"huge charge", [](R* r) { r->set_charge_minor(kMax); }, kBounds, "charge"},
      {"currency", [](R* r) { r->set_currency("E\0R"); }, kBounds, "currency"},
      {"no time", [](R* r) { r->set_paid_at_ms(0); }, kBounds, "time"},
      {"late", [](R* r) { r->set_paid_at_ms(kMax); }, kBounds, "time"},
      {"total", [](R* r) { r->set_total_minor(1289); }, kDiffers, "total"},
      {"negative total", [](R* r) { r->set_total_minor(kMin); }, kDiffers, "total"},
  };
}

TEST(ReceiptTest, ValidateReceiptBoundsEveryField) {
  ExpectEachRefused<v1::Receipt>(GoodReceipt(), ReceiptOutOfBounds(), ValidateReceipt);
}

TEST(ReceiptTest, VerifyReceiptCatchesEveryAlteration) {
  using R = v1::Receipt;
  const std::function<absl::Status(const R&)> check = [](const R& receipt) {
    return VerifyReceipt(Broker().public_identity(), receipt);
  };
  ExpectEachRefused<R>(
      GoodReceipt(),
      {
          {"id", [](R* r) { r->set_order_id(Flipped(r->order_id())); }, kDiffers, "signature"},
          {"commitment", [](R* r) { r->set_commitment(Flipped(r->commitment())); }, kDiffers,
           "signature"},
          {"merchant",
           [](R* r) { r->set_merchant_fingerprint(Flipped(r->merchant_fingerprint())); }, kDiffers,
           "signature"},
          {"price and charge",
           [](R* r) {
             r->set_price_minor(1249);
             r->set_charge_minor(39);
           },
           kDiffers, "signature"},
          {"price and total",
           [](R* r) {
             r->set_price_minor(1249);
             r->set_total_minor(1287);
           },
           kDiffers, "signature"},
          {"charge and total",
           [](R* r) {
             r->set_charge_minor(0);
             r->set_total_minor(1250);
           },
           kDiffers, "signature"},
          {"currency", [](R* r) { r->set_currency("USD"); }, kDiffers, "signature"},
          {"time", [](R* r) { r->set_paid_at_ms(r->paid_at_ms() + 1); }, kDiffers, "signature"},
          {"signature", [](R* r) { r->set_signature(Flipped(r->signature())); }, kDiffers,
           "signature"},
          {"merchant's signature", [](R* r) { SignReceipt(Merchant(), r); }, kDiffers, "signature"},
          {"no signature", [](R* r) { r->clear_signature(); }, kBounds, "signature"},
      },
      check);
  ExpectEachRefused(GoodReceipt(), ReceiptOutOfBounds(), check);
}

TEST(ProductTest, GoodProductsPass) {
  v1::Product product = GoodProduct();
  EXPECT_TRUE(ValidateProduct(product).ok()) << ValidateProduct(product);
  product.set_picture("\xff\xd8\xff\xe0...");
  EXPECT_TRUE(ValidateProduct(product).ok());
  product.clear_picture();
  product.clear_format();
  product.clear_description();
  product.set_size_bytes(0);
  product.set_sold_out(true);
  EXPECT_TRUE(ValidateProduct(product).ok());
  product.set_title(std::string(kMaxTitleBytes, 't'));
  product.set_description(std::string(kMaxDescriptionBytes, 'd'));
  product.set_picture(kPng + std::string(kMaxPictureBytes - kPng.size(), 'x'));
  product.set_format("abcdefg8");
  product.set_price_minor(kMaxPriceMinor);
  product.set_size_bytes(kMaxContentBytes);
  EXPECT_TRUE(ValidateProduct(product).ok()) << ValidateProduct(product);
  v1::Product removed;
  removed.set_product_id(kProductId);
  removed.set_version(8);
  removed.set_removed(true);
  EXPECT_TRUE(ValidateProduct(removed).ok());
}

TEST(ProductTest, ValidateProductBoundsEveryField) {
  using P = v1::Product;
  ExpectEachRefused<P>(
      GoodProduct(),
      {
          {"no id", [](P* p) { p->clear_product_id(); }, kBounds, "id"},
          {"long id", [](P* p) { p->mutable_product_id()->push_back('x'); }, kBounds, "id"},
          {"no version", [](P* p) { p->set_version(0); }, kBounds, "version"},
          {"removed, with the rest", [](P* p) { p->set_removed(true); }, kBounds, "removed"},
          {"no title", [](P* p) { p->clear_title(); }, kBounds, "title"},
          {"long title", [](P* p) { p->set_title(std::string(kMaxTitleBytes + 1, 't')); }, kBounds,
           "title"},
          {"title of two lines", [](P* p) { p->set_title("a\nb"); }, kBounds, "title"},
          {"NUL in title", [](P* p) { p->set_title(std::string("a\0b", 3)); }, kBounds, "title"},
          {"escape in title", [](P* p) { p->set_title("\x1b[2J"); }, kBounds, "title"},
          {"override in title", [](P* p) { p->set_title("a\u202eb"); }, kBounds, "title"},
          {"title not UTF-8", [](P* p) { p->set_title("\xff"); }, kBounds, "title"},
          {"long description",
           [](P* p) { p->set_description(std::string(kMaxDescriptionBytes + 1, 'd')); }, kBounds,
           "description"},
          {"escape in description", [](P* p) { p->set_description("a\x1b[2J"); }, kBounds,
           "description"},
          {"description not UTF-8", [](P* p) { p->set_description("\xc0\xaf"); }, kBounds,
           "description"},
          {"no price", [](P* p) { p->set_price_minor(0); }, kBounds, "price"},
          {"negative price", [](P* p) { p->set_price_minor(-1); }, kBounds, "price"},
          {"huge price", [](P* p) { p->set_price_minor(kMaxPriceMinor + 1); }, kBounds, "price"},
          {"currency", [](P* p) { p->set_currency("euro"); }, kBounds, "currency"},
          {"large picture", [](P* p) { p->set_picture(kPng + std::string(kMaxPictureBytes, 'x')); },
           kBounds, "picture"},
          {"picture of another kind", [](P* p) { p->set_picture("GIF89a"); }, kBounds, "picture"},
          {"SVG", [](P* p) { p->set_picture("<svg onload=alert(1)>"); }, kBounds, "picture"},
          {"half a signature", [](P* p) { p->set_picture("\x89PNG"); }, kBounds, "picture"},
          {"long format", [](P* p) { p->set_format("abcdefghi"); }, kBounds, "format"},
          {"capital format", [](P* p) { p->set_format("PDF"); }, kBounds, "format"},
          {"path in format", [](P* p) { p->set_format("/../x"); }, kBounds, "format"},
          {"huge size", [](P* p) { p->set_size_bytes(kMaxContentBytes + 1); }, kBounds, "size"},
          {"no hash", [](P* p) { p->clear_content_hash(); }, kBounds, "hash"},
          {"short hash", [](P* p) { p->mutable_content_hash()->pop_back(); }, kBounds, "hash"},
      },
      ValidateProduct);
}

TEST(ProductTest, RemovedProductHasNothingElse) {
  using P = v1::Product;
  P removed;
  removed.set_product_id(kProductId);
  removed.set_version(8);
  removed.set_removed(true);
  ExpectEachRefused<P>(removed,
                       {
                           {"title", [](P* p) { p->set_title("t"); }, kBounds, "removed"},
                           {"text", [](P* p) { p->set_description("d"); }, kBounds, "removed"},
                           {"price", [](P* p) { p->set_price_minor(1); }, kBounds, "removed"},
                           {"currency", [](P* p) { p->set_currency("EUR"); }, kBounds, "removed"},
                           {"picture", [](P* p) { p->set_picture(kPng); }, kBounds, "removed"},
                           {"format", [](P* p) { p->set_format("pdf"); }, kBounds, "removed"},
                           {"size", [](P* p) { p->set_size_bytes(1); }, kBounds, "removed"},
                           {"sold out", [](P* p) { p->set_sold_out(true); }, kBounds, "removed"},
                           {"hash", [](P* p) { p->set_content_hash("h"); }, kBounds, "removed"},
                       },
                       ValidateProduct);
}

// Alterations that a merchant makes, who signs what it has altered.
void Resign(v1::CheckoutResult* result) { SignTerms(Merchant(), result->mutable_terms()); }

TEST(CheckoutTest, EveryAlterationIsCaughtAndNamed) {
  using C = v1::CheckoutResult;
  const std::vector<Alteration<C>> alterations = {
      {"outcome", [](C* c) { c->set_outcome(v1::CHECKOUT_OUTCOME_SOLD_OUT); }, kBounds, "order"},
      {"no terms", [](C* c) { c->clear_terms(); }, kBounds, "id"},
      {"other session",
       [](C* c) {
         c->mutable_terms()->set_sid(Flipped(kSid));
         Resign(c);
       },
       kDiffers, "session"},
      {"other product", [](C* c) { c->set_product_id(Flipped(kProductId)); }, kDiffers, "product"},
      {"title", [](C* c) { c->set_title("Waldem"); }, kDiffers, "title"},
      {"content", [](C* c) { c->set_content_hash(Flipped(kContentHash)); }, kDiffers, "content"},
      {"price",
       [](C* c) {
         c->mutable_terms()->set_price_minor(1251);
         c->set_total_minor(1289);
         Resign(c);
       },
       kDiffers, "price"},
      {"currency",
       [](C* c) {
         c->mutable_terms()->set_currency("USD");
         Resign(c);
       },
       kDiffers, "currency"},
      {"size", [](C* c) { c->set_size_bytes(123457); }, kDiffers, "size"},
      {"format", [](C* c) { c->set_format("exe"); }, kDiffers, "format"},
      {"total", [](C* c) { c->set_total_minor(1289); }, kDiffers, "total"},
      {"negative total", [](C* c) { c->set_total_minor(-1288); }, kDiffers, "total"},
      {"charge", [](C* c) { c->set_charge_minor(37); }, kDiffers, "total"},
      {"negative charge",
       [](C* c) {
         c->set_charge_minor(-1);
         c->set_total_minor(1249);
       },
       kBounds, "charge"},
      {"huge charge",
       [](C* c) {
         c->set_charge_minor(kMax);
         c->set_total_minor(kMin + 1249);
       },
       kBounds, "charge"},
      {"salt", [](C* c) { c->set_salt(Flipped(kSalt)); }, kDiffers, "commitment"},
      {"no salt", [](C* c) { c->clear_salt(); }, kBounds, "salt"},
      {"commitment",
       [](C* c) {
         c->mutable_terms()->set_commitment(Flipped(c->terms().commitment()));
         Resign(c);
       },
       kDiffers, "commitment"},
      {"commitment to another price",
       [](C* c) {
         c->mutable_terms()->set_commitment(OrderCommitment(
             {kSalt, kProductId, "Walden", kContentHash, 1251, crypto::Sha256(kOrderKey)}));
         Resign(c);
       },
       kDiffers, "commitment"},
      {"order id", [](C* c) { c->mutable_terms()->set_order_id(Flipped(kOrderId)); }, kDiffers,
       "signature"},
      {"expiry", [](C* c) { c->mutable_terms()->set_expires_at_ms(1); }, kDiffers, "signature"},
      {"signature",
       [](C* c) { c->mutable_terms()->set_signature(Flipped(c->terms().signature())); }, kDiffers,
       "signature"},
      {"somebody else's signature", [](C* c) { SignTerms(Broker(), c->mutable_terms()); }, kDiffers,
       "signature"},
  };
  const std::function<absl::Status(const C&)> check = [](const C& result) {
    return CheckCheckout(Merchant().public_identity(), GoodProduct(), kSid, kOrderKey, result);
  };
  ExpectEachRefused(GoodCheckout(), alterations, check);
  for (const Alteration<v1::OrderTerms>& bounds : TermsOutOfBounds()) {
    C altered = GoodCheckout();
    bounds.alter(altered.mutable_terms());
    Resign(&altered);
    const absl::Status status = check(altered);
    EXPECT_EQ(status.code(), kBounds) << bounds.name;
    EXPECT_TRUE(absl::StrContains(status.message(), bounds.says)) << bounds.name << status;
  }
}

TEST(CheckoutTest, AnswersToAnotherRequestAreCaught) {
  const v1::CheckoutResult result = GoodCheckout();
  const crypto::PublicIdentity& merchant = Merchant().public_identity();
  EXPECT_EQ(
      CheckCheckout(Broker().public_identity(), GoodProduct(), kSid, kOrderKey, result).code(),
      kDiffers);
  EXPECT_EQ(CheckCheckout(merchant, GoodProduct(), Flipped(kSid), kOrderKey, result).code(),
            kDiffers);
  EXPECT_EQ(CheckCheckout(merchant, GoodProduct(), kSid, Flipped(kOrderKey), result).code(),
            kDiffers);
  EXPECT_EQ(CheckCheckout(merchant, GoodProduct(), kSid, "short", result).code(), kBounds);
  v1::Product other = GoodProduct();
  other.set_product_id(Flipped(kProductId));
  EXPECT_EQ(CheckCheckout(merchant, other, kSid, kOrderKey, result).code(), kDiffers);
  other = GoodProduct();
  other.set_price_minor(1);
  EXPECT_EQ(CheckCheckout(merchant, other, kSid, kOrderKey, result).code(), kDiffers);
}

TEST(BrokerCopyTest, EveryAlterationIsCaughtAndNamed) {
  using G = v1::GetOrderResult;
  const std::function<absl::Status(const G&)> check = [](const G& copy) {
    return CheckBrokerCopy(Merchant().public_identity(), GoodCheckout(), copy);
  };
  ExpectEachRefused<G>(
      GoodBrokerCopy(),
      {
          {"not found", [](G* g) { g->set_found(false); }, kDiffers, "does not know"},
          {"merchant",
           [](G* g) { g->set_merchant_fingerprint(Flipped(g->merchant_fingerprint())); }, kDiffers,
           "another merchant"},
          {"no merchant", [](G* g) { g->clear_merchant_fingerprint(); }, kDiffers,
           "another merchant"},
          {"order id", [](G* g) { g->mutable_terms()->set_order_id(Flipped(kOrderId)); }, kDiffers,
           "another order id"},
          {"session", [](G* g) { g->mutable_terms()->set_sid(Flipped(kSid)); }, kDiffers,
           "another session"},
          {"price", [](G* g) { g->mutable_terms()->set_price_minor(1251); }, kDiffers,
           "another price"},
          {"negative price", [](G* g) { g->mutable_terms()->set_price_minor(-1250); }, kDiffers,
           "another price"},
          {"currency", [](G* g) { g->mutable_terms()->set_currency("USD"); }, kDiffers,
           "another currency"},
          {"expiry", [](G* g) { g->mutable_terms()->set_expires_at_ms(1); }, kDiffers,
           "another expiry"},
          {"commitment",
           [](G* g) { g->mutable_terms()->set_commitment(Flipped(g->terms().commitment())); },
           kDiffers, "another commitment"},
          {"signature",
           [](G* g) { g->mutable_terms()->set_signature(Flipped(g->terms().signature())); },
           kDiffers, "another merchant's signature"},
          {"charge", [](G* g) { g->set_charge_minor(39); }, kDiffers, "another charge"},
          {"total", [](G* g) { g->set_total_minor(1289); }, kDiffers, "another total"},
          {"charge and total",
           [](G* g) {
             g->set_charge_minor(39);
             g->set_total_minor(1289);
           },
           kDiffers, "another charge"},
          {"no terms", [](G* g) { g->clear_terms(); }, kDiffers, "another order id"},
      },
      check);
}

TEST(BrokerCopyTest, TheSameLieTwiceIsStillCaught) {
  // Merchant and broker agree on a total that is not price + charge, or on a forged signature.
  v1::CheckoutResult checkout = GoodCheckout();
  v1::GetOrderResult copy = GoodBrokerCopy();
  checkout.set_total_minor(5000);
  copy.set_total_minor(5000);
  EXPECT_EQ(CheckBrokerCopy(Merchant().public_identity(), checkout, copy).code(), kDiffers);
  checkout = GoodCheckout();
  copy = GoodBrokerCopy();
  SignTerms(Broker(), checkout.mutable_terms());
  *copy.mutable_terms() = checkout.terms();
  EXPECT_EQ(CheckBrokerCopy(Merchant().public_identity(), checkout, copy).code(), kDiffers);
  checkout = GoodCheckout();
  copy = GoodBrokerCopy();
  checkout.set_charge_minor(-1);
  checkout.set_total_minor(1249);
  copy.set_charge_minor(-1);
  copy.set_total_minor(1249);
  EXPECT_EQ(CheckBrokerCopy(Merchant().public_identity(), checkout, copy).code(), kBounds);
}

TEST(CheckReceiptTest, EveryAlterationIsCaughtAndNamed) {
  using R = v1::Receipt;
  const std::function<absl::Status(const R&)> check = [](const R& receipt) {
    return CheckReceipt(Broker().public_identity(), Merchant().public_identity().fingerprint(),
                        GoodCheckout().terms(), 1288, receipt);
  };
  // Signed again by the broker, who is the one that lies here.
  const auto lie = [](std::function<void(R*)> alter) {
    return [alter = std::move(alter)](R* receipt) {
      alter(receipt);
      SignReceipt(Broker(), receipt);
    };
  };
  ExpectEachRefused<R>(
      GoodReceipt(),
      {
          {"order", lie([](R* r) { r->set_order_id(Flipped(kOrderId)); }), kDiffers,
           "another order"},
          {"commitment", lie([](R* r) { r->set_commitment(Flipped(r->commitment())); }), kDiffers,
           "another commitment"},
          {"merchant",
           lie([](R* r) { r->set_merchant_fingerprint(Flipped(r->merchant_fingerprint())); }),
           kDiffers, "another merchant"},
          {"price", lie([](R* r) { r->set_price_minor(1249); }), kDiffers, "another price"},
          {"currency", lie([](R* r) { r->set_currency("USD"); }), kDiffers, "another currency"},
          {"total", lie([](R* r) { r->set_total_minor(1289); }), kDiffers, "another total"},
          {"charge", lie([](R* r) { r->set_charge_minor(39); }), kDiffers, "total"},
          {"charge and total", lie([](R* r) {
             r->set_charge_minor(39);
             r->set_total_minor(1289);
           }),
           kDiffers, "total"},
          {"time", lie([](R* r) { r->set_paid_at_ms(0); }), kBounds, "time"},
          {"time, not signed again", [](R* r) { r->set_paid_at_ms(1); }, kDiffers, "signature"},
          {"signature", [](R* r) { r->set_signature(Flipped(r->signature())); }, kDiffers,
           "signature"},
          {"merchant's signature", [](R* r) { SignReceipt(Merchant(), r); }, kDiffers, "signature"},
          {"nothing", [](R* r) { r->Clear(); }, kDiffers, "order"},
      },
      check);
}

TEST(CheckReceiptTest, IsForTheTotalThatWasAgreedTo) {
  EXPECT_EQ(CheckReceipt(Broker().public_identity(), Merchant().public_identity().fingerprint(),
                         GoodCheckout().terms(), 1287, GoodReceipt())
                .code(),
            kDiffers);
}

TEST(OrderMessagesTest, HoldNoValues) {
  v1::CheckoutResult altered = GoodCheckout();
  altered.set_title("Waldem");
  const absl::Status status =
      CheckCheckout(Merchant().public_identity(), GoodProduct(), kSid, kOrderKey, altered);
  EXPECT_FALSE(absl::StrContains(status.message(), "Walde"));
}

}  // namespace
}  // namespace blindcart::protocol
