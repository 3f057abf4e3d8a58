// The packet table of an isochronous transfer, as USB/IP has it and as we have it. Both take 16
// bytes a packet, so tables are turned over where they lie.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/transfer.h"

namespace farport::usbip {

// --- at the server: requests in, replies out ---

// The wire's table has been read into transfer.packets(), and for OUT the data behind it. Makes it
// our table; OUT data with gaps between its packets is moved together. False when the packets do
// not fit the data, overlap, or, for IN, leave gaps (the reply could not be placed).
bool take_iso_request(Transfer& transfer);

struct IsoTotals {
  uint32_t actual = 0;  // sum over the packets: what actual_length must be
  uint32_t error_count = 0;
  bool consistent = true;  // false: the device's figures contradict each other; all are 0 now
};
// Turns a completed transfer's table into the wire's, in place.
IsoTotals put_iso_reply(Transfer& transfer);

// --- at the client: requests out, replies in ---

// Writes the wire's table of a request to `table`, 16 bytes a packet. False when the packets do not
// fit the data.
bool put_iso_request(const Transfer& transfer, std::span<std::byte> table);

// Takes a reply's table and sets the packets' results. False when it contradicts the request or
// `actual` (the number of data bytes that came).
bool take_iso_reply(Transfer& transfer, std::span<const std::byte> table, uint32_t actual);

}  // namespace farport::usbip
