#include "control/daemon/peer_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "dataplane/limits.h"

namespace farport::peer {

using nlohmann::json;

namespace {

// The parser keeps no stack of its own making, but what walks the value afterwards does.
bool too_deep(std::string_view text) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > depth_max) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

bool printable(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// What a device or a message says may hold anything; what crosses is printable and bounded.
std::string clean(std::string_view text, size_t bytes_max) {
  std::string out(text.substr(0, bytes_max));
  std::replace_if(
      out.begin(), out.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return out;
}

std::unexpected<Error> bad(const char* key, std::string_view what) {
  return fail(fmt::format("the peer's \"{}\" {}", key, what));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

Result<std::vector<uint8_t>> from_hex(const std::string& text, const char* key) {
  if (text.size() % 2 != 0) return bad(key, "has half a byte");
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int high = hex_digit(text[i * 2]);
    const int low = hex_digit(text[i * 2 + 1]);
    if (high < 0 || low < 0) return bad(key, "is not hexadecimal");
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return bytes;
}

// An array of at most `count_max` elements; missing counts as empty.
Result<const json*> array_field(const json& object, const char* key, size_t count_max) {
  static const json empty = json::array();
  const auto found = object.find(key);
  if (found == object.end()) return &empty;
  if (!found->is_array()) return bad(key, "is not an array");
  if (found->size() > count_max)
    return bad(key, fmt::format("has more than {} entries", count_max));
  return &*found;
}

Result<void> read_string(const json& object, const char* key, size_t bytes_max, std::string& to) {
  auto value = optional_string(object, key, bytes_max);
  if (!value) return std::unexpected(value.error());
  to = std::move(*value);
  return {};
}

template <class Number>
Result<void> read_number(const json& object, const char* key, Number& to) {
  if (!object.contains(key)) return {};
  auto value = number_field(object, key, std::numeric_limits<Number>::max());
  if (!value) return std::unexpected(value.error());
  to = static_cast<Number>(*value);
  return {};
}

}  // namespace

Result<json> parse(std::string_view text) {
  if (text.size() > limits::message_bytes_max) return fail("the peer's message is too long");
  if (too_deep(text)) return fail("the peer's message is nested too deeply");
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (value.is_discarded()) return fail("the peer's message is not JSON");
  if (!value.is_object()) return fail("the peer's message is not a JSON object");
  return value;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::string> string_field(const json& object, const char* key, size_t bytes_max) {
  const auto found = object.find(key);
  if (found == object.end()) return bad(key, "is missing");
  if (!found->is_string()) return bad(key, "is not a string");
  const auto& text = found->get_ref<const std::string&>();
  if (text.size() > bytes_max) return bad(key, fmt::format("is longer than {} bytes", bytes_max));
  if (!printable(text)) return bad(key, "holds a control character");
  return text;
}

Result<std::string> optional_string(const json& object, const char* key, size_t bytes_max) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  return string_field(object, key, bytes_max);
}

Result<uint64_t> number_field(const json& object, const char* key, uint64_t max) {
  const auto found = object.find(key);
  if (found == object.end()) return bad(key, "is missing");
  if (!found->is_number_unsigned()) return bad(key, "is not a whole number");
  const auto value = found->get<uint64_t>();
  if (value > max) return bad(key, fmt::format("is over {}", max));
  return value;
}

Result<bool> bool_field(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return bad(key, "is missing");
  if (!found->is_boolean()) return bad(key, "is not true or false");
  return found->get<bool>();
}

json error_response(const Error& error) {
  return {{"ok", false},
          {"code", error_code_name(error.code)},
          {"message", clean(error.message, text_bytes_max - 8)}};
}

Result<void> check_response(const json& response) {
  const auto ok = bool_field(response, "ok");
  if (!ok) return std::unexpected(ok.error());
  if (*ok) return {};
  auto code = optional_string(response, "code", name_bytes_max);
  auto message = optional_string(response, "message", text_bytes_max);
  if (!code) return std::unexpected(code.error());
  if (!message) return std::unexpected(message.error());
  return fail(error_code_from_name(*code), std::move(*message));
}

json encode_info(const DeviceInfo& info, bool with_descriptors) {
  json out = {{"kind", device_kind_name(info.kind)},
              {"name", info.name},
              {"aliases", info.aliases},
              {"description", clean(info.description, text_bytes_max / 2)}};
  if (info.kind == DeviceKind::serial) {
    out["path"] = info.path;
    return out;
  }
  out["speed"] = static_cast<unsigned>(info.speed);
  out["vendor"] = info.vendor;
  out["product"] = info.product;
  out["serial_number"] = clean(info.serial_number, name_bytes_max / 4);
  out["port_path"] = info.port_path;
  out["bus"] = info.bus;
  out["address"] = info.address;
  out["configuration_value"] = info.configuration_value;
  if (with_descriptors) {
    out["device_descriptor"] = to_hex(info.device_descriptor);
    out["configurations"] = json::array();
    for (const auto& one : info.configurations) out["configurations"].push_back(to_hex(one));
  }
  return out;
}

namespace {

Result<void> decode_descriptors(const json& in, DeviceInfo& info) {
  if (in.contains("device_descriptor")) {
    const auto text = string_field(in, "device_descriptor", 2 * 18);
    if (!text) return std::unexpected(text.error());
    auto bytes = from_hex(*text, "device_descriptor");
    if (!bytes) return std::unexpected(bytes.error());
    if (!bytes->empty() && bytes->size() != 18) return bad("device_descriptor", "is not 18 bytes");
    info.device_descriptor = std::move(*bytes);
  }
  const auto list = array_field(in, "configurations", configurations_max);
  if (!list) return std::unexpected(list.error());
  size_t total = 0;
  for (const json& one : **list) {
    if (!one.is_string()) return bad("configurations", "holds something that is not hexadecimal");
    const auto& text = one.get_ref<const std::string&>();
    total += text.size() / 2;
    if (text.size() / 2 > limits::descriptor_bytes_max || total > configuration_bytes_max) {
      return bad("configurations", "is past the limit for descriptors");
    }
    auto bytes = from_hex(text, "configurations");
    if (!bytes) return std::unexpected(bytes.error());
    info.configurations.push_back(std::move(*bytes));
  }
  return {};
}

Result<void> decode_usb(const json& in, DeviceInfo& info) {
  uint8_t speed = 0;
  for (auto& result : {read_number(in, "speed", speed), read_number(in, "vendor", info.vendor),
                       read_number(in, "product", info.product), read_number(in, "bus", info.bus),
                       read_number(in, "address", info.address),
                       read_number(in, "configuration_value", info.configuration_value),
                       read_string(in, "serial_number", name_bytes_max, info.serial_number),
                       read_string(in, "port_path", name_bytes_max, info.port_path),
                       decode_descriptors(in, info)}) {
    if (!result) return result;
  }
  if (speed > static_cast<uint8_t>(UsbSpeed::super_plus)) return bad("speed", "is unknown");
  info.speed = static_cast<UsbSpeed>(speed);
  return {};
}

}  // namespace

Result<DeviceInfo> decode_info(const json& in) {
  if (!in.is_object()) return bad("info", "is not an object");
  DeviceInfo info;
  auto kind = string_field(in, "kind", 16);
  auto name = string_field(in, "name", name_bytes_max);
  if (!kind) return std::unexpected(kind.error());
  if (!name) return std::unexpected(name.error());
  if (*kind != "usb" && *kind != "serial") return bad("kind", "is neither usb nor serial");
  if (name->empty()) return bad("name", "is empty");
  info.kind = *kind == "usb" ? DeviceKind::usb : DeviceKind::serial;
  info.name = std::move(*name);
  if (auto result = read_string(in, "description", text_bytes_max, info.description); !result) {
    return std::unexpected(result.error());
  }
  const auto aliases = array_field(in, "aliases", aliases_max);
  if (!aliases) return std::unexpected(aliases.error());
  for (const json& one : **aliases) {
    if (!one.is_string()) return bad("aliases", "holds something that is not a string");
    const auto& text = one.get_ref<const std::string&>();
    if (text.size() > name_bytes_max || !printable(text)) return bad("aliases", "holds a bad name");
    info.aliases.push_back(text);
  }
  auto rest = info.kind == DeviceKind::usb ? decode_usb(in, info)
                                           : read_string(in, "path", text_bytes_max, info.path);
  if (!rest) return std::unexpected(rest.error());
  return info;
}

json encode_entry(const DeviceEntry& entry) {
  json out = {{"info", encode_info(entry.info, false)},
              {"source", entry.source},
              {"nominal", entry.nominal_bytes_s},
              {"allowed", entry.allowed},
              {"reason", clean(entry.reason, text_bytes_max / 2)}};
  if (entry.holder) {
    out["holder"] = {{"host", entry.holder->host},
                     {"vm", entry.holder->vm},
                     {"user", entry.holder->user},
                     {"since", static_cast<uint64_t>(entry.holder->since_unix_ms)}};
  }
  return out;
}

Result<DeviceEntry> decode_entry(const json& in, const std::string& host) {
  if (!in.is_object()) return bad("devices", "holds something that is not an object");
  DeviceEntry entry;
  entry.host = host;
  const auto info = in.find("info");
  if (info == in.end()) return bad("info", "is missing");
  auto decoded = decode_info(*info);
  if (!decoded) return std::unexpected(decoded.error());
  entry.info = std::move(*decoded);
  const auto allowed = bool_field(in, "allowed");
  if (!allowed) return std::unexpected(allowed.error());
  entry.allowed = *allowed;
  for (auto& result : {read_string(in, "source", name_bytes_max, entry.source),
                       read_number(in, "nominal", entry.nominal_bytes_s),
                       read_string(in, "reason", text_bytes_max, entry.reason)}) {
    if (!result) return std::unexpected(result.error());
  }
  const auto holder = in.find("holder");
  if (holder == in.end() || holder->is_null()) return entry;
  if (!holder->is_object()) return bad("holder", "is not an object");
  Holder held;
  for (auto& result : {read_string(*holder, "host", name_bytes_max, held.host),
                       read_string(*holder, "vm", name_bytes_max, held.vm),
                       read_string(*holder, "user", name_bytes_max, held.user),
                       read_number(*holder, "since", held.since_unix_ms)}) {
    if (!result) return std::unexpected(result.error());
  }
  entry.holder = std::move(held);
  return entry;
}

Result<std::vector<DeviceEntry>> decode_entries(const json& response, const std::string& host) {
  const auto list = array_field(response, "devices", devices_max);
  if (!list) return std::unexpected(list.error());
  std::vector<DeviceEntry> entries;
  for (const json& one : **list) {
    auto entry = decode_entry(one, host);
    if (!entry) return std::unexpected(entry.error());
    entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<std::vector<Check>> decode_checks(const json& response) {
  const auto list = array_field(response, "checks", checks_max);
  if (!list) return std::unexpected(list.error());
  std::vector<Check> checks;
  for (const json& one : **list) {
    if (!one.is_object()) return bad("checks", "holds something that is not an object");
    Check check;
    const auto ok = bool_field(one, "ok");
    if (!ok) return std::unexpected(ok.error());
    check.ok = *ok;
    for (auto& result : {read_string(one, "name", name_bytes_max, check.name),
                         read_string(one, "message", text_bytes_max, check.message),
                         read_string(one, "advice", text_bytes_max, check.advice)}) {
      if (!result) return std::unexpected(result.error());
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

json encode_attach(const AttachMessage& message) {
  return {{"op", "attach"},
          {"channel", message.channel},
          {"device", message.device},
          {"vm", message.vm},
          {"user", message.user}};
}

Result<AttachMessage> decode_attach(const json& in) {
  AttachMessage message;
  const auto channel = number_field(in, "channel", std::numeric_limits<uint32_t>::max());
  if (!channel) return std::unexpected(channel.error());
  if (*channel == 0) return bad("channel", "is 0, the session's own");
  message.channel = static_cast<uint32_t>(*channel);
  auto device = string_field(in, "device", name_bytes_max);
  if (!device) return std::unexpected(device.error());
  message.device = std::move(*device);
  for (auto& result : {read_string(in, "vm", name_bytes_max, message.vm),
                       read_string(in, "user", name_bytes_max, message.user)}) {
    if (!result) return std::unexpected(result.error());
  }
  return message;
}

json encode_answer(const AttachAnswer& answer) {
  return {{"ok", true},
          {"info", encode_info(answer.info, true)},
          {"nominal", answer.nominal_bytes_s},
          {"nominal_source", answer.nominal_source},
          {"credit", answer.credit_bytes}};
}

Result<AttachAnswer> decode_answer(const json& response) {
  AttachAnswer answer;
  const auto info = response.find("info");
  if (info == response.end()) return bad("info", "is missing");
  auto decoded = decode_info(*info);
  if (!decoded) return std::unexpected(decoded.error());
  answer.info = std::move(*decoded);
  const auto nominal = number_field(response, "nominal", std::numeric_limits<uint64_t>::max());
  const auto credit = number_field(response, "credit", uint64_t{1} << 40);
  if (!nominal) return std::unexpected(nominal.error());
  if (!credit) return std::unexpected(credit.error());
  if (auto source = read_string(response, "nominal_source", name_bytes_max, answer.nominal_source);
      !source) {
    return std::unexpected(source.error());
  }
  answer.nominal_bytes_s = *nominal;
  answer.credit_bytes = *credit;
  return answer;
}

}  // namespace farport::peer
