#include "drivers/vhci/vhci_status.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "dataplane/file_descriptor.h"

namespace farport::vhci {

namespace {

std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size());
  return word;
}

std::string_view next_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(line.size() + 1, text.size()));
  return line;
}

bool to_number(std::string_view word, uint32_t& number) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc{} && end == word.data() + word.size();
}

bool parse_port(std::string_view line, Port& port) {
  const std::string_view hub = next_word(line);
  if (hub != "hs" && hub != "ss") return false;
  port.super_speed = hub == "ss";
  uint32_t state = 0;
  if (!to_number(next_word(line), port.number) || !to_number(next_word(line), state)) return false;
  if (state < 4 || state > 7) return false;
  port.state = static_cast<PortState>(state);
  for (int skipped = 0; skipped < 3; ++skipped) next_word(line);  // speed, devid, sockfd
  port.local_busid = next_word(line);
  return !port.local_busid.empty();
}

// sysfs files are at most a page.
Result<std::string> read_file(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(errno, path);
  std::array<char, 4096> bytes;
  const ssize_t length = ::read(file.get(), bytes.data(), bytes.size());
  if (length < 0) return fail_errno(errno, path);
  return std::string(bytes.data(), static_cast<size_t>(length));
}

}  // namespace

Result<std::vector<Port>> parse_status(std::string_view text) {
  if (!next_line(text).starts_with("hub port sta")) {
    return fail(
        "the kernel's list of virtual USB ports has an unknown form; Linux 4.13 or newer "
        "is needed");
  }
  std::vector<Port> ports;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    Port port;
    if (!parse_port(line, port)) {
      return fail("the kernel's list of virtual USB ports has a line that makes no sense: \"" +
                  std::string(line) + "\"");
    }
    ports.push_back(std::move(port));
  }
  return ports;
}

bool needs_super_speed(UsbSpeed speed) {
  return speed == UsbSpeed::super || speed == UsbSpeed::super_plus;
}

std::optional<uint32_t> find_free_port(std::span<const Port> ports, bool super_speed,
                                       std::span<const uint32_t> excluded) {
  for (const Port& port : ports) {
    if (port.super_speed != super_speed || port.state != PortState::free) continue;
    if (std::find(excluded.begin(), excluded.end(), port.number) == excluded.end()) {
      return port.number;
    }
  }
  return {};
}

Result<std::vector<Port>> read_ports(const std::string& directory) {
  std::vector<Port> ports;
  for (int controller = 0;; ++controller) {
    const std::string name = controller == 0 ? "/status" : "/status." + std::to_string(controller);
    const auto text = read_file(directory + name);
    if (!text) {
      if (text.error().code != ErrorCode::not_found) return std::unexpected(text.error());
      if (controller > 0) return ports;
      return fail(ErrorCode::not_found, "the kernel module vhci_hcd is not loaded (no " +
                                            directory + "); run: modprobe vhci-hcd");
    }
    auto more = parse_status(*text);
    if (!more) return std::unexpected(more.error());
    ports.insert(ports.end(), more->begin(), more->end());
  }
}

}  // namespace farport::vhci
