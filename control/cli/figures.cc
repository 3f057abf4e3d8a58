#include "control/cli/figures.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "control/policy/words.h"

namespace farport {

using nlohmann::json;

namespace {

const json* find(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

std::string text_of(const json& object, const char* key) {
  const json* field = find(object, key);
  return field != nullptr && field->is_string() ? field->get<std::string>() : std::string();
}

double number_of(const json& object, const char* key) {
  const json* field = find(object, key);
  return field != nullptr && field->is_number() ? field->get<double>() : 0;
}

uint64_t count_of(const json& object, const char* key) {
  const json* field = find(object, key);
  if (field == nullptr || !field->is_number_integer()) return 0;
  if (!field->is_number_unsigned() && field->get<int64_t>() < 0) return 0;
  return field->get<uint64_t>();
}

bool flag_of(const json& object, const char* key) {
  const json* field = find(object, key);
  return field != nullptr && field->is_boolean() && field->get<bool>();
}

const json& object_of(const json& object, const char* key) {
  static const json empty = json::object();
  const json* field = find(object, key);
  return field != nullptr && field->is_object() ? *field : empty;
}

const json& array_of(const json& object, const char* key) {
  static const json empty = json::array();
  const json* field = find(object, key);
  return field != nullptr && field->is_array() ? *field : empty;
}

std::string format_latency(double nanoseconds) {
  const auto digits = [](double value) { return value < 9.95 ? 1 : 0; };
  if (!(nanoseconds > 0)) return "-";
  if (nanoseconds < 1e3) return fmt::format("{:.0f} ns", nanoseconds);
  if (nanoseconds < 1e6) {
    return fmt::format("{:.{}f} us", nanoseconds / 1e3, digits(nanoseconds / 1e3));
  }
  if (nanoseconds < 1e9) {
    return fmt::format("{:.{}f} ms", nanoseconds / 1e6, digits(nanoseconds / 1e6));
  }
  return fmt::format("{:.{}f} s", nanoseconds / 1e9, digits(nanoseconds / 1e9));
}

std::string format_rate_or_dash(double bytes_s) {
  // Beyond what a uint64_t holds there is no rate.
  if (!(bytes_s > 0) || bytes_s > 1e18) return "-";
  return format_rate(static_cast<uint64_t>(std::llround(bytes_s)));
}

std::string format_measured_rate(double bytes_s) {
  return bytes_s > 0 ? format_rate_or_dash(bytes_s) : format_rate(0);
}

std::string format_count(uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) grouped += ' ';
    grouped += digits[i];
  }
  return grouped;
}

std::string format_local_time(const std::string& iso_utc) {
  std::tm parts{};
  const char* end = strptime(iso_utc.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr) return iso_utc;
  const std::time_t at = timegm(&parts), now = std::time(nullptr);
  std::tm local{}, today{};
  localtime_r(&at, &local);
  localtime_r(&now, &today);
  const bool same_day = local.tm_year == today.tm_year && local.tm_yday == today.tm_yday;
  return same_day ? fmt::format("{:%H:%M:%S}", local) : fmt::format("{:%Y-%m-%d %H:%M:%S}", local);
}

std::string full_name(const std::string& host, const std::string& device) {
  return host.empty() ? device : host + "/" + device;
}

}  // namespace farport
