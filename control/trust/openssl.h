// OpenSSL's objects as owned pointers, and its errors as words. For control/trust only.
//
// Thread rule: none of its own; OpenSSL's queue of errors is the calling thread's.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace farport {

template <auto free_function>
struct OpenSslFree {
  template <class T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using UniqueKey = std::unique_ptr<EVP_PKEY, OpenSslFree<EVP_PKEY_free>>;
using UniqueKeyContext = std::unique_ptr<EVP_PKEY_CTX, OpenSslFree<EVP_PKEY_CTX_free>>;
using UniqueCertificate = std::unique_ptr<X509, OpenSslFree<X509_free>>;
using UniqueRevoked = std::unique_ptr<X509_CRL, OpenSslFree<X509_CRL_free>>;
using UniqueStore = std::unique_ptr<X509_STORE, OpenSslFree<X509_STORE_free>>;
using UniqueStoreContext = std::unique_ptr<X509_STORE_CTX, OpenSslFree<X509_STORE_CTX_free>>;
using UniqueSslContext = std::unique_ptr<SSL_CTX, OpenSslFree<SSL_CTX_free>>;
using UniqueBio = std::unique_ptr<BIO, OpenSslFree<BIO_free_all>>;
using UniqueNames = std::unique_ptr<GENERAL_NAMES, OpenSslFree<GENERAL_NAMES_free>>;

// What OpenSSL says of its last failure; the queue is empty afterwards.
inline std::string openssl_words() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "no reason given" : reason;
}

}  // namespace farport
