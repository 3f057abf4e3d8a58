// The daemon's configuration: /etc/farport/farport.toml, then conf.d/*.toml beside it in order of
// name, then the environment, then flags. A later one overrides a setting; arrays of tables
// ([[peer]], [[export]], ...) append.
//
// What each key means, its type and its default are in one table (schema.cc), from which come the
// checks, `farport check-config --describe` and the commented example.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/config/units.h"
#include "control/policy/policy.h"
#include "dataplane/error.h"
#include "dataplane/limits.h"
#include "devices/device_info.h"
#include "devices/emulated/settings.h"

namespace farport {

inline constexpr uint16_t session_port = 7411;
inline constexpr uint16_t usbip_port = 3240;  // IANA: usbip

// Where a table begins, for messages: "/etc/farport/farport.toml:12".
struct Origin {
  std::string file;
  uint32_t line = 0;
};
std::string format_origin(const Origin& origin);

struct HostConfig {
  std::string name;  // empty in the file: the host's name is filled in by load_config()
  std::vector<HostPort> listen = {{"127.0.0.1", session_port}};
  std::string socket = "/run/farport/farport.sock";
  std::string socket_group;
  uint32_t socket_mode = 0660;
  std::string run_dir = "/run/farport";
  std::string state_dir = "/var/lib/farport";
  uint32_t spin_us = 0;
  uint32_t workers = 1;
  uint64_t memory_max_bytes = 1ull << 30;
  std::string log_level = "info";  // trace, debug, info, warn, error
  bool log_json = false;
};

struct PeerConfig {
  Origin origin;
  std::string name;
  std::optional<HostPort> address;
  std::vector<HostPort> addresses;  // after load_config(): all of them, `address` first
};

struct ExportRule {
  Origin origin;
  std::string device;  // a glob on the device's name and aliases
  std::vector<std::string> hosts, users, vms;
  bool deny = false;
};

struct VmDeviceConfig {
  Origin origin;
  std::string pattern;
  std::optional<Percent> threshold;
};
struct VmConfig {
  Origin origin;
  std::string name;
  std::string host;  // empty: this host
  std::optional<uint64_t> allocation_bytes_s;
  std::optional<Percent> threshold;
  std::optional<uint64_t> memory_bytes;
  std::optional<uint32_t> cpus;
  std::optional<uint64_t> dirty_bytes_s;
  std::vector<VmDeviceConfig> devices;
};

struct NominalConfig {
  Origin origin;
  std::string device;  // "usb:VVVV:PPPP", lower case
  uint64_t bytes_s = 0;
};

// Which rules hide the network's latency for a device (drivers/ahead).
struct AheadConfig {
  Origin origin;
  std::string device;                // a glob on the device's name and aliases
  std::vector<std::string> on, off;  // names of rules
};

struct PolicyConfig {
  PolicySettings settings;
  uint32_t window_s = 10;  // of the meter: 1, 10 or 60
  uint32_t interval_s = 1;
};

struct SerialConfig {
  Origin origin;
  std::string path;
  std::string name;  // empty: from the path
};

struct EmulatedConfig {
  Origin origin;
  EmulatedDeviceSettings settings;
};

struct UsbipServerConfig {
  HostPort listen = {"127.0.0.1", usbip_port};
  bool insecure = false;
};
struct UsbipImportConfig {
  Origin origin;
  std::string name;
  HostPort address;
};

// Whom to trust beside the pinned keys: paths of PEM files, empty where there is none.
struct TrustConfig {
  std::string authority, certificate, key, revoked;
  bool loopback = false;
};

struct LimitsConfig {
  uint32_t sessions = limits::sessions_per_host_max;
};

struct SessionConfig {
  uint32_t resume_timeout_s = 30;
  uint32_t path_return_s = 10;
};

struct Config {
  HostConfig host;
  SessionConfig session;
  PolicyConfig policy;
  LimitsConfig limits;
  TrustConfig trust;
  std::vector<PeerConfig> peers;
  std::vector<ExportRule> exports;
  std::vector<VmConfig> vms;
  std::vector<NominalConfig> nominals;
  std::vector<AheadConfig> ahead;
  std::vector<SerialConfig> serials;
  std::vector<EmulatedConfig> emulated;
  std::optional<UsbipServerConfig> usbip_server;
  std::vector<UsbipImportConfig> usbip_imports;

  // Who set a key of a plain table, for messages: "host.listen" -> "farport.toml:3".
  std::map<std::string, std::string> set_by;
};

struct ConfigSources {
  std::string path = "/etc/farport/farport.toml";
  bool must_exist = false;  // the path was given by a person
  // FARPORT_HOST_LISTEN=... sets host.listen, and so on; others are left alone. Lists are separated
  // by commas.
  std::map<std::string, std::string> environment;
  // "host.listen" -> "127.0.0.1:0", from flags.
  std::map<std::string, std::string> overrides;
};
// The process's environment, those that begin with FARPORT_.
std::map<std::string, std::string> farport_environment();

// Everything that is wrong, not only the first thing. Each says where, what was found, what is
// expected.
struct ConfigReport {
  Config config;
  std::vector<std::string> files;     // those read, in order
  std::vector<std::string> errors;    // if there is one, `config` must not be used
  std::vector<std::string> warnings;  // said at every start: what is open to everyone, say
};
ConfigReport load_config(const ConfigSources& sources);
// The same for one text, without environment or folder: for tests and editors.
ConfigReport parse_config(std::string_view text, std::string_view file_name);
// All errors of a report as one, a line each; for whoever needs nothing but a Config.
Result<Config> config_or_error(ConfigReport report);

// What of a new configuration takes effect on a running daemon (SIGHUP).
struct ConfigChange {
  std::string key;     // "host.listen", "export", "vm"
  std::string before;  // as in the file; of arrays of tables, how many
  std::string after;
  bool restart = false;  // takes effect when the daemon is started again; otherwise at once
};
std::vector<ConfigChange> diff(const Config& before, const Config& after);

// `farport check-config --describe`: every key, its type, its default and its meaning.
std::string describe_config();
// The same as a farport.toml in which everything is commented out, at its default.
std::string example_config();

// The nominal rate that the configuration gives for a device; it comes before its descriptors.
std::optional<uint64_t> configured_nominal(const std::vector<NominalConfig>& nominals,
                                           const DeviceInfo& device);
// The threshold of a VM for a device, if it has one of its own. The last pattern that fits counts.
std::optional<Percent> device_threshold(const VmConfig& vm, const std::vector<std::string>& names);

}  // namespace farport
