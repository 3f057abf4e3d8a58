#include "bench/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <fstream>

namespace farport::bench {

namespace {

// The value of the first line that begins with `key`, cut at the first of `separators`, without
// the white space and quotes around it; "unknown" when there is none.
std::string value_of(const char* path, std::string_view key, std::string_view separators) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t separator = line.find_first_of(separators);
    if (separator == std::string::npos) continue;
    constexpr std::string_view around = " \t\"";
    const size_t first = line.find_first_not_of(around, separator + 1);
    if (first == std::string::npos) continue;
    return line.substr(first, line.find_last_not_of(around) - first + 1);
  }
  return "unknown";
}

constexpr const char* compiler() {
#ifdef __clang__
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cpu = value_of("/proc/cpuinfo", "model name", ":");
  machine.system = value_of("/etc/os-release", "PRETTY_NAME", "=");
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  machine.cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                      ? static_cast<unsigned>(CPU_COUNT(&allowed))
                      : 1;
  struct sysinfo memory{};
  if (sysinfo(&memory) == 0) {
    machine.memory_bytes = uint64_t{memory.totalram} * memory.mem_unit;
  }
  utsname kernel{};
  if (uname(&kernel) == 0) machine.kernel = kernel.release;
  machine.compiler = compiler();
#ifndef NDEBUG
  machine.asserts = true;
#endif
  machine.version = FARPORT_VERSION;
  return machine;
}

}  // namespace farport::bench
