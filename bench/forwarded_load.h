// The measured program: a device end and a driver end as two daemons have them, on two workers,
// with a session over a SocketLink between them. The device is the emulated source/sink, which
// costs nothing; the consumer is the in-process USB host's load.
#pragma once

#include "bench/measurement.h"
#include "dataplane/error.h"

namespace farport::bench {

// In this process and on two new threads (stage.h).
Result<Measurement> run_forwarded(const Load& load);

}  // namespace farport::bench
