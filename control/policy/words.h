// Figures as people write them, for every sentence that control/ says.
#pragma once

#include <cstdint>
#include <string>

namespace farport {

// A share, in hundredths of a percent: 12.5 % is Percent{1250}. An integer, so that a threshold is
// compared exactly and equality means equality.
struct Percent {
  uint32_t hundredths = 0;
  static constexpr Percent of(uint32_t percent) { return {percent * 100}; }
  bool operator==(const Percent&) const = default;
};

std::string format_percent(Percent percent);    // "50 %", "12.5 %", "0.25 %"
std::string format_rate(uint64_t bytes_s);      // "950 B/s", "3.1 MB/s": 1000, three digits
std::string format_bytes(uint64_t bytes);       // "512 B", "1.5 GB"
std::string format_duration(uint64_t seconds);  // "45 s", "2 min 5 s", "1 h 30 min"

}  // namespace farport
