// "HOST:PORT", "[IPv6]:PORT", "IPv4:PORT" of the configuration.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/error.h"

namespace farport {

inline constexpr uint16_t default_peer_port = 7411;

struct Address {
  std::string host;  // a name or a number, IPv6 without brackets
  uint16_t port = 0;
};

// A missing port is `default_port`.
Result<Address> parse_address(const std::string& text, uint16_t default_port);
std::string format_address(const Address& address);

}  // namespace farport
