// What daemons cost while nothing moves: memory, and time of a core.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "dataplane/error.h"

namespace farport::bench {

struct IdleSettings {
  std::string programs;  // folder of farportd and farport
  unsigned devices = 16;
  double seconds = 5;  // of each measurement
};

// One daemon over one measurement.
struct IdleRow {
  std::string daemon;  // "alone", "device host", "consumer host"
  unsigned attached = 0;
  uint64_t rss_bytes = 0;
  double cpu_percent = 0;    // of one core
  double channel_bytes = 0;  // growth of the memory by each attachment; 0: none attached
};

// A daemon without devices; then two, one of which has serial ports that the other attaches as
// ptys. Everything lives in a temporary folder and on loopback, and is gone afterwards.
Result<std::vector<IdleRow>> measure_idle(const IdleSettings& settings);

std::string idle_table(const std::vector<IdleRow>& rows);
nlohmann::json idle_json(const Machine& machine, const std::vector<IdleRow>& rows);

}  // namespace farport::bench
