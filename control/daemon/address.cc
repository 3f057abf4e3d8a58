#include "control/daemon/address.h"

#include <fmt/format.h>

#include <charconv>

namespace farport {

namespace {

std::unexpected<Error> bad(const std::string& text, const char* what) {
  return fail(
      ErrorCode::usage,
      fmt::format("\"{}\" {}; write 192.0.2.7:7411, [2001:db8::7]:7411 or name:7411", text, what));
}

}  // namespace

Result<Address> parse_address(const std::string& text, uint16_t default_port) {
  Address address{text, default_port};
  std::string port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string::npos) return bad(text, "has no closing bracket");
    address.host = text.substr(1, end - 1);
    const std::string rest = text.substr(end + 1);
    has_port = rest.starts_with(':');
    if (!rest.empty() && !has_port) return bad(text, "has something behind its bracket");
    if (has_port) port = rest.substr(1);
  } else if (const size_t colon = text.find(':');
             colon != std::string::npos && text.find(':', colon + 1) == std::string::npos) {
    address.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
  }
  if (has_port) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error != std::errc() || end != port.data() + port.size()) {
      return bad(text, "has a port that is no number up to 65535");
    }
  }
  if (address.host.empty()) return bad(text, "names no host");
  return address;
}

std::string format_address(const Address& address) {
  const bool six = address.host.find(':') != std::string::npos;
  return six ? fmt::format("[{}]:{}", address.host, address.port)
             : fmt::format("{}:{}", address.host, address.port);
}

}  // namespace farport
