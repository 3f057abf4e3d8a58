// Which loads to measure: what the command line selects, or a quick table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bench/measurement.h"
#include "dataplane/error.h"

namespace farport::bench {

// As given on the command line; empty means the default of loads_of().
struct Selection {
  std::vector<std::string> links;       // loopback, netns
  std::vector<std::string> kinds;       // bulk, interrupt
  std::vector<std::string> directions;  // in, out
  std::vector<std::string> sizes;       // 64, 4K, 64KiB, 1M
  std::vector<std::string> depths;      // 1..64
  std::vector<std::string> waits;       // sleep, spin
  std::vector<std::string> tls;         // off, on
  bool full = false;                    // every size and depth
  double seconds = 0.3;                 // of each repetition

  bool selects() const {
    return full || !kinds.empty() || !directions.empty() || !sizes.empty() || !depths.empty();
  }
};

// "64", "4K", "4KiB", "1M" (binary multiples) -> bytes, 1 to limits::transfer_bytes_max.
Result<uint32_t> parse_size(std::string_view text);
// 1 to limits::transfers_per_channel_max.
Result<uint32_t> parse_depth(std::string_view text);

// Nothing selected: the quick table, over the links, waits and TLS selected. Otherwise every
// combination, where what is not named is 64 B, 4 KiB, 64 KiB and 1 MiB; depth 1, 16 and 64; bulk;
// in; sleep; no TLS; loopback. A combination with more than in_flight_bytes_max in flight is left
// out.
Result<std::vector<Load>> loads_of(const Selection& selection);

// The device end grants one channel no more than that (limits::usb_channel_credit_bytes), so deeper
// queues would wait at the driver end and measure only themselves. The floor gets the same.
inline constexpr uint64_t in_flight_bytes_max = 16u << 20;

}  // namespace farport::bench
