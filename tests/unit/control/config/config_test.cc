#include "control/config/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "control/config/reader.h"

namespace farport {
namespace {

namespace fs = std::filesystem;

Config good(std::string_view text) {
  ConfigReport report = parse_config(text, "f.toml");
  for (const std::string& error : report.errors) ADD_FAILURE() << error;
  return report.config;
}

TEST(Config, NothingSaidIsTheDefaults) {
  const Config config = good("");
  EXPECT_FALSE(config.host.name.empty());
  ASSERT_EQ(config.host.listen.size(), 1u);
  EXPECT_EQ(format_host_port(config.host.listen[0]), "127.0.0.1:7411");
  EXPECT_EQ(config.host.socket, "/run/farport/farport.sock");
  EXPECT_EQ(config.host.memory_max_bytes, 1u << 30);
  EXPECT_EQ(config.policy.settings, PolicySettings{});
  EXPECT_TRUE(config.exports.empty());
  EXPECT_FALSE(config.usbip_server);
}

TEST(Config, EveryKeyArrives) {
  const Config config = good(R"(
[host]
name = "west"
listen = ["127.0.0.1:0", "[::1]:7000"]
socket = "/tmp/s"
socket_group = "usb"
socket_mode = "0600"
run_dir = "/tmp/run"
state_dir = "/tmp/state"
spin_us = 50
workers = 2
memory_max = "256MiB"
log_level = "debug"
log_json = true
[policy]
mode = "auto"
threshold = 12.5
window_s = 60
hysteresis_percent = 20
min_interval_s = "10min"
hold_evaluations = 5
horizon_s = "1h"
interval_s = 2
[limits]
sessions = 4
[[peer]]
name = "east"
address = "192.0.2.7"
addresses = ["[2001:db8::7]:1"]
[[export]]
device = "usb:046d:*"
hosts = ["east"]
users = ["user:ada", "group:usb", "uid:7"]
vms = ["web*"]
deny = true
[[vm]]
name = "web"
host = "east"
allocation = "100Mbit/s"
threshold = 40
memory = "4GiB"
cpus = 2
dirty_rate = "20MB/s"
[[vm.device]]
pattern = "usb:*"
threshold = 80
[[vm.device]]
pattern = "usb:1d6b:*"
threshold = 90
[[nominal]]
device = "usb:046D:0825"
rate = "3MB/s"
[[ahead]]
device = "usb:0781:*"
on = ["mass-storage"]
off = ["mass-storage"]
[[serial]]
path = "/dev/ttyS0"
name = "console"
[[emulated]]
name = "DISK0"
kind = "disk"
size = "1MiB"
file = "/tmp/disk"
read_only = true
rate = "5MB/s"
delay_us = 100
speed = "super"
vendor = "1d6b"
product = 0x0105
fault_seed = 9
late_us = 7
[[emulated.fault]]
kind = "short"
every = 3
probability = 0.5
times_max = 2
[[emulated]]
name = "PORT0"
kind = "serial"
mode = "chatter"
lines_s = 20
[[emulated]]
name = "SS"
kind = "source_sink"
pattern = "counter"
[usbip_server]
listen = "127.0.0.1:0"
[[usbip_import]]
name = "lab"
address = "192.0.2.9"
)");
  EXPECT_EQ(config.host.name, "west");
  EXPECT_EQ(config.host.listen[1], (HostPort{"::1", 7000}));
  EXPECT_EQ(config.host.socket_group, "usb");
  EXPECT_EQ(config.host.socket_mode, 0600u);
  EXPECT_EQ(config.host.run_dir, "/tmp/run");
  EXPECT_EQ(config.host.state_dir, "/tmp/state");
  EXPECT_EQ(config.host.spin_us, 50u);
  EXPECT_EQ(config.host.workers, 2u);
  EXPECT_EQ(config.host.memory_max_bytes, 256u << 20);
  EXPECT_EQ(config.host.log_level, "debug");
  EXPECT_TRUE(config.host.log_json);

  const PolicySettings& policy = config.policy.settings;
  EXPECT_EQ(policy.mode, PolicyMode::automatic);
  EXPECT_EQ(policy.threshold, Percent{1250});
  EXPECT_EQ(policy.hysteresis, Percent::of(20));
  EXPECT_EQ(policy.min_interval_s, 600u);
  EXPECT_EQ(policy.hold_evaluations, 5u);
  EXPECT_EQ(policy.horizon_s, 3600u);
  EXPECT_EQ(config.policy.window_s, 60u);
  EXPECT_EQ(config.policy.interval_s, 2u);
  EXPECT_EQ(config.limits.sessions, 4u);

  ASSERT_EQ(config.peers.size(), 1u);
  EXPECT_EQ(config.peers[0].name, "east");
  EXPECT_EQ(config.peers[0].addresses,
            (std::vector<HostPort>{{"192.0.2.7", 7411}, {"2001:db8::7", 1}}));
  EXPECT_EQ(config.exports[0].device, "usb:046d:*");
  EXPECT_EQ(config.exports[0].users.size(), 3u);
  EXPECT_TRUE(config.exports[0].deny);
  EXPECT_EQ(format_origin(config.exports[0].origin), "f.toml:30");

  const VmConfig& vm = config.vms[0];
  EXPECT_EQ(vm.host, "east");
  EXPECT_EQ(vm.allocation_bytes_s, 12'500'000u);
  EXPECT_EQ(vm.threshold, Percent::of(40));
  EXPECT_EQ(vm.memory_bytes, uint64_t{4} << 30);
  EXPECT_EQ(vm.cpus, 2u);
  EXPECT_EQ(vm.dirty_bytes_s, 20'000'000u);
  EXPECT_EQ(device_threshold(vm, {"usb:0001:0002:X"}), Percent::of(80));
  EXPECT_EQ(device_threshold(vm, {"usb:1d6b:0104:X"}), Percent::of(90));
  EXPECT_EQ(device_threshold(vm, {"serial:x"}), std::nullopt);

  DeviceInfo camera;
  camera.vendor = 0x046d;
  camera.product = 0x0825;
  EXPECT_EQ(configured_nominal(config.nominals, camera), 3'000'000u);
  camera.product = 1;
  EXPECT_EQ(configured_nominal(config.nominals, camera), std::nullopt);

  ASSERT_EQ(config.ahead.size(), 1u);
  EXPECT_EQ(config.ahead[0].device, "usb:0781:*");
  EXPECT_EQ(config.ahead[0].on, std::vector<std::string>{"mass-storage"});
  EXPECT_EQ(config.ahead[0].off, std::vector<std::string>{"mass-storage"});
  EXPECT_EQ(config.serials[0].path, "/dev/ttyS0");
  EXPECT_EQ(config.serials[0].name, "console");
  ASSERT_EQ(config.emulated.size(), 3u);
  const EmulatedDeviceSettings& disk = config.emulated[0].settings;
  EXPECT_EQ(disk.name, "DISK0");
  EXPECT_EQ(disk.kind, EmulatedKind::disk);
  EXPECT_EQ(disk.size_bytes, 1u << 20);
  EXPECT_EQ(disk.file, "/tmp/disk");
  EXPECT_TRUE(disk.read_only);
  EXPECT_EQ(disk.rate_bytes_s, 5'000'000u);
  EXPECT_EQ(disk.delay_us, 100u);
  EXPECT_EQ(disk.speed, UsbSpeed::super);
  EXPECT_EQ(disk.vendor, 0x1d6b);
  EXPECT_EQ(disk.product, 0x0105);
  EXPECT_EQ(disk.fault_seed, 9u);
  EXPECT_EQ(disk.late_us, 7u);
  ASSERT_EQ(disk.faults.size(), 1u);
  EXPECT_EQ(disk.faults[0].kind, FaultKind::short_data);
  EXPECT_EQ(disk.faults[0].every, 3u);
  EXPECT_EQ(disk.faults[0].probability, 0.5);
  EXPECT_EQ(disk.faults[0].times_max, 2u);
  EXPECT_EQ(config.emulated[1].settings.serial_mode, SerialMode::chatter);
  EXPECT_EQ(config.emulated[1].settings.lines_s, 20u);
  EXPECT_EQ(config.emulated[2].settings.pattern, DataPattern::counter);
  EXPECT_EQ(config.usbip_server->listen, (HostPort{"127.0.0.1", 0}));
  EXPECT_EQ(config.usbip_imports[0].address, (HostPort{"192.0.2.9", 3240}));
}

// --- everything that can be wrong ---

struct WrongCase {
  std::string text;
  std::string error;  // the beginning of the only one
};
void PrintTo(const WrongCase& c, std::ostream* out) { *out << c.text; }

class WrongConfig : public testing::TestWithParam<WrongCase> {};

TEST_P(WrongConfig, IsRefusedWithItsPlace) {
  const ConfigReport report = parse_config(GetParam().text, "f.toml");
  ASSERT_EQ(report.errors.size(), 1u) << testing::PrintToString(report.errors);
  EXPECT_EQ(report.errors[0].substr(0, GetParam().error.size()), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, WrongConfig,
    testing::Values(
        WrongCase{"[host]\nlisten_on = []",
                  "f.toml:2: unknown key \"listen_on\" in [host]: did you mean listen?"},
        WrongCase{"[host]\n\nworker = 2",
                  "f.toml:3: unknown key \"worker\" in [host]: did you mean workers?"},
        WrongCase{"[hots]", "f.toml:1: unknown key \"hots\": did you mean host?"},
        WrongCase{"[[exports]]\ndevice = \"*\"",
                  "f.toml:1: unknown key \"exports\": did you mean export?"},
        WrongCase{"[policy]\ntreshold = 5",
                  "f.toml:2: unknown key \"treshold\" in [policy]: did you mean threshold?"},
        WrongCase{"[host]\nfrobnicate = 1", "f.toml:2: unknown key \"frobnicate\" in [host]"},
        WrongCase{"workers = 1",
                  "f.toml:1: unknown key \"workers\": did you mean workers, under [host]?"},
        WrongCase{"[host]\nthreshold = 1",
                  "f.toml:2: unknown key \"threshold\" in [host]: did you mean threshold, under"},
        WrongCase{"[[vm]]\nname = \"a\"\n[[vm.devices]]\npattern = \"*\"",
                  "f.toml:3: unknown key \"devices\" in [[vm]]: did you mean device?"},
        WrongCase{"[vm]\nname = \"a\"",
                  "f.toml:1: vm: found a table, expected an array of tables: write [[vm]]"},
        WrongCase{"[[host]]\nname = \"a\"",
                  "f.toml:1: host: found an array of tables, expected a table: write [host]"},
        WrongCase{"host = 3", "f.toml:1: host: found the number 3, expected a table"},
        WrongCase{"vm = [1]", "f.toml:1: vm: found a list with something else"},
        WrongCase{"[[peer]]\naddress = \"b:1\"", "f.toml:1: [[peer]] needs name, as name = "},
        WrongCase{"[[nominal]]\ndevice = \"usb:046d:0825\"",
                  "f.toml:1: [[nominal]] needs rate, as rate = \"3MB/s\""},
        WrongCase{"[host", "f.toml:1: "},
        WrongCase{"[host]\nname = \"a\"\nname = \"b\"", "f.toml:3: "}));

INSTANTIATE_TEST_SUITE_P(
    Types, WrongConfig,
    testing::Values(
        WrongCase{"[host]\nname = 3",
                  "f.toml:2: host.name: found the number 3, expected a text in quotes"},
        WrongCase{"[host]\nlog_json = \"yes\"",
                  "f.toml:2: host.log_json: found the text \"yes\", expected true or false"},
        WrongCase{
            "[host]\nworkers = \"2\"",
            "f.toml:2: host.workers: found the text \"2\", expected a whole number from 1 to 64"},
        WrongCase{"[host]\nworkers = 0", "f.toml:2: host.workers: found the number 0, expected"},
        WrongCase{"[host]\nworkers = 1.5",
                  "f.toml:2: host.workers: found the number 1.5, expected"},
        WrongCase{"[host]\nspin_us = -1", "f.toml:2: host.spin_us: found the number -1, expected"},
        WrongCase{"[host]\nworkers = 1979-05-27",
                  "f.toml:2: host.workers: found a date or time, expected"},
        WrongCase{"[host]\nname = {}", "f.toml:2: host.name: found a table, expected a text"},
        WrongCase{
            "[host]\nlisten = \"127.0.0.1:1\"",
            "f.toml:2: host.listen: found the text \"127.0.0.1:1\", expected a list of addresses"},
        WrongCase{"[host]\nlisten = [1]",
                  "f.toml:2: host.listen: found a list with something else than texts, expected"},
        WrongCase{"[host]\nlisten = [\"::1:7411\"]",
                  "f.toml:2: host.listen: found a list of texts, expected \"::1:7411\" is not an "
                  "address: put an IPv6"},
        WrongCase{
            "[host]\nsocket_mode = 660",
            "f.toml:2: host.socket_mode: found the number 660, expected permissions in octal"},
        WrongCase{"[host]\nsocket_mode = \"0888\"", "f.toml:2: host.socket_mode: found the text"},
        WrongCase{"[host]\nmemory_max = \"lots\"",
                  "f.toml:2: host.memory_max: found the text \"lots\", expected"},
        WrongCase{"[host]\nmemory_max = 5",
                  "f.toml:2: host.memory_max: found the number 5, expected a "
                  "size of at least \"64MiB\""},
        WrongCase{"[host]\nlog_level = \"loud\"",
                  "f.toml:2: host.log_level: found the text \"loud\", expected one of \"trace\""},
        WrongCase{"[policy]\nmode = \"manual\"",
                  "f.toml:2: policy.mode: found the text \"manual\", expected one of \"recommend\" "
                  "\"auto\""},
        WrongCase{"[policy]\nthreshold = -1", "f.toml:2: policy.threshold: found the number -1"},
        WrongCase{"[policy]\nthreshold = 0.001",
                  "f.toml:2: policy.threshold: found the number 0.001"},
        WrongCase{"[policy]\nthreshold = nan", "f.toml:2: policy.threshold: found the number nan"},
        WrongCase{"[policy]\nthreshold = 1001",
                  "f.toml:2: policy.threshold: found the number 1001"},
        WrongCase{"[policy]\ninterval_s = 0", "f.toml:2: policy.interval_s: found the number 0"},
        WrongCase{
            "[policy]\nmin_interval_s = \"500ms\"",
            "f.toml:2: policy.min_interval_s: found the text \"500ms\", expected whole seconds"},
        WrongCase{"[policy]\nwindow_s = 30",
                  "f.toml:2: policy.window_s: found 30, expected 1, 10 or 60"},
        WrongCase{"[[vm]]\nname = \"a\"\nallocation = \"fast\"",
                  "f.toml:3: vm.allocation: found the text \"fast\", expected"},
        WrongCase{"[[emulated]]\nname = \"D\"\nkind = \"tape\"",
                  "f.toml:3: emulated.kind: found the text \"tape\", expected one of"},
        WrongCase{"[[emulated]]\nname = \"D\"\nkind = \"disk\"\nvendor = \"xyz\"",
                  "f.toml:4: emulated.vendor: found the text \"xyz\", expected a USB number"},
        WrongCase{"[[emulated]]\nname = \"D\"\nkind = \"disk\"\n[[emulated.fault]]\nkind = "
                  "\"stall\"\nprobability = 2",
                  "f.toml:6: emulated.fault.probability: found the number 2, expected"}));

INSTANTIATE_TEST_SUITE_P(
    Whole, WrongConfig,
    testing::Values(
        WrongCase{"[host]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
                  "f.toml:2: host.listen: 127.0.0.1:1 is there twice"},
        WrongCase{"[host]\nsocket = \"farport.sock\"",
                  "f.toml:2: host.socket: found \"farport.sock\", expected an absolute path"},
        WrongCase{"[host]\nsocket = \"/" + std::string(107, 'x') + "\"",
                  "f.toml:2: host.socket: a socket's path has at most 107 bytes"},
        WrongCase{"[host]\nname = \"a/b\"",
                  "f.toml:2: host.name: found \"a/b\", expected 1 to 253 visible ASCII characters "
                  "without spaces and \"/\""},
        // None of these could be pinned: known_hosts has lines of words.
        WrongCase{"[host]\nname = \"my desk\"", "f.toml:2: host.name: found \"my desk\", expected"},
        WrongCase{"[host]\nname = \"#desk\"", "f.toml:2: host.name: found \"#desk\", expected"},
        WrongCase{"[host]\nname = \"-desk\"", "f.toml:2: host.name: found \"-desk\", expected"},
        WrongCase{"[host]\nname = \"büro\"", "f.toml:2: host.name: found"},
        WrongCase{"[host]\nname = \"" + std::string(254, 'x') + "\"", "f.toml:2: host.name: found"},
        WrongCase{"[[peer]]\nname = \"the lab\"\naddress = \"b\"",
                  "f.toml:1: peer.name: found \"the lab\", expected 1 to 253 visible ASCII"},
        WrongCase{"[[peer]]\nname = \"a/b\"\naddress = \"b\"",
                  "f.toml:1: peer.name: found \"a/b\", expected"},
        WrongCase{"[usbip_server]\nlisten = \"0.0.0.0\"",
                  "f.toml:2: usbip_server.listen: 0.0.0.0:3240 is beyond loopback"},
        WrongCase{
            "[[peer]]\nname = \"a\"\naddress = \"b\"\n[[peer]]\nname = \"a\"\naddress = \"c\"",
            "f.toml:4: peer \"a\" is there twice, first at f.toml:1"},
        WrongCase{"[[peer]]\nname = \"a\"", "f.toml:1: peer \"a\" needs an address"},
        WrongCase{"[[peer]]\nname = \"a\"\naddress = \"b:0\"",
                  "f.toml:1: peer \"a\": port 0 cannot be connected to"},
        WrongCase{"[[peer]]\nname = \"\"\naddress = \"b\"", "f.toml:1: peer has an empty name"},
        WrongCase{"[host]\nname = \"a\"\n[[peer]]\nname = \"a\"\naddress = \"b\"",
                  "f.toml:3: peer \"a\" has this host's own name"},
        WrongCase{"[[vm]]\nname = \"a\"\n[[vm]]\nname = \"a\"",
                  "f.toml:3: VM \"a\" is there twice, first at f.toml:1"},
        WrongCase{"[[export]]\ndevice = \"*\"\nusers = [\"ada\"]",
                  "f.toml:1: export.users: found \"ada\", expected \"user:NAME\""},
        WrongCase{"[[export]]\ndevice = \"*\"\nusers = [\"uid:x\"]", "f.toml:1: export.users"},
        WrongCase{"[[export]]\ndevice = \"\"", "f.toml:1: export.device is empty"},
        WrongCase{"[[nominal]]\ndevice = \"usb:46d:825\"\nrate = 1",
                  "f.toml:1: nominal.device: found \"usb:46d:825\", expected vendor and product"},
        WrongCase{"[[nominal]]\ndevice = \"usb:046d:0825\"\nrate = 0", "f.toml:1: nominal.rate"},
        WrongCase{"[[nominal]]\ndevice = \"usb:046d:0825\"\nrate = 1\n[[nominal]]\ndevice = "
                  "\"usb:046D:0825\"\nrate = 2",
                  "f.toml:4: nominal rate of \"usb:046d:0825\" is there twice"},
        WrongCase{"[[ahead]]\ndevice = \"\"", "f.toml:1: ahead.device is empty"},
        WrongCase{"[[ahead]]\ndevice = \"*\"\noff = [\"mass_storage\"]",
                  "f.toml:1: ahead.off: found \"mass_storage\", expected a rule: \"mass-storage\""},
        WrongCase{"[[serial]]\npath = \"ttyS0\"", "f.toml:1: serial.path: found \"ttyS0\""},
        WrongCase{"[[emulated]]\nname = \"a b\"\nkind = \"disk\"",
                  "f.toml:1: emulated device \"a b\": the name must be"},
        WrongCase{"[[emulated]]\nname = \"D\"\nkind = \"disk\"\nsize = 1000",
                  "f.toml:1: emulated device \"D\": size_bytes must be a multiple of 512"},
        WrongCase{"[[emulated]]\nname = \"D\"\nkind = \"disk\"\n[[emulated]]\nname = \"D\"\nkind = "
                  "\"disk\"",
                  "f.toml:4: emulated device \"usb:1d6b:0104:D\" is there twice"}));

TEST(Config, AllErrorsAreReported) {
  const ConfigReport report =
      parse_config("[host]\nworkres = 1\nname = 3\n[polcy]\n[[peer]]\n", "f.toml");
  EXPECT_EQ(report.errors.size(), 4u) << testing::PrintToString(report.errors);
  const auto config = config_or_error(report);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::usage);
  EXPECT_EQ(std::ranges::count(config.error().message, '\n'), 3);
}

TEST(Config, TrustsFilesGoTogether) {
  const Config config = good(
      "[trust]\nauthority = \"/a\"\ncertificate = \"/c\"\nkey = \"/k\"\nrevoked = \"/r\"\n"
      "loopback = true\n");
  EXPECT_EQ(config.trust.authority, "/a");
  EXPECT_EQ(config.trust.certificate, "/c");
  EXPECT_EQ(config.trust.key, "/k");
  EXPECT_EQ(config.trust.revoked, "/r");
  EXPECT_TRUE(config.trust.loopback);
  EXPECT_FALSE(good("").trust.loopback);
  const std::pair<std::string, std::string> wrong[] = {
      {"[trust]\nkey = \"/k\"\n", "f.toml:2: trust.certificate and trust.key go together"},
      {"[trust]\ncertificate = \"/c\"\n", "f.toml:2: trust.certificate and trust.key go"},
      {"[trust]\nrevoked = \"/r\"\n", "f.toml:2: trust.revoked needs trust.authority"},
      {"[trust]\nauthority = \"a.pem\"\n", "trust.authority: found \"a.pem\", expected an abs"},
      {"[trust]\ncerts = \"/c\"\n", "certs"},
  };
  for (const auto& [text, says] : wrong) {
    const ConfigReport report = parse_config(text, "f.toml");
    ASSERT_EQ(report.errors.size(), 1u) << text;
    EXPECT_NE(report.errors[0].find(says), std::string::npos) << report.errors[0];
  }
}

TEST(Config, InsecureIsAllowedAndWarnedOf) {
  const ConfigReport report =
      parse_config("[usbip_server]\nlisten = \"[::]:3240\"\ninsecure = true\n", "f.toml");
  EXPECT_TRUE(report.errors.empty());
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("[::]:3240 listens beyond loopback"), std::string::npos);
}

// Beyond loopback sessions are encrypted; nothing needs to be said for that.
TEST(Config, ListensBeyondLoopback) {
  const ConfigReport report = parse_config("[host]\nlisten = [\"[::]:7411\"]\n", "f.toml");
  EXPECT_TRUE(report.errors.empty());
  EXPECT_TRUE(report.warnings.empty());
}

// --- reload ---

struct DiffCase {
  std::string before, after, key;
  bool restart;
};

TEST(ConfigDiff, SaysWhatTakesEffectWhen) {
  const DiffCase cases[] = {
      {"", "[host]\nlisten = [\"127.0.0.1:1\"]", "host.listen", true},
      {"", "[host]\nlog_level = \"debug\"", "host.log_level", false},
      {"", "[policy]\nthreshold = 60", "policy.threshold", false},
      {"", "[policy]\nmode = \"auto\"", "policy.mode", false},
      {"", "[limits]\nsessions = 3", "limits.sessions", true},
      {"", "[[export]]\ndevice = \"*\"", "export", false},
      {"[[export]]\ndevice = \"*\"", "[[export]]\ndevice = \"*\"\nhosts = [\"a\"]", "export",
       false},
      {"[[vm]]\nname = \"a\"\n[[vm.device]]\npattern = \"*\"\nthreshold = 1",
       "[[vm]]\nname = \"a\"\n[[vm.device]]\npattern = \"*\"\nthreshold = 2", "vm", false},
      {"[[peer]]\nname = \"p\"\naddress = \"b\"", "[[peer]]\nname = \"p\"\naddress = \"c\"", "peer",
       false},
      {"", "[[emulated]]\nname = \"D\"\nkind = \"disk\"", "emulated", true},
      {"", "[usbip_server]", "usbip_server", true},
      {"[usbip_server]", "[usbip_server]\nlisten = \"127.0.0.1:1\"", "usbip_server.listen", true},
  };
  for (const DiffCase& c : cases) {
    const auto changes = diff(good(c.before), good(c.after));
    ASSERT_EQ(changes.size(), 1u) << c.after;
    EXPECT_EQ(changes[0].key, c.key);
    EXPECT_EQ(changes[0].restart, c.restart) << c.key;
    EXPECT_NE(changes[0].after, "") << c.key;
    EXPECT_TRUE(diff(good(c.after), good(c.after)).empty());
  }
  const auto changes = diff(good(""), good("[policy]\nthreshold = 60"));
  EXPECT_EQ(changes[0].before, "50");
  EXPECT_EQ(changes[0].after, "60");
  // Where a rule stands makes no difference.
  EXPECT_TRUE(
      diff(good("[[export]]\ndevice = \"*\""), good("\n\n[[export]]\ndevice = \"*\"")).empty());
}

// --- documentation from the same table ---

TEST(ConfigDocumentation, DescribesEveryKey) {
  const std::string text = describe_config();
  for (const config::Section& section : config::schema().sections) {
    EXPECT_NE(text.find(section.array ? "[[" + section.name + "]]" : "[" + section.name + "]"),
              std::string::npos);
    for (const config::Key& key : section.keys) {
      EXPECT_NE(text.find("  " + key.name + " ("), std::string::npos) << key.name;
      EXPECT_FALSE(key.help.empty()) << key.name;
    }
  }
  EXPECT_NE(text.find("threshold (percentage, default 50)"), std::string::npos) << text;
  EXPECT_NE(text.find("listen (list of addresses, default [\"127.0.0.1:7411\"], needs a restart)"),
            std::string::npos);
}

std::string uncommented(const std::string& example) {
  std::string text;
  for (size_t begin = 0; begin < example.size();) {
    const size_t end = example.find('\n', begin);
    std::string line = example.substr(begin, end - begin);
    // "#key = value" is a setting, "# words" is not.
    if (line.starts_with("# ")) line = "";
    if (line.starts_with('#')) line.erase(0, 1);
    text += line + '\n';
    begin = end + 1;
  }
  return text;
}

TEST(ConfigDocumentation, TheExampleIsRightCommentedAndUncommented) {
  const std::string example = example_config();
  EXPECT_TRUE(diff(good(example), good("")).empty());
  const std::string text = uncommented(example);
  const Config config = good(text);
  EXPECT_EQ(config.vms.size(), 1u) << text;
  EXPECT_EQ(config.emulated.size(), 1u);
  // The plain tables show the defaults.
  for (const ConfigChange& change : diff(good(""), config)) {
    EXPECT_EQ(change.key.find('.'), std::string::npos) << change.key << " " << change.after;
  }
}

// --- robustness ---

// Whatever a file holds is answered, never crashed on.
TEST(Config, AnyTextIsAnswered) {
  const std::string whole = uncommented(example_config());
  std::mt19937_64 random(31);
  for (int i = 0; i < 1'000; ++i) {
    std::string text = whole.substr(random() % whole.size());
    text.resize(std::min<size_t>(text.size(), random() % 2'000));
    for (auto n = random() % 4; n > 0 && !text.empty(); --n) {
      text[random() % text.size()] = static_cast<char>(random() % 256);
    }
    const ConfigReport report = parse_config(text, "f.toml");
    for (const std::string& error : report.errors) ASSERT_FALSE(error.empty());
  }
}

TEST(Config, NearestNames) {
  const std::vector<std::string> known = {"listen", "name", "threshold"};
  EXPECT_EQ(config::nearest("lisetn", known), "listen");
  EXPECT_EQ(config::nearest("treshhold", known), "threshold");
  EXPECT_EQ(config::nearest("nmae", known), "name");
  EXPECT_EQ(config::nearest("completely", known), "");
  EXPECT_EQ(config::nearest("", known), "");
}

}  // namespace
}  // namespace farport
