// Where a measured program runs: two threads, the device end and the driver end, each pinned to its
// core, joined by loopback or by a veth pair between two network namespaces.
//
// The namespaces have no name and hold everything that is made in them: they are gone when the
// process ends, however it ends.
#pragma once

#include <ctime>
#include <functional>
#include <string>

#include "bench/measurement.h"
#include "dataplane/error.h"
#include "dataplane/histogram.h"

namespace farport::bench {

// What an end is told. Valid while both ends run.
struct Stage {
  std::string device_address;  // IPv4; the device end listens on it
  clockid_t device_cpu{};      // CPU time of the two threads
  clockid_t driver_cpu{};
};

// Runs both ends to their end and gives the first error, if any: the two must end each other (by
// closing their sockets) when one fails.
using End = std::function<Result<void>(const Stage&)>;
Result<void> on_two_threads(LinkKind link, const End& device, const End& driver);

// Measures between begin() and end(), called by the driver end.
class Window {
 public:
  explicit Window(const Stage& stage) : stage_(stage) {}
  uint64_t begin();  // the time now, ns
  Measurement end(uint64_t transfers, const Histogram& round_trips);

 private:
  uint64_t cpu_ns() const;
  const Stage& stage_;
  uint64_t begin_ns_ = 0;
  uint64_t begin_cpu_ns_ = 0;
  uint64_t begin_allocations_ = 0;
};

// CLOCK_MONOTONIC.
uint64_t now_ns();

}  // namespace farport::bench
