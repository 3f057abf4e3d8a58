#include "control/trust/handshake.h"

#include <fmt/format.h>
#include <openssl/sslerr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace farport {

namespace {

// What a peer may make us hold for its certificates before it is known: a chain of depth_max of the
// largest kind in use fits.
constexpr size_t kCertificateBytesMax = 32 << 10;

// "farport/1" with its length, as it is sent (RFC 7301 3.1).
std::string protocol_list() {
  return static_cast<char>(handshake_protocol.size()) + std::string(handshake_protocol);
}

int select_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_length,
                    const unsigned char* offered, unsigned int length, void*) {
  static const std::string ours = protocol_list();
  unsigned char* selected = nullptr;
  const int found = SSL_select_next_proto(&selected, chosen_length,
                                          reinterpret_cast<const unsigned char*>(ours.data()),
                                          static_cast<unsigned>(ours.size()), offered, length);
  *chosen = selected;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

// That the peer has the key it shows is part of the handshake (CertificateVerify, RFC 8446 4.4.3)
// and stays; whose key it is, Trust::check() says.
int let_through(X509_STORE_CTX*, void*) { return 1; }

bool configure(SSL_CTX& context, const HostIdentity& identity) {
  SSL_CTX_set_options(&context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(&context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_security_level(&context, 2);
  SSL_CTX_set_max_cert_list(&context, kCertificateBytesMax);
  SSL_CTX_set_verify(&context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(&context, let_through, nullptr);
  SSL_CTX_set_alpn_select_cb(&context, select_protocol, nullptr);
  const std::string protocols = protocol_list();
  bool done =
      SSL_CTX_set_min_proto_version(&context, TLS1_3_VERSION) == 1 &&
      SSL_CTX_set_max_proto_version(&context, TLS1_3_VERSION) == 1 &&
      SSL_CTX_set_num_tickets(&context, 0) == 1 && SSL_CTX_set_max_early_data(&context, 0) == 1 &&
      SSL_CTX_set_recv_max_early_data(&context, 0) == 1 &&
      // 0 is success here, unlike elsewhere.
      SSL_CTX_set_alpn_protos(&context, reinterpret_cast<const unsigned char*>(protocols.data()),
                              static_cast<unsigned>(protocols.size())) == 0 &&
      SSL_CTX_use_certificate(&context, identity.certificate.get()) == 1 &&
      SSL_CTX_use_PrivateKey(&context, identity.key.get()) == 1 &&
      SSL_CTX_check_private_key(&context) == 1;
  for (const auto& other : identity.others) {
    done = done && SSL_CTX_add1_chain_cert(&context, other.get()) == 1;
  }
  return done;
}

TrustError error_of(Refusal reason, ErrorCode code, std::string message) {
  return {{code, std::move(message)}, reason};
}

}  // namespace

Result<UniqueSslContext> make_tls_context(const HostIdentity& identity) {
  UniqueSslContext context(SSL_CTX_new(TLS_method()));
  if (context) {
    if (auto prepared = prepare_tls_context(*context); !prepared) {
      return std::unexpected(prepared.error());
    }
  }
  if (!context || !configure(*context, identity)) {
    return fail(fmt::format("this host's key cannot be used for TLS 1.3: {}", openssl_words()));
  }
  return context;
}

TrustError explain_handshake(const SSL& ssl, int result) {
  const int system_error = errno;
  const int kind = SSL_get_error(&ssl, result);
  const unsigned long code = ERR_peek_last_error();
  const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  const std::string words = openssl_words();
  const bool accepting = SSL_is_server(&ssl) != 0;
  if (kind == SSL_ERROR_ZERO_RETURN || (kind == SSL_ERROR_SYSCALL && code == 0) ||
      reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    return error_of(Refusal::bad_handshake, ErrorCode::unreachable,
                    fmt::format("it ended the connection during the handshake{}",
                                kind == SSL_ERROR_SYSCALL && system_error != 0
                                    ? fmt::format(": {}", std::strerror(system_error))
                                    : ""));
  }
  switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      return error_of(Refusal::not_tls, ErrorCode::denied,
                      accepting ? "it does not speak TLS: is it an older farportd, or does its "
                                  "[trust] loopback differ?"
                                : "what listens there does not speak TLS: is it farportd, and not "
                                  "an older one?");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
      return error_of(Refusal::old_version, ErrorCode::denied,
                      "it does not speak TLS 1.3, and nothing older is taken");
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return error_of(Refusal::no_key, ErrorCode::denied,
                      "it shows no key: every host of Farport has one, so it is something else");
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
      return error_of(Refusal::bad_handshake, ErrorCode::denied,
                      fmt::format("it speaks TLS, but not {}", handshake_protocol));
    default:
      return error_of(Refusal::bad_handshake, ErrorCode::denied,
                      fmt::format("the handshake failed: {}", words));
  }
}

}  // namespace farport
