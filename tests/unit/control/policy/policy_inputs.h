// Inputs of the policy that its tests start from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "control/policy/policy.h"

namespace farport {

using enum ReasonCode;
inline constexpr uint64_t MB = 1'000'000;
inline constexpr uint64_t GB = 1'000 * MB;
inline constexpr uint64_t huge = std::numeric_limits<uint64_t>::max();

inline PolicyDevice device(std::string name, std::string host, uint64_t measured_bytes_s) {
  PolicyDevice device;
  device.name = std::move(name);
  device.host = std::move(host);
  device.nominal_bytes_s = 53 * MB;
  device.nominal_source = "descriptors";
  device.measured_bytes_s = measured_bytes_s;
  device.window_full = true;
  return device;
}

inline PolicyHost roomy(std::string name) {
  PolicyHost host;
  host.name = std::move(name);
  host.free_memory_bytes = 16 * GB;
  host.free_cpu_milli = 8'000;
  host.reaches_storage = true;
  host.reaches_network = true;
  host.migration_bytes_s = 125 * MB;
  return host;
}

// VM web on west may use 12.5 MB/s and uses disk0 of east, which needs 7.5 MB/s: 60 %. Everything
// is known, nothing speaks against a move, and the demand has held.
inline PolicyInput over() {
  PolicyInput input;
  input.settings.mode = PolicyMode::automatic;
  input.vm.name = "web";
  input.vm.host = "west";
  input.vm.allocation_bytes_s = 12'500'000;
  input.vm.memory_bytes = 1 * GB;
  input.vm.cpu_milli = 2'000;
  input.vm.dirty_bytes_s = 5 * MB;
  input.vm.evaluations_over = 100;
  input.devices = {device("disk0", "east", 7'500'000)};
  input.hosts = {roomy("east"), roomy("north"), roomy("west")};
  return input;
}

inline bool has(const Verdict& verdict, ReasonCode code) {
  return std::ranges::any_of(verdict.reasons,
                             [&](const Reason& reason) { return reason.code == code; });
}
inline std::string words_of(const Verdict& verdict, ReasonCode code) {
  for (const Reason& reason : verdict.reasons) {
    if (reason.code == code) return reason.words;
  }
  return "";
}

}  // namespace farport
