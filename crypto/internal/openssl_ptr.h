// Owning pointers to OpenSSL objects, declared without OpenSSL's headers so that the headers of
// crypto/ do not carry them to the rest of the tree. Private to crypto/.
#ifndef BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_
#define BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_

#include <memory>

struct bio_st;
struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;
struct evp_md_ctx_st;
struct evp_pkey_ctx_st;
struct evp_pkey_st;

namespace blindcart::crypto::internal {

struct OpenSslDeleter {
  void operator()(bio_st* p) const;
  void operator()(evp_cipher_ctx_st* p) const;
  void operator()(evp_mac_ctx_st* p) const;
  void operator()(evp_md_ctx_st* p) const;
  void operator()(evp_pkey_ctx_st* p) const;
  void operator()(evp_pkey_st* p) const;
};

using BioPtr = std::unique_ptr<bio_st, OpenSslDeleter>;
using CipherContextPtr = std::unique_ptr<evp_cipher_ctx_st, OpenSslDeleter>;
using MacContextPtr = std::unique_ptr<evp_mac_ctx_st, OpenSslDeleter>;
using DigestContextPtr = std::unique_ptr<evp_md_ctx_st, OpenSslDeleter>;
using PkeyContextPtr = std::unique_ptr<evp_pkey_ctx_st, OpenSslDeleter>;
using PkeyPtr = std::unique_ptr<evp_pkey_st, OpenSslDeleter>;

}  // namespace blindcart::crypto::internal

#endif  // BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_
