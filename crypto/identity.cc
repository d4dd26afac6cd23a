#include "crypto/identity.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"

namespace blindcart::crypto {
namespace {

constexpr absl::string_view kBeginLine = "-----BEGIN BLINDCART PUBLIC IDENTITY-----\n";
constexpr absl::string_view kEndLine = "-----END BLINDCART PUBLIC IDENTITY-----";
constexpr size_t kPemLineCharacters = 64;

}  // namespace

absl::StatusOr<PublicIdentity> PublicIdentity::Create(RsaPublicKey rsa,
                                                      absl::string_view ed25519_public) {
  if (!IsValidEd25519PublicKey(ed25519_public)) {
    return absl::InvalidArgumentError("not an Ed25519 public key");
  }
  return PublicIdentity(std::move(rsa), std::string(ed25519_public));
}

PublicIdentity::PublicIdentity(RsaPublicKey rsa, std::string ed25519)
    : rsa_(std::move(rsa)),
      ed25519_(std::move(ed25519)),
      serialized_(LengthPrefixed({rsa_.SpkiDer(), ed25519_})),
      fingerprint_(Sha256(serialized_)) {}

absl::StatusOr<PublicIdentity> PublicIdentity::Parse(absl::string_view serialized) {
  if (serialized.size() > kMaxPublicIdentityBytes) {
    return absl::InvalidArgumentError("public identity too long");
  }
  absl::StatusOr<std::vector<absl::string_view>> fields = SplitLengthPrefixed(serialized, 2);
  if (!fields.ok()) return fields.status();
  absl::StatusOr<RsaPublicKey> rsa = RsaPublicKey::FromSpkiDer((*fields)[0]);
  if (!rsa.ok()) return rsa.status();
  return Create(*std::move(rsa), (*fields)[1]);
}

absl::StatusOr<PublicIdentity> PublicIdentity::ParsePem(absl::string_view pem) {
  if (pem.size() > kMaxPublicIdentityPemBytes) {
    return absl::InvalidArgumentError("public identity too long");
  }
  const std::string text = absl::StrReplaceAll(pem, {{"\r\n", "\n"}});
  absl::string_view body = absl::StripAsciiWhitespace(text);
  if (!absl::ConsumePrefix(&body, kBeginLine) || !absl::ConsumeSuffix(&body, kEndLine)) {
    return absl::InvalidArgumentError("no public identity in this text");
  }
  const std::string base64 = absl::StrReplaceAll(body, {{"\n", ""}});
  std::string serialized;
  // absl's decoder overlooks spaces and missing padding; writing it again shows them.
  if (!absl::Base64Unescape(base64, &serialized) || absl::Base64Escape(serialized) != base64) {
    return absl::InvalidArgumentError("public identity is not base64");
  }
  return Parse(serialized);
}

std::string PublicIdentity::ToPem() const {
  const std::string base64 = absl::Base64Escape(serialized_);
  std::string pem(kBeginLine);
  for (size_t at = 0; at < base64.size(); at += kPemLineCharacters) {
    absl::StrAppend(&pem, absl::string_view(base64).substr(at, kPemLineCharacters), "\n");
  }
  absl::StrAppend(&pem, kEndLine, "\n");
  return pem;
}

absl::Status PublicIdentity::VerifySignature(absl::string_view context, absl::string_view message,
                                             absl::string_view signature) const {
  // A signature of another length is as wrong as any other.
  if (!Ed25519Verify(ed25519_, LengthPrefixed({context, message}), signature).ok()) {
    return absl::UnauthenticatedError("signature does not fit");
  }
  return absl::OkStatus();
}

absl::StatusOr<Identity> Identity::Generate(int bits, RandomSource& random) {
  absl::StatusOr<RsaPrivateKey> rsa = RsaPrivateKey::Generate(bits);
  if (!rsa.ok()) return rsa.status();
  return Create(*std::move(rsa), Ed25519PrivateKey::Generate(random));
}

absl::StatusOr<Identity> Identity::Create(RsaPrivateKey rsa, Ed25519PrivateKey ed25519) {
  absl::StatusOr<PublicIdentity> public_identity =
      PublicIdentity::Create(rsa.public_key(), ed25519.public_key());
  if (!public_identity.ok()) return public_identity.status();
  return Identity(std::move(rsa), std::move(ed25519), *std::move(public_identity));
}

Identity::Identity(RsaPrivateKey rsa, Ed25519PrivateKey ed25519, PublicIdentity public_identity)
    : rsa_(std::move(rsa)),
      ed25519_(std::move(ed25519)),
      public_identity_(std::move(public_identity)) {}

OaepResult Identity::Decrypt(absl::string_view label, absl::string_view ciphertext) const {
  return rsa_.DecryptOaep(label, ciphertext);
}

std::string Identity::Sign(absl::string_view context, absl::string_view message) const {
  return ed25519_.Sign(LengthPrefixed({context, message}));
}

}  // namespace blindcart::crypto
