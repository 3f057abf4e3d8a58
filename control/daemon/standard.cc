#include "control/daemon/standard.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "control/config/exports.h"
#include "devices/emulated/provider.h"
#include "devices/serial/serial_provider.h"
#include "devices/usb/nominal.h"
#include "devices/usb/usb_provider.h"
#include "devices/usbip/usbip_provider.h"
#include "drivers/pty/pty_driver.h"
#include "drivers/rfc2217/rfc2217_driver.h"
#include "drivers/serial/line_text.h"
#include "drivers/vhci/vhci_driver.h"

namespace farport {

namespace {

std::vector<std::string> names_of(const DeviceInfo& info) {
  std::vector<std::string> names = info.aliases;
  names.insert(names.begin(), info.name);
  return names;
}

AccessCheck access_check(const Config& config) {
  return [rules = config.exports, self = config.host.name](const DeviceInfo& info,
                                                           const Consumer& consumer) {
    Requester question;
    // A user of this host is known by its number; a peer's users are the peer's affair.
    if (consumer.host != self) question.host = consumer.host;
    question.vm = consumer.vm;
    question.uid = consumer.uid;
    question.user = consumer.user;
    question.groups = consumer.groups;
    const ExportAnswer answer = export_allowed(rules, names_of(info), question);
    return Access{answer.allowed, answer.reason};
  };
}

// A serial port needs what its line carries: 10 bits a byte at the usual rate, until it is
// measured.
constexpr uint64_t kSerialNominalBytesS = 115'200 / 10;

NominalCheck nominal_check(const Config& config) {
  return [nominals = config.nominals](const DeviceInfo& info) {
    if (const auto rate = configured_nominal(nominals, info)) {
      return Nominal{*rate, "configuration"};
    }
    if (info.kind == DeviceKind::serial) return Nominal{kSerialNominalBytesS, "line rate"};
    const uint64_t rate = usb::nominal_bytes_s(info);
    return Nominal{rate, rate == 0 ? "" : "descriptors"};
  };
}

template <class Made>
auto upcast(Result<std::unique_ptr<Made>> made) -> Result<std::unique_ptr<Driver>> {
  if (!made) return std::unexpected(made.error());
  return std::unique_ptr<Driver>(std::move(*made));
}

// Where ptys appear: /dev/farport for the system's daemon, beside its other files for any other.
std::string pty_folder(const std::string& run_dir) {
  return run_dir == HostConfig().run_dir ? "/dev/farport" : run_dir + "/tty";
}

Result<void> add_providers(const Config& config, DaemonSettings& settings) {
  std::vector<EmulatedDeviceSettings> emulated;
  for (const EmulatedConfig& one : config.emulated) emulated.push_back(one.settings);
  if (!emulated.empty()) {
    auto provider = EmulatedProvider::create(emulated);
    if (!provider) return std::unexpected(provider.error());
    settings.providers.push_back(std::move(*provider));
  }
  UsbProviderSettings usb;
  usb.record = config.host.run_dir + "/usb";
  settings.providers.push_back(std::make_unique<UsbProvider>(std::move(usb)));
  std::vector<std::string> serial_paths;
  for (const SerialConfig& one : config.serials) serial_paths.push_back(one.path);
  settings.providers.push_back(std::make_unique<serial::SerialProvider>(serial_paths));
  std::vector<UsbipHost> lenders;
  for (const UsbipImportConfig& one : config.usbip_imports) {
    lenders.push_back({one.name, format_host_port(one.address)});
  }
  if (!lenders.empty()) {
    auto provider = UsbipProvider::create(lenders);
    if (!provider) return std::unexpected(provider.error());
    settings.remote_providers.push_back(std::move(*provider));
  }
  return {};
}

}  // namespace

void add_standard_drivers(DriverTypes& drivers, const std::string& run_dir) {
  drivers.add("vhci", {{DeviceKind::usb}, [](const DriverRequest& request) {
                         return upcast(VhciDriver::create({}, request.info));
                       }});
  drivers.add("pty", {{DeviceKind::serial},
                      [folder = pty_folder(run_dir)](
                          const DriverRequest& request) -> Result<std::unique_ptr<Driver>> {
                        PtySettings settings;
                        settings.path = folder + "/" + request.name;
                        settings.owner = request.uid;
                        if (!request.line.empty()) {
                          auto line = serial::parse_line_settings(request.line);
                          if (!line) return std::unexpected(line.error());
                          settings.line = *line;
                        }
                        return upcast(PtyDriver::create(settings));
                      }});
  drivers.add("rfc2217", {{DeviceKind::serial}, [](const DriverRequest& request) {
                            Rfc2217Settings settings;
                            if (!request.listen.empty()) {
                              settings.address = request.listen;
                            } else if (!request.last_path.empty()) {
                              // Clients find it where it was, unless somebody took the port.
                              settings.address = request.last_path;
                              auto same = Rfc2217Driver::create(settings);
                              if (same) return upcast(std::move(same));
                              settings = {};
                            }
                            return upcast(Rfc2217Driver::create(settings));
                          }});
}

LiveSettings live_settings(const Config& config) {
  LiveSettings live;
  live.trust_files = {config.trust.authority, config.trust.certificate, config.trust.key,
                      config.trust.revoked};
  for (const PeerConfig& peer : config.peers) {
    std::vector<std::string> addresses;
    for (const HostPort& address : peer.addresses) addresses.push_back(format_host_port(address));
    if (!addresses.empty()) {
      live.peers.push_back({peer.name, std::move(addresses)});
    }
  }
  for (const VmConfig& vm : config.vms) {
    DirectoryVm one;
    one.name = vm.name;
    one.host = vm.host.empty() ? config.host.name : vm.host;
    one.allocation_bytes_s = vm.allocation_bytes_s;
    one.threshold = vm.threshold;
    one.memory_bytes = vm.memory_bytes;
    if (vm.cpus) one.cpu_milli = *vm.cpus * 1000;
    one.dirty_bytes_s = vm.dirty_bytes_s;
    live.vms.push_back(std::move(one));
  }
  live.access = access_check(config);
  live.nominal = nominal_check(config);
  live.rule_switches = [all = config.ahead](const DeviceInfo& device) {
    std::vector<std::string> names = device.aliases;
    names.push_back(device.name);
    RuleSwitches switches;
    for (const AheadConfig& ahead : all) {
      if (!matches_device(ahead.device, names)) continue;
      switches.on.insert(switches.on.end(), ahead.on.begin(), ahead.on.end());
      switches.off.insert(switches.off.end(), ahead.off.begin(), ahead.off.end());
    }
    return switches;
  };
  live.policy = config.policy.settings;
  live.policy_interval_s = config.policy.interval_s;
  live.policy_window_s = config.policy.window_s;
  live.threshold = [vms = config.vms](const std::string& name,
                                      const std::vector<std::string>& device_names) {
    const auto vm = std::find_if(vms.begin(), vms.end(),
                                 [&name](const VmConfig& one) { return one.name == name; });
    return vm == vms.end() ? std::nullopt : device_threshold(*vm, device_names);
  };
  if (!config.host.socket_group.empty()) live.admin_groups = {config.host.socket_group};
  return live;
}

Result<DaemonSettings> daemon_settings(const Config& config) {
  DaemonSettings settings;
  settings.host = config.host.name;
  settings.run_dir = config.host.run_dir;
  settings.listen = config.host.listen;
  settings.encrypt_loopback = config.trust.loopback;
  settings.resume_timeout_ns = uint64_t{config.session.resume_timeout_s} * 1'000'000'000;
  settings.paths.return_after_ns = uint64_t{config.session.path_return_s} * 1'000'000'000;
  settings.worker.spin_us = config.host.spin_us;
  settings.worker.buffer_bytes_max = config.host.memory_max_bytes;
  settings.workers = config.host.workers;
  settings.sessions_max = config.limits.sessions;
  settings.decisions_path = config.host.state_dir + "/decisions.jsonl";
  settings.attachments_path = config.host.state_dir + "/attachments.json";
  // A serial port has no bus that caps its demand, which is what it achieves (meter.h).
  settings.bus_rate = [](const DeviceInfo& info) { return usb::bus_bytes_s(info.speed); };
  settings.live = live_settings(config);
  auto trust = HostTrust::open(
      {config.host.name, trust_folder(config.host.state_dir), settings.live.trust_files, {}});
  if (!trust) return std::unexpected(trust.error());
  settings.trust = std::move(*trust);
  if (config.usbip_server) settings.usbip_server = format_host_port(config.usbip_server->listen);
  add_standard_drivers(settings.drivers, settings.run_dir);
  if (auto added = add_providers(config, settings); !added) return std::unexpected(added.error());
  return settings;
}

}  // namespace farport
