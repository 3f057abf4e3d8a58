// How the two ends of a measured program find each other: the device end listens on a free port,
// the driver end connects to it.
#pragma once

#include <cstdint>
#include <future>

#include "bench/stage.h"
#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport::bench {

// For one meeting. Each end calls its function once, on its own thread; neither waits longer than a
// few seconds for the other.
class Meeting {
 public:
  Result<FileDescriptor> accept(const Stage& stage);
  Result<FileDescriptor> connect(const Stage& stage);

 private:
  std::promise<uint16_t> port_;  // 0: the device end could not listen
};

}  // namespace farport::bench
