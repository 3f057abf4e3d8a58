// TLS 1.3 under a link, by OpenSSL. The handshake is done by control (control/trust); a link gets
// the established connection and uses its record layer only.
#pragma once

#include <openssl/types.h>

#include <memory>

namespace farport {

struct SslFree {
  void operator()(SSL* ssl) const;
};
using UniqueSsl = std::unique_ptr<SSL, SslFree>;

}  // namespace farport
