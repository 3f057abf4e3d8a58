// What a daemon can be asked, as a seam: the API server, the CLI's demo and tests stand on this and
// know nothing else of the daemon. The daemon's own is DaemonService (daemon_service.h); a fake is
// any other class that derives from Service.
//
// Thread rule: everything is called on the control thread (the one that runs the daemon's
// io_context), and every callback comes there, exactly once, possibly from inside the call. A
// callback may outlive its caller: whoever passes one keeps what it captures alive.
//
// Errors carry the code that fits (not_found, busy, denied, timed_out, unreachable, usage) and a
// message that says what was wrong, where, and what to do.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/daemon/trust_report.h"
#include "dataplane/compression.h"
#include "dataplane/error.h"
#include "dataplane/meter.h"
#include "devices/device_info.h"
#include "drivers/driver.h"

namespace farport {

// Who asks, by SO_PEERCRED of the Unix socket; names looked up by the API server.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;
  std::string user;                 // "root"; the number as text when there is no such user
  std::vector<std::string> groups;  // names, the primary one first
};

struct VersionInfo {
  std::string version;           // "0.1.0"
  std::string api_version;       // "v1"
  std::string protocol_version;  // of the wire format, "1.1"
  std::string host;              // this host's name
  std::string boot_id;           // 32 hex digits, new at every start of the daemon
  int64_t started_unix_ms = 0;
  pid_t pid = 0;
};

// Who holds a device.
struct Holder {
  std::string host;  // the consumer's host
  std::string vm;    // empty: no VM
  std::string user;  // who asked for it, on that host
  int64_t since_unix_ms = 0;
};

// One of a host's addresses, in order of preference.
struct PathEntry {
  std::string address;
  std::string state;  // "in use", "well" (by probes) or "not in use"
};

struct HostEntry {
  std::string name;
  bool self = false;
  std::string address;        // "192.0.2.7:7411"; where it listens, for this host
  std::string state;          // "self", "connected", "resuming", "connecting" or "unreachable"
  int64_t since_unix_ms = 0;  // of the state
  std::string error;          // why it is not connected
  uint32_t channels = 0;      // open between it and this host
  std::string fingerprint;    // of its key; empty: not encrypted
  uint64_t resumes = 0;       // connections that this session has survived
  std::vector<PathEntry> paths;
  CompressionCounters compression;  // of bulk payload, as this end sent it and received it
};

struct DeviceEntry {
  std::string host;
  DeviceInfo info;
  std::string source;            // "usb", "serial", "usbip", "emulated"
  uint64_t nominal_bytes_s = 0;  // 0: unknown
  bool allowed = false;          // this host may attach it, by the device host's rules
  std::string reason;            // why not, or which rule allows it
  std::optional<Holder> holder;  // none: free
};

// A part of an answer that could not be had: the answer goes on without it.
struct Problem {
  std::string host;
  Error error;
};

struct DeviceList {
  std::vector<DeviceEntry> devices;
  std::vector<Problem> problems;
};

struct AttachRequest {
  std::string host;    // of the device; empty: this host
  std::string device;  // a name or an alias
  std::string
      driver;        // "vhci", "pty", "rfc2217", "usbip", "initiator"; empty: by the device's kind
  std::string name;  // of what is presented (the pty's file name); empty: made from the device's
  std::string vm;    // whose allocation is weighed; empty: none
  std::string listen;  // rfc2217: "ADDRESS:PORT"; empty: 127.0.0.1 and a free port
  std::string line;    // pty: "2400 7E2", set on the port at once; empty: as the port is
  // Kept until it is detached: waits for its device, comes back after a loss, outlives restarts.
  bool persistent = false;
  // Persistent: how long the answer may wait for the device, in seconds; then it says "waiting".
  uint32_t wait_s = 0;
};
inline constexpr uint32_t attach_wait_s_max = 3600;

// Why an attachment has no device now.
struct Waiting {
  int64_t since_unix_ms = 0;
  ErrorCode code = ErrorCode::failed;  // not_found, busy, denied, unreachable, ...
  std::string reason;
  int64_t next_try_unix_ms = 0;  // 0: when something changes (the host connects, say)
  int64_t until_unix_ms = 0;     // it is given up then; 0: never
};

struct Attachment {
  std::string id;  // "att-1"
  std::string device_host;
  std::string device;  // the stable name
  std::vector<std::string> aliases;
  std::string description;
  DeviceKind kind = DeviceKind::usb;
  std::string driver;
  std::string path;  // where the consumer finds it; empty when there is no such thing
  std::string vm;
  std::string user;  // who asked for it
  uid_t uid = 0;
  // "opening", "open", "paused" (open, but the session to the device's host has no connection now),
  // "waiting" or "closing"
  std::string state;
  int64_t since_unix_ms = 0;
  bool persistent = false;
  std::optional<Waiting> waiting;  // in state "waiting"
  uint64_t nominal_bytes_s = 0;
  std::string nominal_source;  // "descriptors", "configuration", or empty
  std::string verdict;         // "keep", "migrate", or empty: none yet
};

struct LatencySummary {
  uint64_t p50_ns = 0, p99_ns = 0, p999_ns = 0, max_ns = 0;
};

// A window without work shows the demand of the last one that had some (meter.h).
struct Stats {
  Attachment attachment;
  int64_t at_unix_ms = 0;  // when the figures were taken; 0: not yet
  MeterSnapshot meter;
  LatencySummary total, service, channel;
  std::vector<RuleFigures> rules{};  // that hide latency and fit the device
};

struct VmEntry {
  std::string name;
  std::string host;
  uint64_t allocation_bytes_s = 0;  // 0: unknown
  double threshold_percent = 0;
  double demand_bytes_s = 0;             // of all its attachments
  std::string verdict;                   // "keep", "migrate", or empty: none yet
  std::vector<std::string> attachments;  // ids
};

// A verdict on one VM, with all of its devices (control/policy).
struct DecisionEntry {
  uint64_t number = 0;  // from 1, rising
  int64_t at_unix_ms = 0;
  std::string vm, vm_host;
  std::vector<std::string> devices;  // "HOST/NAME" of what was weighed
  std::string verdict;               // "keep" or "migrate"
  std::string target;                // host to move the VM to; may be set with "keep", see reasons
  bool act = false;                  // to be carried out by the daemon, not only recommended
  uint64_t demand_bytes_s = 0;
  uint64_t allocation_bytes_s = 0;   // 0: unknown
  std::string summary;               // one sentence
  std::vector<std::string> reasons;  // sentences; the first one decided
  std::string record;                // the whole record as JSON text, for replay
};

// One step of `farport doctor`: in order, the first that fails is what to repair.
struct Check {
  std::string name;  // "daemon", "host", "device", "export rule", "holder", ...
  bool ok = false;
  std::string message;
  std::string advice;  // what to do; empty when ok
};

struct Event {
  uint64_t sequence = 0;  // counts from 1, without a gap, since the daemon started
  int64_t at_unix_ms = 0;
  // "attached", "attachment.waiting" (it has lost its device, or none came; once per reason),
  // "detached", "attachment.failed", "device.plugged", "device.unplugged",
  // "device.held", "device.freed", "peer.connected", "peer.paused", "peer.resumed", "peer.lost",
  // "decision", "config.reloaded", "daemon.started", "daemon.stopping", "trust.changed",
  // "trust.renewed", "trust.failed"
  std::string type;
  std::string host, device, attachment, vm;  // empty where they do not apply
  std::string message;                       // for people
};

struct Health {
  bool ready = false;  // serves: listening, workers running
  std::vector<Check> checks;
};

template <class T>
using Callback = std::function<void(Result<T>)>;

// Ends its subscription when destroyed; after that no callback comes.
class EventSubscription {
 public:
  virtual ~EventSubscription() = default;
};

class Service {
 public:
  virtual ~Service() = default;

  virtual VersionInfo version() const = 0;
  virtual Health health() const = 0;
  virtual std::vector<Attachment> attachments() const = 0;
  virtual Result<Stats> stats(const std::string& id) const = 0;
  virtual std::vector<VmEntry> vms() const = 0;
  // The latest `limit`, oldest first.
  virtual std::vector<DecisionEntry> decisions(size_t limit) const = 0;

  // This one first.
  virtual void hosts(Callback<std::vector<HostEntry>> done) = 0;
  // Of one host, or (empty) of all: then hosts that do not answer are problems in the list.
  virtual void devices(const std::string& host, const Caller& caller,
                       Callback<DeviceList> done) = 0;
  // A persistent one that cannot be had now is answered in state "waiting", unless the request
  // itself is wrong.
  virtual void attach(const AttachRequest& request, const Caller& caller,
                      Callback<Attachment> done) = 0;
  // Answered when the consumer has let go and the device is free again. Only root, the one who
  // attached it, and members of the API's admin group may.
  virtual void detach(const std::string& id, const Caller& caller, Callback<void> done) = 0;
  // Why a device is or is not reachable; an empty device checks the host, an empty host this daemon
  // and all its peers.
  virtual void explain(const std::string& host, const std::string& device, const Caller& caller,
                       Callback<std::vector<Check>> done) = 0;

  // Whom this host trusts, and what it shows itself (control/trust). Anybody who may ask may look;
  // only root and the API's admin group may change it, at once, for open sessions too.
  virtual Result<TrustReport> trust() const = 0;
  // False: the key was pinned already.
  virtual Result<bool> trust_add(const TrustAddition& addition, const Caller& caller) = 0;
  // All keys of the host when `fingerprint` is empty; how many.
  virtual Result<size_t> trust_remove(const std::string& host, const std::string& fingerprint,
                                      const Caller& caller) = 0;
  // The fingerprint of the key that comes next (`prepare`), or that was taken.
  virtual Result<std::string> trust_renew(bool prepare, const Caller& caller) = 0;

  // Kept events with a sequence above `after`, oldest first, at once; then each new one as it
  // comes. ~0 as `after`: only new ones.
  virtual std::unique_ptr<EventSubscription> subscribe(
      uint64_t after, std::function<void(const Event&)> callback) = 0;
  virtual uint64_t last_event() const = 0;
};

// The shapes of the API: names as the fields, times as "2026-01-31T12:00:00.123Z", absent values
// null. An attachment's id is "id"; a device's fields are on one level ("host", "name", ...).
void to_json(nlohmann::json& json, const VersionInfo& value);
void to_json(nlohmann::json& json, const Holder& value);
void to_json(nlohmann::json& json, const PathEntry& value);
void to_json(nlohmann::json& json, const CompressionCounters& value);
void to_json(nlohmann::json& json, const HostEntry& value);
void to_json(nlohmann::json& json, const DeviceEntry& value);
void to_json(nlohmann::json& json, const Problem& value);
void to_json(nlohmann::json& json, const DeviceList& value);  // {"devices": [], "problems": []}
void to_json(nlohmann::json& json, const Waiting& value);
void to_json(nlohmann::json& json, const Attachment& value);
void to_json(nlohmann::json& json, const LatencySummary& value);
void to_json(nlohmann::json& json, const RuleFigures& value);
void to_json(nlohmann::json& json, const Stats& value);
void to_json(nlohmann::json& json, const VmEntry& value);
void to_json(nlohmann::json& json, const DecisionEntry& value);
void to_json(nlohmann::json& json, const Check& value);
void to_json(nlohmann::json& json, const Event& value);
void to_json(nlohmann::json& json, const Health& value);

// The request as the API takes it: {"host", "device", "driver", "name", "vm", "listen", "line",
// "persistent", "wait"}, of which "device" is needed and may be "HOST/NAME"; "persistent" is true
// or false, "wait" a number of seconds, the others are strings. Unknown fields and wrong types are
// usage errors.
Result<AttachRequest> attach_request_from_json(const nlohmann::json& json);

// "HOST/NAME" or "NAME" (then the host is empty).
struct DeviceReference {
  std::string host, device;
};
Result<DeviceReference> parse_device_reference(const std::string& text);

std::string_view device_kind_name(DeviceKind kind);
std::string_view usb_speed_name(UsbSpeed speed);
// "2026-01-31T12:00:00.123Z".
std::string format_time(int64_t unix_ms);

}  // namespace farport
