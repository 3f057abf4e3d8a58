// doctor's part on trust: whether a host is known here, whom this host has turned away lately, and
// which certificates run out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/daemon/service.h"

namespace farport {

// Of this host itself.
std::vector<Check> explain_own_trust(const TrustReport& report, int64_t now_unix_ms);
// Of a peer, with the commands that would let the two in, each on its host. `plain`: connections
// with it are not encrypted (loopback), so that no key is asked for.
Check explain_peer_trust(const TrustReport& report, const HostEntry& peer, bool plain,
                         int64_t now_unix_ms);

}  // namespace farport
