// TLS 1.3 between hosts, in two parts. OpenSSL does the handshake and carries the greetings, on
// control's threads (control/trust, PeerStream). Then a worker's link takes the two application
// traffic secrets and goes on with records of its own (tls_records.h), which allocate nothing, copy
// less and seal faster. Here is what OpenSSL must be told for that, and the handing over.
#pragma once

#include <openssl/types.h>

#include <memory>
#include <string_view>

#include "dataplane/error.h"
#include "dataplane/tls_keys.h"

namespace farport {

struct SslFree {
  void operator()(SSL* ssl) const;
};
using UniqueSsl = std::unique_ptr<SSL, SslFree>;

// What a link needs of a context besides keys and who is trusted: TLS 1.3 only, no session tickets
// (a session resumes by its own numbers), the faster cipher first, nothing read ahead. Each
// connection remembers its traffic secrets, until it is freed and for nobody but take_traffic().
// Takes the context's callbacks for messages and key logs. usage: OpenSSL lacks what it needs.
Result<void> prepare_tls_context(SSL_CTX& context);

// The TLS 1.3 cipher suites, the one that this processor does faster first, as
// SSL_CTX_set_ciphersuites() takes them. Measured once, in about a millisecond.
const char* tls_cipher_suites();

// Where `ssl`, of a context as above and with its handshake finished, has got to. From now on it is
// good for exporting keys only. `peer`: for messages. failed: it changed keys since (RFC 8446,
// 4.6.3), or stopped in the middle of a record.
Result<TlsTraffic> take_traffic(SSL& ssl, std::string_view peer);

}  // namespace farport
