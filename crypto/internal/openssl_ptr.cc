#include "crypto/internal/openssl_ptr.h"

#include <openssl/bio.h>
#include <openssl/evp.h>

namespace blindcart::crypto::internal {

void OpenSslDeleter::operator()(bio_st* p) const { BIO_free_all(p); }
void OpenSslDeleter::operator()(evp_cipher_ctx_st* p) const { EVP_CIPHER_CTX_free(p); }
void OpenSslDeleter::operator()(evp_mac_ctx_st* p) const { EVP_MAC_CTX_free(p); }
void OpenSslDeleter::operator()(evp_md_ctx_st* p) const { EVP_MD_CTX_free(p); }
void OpenSslDeleter::operator()(evp_pkey_ctx_st* p) const { EVP_PKEY_CTX_free(p); }
void OpenSslDeleter::operator()(evp_pkey_st* p) const { EVP_PKEY_free(p); }

}  // namespace blindcart::crypto::internal
