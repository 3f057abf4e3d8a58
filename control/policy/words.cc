#include "control/policy/words.h"

#include <fmt/format.h>

#include <array>

namespace farport {
namespace {

// Three significant digits, without zeros after the point: 950, 3.1, 12.5, 53.2, 450.
std::string three_digits(double value) {
  std::string text = fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string si_bytes(uint64_t bytes) {
  static constexpr std::array units = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would be written as 1000.
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{} {}", three_digits(value), units[unit]);
}

}  // namespace

std::string format_percent(Percent percent) {
  const uint32_t whole = percent.hundredths / 100;
  const uint32_t rest = percent.hundredths % 100;
  if (rest == 0) return fmt::format("{} %", whole);
  if (rest % 10 == 0) return fmt::format("{}.{} %", whole, rest / 10);
  return fmt::format("{}.{:02} %", whole, rest);
}

std::string format_rate(uint64_t bytes_s) { return si_bytes(bytes_s) + "/s"; }
std::string format_bytes(uint64_t bytes) { return si_bytes(bytes); }

std::string format_duration(uint64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  const auto two = [](uint64_t large, const char* large_unit, uint64_t small,
                      const char* small_unit) {
    return small == 0 ? fmt::format("{} {}", large, large_unit)
                      : fmt::format("{} {} {} {}", large, large_unit, small, small_unit);
  };
  if (seconds < 3600) return two(seconds / 60, "min", seconds % 60, "s");
  return two(seconds / 3600, "h", seconds % 3600 / 60, "min");
}

}  // namespace farport
