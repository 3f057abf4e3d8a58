// What can be told only of the whole configuration.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "control/config/codec.h"
#include "control/config/reader.h"
#include "control/trust/host_name.h"
#include "drivers/ahead/rules.h"

namespace farport::config {
namespace {

class Checker {
 public:
  explicit Checker(ConfigReport& report) : report_(report), config_(report.config) {}

  void check() {
    check_host();
    check_trust();
    check_usbip_server();
    check_policy();
    check_peers();
    check_exports();
    check_vms();
    check_nominals();
    check_ahead();
    check_devices();
  }

 private:
  void error(const std::string& where, const std::string& words) {
    report_.errors.push_back(where + ": " + words);
  }
  void error(const Origin& origin, const std::string& words) {
    error(format_origin(origin), words);
  }
  // Who set a key of a plain table; its default, otherwise.
  std::string set_by(const std::string& key) const {
    const auto found = config_.set_by.find(key);
    return found == config_.set_by.end() ? "default of " + key : found->second;
  }

  void check_host();
  void check_trust();
  void check_usbip_server();
  void check_policy();
  void check_peers();
  void check_exports();
  void check_vms();
  void check_nominals();
  void check_ahead();
  void check_devices();

  template <class T, class Name>
  void check_unique(const std::vector<T>& elements, Name name_of, std::string_view what) {
    std::map<std::string, const Origin*> seen;
    for (const T& element : elements) {
      const std::string name = name_of(element);
      if (name.empty()) {
        error(element.origin, fmt::format("{} has an empty name", what));
        continue;
      }
      const auto [first, added] = seen.emplace(name, &element.origin);
      if (added) continue;
      error(element.origin, fmt::format("{} \"{}\" is there twice, first at {}", what, name,
                                        format_origin(*first->second)));
    }
  }

  void check_beyond_loopback(const std::string& key, const HostPort& address, bool insecure,
                             std::string_view risk) {
    if (is_loopback(address)) return;
    const std::string text = format_host_port(address);
    if (!insecure) {
      error(set_by(key),
            fmt::format("{}: {} is beyond loopback, where {}: set insecure = true if every machine "
                        "that reaches it may be trusted, or take 127.0.0.1",
                        key, text, risk));
      return;
    }
    report_.warnings.push_back(
        fmt::format("{}: {}: insecure = true: {} listens beyond loopback, "
                    "where {}",
                    set_by(key), key, text, risk));
  }

  ConfigReport& report_;
  const Config& config_;
};

void Checker::check_host() {
  const HostConfig& host = config_.host;
  std::set<std::string> seen;
  for (const HostPort& address : host.listen) {
    if (address.port != 0 && !seen.insert(format_host_port(address)).second) {
      error(set_by("host.listen"),
            fmt::format("host.listen: {} is there twice", format_host_port(address)));
    }
  }
  for (const auto& [key, path] :
       {std::pair{"host.socket", &host.socket}, std::pair{"host.run_dir", &host.run_dir},
        std::pair{"host.state_dir", &host.state_dir}}) {
    if (!path->starts_with('/')) {
      error(set_by(key),
            fmt::format("{}: found {}, expected an absolute path", key, quoted(*path)));
    }
  }
  // sun_path (unix(7)) holds 108 bytes with the terminating zero.
  if (host.socket.size() > 107) {
    error(set_by("host.socket"), "host.socket: a socket's path has at most 107 bytes");
  }
  // Names travel as HOST/DEVICE, and are pinned in a file of lines and words.
  if (!is_host_name(host.name)) {
    error(set_by("host.name"),
          fmt::format("host.name: found {}, expected {}", quoted(host.name), host_name_words));
  }
}

void Checker::check_trust() {
  const TrustConfig& trust = config_.trust;
  for (const auto& [key, path] :
       {std::pair{"trust.authority", &trust.authority},
        std::pair{"trust.certificate", &trust.certificate}, std::pair{"trust.key", &trust.key},
        std::pair{"trust.revoked", &trust.revoked}}) {
    if (path->empty() || path->starts_with('/')) continue;
    error(set_by(key), fmt::format("{}: found {}, expected an absolute path", key, quoted(*path)));
  }
  if (trust.certificate.empty() != trust.key.empty()) {
    error(set_by(trust.key.empty() ? "trust.certificate" : "trust.key"),
          "trust.certificate and trust.key go together: set both or none");
  }
  if (trust.authority.empty() && !trust.revoked.empty()) {
    error(set_by("trust.revoked"), "trust.revoked needs trust.authority");
  }
}

void Checker::check_usbip_server() {
  if (!config_.usbip_server) return;
  check_beyond_loopback("usbip_server.listen", config_.usbip_server->listen,
                        config_.usbip_server->insecure,
                        "anyone may take an exported device: USB/IP has no authentication");
}

void Checker::check_policy() {
  const uint32_t window = config_.policy.window_s;
  if (window != 1 && window != 10 && window != 60) {
    error(set_by("policy.window_s"),
          fmt::format("policy.window_s: found {}, expected 1, 10 or 60", window));
  }
}

void Checker::check_peers() {
  check_unique(config_.peers, [](const PeerConfig& peer) { return peer.name; }, "peer");
  for (const PeerConfig& peer : config_.peers) {
    if (peer.addresses.empty()) {
      error(
          peer.origin,
          fmt::format("peer \"{}\" needs an address, as address = \"192.0.2.7:7411\"", peer.name));
    }
    for (const HostPort& address : peer.addresses) {
      if (address.port != 0) continue;
      error(peer.origin, fmt::format("peer \"{}\": port 0 cannot be connected to", peer.name));
    }
    if (peer.name == config_.host.name) {
      error(peer.origin, fmt::format("peer \"{}\" has this host's own name: give one of the two "
                                     "another (host.name)",
                                     peer.name));
    }
    if (!peer.name.empty() && !is_host_name(peer.name)) {
      error(peer.origin,
            fmt::format("peer.name: found {}, expected {}", quoted(peer.name), host_name_words));
    }
  }
}

bool is_user_entry(const std::string& entry) {
  for (const std::string_view kind : {"user:", "group:"}) {
    if (entry.starts_with(kind) && entry.size() > kind.size()) return true;
  }
  return entry.starts_with("uid:") && entry.size() > 4 &&
         entry.find_first_not_of("0123456789", 4) == std::string::npos;
}

void Checker::check_exports() {
  for (const ExportRule& rule : config_.exports) {
    if (rule.device.empty()) {
      error(rule.origin, "export.device is empty: write \"*\" for every device");
    }
    for (const std::string& entry : rule.users) {
      if (is_user_entry(entry)) continue;
      error(rule.origin, fmt::format("export.users: found {}, expected \"user:NAME\", "
                                     "\"group:NAME\" or \"uid:N\"",
                                     quoted(entry)));
    }
  }
}

void Checker::check_vms() {
  check_unique(config_.vms, [](const VmConfig& vm) { return vm.name; }, "VM");
  for (const VmConfig& vm : config_.vms) {
    check_unique(
        vm.devices, [](const VmDeviceConfig& device) { return device.pattern; },
        fmt::format("device of VM \"{}\"", vm.name));
  }
}

// usb:VVVV:PPPP
bool is_vendor_product(std::string_view text) {
  if (text.size() != 13 || !text.starts_with("usb:") || text[8] != ':') return false;
  const auto hexadecimal = [](std::string_view digits) {
    return digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  return hexadecimal(text.substr(4, 4)) && hexadecimal(text.substr(9, 4));
}

void Checker::check_nominals() {
  check_unique(
      config_.nominals, [](const NominalConfig& nominal) { return nominal.device; },
      "nominal rate of");
  for (const NominalConfig& nominal : config_.nominals) {
    if (!is_vendor_product(nominal.device)) {
      error(nominal.origin,
            fmt::format("nominal.device: found {}, expected vendor and product in hexadecimal, as "
                        "\"usb:046d:0825\"",
                        quoted(nominal.device)));
    }
    if (nominal.bytes_s == 0) {
      error(nominal.origin, "nominal.rate: found 0, expected a rate above 0");
    }
  }
}

void Checker::check_ahead() {
  std::string known;
  for (const RuleKind& kind : rule_kinds()) {
    known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", kind.name);
  }
  for (const AheadConfig& ahead : config_.ahead) {
    if (ahead.device.empty()) {
      error(ahead.origin, "ahead.device is empty: write \"*\" for every device");
    }
    for (const auto& [key, names] : {std::pair{"on", &ahead.on}, std::pair{"off", &ahead.off}}) {
      for (const std::string& name : *names) {
        if (find_rule_kind(name) != nullptr) continue;
        error(ahead.origin,
              fmt::format("ahead.{}: found {}, expected a rule: {}", key, quoted(name), known));
      }
    }
  }
}

void Checker::check_devices() {
  check_unique(
      config_.serials, [](const SerialConfig& serial) { return serial.path; }, "serial port");
  for (const SerialConfig& serial : config_.serials) {
    if (serial.path.starts_with('/')) continue;
    error(serial.origin,
          fmt::format("serial.path: found {}, expected an absolute path", quoted(serial.path)));
  }
  check_unique(
      config_.emulated, [](const EmulatedConfig& device) { return device_name(device.settings); },
      "emulated device");
  for (const EmulatedConfig& device : config_.emulated) {
    if (auto checked = farport::check(device.settings); !checked) {
      error(device.origin, checked.error().message);
    }
  }
  check_unique(
      config_.usbip_imports, [](const UsbipImportConfig& host) { return host.name; },
      "usbip_import");
  for (const UsbipImportConfig& host : config_.usbip_imports) {
    if (host.address.port != 0) continue;
    error(host.origin,
          fmt::format("usbip_import \"{}\": port 0 cannot be connected to", host.name));
  }
}

}  // namespace

void check_whole(ConfigReport& report) { Checker(report).check(); }

}  // namespace farport::config
