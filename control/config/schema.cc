// The entries of the table: every key that a farport.toml may hold.
#include "control/config/schema.h"

#include <memory>
#include <type_traits>

#include "control/config/codec.h"

namespace farport::config {
namespace {

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

// A key of the struct T. `member` is a function from T& to the member that the key fills.
template <class T, class Member, class Codec>
Key key(const char* name, Member member, Codec codec, const char* help) {
  using Field = std::remove_cvref_t<decltype(member(std::declval<T&>()))>;
  Key key;
  key.name = name;
  key.type = Codec::type;
  key.help = help;
  key.read = [=](void* table, const Value& value) -> std::expected<void, std::string> {
    auto result = codec.read(value);
    if (!result) return std::unexpected(std::move(result.error()));
    if constexpr (IsOptional<Field>::value) {
      member(*static_cast<T*>(table)) = static_cast<typename Field::value_type>(*result);
    } else {
      member(*static_cast<T*>(table)) = static_cast<Field>(std::move(*result));
    }
    return {};
  };
  key.print = [=](const void* table) -> std::string {
    // `member` only names the field; nothing is written through it here.
    const Field& field = member(*static_cast<T*>(const_cast<void*>(table)));
    if constexpr (IsOptional<Field>::value) {
      return field ? codec.print(*field) : "";
    } else {
      return codec.print(field);
    }
  };
  return key;
}

// Shorthands: FIELD(HostConfig, name) is the member, to be given to key().
#define FIELD(Struct, member) [](Struct& table) -> auto& { return table.member; }

Key required(Key key, const char* example) {
  key.required = true;
  key.example = example;
  return key;
}
Key restart(Key key) {
  key.restart = true;
  return key;
}
Key example(Key key, const char* example) {
  key.example = example;
  return key;
}

constexpr Integer up_to(uint64_t max) { return {.min = 0, .max = max}; }
constexpr Integer between(uint64_t min, uint64_t max) { return {.min = min, .max = max}; }
constexpr uint64_t uint32_max = std::numeric_limits<uint32_t>::max();

// A table of its own: [name].
template <class T, class Member>
Section table(const char* name, Member member, const char* help, std::vector<Key> keys) {
  Section section;
  section.name = name;
  section.help = help;
  section.keys = std::move(keys);
  section.open = [=](void* parent, const Origin&) -> void* {
    return &member(*static_cast<Config*>(parent));
  };
  section.default_of = [](const Key& key) { return key.print(std::make_unique<T>().get()); };
  section.elements = [=](const void* parent) {
    return std::vector<const void*>{&member(*static_cast<Config*>(const_cast<void*>(parent)))};
  };
  return section;
}

// An array of tables: [[name]], within a Parent.
template <class Parent, class T, class Member>
Section array(const char* name, Member member, const char* help, std::vector<Key> keys) {
  Section section;
  section.name = name;
  section.help = help;
  section.array = true;
  section.keys = std::move(keys);
  section.open = [=](void* parent, const Origin& origin) -> void* {
    T& element = member(*static_cast<Parent*>(parent)).emplace_back();
    if constexpr (requires { element.origin = origin; }) element.origin = origin;
    return &element;
  };
  section.default_of = [](const Key& key) { return key.print(std::make_unique<T>().get()); };
  section.elements = [=](const void* parent) {
    std::vector<const void*> elements;
    for (const T& element : member(*static_cast<Parent*>(const_cast<void*>(parent)))) {
      elements.push_back(&element);
    }
    return elements;
  };
  return section;
}

Section host_section() {
  using T = HostConfig;
  const Choice<std::string> levels{{{"trace", "trace"},
                                    {"debug", "debug"},
                                    {"info", "info"},
                                    {"warn", "warn"},
                                    {"error", "error"}}};
  return table<T>(
      "host", FIELD(Config, host), "This host and its daemon.",
      {restart(key<T>("name", FIELD(T, name), String{},
                      "Name among the hosts: visible ASCII without spaces and \"/\". Empty: the "
                      "system's host name.")),
       restart(key<T>("listen", FIELD(T, listen), Addresses{},
                      "Where other hosts connect to. Beyond loopback by TLS with host keys only "
                      "(`farport trust`).")),
       restart(key<T>("socket", FIELD(T, socket), String{}, "The API's Unix socket.")),
       restart(key<T>("socket_group", FIELD(T, socket_group), String{},
                      "Group of the socket. Empty: the daemon's own.")),
       restart(key<T>("socket_mode", FIELD(T, socket_mode), Permissions{},
                      "Permissions of the socket.")),
       restart(key<T>("run_dir", FIELD(T, run_dir), String{},
                      "Folder for sockets and serial ports of attached devices.")),
       restart(key<T>("state_dir", FIELD(T, state_dir), String{},
                      "Folder for what outlives the daemon: decisions, keys.")),
       restart(key<T>("spin_us", FIELD(T, spin_us), up_to(1'000'000),
                      "How long a worker polls before it sleeps, in microseconds. Trades a core "
                      "for less latency.")),
       restart(key<T>("workers", FIELD(T, workers), between(1, 64), "Worker threads.")),
       restart(key<T>("memory_max", FIELD(T, memory_max_bytes), Size{.min = 64 << 20},
                      "Bound of all transfers' memory on one worker.")),
       key<T>("log_level", FIELD(T, log_level), levels,
              "What is logged: trace, debug, info, warn or error."),
       restart(key<T>("log_json", FIELD(T, log_json), Boolean{}, "Logs lines of JSON."))});
}

Section policy_section() {
  using T = PolicyConfig;
  const Choice<PolicyMode> modes{
      {{"recommend", PolicyMode::recommend}, {"auto", PolicyMode::automatic}}};
  return table<T>(
      "policy", FIELD(Config, policy), "When a VM should move to its devices.",
      {key<T>("mode", FIELD(T, settings.mode), modes,
              "recommend: say what should be done. auto: and do it."),
       key<T>("threshold", FIELD(T, settings.threshold), Percentage{},
              "Percent of a VM's allocation. A demand above it: migrate; equal or below: keep."),
       key<T>("window_s", FIELD(T, window_s), between(1, 60),
              "Window of the measured demand: 1, 10 or 60 seconds."),
       key<T>("hysteresis_percent", FIELD(T, settings.hysteresis), Percentage{},
              "A VM that has moved moves again only when the demand is over the threshold by this "
              "percentage of it."),
       key<T>("min_interval_s", FIELD(T, settings.min_interval_s), Seconds{},
              "Seconds between two moves of a VM."),
       key<T>("hold_evaluations", FIELD(T, settings.hold_evaluations), up_to(uint32_max),
              "A measured demand must hold for so many evaluations in a row."),
       key<T>("horizon_s", FIELD(T, settings.horizon_s), Seconds{.min = 1},
              "Seconds over which a move must save more bytes than it copies."),
       key<T>("interval_s", FIELD(T, interval_s), Seconds{.min = 1, .max = 3600},
              "Seconds between evaluations.")});
}

Section trust_section() {
  using T = TrustConfig;
  return table<T>(
      "trust", FIELD(Config, trust),
      "Whom this host trusts, beside the keys that `farport trust add` has pinned.",
      {key<T>("authority", FIELD(T, authority), String{},
              "Certificates (PEM) of those who certify hosts. Empty: pinned keys alone."),
       key<T>(
           "certificate", FIELD(T, certificate), String{},
           "This host's certificate by such an authority (PEM, with those between). It names the "
           "host as DNS:NAME. Empty: the host key is shown as it is."),
       key<T>("key", FIELD(T, key), String{},
              "The certificate's private key (PEM), which nobody else may read."),
       key<T>("revoked", FIELD(T, revoked), String{},
              "Lists of revoked certificates (PEM), one of each authority. Empty: none is asked "
              "for."),
       restart(key<T>("loopback", FIELD(T, loopback), Boolean{},
                      "Encrypts and asks for keys on loopback, too. Otherwise any user of this "
                      "machine can connect there as a host that is configured with loopback "
                      "addresses alone or, while host.listen has no others, that is not configured "
                      "and has no pinned key."))});
}

Section limits_section() {
  using T = LimitsConfig;
  return table<T>(
      "limits", FIELD(Config, limits), "Bounds of what peers and users may open.",
      {restart(key<T>("sessions", FIELD(T, sessions), between(1, limits::sessions_per_host_max),
                      "Sessions with other hosts."))});
}

Section session_section() {
  using T = SessionConfig;
  return table<T>(
      "session", FIELD(Config, session), "What happens when the network between two hosts is lost.",
      {restart(key<T>("resume_timeout_s", FIELD(T, resume_timeout_s), between(1, 3600),
                      "How long devices wait for the other host, in seconds, before they are "
                      "unplugged.")),
       restart(key<T>("path_return_s", FIELD(T, path_return_s), between(1, 3600),
                      "How long a better address must be well before it is gone back to, in "
                      "seconds. Longer each time it disappoints."))});
}

Section peer_section() {
  using T = PeerConfig;
  return array<Config, T>(
      "peer", FIELD(Config, peers), "Another host that runs farportd.",
      {required(key<T>("name", FIELD(T, name), String{}, "Its name, as in its own [host] name."),
                "\"west\""),
       example(key<T>("address", FIELD(T, address), Address{}, "Where it listens."),
               "\"192.0.2.7:7411\""),
       example(key<T>("addresses", FIELD(T, addresses), Addresses{},
                      "Several, in order of preference."),
               "[\"192.0.2.7:7411\", \"[2001:db8::7]:7411\"]")});
}

Section export_section() {
  using T = ExportRule;
  return array<Config, T>(
      "export", FIELD(Config, exports),
      "Who may use which devices of this host. Nothing is exported without such a rule.",
      {required(key<T>("device", FIELD(T, device), String{},
                       "Device names: a pattern in which * is anything."),
                "\"usb:046d:*\""),
       key<T>("hosts", FIELD(T, hosts), Strings{},
              "Hosts that may: patterns. None: no other host."),
       key<T>(
           "users", FIELD(T, users), Strings{},
           "Users of this host that may, besides root: \"user:NAME\", \"group:NAME\", \"uid:N\"."),
       key<T>("vms", FIELD(T, vms), Strings{}, "Only for these VMs: patterns. None: for any."),
       key<T>("deny", FIELD(T, deny), Boolean{},
              "Forbids instead. Wins over every rule that allows; without hosts and users it "
              "forbids everyone.")});
}

Section vm_section() {
  using T = VmConfig;
  using D = VmDeviceConfig;
  Section section = array<Config, T>(
      "vm", FIELD(Config, vms), "A VM that uses devices.",
      {required(key<T>("name", FIELD(T, name), String{}, "Its name."), "\"web\""),
       example(key<T>("allocation", FIELD(T, allocation_bytes_s), Rate{},
                      "Bandwidth granted to it. Unknown: its devices stay forwarded."),
               "\"100Mbit/s\""),
       example(key<T>("threshold", FIELD(T, threshold), Percentage{},
                      "Its own, in place of [policy] threshold."),
               "50"),
       key<T>("host", FIELD(T, host), String{}, "Where it runs. Empty: this host."),
       example(key<T>("memory", FIELD(T, memory_bytes), Size{}, "Its memory."), "\"4GiB\""),
       example(key<T>("cpus", FIELD(T, cpus), between(1, 4096), "Its CPUs."), "2"),
       example(key<T>("dirty_rate", FIELD(T, dirty_bytes_s), Rate{},
                      "How fast it writes its memory: what a live move copies again."),
               "\"20MB/s\"")});
  section.sections.push_back(array<T, D>(
      "device", FIELD(T, devices), "A device of the VM with a threshold of its own.",
      {required(key<D>("pattern", FIELD(D, pattern), String{}, "Device names: a pattern."),
                "\"usb:046d:*\""),
       required(key<D>("threshold", FIELD(D, threshold), Percentage{},
                       "In place of the VM's and of [policy] threshold."),
                "80")}));
  return section;
}

Section nominal_section() {
  using T = NominalConfig;
  return array<Config, T>(
      "nominal", FIELD(Config, nominals),
      "What a kind of device needs before it was measured; comes before its descriptors.",
      {required(key<T>("device", FIELD(T, device), String{}, "usb:VENDOR:PRODUCT in hexadecimal."),
                "\"usb:046d:0825\""),
       required(key<T>("rate", FIELD(T, bytes_s), Rate{}, "Its requirement."), "\"3MB/s\"")});
}

Section ahead_section() {
  using T = AheadConfig;
  return array<Config, T>(
      "ahead", FIELD(Config, ahead),
      "Rules that hide the network's latency for devices attached here, switched on or off: "
      "mass-storage, cdc-acm, ftdi, interrupt-in, isochronous-in (on unless switched off) and "
      "isochronous-out (off unless switched on). `farport stats ID` shows what each does.",
      {required(key<T>("device", FIELD(T, device), String{},
                       "Device names: a pattern in which * is anything."),
                "\"usb:0781:*\""),
       example(key<T>("on", FIELD(T, on), Strings{}, "Rules to use though they are off otherwise."),
               "[\"mass-storage\"]"),
       key<T>("off", FIELD(T, off), Strings{}, "Rules not to use. Wins over on.")});
}

Section serial_section() {
  using T = SerialConfig;
  Section section = array<Config, T>(
      "serial", FIELD(Config, serials), "A serial port to offer besides those that are found.",
      {required(key<T>("path", FIELD(T, path), String{}, "The device node."), "\"/dev/ttyS0\""),
       key<T>("name", FIELD(T, name), String{}, "Its name is serial:NAME. Empty: from the path.")});
  section.restart = true;
  return section;
}

Section emulated_section() {
  using T = EmulatedConfig;
  using F = EmulatedFault;
  const Choice<EmulatedKind> kinds{{{"disk", EmulatedKind::disk},
                                    {"source_sink", EmulatedKind::source_sink},
                                    {"serial", EmulatedKind::serial}}};
  const Choice<DataPattern> patterns{{{"none", DataPattern::none},
                                      {"zeros", DataPattern::zeros},
                                      {"mod63", DataPattern::mod63},
                                      {"counter", DataPattern::counter}}};
  const Choice<UsbSpeed> speeds{
      {{"full", UsbSpeed::full}, {"high", UsbSpeed::high}, {"super", UsbSpeed::super}}};
  const Choice<SerialMode> modes{
      {{"loopback", SerialMode::loopback}, {"chatter", SerialMode::chatter}}};
  const Choice<FaultKind> faults{{{"stall", FaultKind::stall},
                                  {"unplug", FaultKind::unplug},
                                  {"short", FaultKind::short_data},
                                  {"late", FaultKind::late}}};
  Section section = array<Config, T>(
      "emulated", FIELD(Config, emulated), "A device that exists only in the daemon.",
      {required(key<T>("name", FIELD(T, settings.name), String{},
                       "USB: its serial number. Serial port: serial:NAME."),
                "\"DISK0\""),
       required(key<T>("kind", FIELD(T, settings.kind), kinds, "disk, source_sink or serial."),
                "\"disk\""),
       key<T>("size", FIELD(T, settings.size_bytes), Size{}, "Disk: a multiple of 512."),
       key<T>("file", FIELD(T, settings.file), String{}, "Disk: its content. Empty: in memory."),
       key<T>("read_only", FIELD(T, settings.read_only), Boolean{}, "Disk: refuses writes."),
       key<T>("rate", FIELD(T, settings.rate_bytes_s), Rate{}, "Service rate. 0: no limit."),
       key<T>("delay_us", FIELD(T, settings.delay_us), up_to(uint32_max),
              "Service delay of each transfer, in microseconds."),
       key<T>("pattern", FIELD(T, settings.pattern), patterns,
              "source_sink: the data, none, zeros, mod63 or counter."),
       key<T>("speed", FIELD(T, settings.speed), speeds, "USB: full, high or super."),
       key<T>("vendor", FIELD(T, settings.vendor), UsbNumber{}, "USB. 0: the kind's own."),
       key<T>("product", FIELD(T, settings.product), UsbNumber{}, "USB. 0: the kind's own."),
       key<T>("mode", FIELD(T, settings.serial_mode), modes, "serial: loopback or chatter."),
       key<T>("lines_s", FIELD(T, settings.lines_s), between(1, 1'000'000),
              "serial in mode chatter: lines per second."),
       key<T>("fault_seed", FIELD(T, settings.fault_seed), Integer{},
              "Where the chances of faults begin."),
       key<T>("late_us", FIELD(T, settings.late_us), up_to(uint32_max),
              "How late a late transfer is, in microseconds.")});
  section.restart = true;
  section.sections.push_back(array<T, F>(
      "fault", FIELD(T, settings.faults), "A fault of the device: for tests.",
      {required(key<F>("kind", FIELD(F, kind), faults, "stall, unplug, short or late."),
                "\"stall\""),
       example(key<F>("every", FIELD(F, every), Integer{},
                      "At every n-th transfer. 0: by chance only."),
               "100"),
       key<F>("probability", FIELD(F, probability), Fraction{}, "Chance for each transfer."),
       key<F>("times_max", FIELD(F, times_max), Integer{}, "At most so often. 0: no limit.")}));
  return section;
}

Section usbip_server_section() {
  using T = UsbipServerConfig;
  Section section;
  section.name = "usbip_server";
  section.help =
      "Serves exported USB devices to stock `usbip attach`. Off unless this table is there: the "
      "protocol has no authentication.";
  section.keys = {
      restart(key<T>("listen", FIELD(T, listen), Address{.default_port = usbip_port},
                     "Beyond loopback only with insecure = true.")),
      restart(key<T>("insecure", FIELD(T, insecure), Boolean{},
                     "Allows an address beyond loopback, where anyone may take a device."))};
  section.restart = true;
  section.open = [](void* parent, const Origin&) -> void* {
    auto& server = static_cast<Config*>(parent)->usbip_server;
    if (!server) server.emplace();
    return &*server;
  };
  section.default_of = [](const Key& key) { return key.print(std::make_unique<T>().get()); };
  section.elements = [](const void* parent) -> std::vector<const void*> {
    const auto& server = static_cast<const Config*>(parent)->usbip_server;
    if (!server) return {};
    return {&*server};
  };
  return section;
}

Section usbip_import_section() {
  using T = UsbipImportConfig;
  Section section = array<Config, T>(
      "usbip_import", FIELD(Config, usbip_imports),
      "A host with a stock usbipd, whose devices are offered as this host's.",
      {required(key<T>("name", FIELD(T, name), String{}, "A name for it."), "\"lab\""),
       required(key<T>("address", FIELD(T, address), Address{.default_port = usbip_port},
                       "Where its usbipd listens."),
                "\"192.0.2.9:3240\"")});
  section.restart = true;
  return section;
}
#undef FIELD

Section make_schema() {
  Section root;
  root.sections = {host_section(),         peer_section(),         export_section(),
                   vm_section(),           nominal_section(),      policy_section(),
                   ahead_section(),        serial_section(),       emulated_section(),
                   usbip_server_section(), usbip_import_section(), session_section(),
                   limits_section(),       trust_section()};
  return root;
}

}  // namespace

const Section& schema() {
  static const Section root = make_schema();
  return root;
}

std::string print_table(const Section& section, const void* table) {
  std::string text;
  for (const Key& key : section.keys) {
    text += fmt::format("{} = {}\n", key.name, key.print(table));
  }
  for (const Section& inner : section.sections) {
    for (const void* element : inner.elements(table)) {
      text += fmt::format("[{}]\n{}", inner.name, print_table(inner, element));
    }
  }
  return text;
}

}  // namespace farport::config
