// TLS connections between two ends that trust each other blindly, for benchmarks and tests: each
// context makes a self-signed key of its own, which is gone with it.
#pragma once

#include <array>
#include <memory>

#include "dataplane/error.h"
#include "dataplane/tls.h"

namespace farport::bench {

struct SslContextFree {
  void operator()(SSL_CTX* context) const;
};
using UniqueSslContext = std::unique_ptr<SSL_CTX, SslContextFree>;

// With a fresh key and prepare_tls_context()'s settings; shows its certificate, asks for the
// other's and takes any.
Result<UniqueSslContext> throwaway_context();

// Carries out one end's handshake on a connected, blocking socket; returns when it is finished.
Result<UniqueSsl> handshake(int socket, bool connecting);

// Both ends of a connection: connecting, accepting.
Result<std::array<UniqueSsl, 2>> handshake_pair(int connecting, int accepting);

}  // namespace farport::bench
