#include "crypto/internal/x509.h"

#include <openssl/bn.h>

#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace blindcart::crypto::internal {
namespace {

constexpr size_t kPemLineCharacters = 64;
constexpr size_t kMaxCommonNameCharacters = 64;  // RFC 5280, ub-common-name
constexpr size_t kMaxCommonNameBytes = 4 * kMaxCommonNameCharacters;
constexpr int kMaxSerialBytes = 20;  // RFC 5280, 4.1.2.2

using BignumPtr = std::unique_ptr<BIGNUM, X509Deleter<BIGNUM, BN_free>>;

// The number of characters of well-formed UTF-8 without control characters, or -1.
int CountCharacters(absl::string_view text) {
  const uint8_t* at = AsBytes(text);
  int left = static_cast<int>(text.size());
  int count = 0;
  while (left > 0) {
    unsigned long character = 0;
    const int used = UTF8_getc(at, left, &character);
    if (used <= 0 || character < 0x20 || (character >= 0x7f && character < 0xa0)) return -1;
    at += used;
    left -= used;
    ++count;
  }
  return count;
}

}  // namespace

std::string EncodePem(absl::string_view label, absl::string_view der) {
  const std::string base64 = absl::Base64Escape(der);
  std::string pem = absl::StrCat("-----BEGIN ", label, "-----\n");
  for (size_t at = 0; at < base64.size(); at += kPemLineCharacters) {
    absl::StrAppend(&pem, absl::string_view(base64).substr(at, kPemLineCharacters), "\n");
  }
  absl::StrAppend(&pem, "-----END ", label, "-----\n");
  return pem;
}

absl::StatusOr<std::string> DecodePem(absl::string_view label, absl::string_view pem,
                                      size_t max_bytes) {
  const absl::Status none =
      absl::InvalidArgumentError(absl::StrCat("this text is no PEM block \"", label, "\""));
  if (pem.size() > max_bytes) return none;
  const std::string text = absl::StrReplaceAll(pem, {{"\r\n", "\n"}});
  absl::string_view body = absl::StripAsciiWhitespace(text);
  if (!absl::ConsumePrefix(&body, absl::StrCat("-----BEGIN ", label, "-----\n")) ||
      !absl::ConsumeSuffix(&body, absl::StrCat("-----END ", label, "-----"))) {
    return none;
  }
  const std::string base64 = absl::StrReplaceAll(body, {{"\n", ""}});
  std::string der;
  // absl's decoder overlooks spaces and missing padding; writing it again shows them.
  if (!absl::Base64Unescape(base64, &der) || absl::Base64Escape(der) != base64) return none;
  return der;
}

bool IsUsableCommonName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxCommonNameBytes) return false;
  const int characters = CountCharacters(name);
  return characters >= 1 && static_cast<size_t>(characters) <= kMaxCommonNameCharacters;
}

absl::StatusOr<std::string> CommonNameOf(const X509_NAME* name) {
  const absl::Status unusable = absl::InvalidArgumentError("not a name of one common name");
  if (name == nullptr || X509_NAME_entry_count(name) != 1) return unusable;
  const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, 0);
  if (OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_commonName) return unusable;
  const ASN1_STRING* value = X509_NAME_ENTRY_get_data(entry);
  if (ASN1_STRING_type(value) != V_ASN1_UTF8STRING) return unusable;
  const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                         static_cast<size_t>(ASN1_STRING_length(value)));
  if (!IsUsableCommonName(text)) return unusable;
  return text;
}

void SetCommonName(X509_NAME* name, absl::string_view common_name) {
  CheckLibrary(
      X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING, AsBytes(common_name),
                                 static_cast<int>(common_name.size()), -1, 0) == 1,
      "X509_NAME_add_entry_by_NID");
}

absl::StatusOr<absl::Time> TimeOf(const ASN1_TIME* time) {
  std::tm fields = {};
  if (time == nullptr || ASN1_TIME_to_tm(time, &fields) != 1) {
    return absl::InvalidArgumentError("not a time");
  }
  return absl::FromTM(fields, absl::UTCTimeZone());
}

void SetTime(ASN1_TIME* field, absl::Time time) {
  CheckLibrary(ASN1_TIME_set(field, absl::ToTimeT(time)) != nullptr, "ASN1_TIME_set");
}

absl::StatusOr<std::string> SerialOf(const ASN1_INTEGER* integer) {
  const BignumPtr number(integer == nullptr ? nullptr : ASN1_INTEGER_to_BN(integer, nullptr));
  if (number == nullptr || BN_is_negative(number.get()) || BN_is_zero(number.get()) ||
      BN_num_bytes(number.get()) > kMaxSerialBytes) {
    return absl::InvalidArgumentError("not a serial number");
  }
  std::string bytes(static_cast<size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<uint8_t*>(&bytes[0]));
  return bytes;
}

Asn1IntegerPtr IntegerOf(absl::string_view big_endian) {
  const BignumPtr number(
      BN_bin2bn(AsBytes(big_endian), static_cast<int>(big_endian.size()), nullptr));
  Asn1IntegerPtr integer(number == nullptr ? nullptr : BN_to_ASN1_INTEGER(number.get(), nullptr));
  CheckLibrary(integer != nullptr, "BN_to_ASN1_INTEGER");
  return integer;
}

}  // namespace blindcart::crypto::internal
