// The TLS of a handshake between two hosts, and what is wrong when it fails.
//
// TLS 1.3 only (RFC 8446), mutual, without tickets, early data, compression or renegotiation: a
// session of Farport resumes by its own frame numbers, and never by anything that could be
// replayed.
//
// Thread rule: the control thread.
#pragma once

#include "control/trust/authority.h"
#include "control/trust/openssl.h"
#include "control/trust/refusals.h"
#include "dataplane/error.h"

namespace farport {

// RFC 7301: a certificate that a web server shares gives nobody a session here.
inline constexpr std::string_view handshake_protocol = "farport/1";

Result<UniqueSslContext> make_tls_context(const HostIdentity& identity);

// What SSL_do_handshake() has failed with; `result` is its own. Only after SSL_ERROR_SSL or
// SSL_ERROR_SYSCALL, on the thread that called it. The queue of errors is empty afterwards.
TrustError explain_handshake(const SSL& ssl, int result);

}  // namespace farport
