#include "crypto/rsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <cstring>
#include <utility>

#include "crypto/hash.h"
#include "crypto/internal/library.h"
#include "crypto/random.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::CheckLibrary;
using internal::PkeyContextPtr;
using internal::PkeyPtr;

constexpr size_t kOaepOverheadBytes = 2 * kSha256Bytes + 2;
// A PrivateKeyInfo of 4096 bits takes about 2,375 bytes.
constexpr size_t kMaxPkcs8Bytes = 4096;
constexpr int kMaxExponentBits = 64;

struct BignumDeleter {
  void operator()(BIGNUM* number) const { BN_free(number); }
};
using BignumPtr = std::unique_ptr<BIGNUM, BignumDeleter>;

struct Pkcs8Deleter {
  void operator()(PKCS8_PRIV_KEY_INFO* info) const { PKCS8_PRIV_KEY_INFO_free(info); }
};
using Pkcs8Ptr = std::unique_ptr<PKCS8_PRIV_KEY_INFO, Pkcs8Deleter>;

BignumPtr Parameter(const EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  CheckLibrary(EVP_PKEY_get_bn_param(key, name, &number) == 1, "EVP_PKEY_get_bn_param");
  return BignumPtr(number);
}

bool IsAllowedSize(int bits) { return bits == 3072 || bits == 4096; }

absl::Status CheckLimits(const EVP_PKEY* key) {
  const BignumPtr modulus = Parameter(key, OSSL_PKEY_PARAM_RSA_N);
  const BignumPtr exponent = Parameter(key, OSSL_PKEY_PARAM_RSA_E);
  if (!IsAllowedSize(BN_num_bits(modulus.get())) || !BN_is_odd(modulus.get())) {
    return absl::InvalidArgumentError("RSA modulus not of 3072 or 4096 bits");
  }
  if (!BN_is_odd(exponent.get()) || BN_num_bits(exponent.get()) > kMaxExponentBits ||
      BN_get_word(exponent.get()) < RSA_F4) {
    return absl::InvalidArgumentError("RSA public exponent out of range");
  }
  return absl::OkStatus();
}

std::string SpkiOf(EVP_PKEY* key) {
  const int size = i2d_PUBKEY(key, nullptr);
  CheckLibrary(size > 0, "i2d_PUBKEY");
  std::string der(static_cast<size_t>(size), '\0');
  uint8_t* out = reinterpret_cast<uint8_t*>(&der[0]);
  CheckLibrary(i2d_PUBKEY(key, &out) == size, "i2d_PUBKEY");
  return der;
}

// Sets the suite's padding on a context that has been initialised to encrypt or decrypt.
void SetOaep(EVP_PKEY_CTX* context, absl::string_view label) {
  CheckLibrary(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
                   EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) == 1 &&
                   EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) == 1,
               "EVP_PKEY_CTX_set_rsa_padding");
  if (label.empty()) return;
  void* copy = OPENSSL_memdup(label.data(), label.size());
  // The context owns the copy from here on.
  CheckLibrary(copy != nullptr && EVP_PKEY_CTX_set0_rsa_oaep_label(
                                      context, copy, static_cast<int>(label.size())) == 1,
               "EVP_PKEY_CTX_set0_rsa_oaep_label");
}

PkeyContextPtr NewContext(const EVP_PKEY* key) {
  // OpenSSL takes the key as mutable for its reference count; using one key from many threads is
  // what it is made for.
  PkeyContextPtr context(EVP_PKEY_CTX_new_from_pkey(nullptr, const_cast<EVP_PKEY*>(key), nullptr));
  CheckLibrary(context != nullptr, "EVP_PKEY_CTX_new_from_pkey");
  return context;
}

}  // namespace

absl::StatusOr<RsaPublicKey> RsaPublicKey::FromSpkiDer(absl::string_view der) {
  if (der.size() > kMaxRsaSpkiBytes) return absl::InvalidArgumentError("RSA key too long");
  absl::StatusOr<RsaPublicKey> key = ParseSpki(der);
  if (!key.ok()) return key.status();
  const absl::Status limits = CheckLimits(key->key_.get());
  if (!limits.ok()) return limits;
  return key;
}

absl::StatusOr<RsaPublicKey> RsaPublicKey::ParseSpki(absl::string_view der) {
  const uint8_t* in = AsBytes(der);
  PkeyPtr key(d2i_PUBKEY(nullptr, &in, static_cast<long>(der.size())));
  ERR_clear_error();
  // "RSA" leaves out RSASSA-PSS keys. Another encoding of the same key would have another
  // fingerprint, so only one is accepted.
  if (key == nullptr || EVP_PKEY_is_a(key.get(), "RSA") != 1 || SpkiOf(key.get()) != der) {
    return absl::InvalidArgumentError("not an RSA public key");
  }
  return RsaPublicKey(std::move(key), std::string(der));
}

RsaPublicKey::RsaPublicKey(PkeyPtr key, std::string spki_der)
    : key_(key.release(), internal::OpenSslDeleter()), spki_der_(std::move(spki_der)) {}

size_t RsaPublicKey::modulus_bytes() const {
  return static_cast<size_t>(EVP_PKEY_get_size(key_.get()));
}

size_t RsaPublicKey::max_plaintext_bytes() const { return modulus_bytes() - kOaepOverheadBytes; }

absl::StatusOr<std::string> RsaPublicKey::EncryptOaep(absl::string_view label,
                                                      absl::string_view plaintext) const {
  if (plaintext.size() > max_plaintext_bytes()) {
    return absl::InvalidArgumentError("plaintext too long for RSA-OAEP");
  }
  const PkeyContextPtr context = NewContext(key_.get());
  CheckLibrary(EVP_PKEY_encrypt_init(context.get()) == 1, "EVP_PKEY_encrypt_init");
  SetOaep(context.get(), label);
  std::string ciphertext(modulus_bytes(), '\0');
  size_t size = ciphertext.size();
  const uint8_t* in = plaintext.empty() ? AsBytes("") : AsBytes(plaintext);
  // A key from outside can still be refused here, such as one with a modulus that is no product.
  if (EVP_PKEY_encrypt(context.get(), reinterpret_cast<uint8_t*>(&ciphertext[0]), &size, in,
                       plaintext.size()) != 1 ||
      size != ciphertext.size()) {
    ERR_clear_error();
    return absl::InvalidArgumentError("RSA key unfit for encryption");
  }
  return ciphertext;
}

absl::StatusOr<RsaPrivateKey> RsaPrivateKey::Generate(int bits) {
  if (!IsAllowedSize(bits)) return absl::InvalidArgumentError("RSA keys have 3072 or 4096 bits");
  PkeyPtr key(EVP_RSA_gen(static_cast<unsigned int>(bits)));
  CheckLibrary(key != nullptr, "EVP_RSA_gen");
  return FromKey(std::move(key));
}

absl::StatusOr<RsaPrivateKey> RsaPrivateKey::FromPkcs8Der(absl::string_view der) {
  if (der.size() > kMaxPkcs8Bytes) return absl::InvalidArgumentError("RSA private key too long");
  absl::StatusOr<RsaPrivateKey> key = ParsePkcs8(der);
  if (!key.ok()) return key.status();
  const absl::Status limits = CheckLimits(key->key_.get());
  if (!limits.ok()) return limits;
  return key;
}

absl::StatusOr<RsaPrivateKey> RsaPrivateKey::ParsePkcs8(absl::string_view der) {
  const uint8_t* in = AsBytes(der);
  const Pkcs8Ptr info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &in, static_cast<long>(der.size())));
  PkeyPtr key;
  if (info != nullptr && in == AsBytes(der) + der.size()) key.reset(EVP_PKCS82PKEY(info.get()));
  ERR_clear_error();
  if (key == nullptr || EVP_PKEY_is_a(key.get(), "RSA") != 1) {
    return absl::InvalidArgumentError("not an RSA private key");
  }
  return FromKey(std::move(key));
}

absl::StatusOr<RsaPrivateKey> RsaPrivateKey::FromKey(PkeyPtr key) {
  absl::StatusOr<RsaPublicKey> public_key = RsaPublicKey::ParseSpki(SpkiOf(key.get()));
  if (!public_key.ok()) return public_key.status();
  const BignumPtr modulus = Parameter(key.get(), OSSL_PKEY_PARAM_RSA_N);
  std::string modulus_bytes(public_key->modulus_bytes(), '\0');
  CheckLibrary(BN_bn2binpad(modulus.get(), reinterpret_cast<uint8_t*>(&modulus_bytes[0]),
                            static_cast<int>(modulus_bytes.size())) > 0,
               "BN_bn2binpad");
  return RsaPrivateKey(std::move(key), *std::move(public_key), std::move(modulus_bytes));
}

RsaPrivateKey::RsaPrivateKey(PkeyPtr key, RsaPublicKey public_key, std::string modulus)
    : key_(std::move(key)), public_key_(std::move(public_key)), modulus_(std::move(modulus)) {}

SecretBytes RsaPrivateKey::Pkcs8Der() const {
  const Pkcs8Ptr info(EVP_PKEY2PKCS8(key_.get()));
  CheckLibrary(info != nullptr, "EVP_PKEY2PKCS8");
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
  CheckLibrary(size > 0, "i2d_PKCS8_PRIV_KEY_INFO");
  SecretBytes der(static_cast<size_t>(size));
  uint8_t* out = der.data();
  CheckLibrary(i2d_PKCS8_PRIV_KEY_INFO(info.get(), &out) == size, "i2d_PKCS8_PRIV_KEY_INFO");
  return der;
}

OaepResult RsaPrivateKey::DecryptOaep(absl::string_view label, absl::string_view ciphertext) const {
  const size_t modulus_bytes = modulus_.size();
  // Length and range are public, but the private operation runs for every input: what cannot be
  // decrypted is replaced by a random number below the modulus.
  SecretBytes input = SystemRandom().Secret(modulus_bytes);
  input.mutable_span()[0] = 0;
  const bool in_range = ciphertext.size() == modulus_bytes &&
                        std::memcmp(ciphertext.data(), modulus_.data(), modulus_bytes) < 0;
  if (in_range) std::memcpy(input.data(), ciphertext.data(), modulus_bytes);
  const SecretBytes substitute = SystemRandom().Secret(public_key_.max_plaintext_bytes());

  const PkeyContextPtr context = NewContext(key_.get());
  CheckLibrary(EVP_PKEY_decrypt_init(context.get()) == 1, "EVP_PKEY_decrypt_init");
  SetOaep(context.get(), label);
  SecretBytes decrypted(modulus_bytes);
  size_t size = decrypted.size();
  const bool decrypts =
      EVP_PKEY_decrypt(context.get(), decrypted.data(), &size, input.data(), input.size()) == 1;
  // Nobody shall learn from the error queue what went wrong.
  ERR_clear_error();

  OaepResult result;
  result.ok = decrypts && in_range;
  result.plaintext =
      SecretBytes::CopyOf(result.ok ? decrypted.view().substr(0, size) : substitute.view());
  return result;
}

}  // namespace blindcart::crypto
