// The floor: what two good programs of bare sockets make of the same load on the same machine in
// the same minute. Plain send and recv on one TCP connection, TCP_NODELAY, whatever has arrived
// taken at once and answered by one send; no framing, no acknowledgements of its own, no device.
#pragma once

#include "bench/measurement.h"
#include "dataplane/error.h"

namespace farport::bench {

// IN: requests of floor_message_bytes, each answered by `size` bytes. OUT: `size` bytes, each
// answered by floor_message_bytes. `depth` of them are in flight.
inline constexpr uint32_t floor_message_bytes = 32;

// In this process and on two new threads (stage.h).
Result<Measurement> run_floor(const Load& load);

}  // namespace farport::bench
