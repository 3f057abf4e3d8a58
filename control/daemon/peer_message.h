// What two daemons say to each other in control messages (JSON on channel 0 of a session), and the
// checks of it. All of it comes from another machine: every field is looked for, of the type and
// within the length given here, or the message is answered with an error.
//
// A request is {"op": "...", ...}; its response {"ok": true, ...} or {"ok": false, "code":
// "denied", "message": "..."}. Unknown fields are skipped; an unknown op is an error to that
// request.
//
//   op       | request                              | response
//   ---------+--------------------------------------+--------------------------------------
//   devices  | -                                    | "devices": [DeviceEntry]
//   attach   | "channel", "device", "vm", "user"    | "info" (with descriptors), "nominal",
//            |                                      | "nominal_source", "credit"
//   release  | "channel": its attach is taken back  | -
//   explain  | "device", "vm", "user"               | "checks": [Check]
//
// A notice is {"op": "..."} and gets no answer; an unknown one is skipped.
//
//   op       | says
//   ---------+------------------------------------------------------------------------
//   devices  | a device was plugged in or given back: who waits for one may try again
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/daemon/service.h"
#include "dataplane/error.h"
#include "devices/device_info.h"

namespace farport::peer {

inline constexpr size_t name_bytes_max = 255;
inline constexpr size_t text_bytes_max = 1024;  // messages for people
inline constexpr size_t depth_max = 16;         // of nested arrays and objects
inline constexpr size_t devices_max = 1024;     // of one host
inline constexpr size_t aliases_max = 16;       // of one device
inline constexpr size_t checks_max = 64;
inline constexpr size_t configurations_max = 32;  // of one device; bNumConfigurations is 1 nearly
                                                  // always, and 8 at most on what is sold
inline constexpr size_t configuration_bytes_max = 256u << 10;  // all of them

// Text to an object, without exceptions and without deep recursion.
Result<nlohmann::json> parse(std::string_view text);
// Never throws: what is not UTF-8 (a device's strings may be anything) is replaced.
std::string dump(const nlohmann::json& json);
std::string to_hex(std::span<const uint8_t> bytes);

// --- fields of an object; errors name the field ---
Result<std::string> string_field(const nlohmann::json& object, const char* key, size_t bytes_max);
// Empty when it is not there.
Result<std::string> optional_string(const nlohmann::json& object, const char* key,
                                    size_t bytes_max);
Result<uint64_t> number_field(const nlohmann::json& object, const char* key, uint64_t max);
Result<bool> bool_field(const nlohmann::json& object, const char* key);

// --- responses ---
nlohmann::json error_response(const Error& error);
// The error that a response carries, or that makes it no response; nothing when "ok" is true.
Result<void> check_response(const nlohmann::json& response);

// --- what is known of a device; descriptors as hex when wanted ---
nlohmann::json encode_info(const DeviceInfo& info, bool with_descriptors);
Result<DeviceInfo> decode_info(const nlohmann::json& json);

nlohmann::json encode_entry(const DeviceEntry& entry);
Result<DeviceEntry> decode_entry(const nlohmann::json& json, const std::string& host);
Result<std::vector<DeviceEntry>> decode_entries(const nlohmann::json& response,
                                                const std::string& host);
Result<std::vector<Check>> decode_checks(const nlohmann::json& response);

struct AttachMessage {
  uint32_t channel = 0;
  std::string device, vm, user;
};
nlohmann::json encode_attach(const AttachMessage& message);
Result<AttachMessage> decode_attach(const nlohmann::json& json);

struct AttachAnswer {
  DeviceInfo info;
  uint64_t nominal_bytes_s = 0;
  std::string nominal_source;
  uint64_t credit_bytes = 0;
};
nlohmann::json encode_answer(const AttachAnswer& answer);
Result<AttachAnswer> decode_answer(const nlohmann::json& response);

}  // namespace farport::peer
