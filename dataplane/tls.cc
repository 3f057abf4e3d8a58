#include "dataplane/tls.h"

#include <openssl/ssl.h>

namespace farport {

void SslFree::operator()(SSL* ssl) const { SSL_free(ssl); }

}  // namespace farport
