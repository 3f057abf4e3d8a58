// The machine a figure was measured on: without it the figure says nothing.
#pragma once

#include <cstdint>
#include <string>

namespace farport::bench {

struct Machine {
  std::string cpu;     // "AMD EPYC 7B13"
  unsigned cores = 0;  // that this process may use
  uint64_t memory_bytes = 0;
  std::string kernel;    // "6.1.0-28-amd64"
  std::string system;    // "Debian GNU/Linux 12 (bookworm)"
  std::string compiler;  // "g++ 12.2.0"
  bool asserts = false;  // built without NDEBUG, as releases are
  std::string version;   // Farport's
};

Machine this_machine();

}  // namespace farport::bench
