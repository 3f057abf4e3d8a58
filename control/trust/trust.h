// Who this host is to others, and whom it trusts: a host key of its own, the keys of others pinned
// by host name like SSH's known_hosts, or an authority whose certificates name hosts.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "dataplane/error.h"
#include "dataplane/tls.h"

namespace farport {

// Who is at the other end of an encrypted connection.
struct TrustedPeer {
  std::string host;            // the name that the key or the certificate stands for
  std::string fingerprint;     // "SHA256:..." of its public key; empty: a plain connection
  bool by_authority = false;   // by a certificate of the authority, not by a pinned key
  int64_t expires_unix_s = 0;  // of the certificate; 0: never
};

enum class TlsRole : uint8_t { connecting, accepting };

class Trust {
 public:
  virtual ~Trust() = default;

  // For one handshake: TLS 1.3 only, with this host's key; the peer must show one too. It lets any
  // key through the handshake: check() decides, so that the refusal can say what to do.
  virtual Result<UniqueSsl> begin(TlsRole role) = 0;
  // After the handshake. `expected`: the host that was meant to be reached; empty when they
  // connected. denied: why, with the fingerprint and the command that would accept it.
  virtual Result<TrustedPeer> check(SSL& ssl, const std::string& expected) = 0;
  // Whether the peer of an open session would be let in now; denied: why not any more.
  virtual Result<void> still(const TrustedPeer& peer) = 0;
  // This host's own.
  virtual std::string fingerprint() const = 0;
  // Called when still() may answer otherwise, or this host's own key or certificate is another.
  // `own`: the latter: open sessions should connect anew.
  virtual void on_change(std::function<void(bool own)> changed) = 0;
};

}  // namespace farport
