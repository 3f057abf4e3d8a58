#include "control/daemon/service.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

namespace farport {

namespace {
using nlohmann::json;

json time_or_null(int64_t unix_ms) {
  return unix_ms == 0 ? json(nullptr) : json(format_time(unix_ms));
}

json window_json(const MeterWindow& window) {
  return {{"window_s", window.window_ns / 1'000'000'000},
          {"full", window.full},
          {"measured", window.measured},
          {"achieved_bytes_s", window.achieved_bytes_s},
          {"demand_bytes_s", window.demand_bytes_s},
          {"transfers_s", window.transfers_s}};
}

json meter_json(const MeterSnapshot& meter) {
  json windows = json::array();
  for (const auto& window : meter.windows) windows.push_back(window_json(window));
  return {{"windows", std::move(windows)},
          {"nominal_bytes_s", meter.nominal_bytes_s},
          {"bytes", meter.bytes},
          {"transfers", meter.transfers},
          {"in_flight", meter.in_flight},
          {"errors", meter.errors},
          {"cancellations", meter.cancellations},
          {"stalls", meter.stalls},
          {"retransmissions", meter.retransmissions},
          {"resumes", meter.resumes}};
}

// A name crosses terminals, logs and paths: printable ASCII or UTF-8, no control characters.
bool printable(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}
constexpr size_t kNameBytesMax = 255;
}  // namespace

std::string_view device_kind_name(DeviceKind kind) {
  return kind == DeviceKind::serial ? "serial" : "usb";
}

std::string_view usb_speed_name(UsbSpeed speed) {
  switch (speed) {
    case UsbSpeed::none:
      return "none";
    case UsbSpeed::low:
      return "low";
    case UsbSpeed::full:
      return "full";
    case UsbSpeed::high:
      return "high";
    case UsbSpeed::super:
      return "super";
    case UsbSpeed::super_plus:
      return "super+";
  }
  return "none";
}

std::string format_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", parts, unix_ms % 1000);
}

void to_json(json& out, const VersionInfo& value) {
  out = {{"version", value.version},
         {"api_version", value.api_version},
         {"protocol_version", value.protocol_version},
         {"host", value.host},
         {"boot_id", value.boot_id},
         {"started", time_or_null(value.started_unix_ms)},
         {"pid", value.pid}};
}

void to_json(json& out, const Holder& value) {
  out = {{"host", value.host},
         {"vm", value.vm},
         {"user", value.user},
         {"since", time_or_null(value.since_unix_ms)}};
}

void to_json(json& out, const PathEntry& value) {
  out = {{"address", value.address}, {"state", value.state}};
}

void to_json(json& out, const CompressionCounters& value) {
  out = {{"on", value.on},
         {"frames_sent", value.frames},
         {"bytes_before", value.bytes_before},
         {"bytes_after", value.bytes_after},
         {"frames_received", value.frames_received}};
}

void to_json(json& out, const HostEntry& value) {
  out = {{"name", value.name},
         {"self", value.self},
         {"address", value.address},
         {"state", value.state},
         {"since", time_or_null(value.since_unix_ms)},
         {"error", value.error},
         {"channels", value.channels},
         {"fingerprint", value.fingerprint},
         {"resumes", value.resumes},
         {"paths", value.paths},
         {"compression", value.compression}};
}

void to_json(json& out, const DeviceEntry& value) {
  const DeviceInfo& info = value.info;
  out = {{"host", value.host},
         {"name", info.name},
         {"aliases", info.aliases},
         {"kind", device_kind_name(info.kind)},
         {"description", info.description},
         {"source", value.source},
         {"nominal_bytes_s", value.nominal_bytes_s},
         {"allowed", value.allowed},
         {"reason", value.reason},
         {"holder", nullptr}};
  if (value.holder) out["holder"] = *value.holder;
  if (info.kind == DeviceKind::usb) {
    out["speed"] = usb_speed_name(info.speed);
    out["vendor"] = fmt::format("{:04x}", info.vendor);
    out["product"] = fmt::format("{:04x}", info.product);
    out["serial_number"] = info.serial_number;
    out["port_path"] = info.port_path;
  } else {
    out["path"] = info.path;
  }
}

void to_json(json& out, const Problem& value) {
  out = {{"host", value.host},
         {"code", error_code_name(value.error.code)},
         {"message", value.error.message}};
}

void to_json(json& out, const DeviceList& value) {
  out = {{"devices", value.devices}, {"problems", value.problems}};
}

void to_json(json& out, const Waiting& value) {
  out = {{"since", time_or_null(value.since_unix_ms)},
         {"code", error_code_name(value.code)},
         {"reason", value.reason},
         {"next_try", time_or_null(value.next_try_unix_ms)},
         {"until", time_or_null(value.until_unix_ms)}};
}

void to_json(json& out, const Attachment& value) {
  out = {{"id", value.id},
         {"device_host", value.device_host},
         {"device", value.device},
         {"aliases", value.aliases},
         {"description", value.description},
         {"kind", device_kind_name(value.kind)},
         {"driver", value.driver},
         {"path", value.path},
         {"vm", value.vm},
         {"user", value.user},
         {"uid", value.uid},
         {"state", value.state},
         {"since", time_or_null(value.since_unix_ms)},
         {"persistent", value.persistent},
         {"waiting", nullptr},
         {"nominal_bytes_s", value.nominal_bytes_s},
         {"nominal_source", value.nominal_source},
         {"verdict", value.verdict}};
  if (value.waiting) out["waiting"] = *value.waiting;
}

void to_json(json& out, const LatencySummary& value) {
  out = {{"p50_ns", value.p50_ns},
         {"p99_ns", value.p99_ns},
         {"p999_ns", value.p999_ns},
         {"max_ns", value.max_ns}};
}

void to_json(json& out, const RuleFigures& value) {
  out = {{"rule", value.rule},
         {"on", value.on},
         {"why", value.why},
         {"round_trips_saved", value.round_trips_saved},
         {"deviations", value.deviations}};
}

void to_json(json& out, const Stats& value) {
  out = {{"attachment", value.attachment},
         {"at", time_or_null(value.at_unix_ms)},
         {"meter", meter_json(value.meter)},
         {"total", value.total},
         {"service", value.service},
         {"channel", value.channel},
         {"rules", value.rules}};
}

void to_json(json& out, const VmEntry& value) {
  out = {{"name", value.name},
         {"host", value.host},
         {"allocation_bytes_s", value.allocation_bytes_s},
         {"threshold_percent", value.threshold_percent},
         {"demand_bytes_s", value.demand_bytes_s},
         {"verdict", value.verdict},
         {"attachments", value.attachments}};
}

void to_json(json& out, const DecisionEntry& value) {
  out = {{"number", value.number},
         {"at", time_or_null(value.at_unix_ms)},
         {"vm", value.vm},
         {"vm_host", value.vm_host},
         {"devices", value.devices},
         {"verdict", value.verdict},
         {"target", value.target},
         {"act", value.act},
         {"demand_bytes_s", value.demand_bytes_s},
         {"allocation_bytes_s", value.allocation_bytes_s},
         {"summary", value.summary},
         {"reasons", value.reasons},
         {"record", json::parse(value.record, nullptr, false)}};
  if (out["record"].is_discarded()) out["record"] = nullptr;
}

void to_json(json& out, const Check& value) {
  out = {
      {"name", value.name}, {"ok", value.ok}, {"message", value.message}, {"advice", value.advice}};
}

void to_json(json& out, const Event& value) {
  out = {{"sequence", value.sequence},
         {"at", time_or_null(value.at_unix_ms)},
         {"type", value.type},
         {"host", value.host},
         {"device", value.device},
         {"attachment", value.attachment},
         {"vm", value.vm},
         {"message", value.message}};
}

void to_json(json& out, const Health& value) {
  out = {{"ready", value.ready}, {"checks", value.checks}};
}

Result<DeviceReference> parse_device_reference(const std::string& text) {
  if (!printable(text)) {
    return fail(ErrorCode::usage, "a device name holds a control character; see `farport devices`");
  }
  // serial:by-id/X holds a slash of its own, and so a colon before it; a host name holds no colon.
  DeviceReference reference;
  const size_t slash = text.find('/');
  if (slash != std::string::npos && text.find(':') > slash) {
    reference.host = text.substr(0, slash);
    reference.device = text.substr(slash + 1);
    if (reference.host.empty()) {
      return fail(ErrorCode::usage,
                  fmt::format("\"{}\" names no host before the slash; write HOST/NAME", text));
    }
  } else {
    reference.device = text;
  }
  if (reference.device.empty()) {
    return fail(ErrorCode::usage,
                fmt::format("\"{}\" names no device; write NAME or HOST/NAME, as `farport devices` "
                            "shows them",
                            text));
  }
  if (reference.device.size() > kNameBytesMax || reference.host.size() > kNameBytesMax) {
    return fail(
        ErrorCode::usage,
        fmt::format("a name is longer than {} bytes; see `farport devices`", kNameBytesMax));
  }
  return reference;
}

namespace {

// The fields that are no strings; false when `key` is none of them.
Result<bool> read_typed_field(const std::string& key, const json& value, AttachRequest& request) {
  if (key != "persistent" && key != "wait") return false;
  if (value.is_null()) return true;
  if (key == "persistent") {
    if (!value.is_boolean()) {
      return fail(ErrorCode::usage, "\"persistent\" must be true or false");
    }
    request.persistent = value.get<bool>();
    return true;
  }
  if (!value.is_number_integer() || value < 0 || value > attach_wait_s_max) {
    return fail(ErrorCode::usage,
                fmt::format("\"wait\" must be a number of seconds up to {}", attach_wait_s_max));
  }
  request.wait_s = value.get<uint32_t>();
  return true;
}

}  // namespace

Result<AttachRequest> attach_request_from_json(const json& in) {
  if (!in.is_object()) {
    return fail(ErrorCode::usage, "the request must be a JSON object with a \"device\"");
  }
  AttachRequest request;
  const std::array<std::pair<const char*, std::string*>, 7> fields{{{"host", &request.host},
                                                                    {"device", &request.device},
                                                                    {"driver", &request.driver},
                                                                    {"name", &request.name},
                                                                    {"vm", &request.vm},
                                                                    {"listen", &request.listen},
                                                                    {"line", &request.line}}};
  for (const auto& [key, value] : in.items()) {
    const auto typed = read_typed_field(key, value, request);
    if (!typed) return std::unexpected(typed.error());
    if (*typed) continue;
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&key = key](const auto& one) { return key == one.first; });
    if (field == fields.end()) {
      return fail(ErrorCode::usage,
                  fmt::format("\"{}\" is not a field of an attach request; it "
                              "takes host, device, driver, name, vm, listen, line, "
                              "persistent, wait",
                              key));
    }
    if (value.is_null()) continue;
    if (!value.is_string()) {
      return fail(ErrorCode::usage, fmt::format("\"{}\" must be a string", key));
    }
    *field->second = value.get<std::string>();
    if (field->second->size() > kNameBytesMax || !printable(*field->second)) {
      return fail(ErrorCode::usage,
                  fmt::format("\"{}\" is longer than {} bytes or holds a control character", key,
                              kNameBytesMax));
    }
  }
  auto reference = parse_device_reference(request.device);
  if (!reference) return std::unexpected(reference.error());
  if (!reference->host.empty()) {
    if (!request.host.empty() && request.host != reference->host) {
      return fail(ErrorCode::usage, fmt::format("\"device\" names the host {}, \"host\" names {}",
                                                reference->host, request.host));
    }
    request.host = reference->host;
    request.device = reference->device;
  }
  if (request.wait_s != 0 && !request.persistent) {
    return fail(ErrorCode::usage,
                "\"wait\" goes with \"persistent\": what is not persistent is "
                "attached at once or not at all");
  }
  return request;
}

}  // namespace farport
