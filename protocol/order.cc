#include "protocol/order.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "proto/customer.pb.h"
#include "proto/order.pb.h"
#include "proto/shop.pb.h"
#include "protocol/key_schedule.h"
#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kOrderContext = "blindcart/v1 order";
constexpr absl::string_view kReceiptContext = "blindcart/v1 receipt";
constexpr absl::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);
constexpr absl::string_view kJpegSignature("\xff\xd8\xff", 3);

std::string SignedTerms(const v1::OrderTerms& terms) {
  return crypto::LengthPrefixed({terms.order_id(), terms.sid(), Int64Bytes(terms.price_minor()),
                                 terms.currency(), Int64Bytes(terms.expires_at_ms()),
                                 terms.commitment()});
}

std::string SignedReceipt(const v1::Receipt& receipt) {
  return crypto::LengthPrefixed(
      {receipt.order_id(), receipt.commitment(), receipt.merchant_fingerprint(),
       Int64Bytes(receipt.price_minor()), Int64Bytes(receipt.charge_minor()),
       Int64Bytes(receipt.total_minor()), receipt.currency(), Int64Bytes(receipt.paid_at_ms())});
}

// The first check that failed, of a list in the order in which they are told. All are evaluated, so
// each must stand on its own feet.
class Checks {
 public:
  Checks& Bound(bool holds, absl::string_view otherwise) {
    if (status_.ok() && !holds) status_ = absl::InvalidArgumentError(otherwise);
    return *this;
  }
  Checks& Match(bool holds, absl::string_view otherwise) {
    if (status_.ok() && !holds) status_ = absl::DataLossError(otherwise);
    return *this;
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

bool IsPrice(int64_t price_minor) { return price_minor > 0 && price_minor <= kMaxPriceMinor; }

bool IsCharge(int64_t charge_minor) { return charge_minor >= 0 && charge_minor <= kMaxChargeMinor; }

bool IsTime(int64_t time_ms) { return time_ms > 0 && time_ms <= kMaxTimeMs; }

bool IsCurrency(absl::string_view currency) {
  if (currency.size() != 3) return false;
  for (const char c : currency) {
    if (c < 'A' || c > 'Z') return false;
  }
  return true;
}

bool IsFormat(absl::string_view format) {
  if (format.size() > kMaxFormatBytes) return false;
  for (const char c : format) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  }
  return true;
}

bool IsTotal(int64_t price_minor, int64_t charge_minor, int64_t total_minor) {
  // Bounds first: within them the sum cannot overflow.
  return IsPrice(price_minor) && IsCharge(charge_minor) &&
         total_minor == price_minor + charge_minor;
}

}  // namespace

std::string Int64Bytes(int64_t value) {
  const uint64_t bits = static_cast<uint64_t>(value);
  std::string out(8, '\0');
  for (int i = 0; i < 8; ++i) out[i] = static_cast<char>(bits >> (56 - 8 * i));
  return out;
}

std::string OrderCommitment(const CommitmentInput& input) {
  return crypto::Sha256(
      crypto::LengthPrefixed({input.salt, input.product_id, input.title, input.content_hash,
                              Int64Bytes(input.price_minor), input.order_key_hash}));
}

absl::Status ValidateTerms(const v1::OrderTerms& terms) {
  return Checks()
      .Bound(terms.order_id().size() == kOrderIdBytes, "the order's id is not 16 bytes long")
      .Bound(terms.sid().size() == kSessionIdBytes, "the order's session id is not 16 bytes long")
      .Bound(IsPrice(terms.price_minor()), "the order's price is out of bounds")
      .Bound(IsCurrency(terms.currency()), "the order's currency is not three capital letters")
      .Bound(IsTime(terms.expires_at_ms()), "the order's expiry is out of bounds")
      .Bound(terms.commitment().size() == kCommitmentBytes,
             "the order's commitment is not 32 bytes long")
      .status();
}

void SignTerms(const crypto::Identity& merchant, v1::OrderTerms* terms) {
  terms->set_signature(merchant.Sign(kOrderContext, SignedTerms(*terms)));
}

absl::Status VerifyTerms(const crypto::PublicIdentity& merchant, const v1::OrderTerms& terms) {
  if (absl::Status bounds = ValidateTerms(terms); !bounds.ok()) return bounds;
  return Checks()
      .Bound(terms.signature().size() == crypto::kEd25519SignatureBytes,
             "the merchant's signature on the order is not 64 bytes long")
      .Match(merchant.VerifySignature(kOrderContext, SignedTerms(terms), terms.signature()).ok(),
             "the merchant's signature does not fit the order: its id, session, price, currency, "
             "expiry, commitment or the signature itself was altered")
      .status();
}

absl::Status ValidateReceipt(const v1::Receipt& receipt) {
  return Checks()
      .Bound(receipt.order_id().size() == kOrderIdBytes,
             "the receipt's order id is not 16 bytes long")
      .Bound(receipt.commitment().size() == kCommitmentBytes,
             "the receipt's commitment is not 32 bytes long")
      .Bound(receipt.merchant_fingerprint().size() == crypto::kFingerprintBytes,
             "the receipt's merchant fingerprint is not 32 bytes long")
      .Bound(IsPrice(receipt.price_minor()), "the receipt's price is out of bounds")
      .Bound(IsCharge(receipt.charge_minor()), "the receipt's charge is out of bounds")
      .Bound(IsCurrency(receipt.currency()), "the receipt's currency is not three capital letters")
      .Bound(IsTime(receipt.paid_at_ms()), "the receipt's time of payment is out of bounds")
      .Match(IsTotal(receipt.price_minor(), receipt.charge_minor(), receipt.total_minor()),
             "the receipt's total is not its price plus its charge")
      .status();
}

void SignReceipt(const crypto::Identity& broker, v1::Receipt* receipt) {
  receipt->set_signature(broker.Sign(kReceiptContext, SignedReceipt(*receipt)));
}

absl::Status VerifyReceipt(const crypto::PublicIdentity& broker, const v1::Receipt& receipt) {
  if (absl::Status bounds = ValidateReceipt(receipt); !bounds.ok()) return bounds;
  return Checks()
      .Bound(receipt.signature().size() == crypto::kEd25519SignatureBytes,
             "the broker's signature on the receipt is not 64 bytes long")
      .Match(
          broker.VerifySignature(kReceiptContext, SignedReceipt(receipt), receipt.signature()).ok(),
          "the broker's signature does not fit the receipt: its order id, commitment, merchant, "
          "price, charge, total, currency, time or the signature itself was altered")
      .status();
}

std::string ReceiptRecord(const v1::Receipt& receipt) {
  return SignedReceipt(receipt) + crypto::LengthPrefixed({receipt.signature()});
}

std::string DeliveryRecord(absl::string_view salt, absl::string_view order_id,
                           absl::string_view content_hash, absl::string_view signature) {
  return crypto::LengthPrefixed({salt, order_id, content_hash, signature});
}

absl::Status ValidateProduct(const v1::Product& product) {
  Checks checks;
  checks
      .Bound(product.product_id().size() == kProductIdBytes,
             "the product's id is not 16 bytes long")
      .Bound(product.version() > 0, "the product has no version");
  if (product.removed()) {
    checks.Bound(
        product.title().empty() && product.description().empty() && product.price_minor() == 0 &&
            product.currency().empty() && product.picture().empty() && product.format().empty() &&
            product.size_bytes() == 0 && !product.sold_out() && product.content_hash().empty(),
        "a removed product has more than its id and version");
    return checks.status();
  }
  const absl::string_view picture = product.picture();
  return checks.Bound(!product.title().empty(), "the product has no title")
      .Bound(product.title().size() <= kMaxTitleBytes,
             "the product's title is longer than 256 bytes")
      .Bound(IsPlainLine(product.title()),
             "the product's title is not one line of plain UTF-8 text")
      .Bound(product.description().size() <= kMaxDescriptionBytes,
             "the product's description is longer than 8 KiB")
      .Bound(IsPlainText(product.description()),
             "the product's description is not plain UTF-8 text")
      .Bound(IsPrice(product.price_minor()), "the product's price is out of bounds")
      .Bound(IsCurrency(product.currency()), "the product's currency is not three capital letters")
      .Bound(picture.size() <= kMaxPictureBytes, "the product's picture is larger than 128 KiB")
      .Bound(picture.empty() || absl::StartsWith(picture, kPngSignature) ||
                 absl::StartsWith(picture, kJpegSignature),
             "the product's picture is neither PNG nor JPEG")
      .Bound(IsFormat(product.format()),
             "the product's format is not at most 8 small letters and digits")
      .Bound(product.size_bytes() <= kMaxContentBytes, "the product's size is over 1 TiB")
      .Bound(product.content_hash().size() == crypto::kSha256Bytes,
             "the product's content hash is not 32 bytes long")
      .status();
}

absl::Status CheckCheckout(const crypto::PublicIdentity& merchant, const v1::Product& wanted,
                           absl::string_view sid, absl::string_view order_key,
                           const v1::CheckoutResult& result) {
  const v1::OrderTerms& terms = result.terms();
  if (result.outcome() != v1::CHECKOUT_OUTCOME_ORDERED) {
    return absl::InvalidArgumentError("the merchant's answer is not an order");
  }
  if (order_key.size() != kOrderKeyBytes) {
    return absl::InvalidArgumentError("the order key is not 32 bytes long");
  }
  if (absl::Status bounds = ValidateTerms(terms); !bounds.ok()) return bounds;
  const std::string order_key_hash = crypto::Sha256(order_key);
  absl::Status fields =
      Checks()
          .Bound(result.salt().size() == kSaltBytes, "the order's salt is not 32 bytes long")
          .Bound(IsCharge(result.charge_minor()), "the order's charge is out of bounds")
          .Match(terms.sid() == sid, "the order is for another session than the one it was made in")
          .Match(result.product_id() == wanted.product_id(),
                 "the order is for another product than the one that was asked for")
          .Match(result.title() == wanted.title(), "the order's title is not the catalogue's")
          .Match(result.content_hash() == wanted.content_hash(),
                 "the order's content is not the catalogue's: the content hashes differ")
          .Match(terms.price_minor() == wanted.price_minor(),
                 "the order's price is not the catalogue's")
          .Match(terms.currency() == wanted.currency(),
                 "the order's currency is not the catalogue's")
          .Match(result.size_bytes() == wanted.size_bytes(),
                 "the order's content size is not the catalogue's")
          .Match(result.format() == wanted.format(),
                 "the order's file format is not the catalogue's")
          .Match(IsTotal(terms.price_minor(), result.charge_minor(), result.total_minor()),
                 "the order's total is not its price plus the broker's charge")
          .Match(terms.commitment() ==
                     OrderCommitment({result.salt(), result.product_id(), result.title(),
                                      result.content_hash(), terms.price_minor(), order_key_hash}),
                 "the order's commitment does not open to this product, price, salt and order key")
          .status();
  if (!fields.ok()) return fields;
  return VerifyTerms(merchant, terms);
}

absl::Status CheckBrokerCopy(const crypto::PublicIdentity& merchant,
                             const v1::CheckoutResult& from_merchant,
                             const v1::GetOrderResult& from_broker) {
  const v1::OrderTerms& ours = from_merchant.terms();
  const v1::OrderTerms& theirs = from_broker.terms();
  const auto same = [](absl::string_view field) {
    return absl::StrCat("the broker's copy of the order has another ", field,
                        " than the merchant's");
  };
  absl::Status fields =
      Checks()
          .Match(from_broker.found(), "the broker does not know the order")
          .Match(from_broker.merchant_fingerprint() == merchant.fingerprint(), same("merchant"))
          .Match(theirs.order_id() == ours.order_id(), same("order id"))
          .Match(theirs.sid() == ours.sid(), same("session"))
          .Match(theirs.price_minor() == ours.price_minor(), same("price"))
          .Match(theirs.currency() == ours.currency(), same("currency"))
          .Match(theirs.expires_at_ms() == ours.expires_at_ms(), same("expiry"))
          .Match(theirs.commitment() == ours.commitment(), same("commitment"))
          .Match(theirs.signature() == ours.signature(), same("merchant's signature"))
          .Match(from_broker.charge_minor() == from_merchant.charge_minor(), same("charge"))
          .Match(from_broker.total_minor() == from_merchant.total_minor(), same("total"))
          .status();
  if (!fields.ok()) return fields;
  if (absl::Status signature = VerifyTerms(merchant, theirs); !signature.ok()) return signature;
  return Checks()
      .Bound(IsCharge(from_broker.charge_minor()), "the broker's charge is out of bounds")
      .Match(IsTotal(theirs.price_minor(), from_broker.charge_minor(), from_broker.total_minor()),
             "the broker's total is not the price plus its charge")
      .status();
}

absl::Status CheckReceipt(const crypto::PublicIdentity& broker,
                          absl::string_view merchant_fingerprint, const v1::OrderTerms& terms,
                          int64_t total_minor, const v1::Receipt& receipt) {
  absl::Status fields =
      Checks()
          .Match(receipt.order_id() == terms.order_id(), "the receipt is for another order")
          .Match(receipt.commitment() == terms.commitment(),
                 "the receipt has another commitment than the order")
          .Match(receipt.merchant_fingerprint() == merchant_fingerprint,
                 "the receipt is for another merchant")
          .Match(receipt.price_minor() == terms.price_minor(),
                 "the receipt has another price than the order")
          .Match(receipt.currency() == terms.currency(),
                 "the receipt has another currency than the order")
          .Match(receipt.total_minor() == total_minor,
                 "the receipt has another total than the one that was agreed to")
          .status();
  if (!fields.ok()) return fields;
  return VerifyReceipt(broker, receipt);
}

}  // namespace blindcart::protocol
