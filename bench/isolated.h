// A process for one measurement.
#pragma once

#include <functional>

#include "bench/measurement.h"
#include "dataplane/error.h"

namespace farport::bench {

// Runs `body` in a process of its own, so that memory and allocations are its alone and a crash is
// an error. The caller must have no other threads. The process is killed after `limit_s`, or when
// this one dies.
Result<Measurement> isolated(const std::function<Result<Measurement>()>& body, double limit_s);

}  // namespace farport::bench
