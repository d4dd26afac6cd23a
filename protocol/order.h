// Orders and receipts: what is committed to, signed and checked (docs/protocol.md sections 4, 5).
//
//   commitment = SHA-256(salt ‖ product id ‖ title ‖ content hash ‖ price ‖ H(order_key))
//   order signature:   "blindcart/v1 order"   over fields 1 to 6 of v1::OrderTerms
//   receipt signature: "blindcart/v1 receipt" over fields 1 to 8 of v1::Receipt
// Fields are length-prefixed in order (crypto::LengthPrefixed); an int64 is 8 bytes, most
// significant first, and H(order_key) = SHA-256(order key). A signature is Identity::Sign(context,
// fields).
//
// Pure functions; thread-safe. Errors: InvalidArgument names the field that is out of bounds;
// DataLoss says what does not match what (meant for the honest user, not for the wire). Messages
// name fields, never their values, so that they hold no product and no amount.
#ifndef BLINDCART_PROTOCOL_ORDER_H_
#define BLINDCART_PROTOCOL_ORDER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"

namespace blindcart::v1 {
class CheckoutResult;
class GetOrderResult;
class OrderTerms;
class Product;
class Receipt;
}  // namespace blindcart::v1

namespace blindcart::protocol {

inline constexpr size_t kOrderIdBytes = 16;
inline constexpr size_t kProductIdBytes = 16;
inline constexpr size_t kRequestIdBytes = 16;
inline constexpr size_t kOrderKeyBytes = 32;
inline constexpr size_t kSaltBytes = 32;
inline constexpr size_t kCommitmentBytes = 32;
inline constexpr size_t kMaxTitleBytes = 256;
inline constexpr size_t kMaxDescriptionBytes = 8 * 1024;
inline constexpr size_t kMaxPictureBytes = 128 * 1024;
inline constexpr size_t kMaxFormatBytes = 8;
inline constexpr uint64_t kMaxContentBytes = uint64_t{1} << 40;  // 1 TiB.
// A price above this is refused everywhere, so that price + charge cannot come near an overflow.
inline constexpr int64_t kMaxPriceMinor = 1'000'000'000'000;
inline constexpr int64_t kMaxChargeMinor = kMaxPriceMinor;
// Times that are taken at all: up to the end of the year 9999.
inline constexpr int64_t kMaxTimeMs = 253'402'300'799'999;

struct CommitmentInput {
  absl::string_view salt;
  absl::string_view product_id;
  absl::string_view title;
  absl::string_view content_hash;
  int64_t price_minor = 0;
  absl::string_view order_key_hash;  // SHA-256 of the order key.
};
std::string OrderCommitment(const CommitmentInput& input);

// An integer as it stands in what is signed or hashed: 8 bytes, most significant first.
std::string Int64Bytes(int64_t value);

// Bounds of every field, without the signature. Whether the order has expired is for who has a
// clock.
absl::Status ValidateTerms(const v1::OrderTerms& terms);
// Sets the signature. VerifyTerms checks bounds, then the signature.
void SignTerms(const crypto::Identity& merchant, v1::OrderTerms* terms);
absl::Status VerifyTerms(const crypto::PublicIdentity& merchant, const v1::OrderTerms& terms);

// Bounds of every field, and that total = price + charge, without the signature.
absl::Status ValidateReceipt(const v1::Receipt& receipt);
void SignReceipt(const crypto::Identity& broker, v1::Receipt* receipt);
absl::Status VerifyReceipt(const crypto::PublicIdentity& broker, const v1::Receipt& receipt);

// What a customer hands to others, and has stamped, as evidence. Of a payment: the signed fields of
// the receipt, then its signature, all length-prefixed in order. Of a delivery, length-prefixed: the
// salt, the order id, the content's SHA-256, the merchant's signature over the two (delivery.h). The
// salt keeps whoever sees only the record's hash from recognising the content by it.
inline constexpr size_t kDeliveryRecordSaltBytes = 32;
std::string ReceiptRecord(const v1::Receipt& receipt);
std::string DeliveryRecord(absl::string_view salt, absl::string_view order_id,
                           absl::string_view content_hash, absl::string_view signature);

// Bounds of a catalogue entry as it comes from outside: sizes, price, currency, a title of one line
// and a description of plain text (protocol/utf8.h), a picture that begins like a PNG or a JPEG.
// A removed entry has an id and a version and nothing else.
absl::Status ValidateProduct(const v1::Product& product);

// What the agent checks of the merchant's answer to a checkout: bounds, signature, that it is for
// the product, session and key it asked for, that price and content are the catalogue's, and that
// the commitment opens.
absl::Status CheckCheckout(const crypto::PublicIdentity& merchant, const v1::Product& wanted,
                           absl::string_view sid, absl::string_view order_key,
                           const v1::CheckoutResult& result);

// What the agent checks of the broker's copy before it pays: the same terms, merchant and total as
// the merchant's copy. The order's status is for the caller to look at.
absl::Status CheckBrokerCopy(const crypto::PublicIdentity& merchant,
                             const v1::CheckoutResult& from_merchant,
                             const v1::GetOrderResult& from_broker);

// That a receipt is the broker's and for these terms and this total.
absl::Status CheckReceipt(const crypto::PublicIdentity& broker,
                          absl::string_view merchant_fingerprint, const v1::OrderTerms& terms,
                          int64_t total_minor, const v1::Receipt& receipt);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_ORDER_H_
