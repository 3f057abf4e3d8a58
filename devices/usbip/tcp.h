// The TCP connections that USB/IP runs over: addresses as users write them, and options.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/error.h"

struct sockaddr;

namespace farport::usbip {

struct Address {
  std::string host;
  uint16_t port = 0;
};

// "192.0.2.1:3240", "host", "[2001:db8::1]:3240", "[::1]"; an IPv6 literal needs its brackets.
// Without a port `default_port` is taken. Errors (usage) say what is wrong.
Result<Address> parse_address(std::string_view text, uint16_t default_port);

// The numeric text of a socket address, IPv6 in brackets: "[::1]:3240".
std::string address_text(const sockaddr& address, uint32_t length);

// Small messages at once, and a peer that dies without a word noticed in half a minute: probes
// after 10 s of silence, and what is sent has to be acknowledged in 25 s.
void set_tcp_options(int socket);

}  // namespace farport::usbip
