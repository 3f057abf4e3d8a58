// Figures and times of the API's JSON as people read them. A field that is missing or of another
// type reads as empty or zero: the answer came over a socket.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace farport {

std::string text_of(const nlohmann::json& object, const char* key);
double number_of(const nlohmann::json& object, const char* key);
uint64_t count_of(const nlohmann::json& object, const char* key);
bool flag_of(const nlohmann::json& object, const char* key);
// An empty object (array) when it is not there.
const nlohmann::json& object_of(const nlohmann::json& object, const char* key);
const nlohmann::json& array_of(const nlohmann::json& object, const char* key);

std::string format_latency(double nanoseconds);    // "850 ns", "82 us", "1.2 ms", "3.4 s"
std::string format_measured_rate(double bytes_s);  // "3.1 MB/s", "0 B/s"
std::string format_rate_or_dash(double bytes_s);   // "3.1 MB/s"; "-" for 0, which is unknown
std::string format_count(uint64_t count);          // "12 345"
// "2026-01-31T12:00:00.123Z" as local time: "12:00:00", with its date when that is not today's.
// Anything else as it is.
std::string format_local_time(const std::string& iso_utc);

// A device as it is named across hosts: "lab/usb:1d6b:0104:DISK".
std::string full_name(const std::string& host, const std::string& device);

}  // namespace farport
