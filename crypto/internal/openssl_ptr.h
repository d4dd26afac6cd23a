// Owning pointers to OpenSSL objects, declared without OpenSSL's headers so that the headers of
// crypto/ do not carry them to the rest of the tree. Private to crypto/.
#ifndef BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_
#define BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_

#include <memory>

struct evp_cipher_ctx_st;
struct evp_mac_ctx_st;
struct evp_md_ctx_st;
struct evp_pkey_st;

namespace blindcart::crypto::internal {

struct OpenSslDeleter {
  void operator()(evp_cipher_ctx_st* p) const;
  void operator()(evp_mac_ctx_st* p) const;
  void operator()(evp_md_ctx_st* p) const;
  void operator()(evp_pkey_st* p) const;
};

using CipherContextPtr = std::unique_ptr<evp_cipher_ctx_st, OpenSslDeleter>;
using MacContextPtr = std::unique_ptr<evp_mac_ctx_st, OpenSslDeleter>;
using DigestContextPtr = std::unique_ptr<evp_md_ctx_st, OpenSslDeleter>;
using PkeyPtr = std::unique_ptr<evp_pkey_st, OpenSslDeleter>;

// Ends the process when `ok` is false: for library calls that fail only without memory or without
// the algorithm, where going on could mean an unkeyed MAC or a constant "random" number.
void CheckLibrary(bool ok, const char* what);

// Initialises libsodium once; every user of it calls this first.
void EnsureSodium();

}  // namespace blindcart::crypto::internal

#endif  // BLINDCART_CRYPTO_INTERNAL_OPENSSL_PTR_H_
