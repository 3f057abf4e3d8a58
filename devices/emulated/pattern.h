// The data of source/sink, which either end can verify. zeros and mod63 are those of Linux's
// f_sourcesink (drivers/usb/gadget/function/f_sourcesink.c, check_read_data): mod63 numbers the
// bytes of each packet modulo 63. counter numbers the 8-byte little-endian words of the whole
// stream, so that a lost, doubled or swapped transfer shows too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "devices/emulated/settings.h"

namespace farport {

// Fills `data`, which begins `stream_offset` bytes into its endpoint's stream. `none` leaves it.
void fill_pattern(DataPattern pattern, std::span<std::byte> data, uint64_t stream_offset,
                  uint32_t max_packet_bytes);

// Whether `data` is what fill_pattern() would have made. `none` accepts anything, unread.
bool matches_pattern(DataPattern pattern, std::span<const std::byte> data, uint64_t stream_offset,
                     uint32_t max_packet_bytes);

}  // namespace farport
