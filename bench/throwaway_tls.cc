#include "bench/throwaway_tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <future>
#include <string>

namespace farport::bench {

namespace {

constexpr long kDaySeconds = 86'400;

std::unexpected<Error> openssl_error(const std::string& what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return fail(what + ": " + (reason != nullptr ? reason : "no reason given"));
}

// Gives the context a key and a certificate that it has signed itself.
bool use_own_key(SSL_CTX& context) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                &EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), &X509_free);
  if (!key || !certificate) return false;
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kDaySeconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kDaySeconds);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("throwaway"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  return X509_set_pubkey(certificate.get(), key.get()) == 1 &&
         X509_sign(certificate.get(), key.get(), EVP_sha256()) != 0 &&
         SSL_CTX_use_certificate(&context, certificate.get()) == 1 &&
         SSL_CTX_use_PrivateKey(&context, key.get()) == 1;
}

}  // namespace

void SslContextFree::operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

Result<UniqueSslContext> throwaway_context() {
  UniqueSslContext context(SSL_CTX_new(TLS_method()));
  if (!context || !use_own_key(*context)) return openssl_error("cannot make a throwaway key");
  if (auto prepared = prepare_tls_context(*context); !prepared) {
    return std::unexpected(prepared.error());
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     [](int, X509_STORE_CTX*) { return 1; });
  return context;
}

Result<UniqueSsl> handshake(int socket, bool connecting) {
  auto context = throwaway_context();
  if (!context) return std::unexpected(context.error());
  UniqueSsl ssl(SSL_new(context->get()));  // keeps the context
  if (!ssl || SSL_set_fd(ssl.get(), socket) != 1) return openssl_error("cannot begin TLS");
  ERR_clear_error();
  if ((connecting ? SSL_connect(ssl.get()) : SSL_accept(ssl.get())) != 1) {
    return openssl_error("the TLS handshake failed");
  }
  return ssl;
}

Result<std::array<UniqueSsl, 2>> handshake_pair(int connecting, int accepting) {
  auto other = std::async(std::launch::async, [&] { return handshake(accepting, false); });
  auto one = handshake(connecting, true);
  auto two = other.get();
  if (!one) return std::unexpected(one.error());
  if (!two) return std::unexpected(two.error());
  return std::array{std::move(*one), std::move(*two)};
}

}  // namespace farport::bench
