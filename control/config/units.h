// Sizes, rates, durations and addresses as people write them. Every error says what is accepted.
//
// Numbers are decimal, a fraction is allowed ("12.5MB/s") and computed exactly; a space before the
// unit is allowed, and units are read without regard to case, but for the b of bits and bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dataplane/error.h"

namespace farport {

// Bytes: "4096", "4096B", "64kB", "1.5GB" (1000), "64KiB", "1GiB" (1024); "64K", "1G" are 1024 too,
// as for QEMU and systemd. Up to 2^64 - 1, and a whole number of bytes.
Result<uint64_t> parse_size(std::string_view text);

// Bytes per second: "1000" and "1000B/s", "12.5MB/s", "10MiB/s"; bits as "100Mbit/s", "1Gbit/s",
// "100Mbps". "Mb/s" is refused: it is written for both. Bits are rounded down to whole bytes.
Result<uint64_t> parse_rate(std::string_view text);

// Nanoseconds: "100ns", "50us", "10ms", "5s", "2min", "1h", "1d". The unit must be there.
Result<uint64_t> parse_duration(std::string_view text);

// A percentage in hundredths: "50", "12.5", "0.25 %". At most two digits after the point.
Result<uint32_t> parse_percent_hundredths(std::string_view text);

// A TCP address. `host` is a name or a literal address without brackets.
struct HostPort {
  std::string host;
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};

// "127.0.0.1:7411", "[::1]:7411", "host-b:7411"; without a port `default_port` is taken. IPv6 is in
// brackets, or its last group could be a port.
Result<HostPort> parse_host_port(std::string_view text, uint16_t default_port);
std::string format_host_port(const HostPort& address);  // with the brackets and the port

// Whether only this host can reach it: 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104, or "localhost".
bool is_loopback(const HostPort& address);

}  // namespace farport
