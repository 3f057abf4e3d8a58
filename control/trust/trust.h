// Who this host is to others, and whom it trusts: a host key of its own, the keys of others pinned
// by host name like SSH's known_hosts, or an authority whose certificates name hosts. The daemon's
// is HostTrust (host_trust.h).
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "control/trust/refusals.h"
#include "dataplane/error.h"
#include "dataplane/tls.h"

namespace farport {

struct PresentedChain;  // what the peer has shown in the handshake, for still()

// Who is at the other end of an encrypted connection.
struct TrustedPeer {
  std::string host;            // the name that the key or the certificate stands for
  std::string fingerprint;     // "SHA256:..." of its public key; empty: a plain connection
  bool by_authority = false;   // by a certificate of the authority, not by a pinned key
  int64_t expires_unix_s = 0;  // of the certificate or its authority's; 0: never
  std::shared_ptr<const PresentedChain> presented;  // to be judged again by still()
};

enum class TlsRole : uint8_t { connecting, accepting };

class Trust {
 public:
  virtual ~Trust() = default;

  // For one handshake: TLS 1.3 only, with this host's key; the peer must show one too. It lets any
  // key through the handshake: check() decides, so that the refusal can say what to do.
  virtual Result<UniqueSsl> begin(TlsRole role) = 0;
  // After the handshake. `expected`: the host that was meant to be reached. Empty when they
  // connected: the key says who it is; of a certificate with several names, the first. When they
  // have said which of these they are, call it again with that. denied: why, with the fingerprint
  // and the command that would accept it.
  virtual std::expected<TrustedPeer, TrustError> check(SSL& ssl, const std::string& expected) = 0;
  // Whether the peer of an open session would be let in now; denied: why not any more. Certificates
  // also end by themselves: ask once a minute.
  virtual std::expected<void, TrustError> still(const TrustedPeer& peer) = 0;
  // Whether the host has a pinned key here: then nobody is it without that key.
  virtual bool knows(const std::string& host) const = 0;
  // This host's own, that others are shown.
  virtual std::string fingerprint() const = 0;
  // Called when still() may answer otherwise, or this host's own key or certificate is another.
  // `own`: the latter: open sessions should connect anew.
  virtual void on_change(std::function<void(bool own)> changed) = 0;
};

}  // namespace farport
