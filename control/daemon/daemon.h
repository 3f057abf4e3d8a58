// A whole host: its workers, its devices, its sessions, its decisions. farportd runs one; the demo
// and tests run two of them in one process.
//
// Threads: the control thread (all state of control/), the worker (the data plane), and a small
// pool for what blocks. The API server stands on service() and runs on loop().context().
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/config/units.h"
#include "control/daemon/control_loop.h"
#include "control/daemon/driver_maker.h"
#include "control/daemon/loans.h"
#include "control/daemon/path_choice.h"
#include "control/daemon/retry_times.h"
#include "control/daemon/service.h"
#include "control/directory/directory.h"
#include "control/policy/policy.h"
#include "control/trust/host_trust.h"
#include "control/vm/hypervisor.h"
#include "dataplane/limits.h"
#include "dataplane/worker.h"
#include "devices/provider.h"
#include "drivers/ahead/rules.h"

namespace farport {

// What can be changed while the daemon runs, without touching an open channel.
struct LiveSettings {
  std::vector<DirectoryHost> peers;
  std::vector<DirectoryVm> vms;
  AccessCheck access;    // empty: nothing is exported
  NominalCheck nominal;  // empty: unknown
  PolicySettings policy;
  uint32_t policy_interval_s = 1;
  uint32_t policy_window_s = 10;  // of the meter: 1, 10 or 60
  // A VM's own threshold for a device of these names; empty: there is none.
  std::function<std::optional<Percent>(const std::string& vm,
                                       const std::vector<std::string>& device_names)>
      threshold;
  // Which rules hide latency for a device of another host; empty: those that are on by default.
  std::function<RuleSwitches(const DeviceInfo&)> rule_switches;
  std::vector<std::string> admin_groups;  // may detach what others attached, and change trust
  AuthorityFiles trust_files;
};

struct DaemonSettings {
  std::string host;
  std::string run_dir;               // for the lock, sockets and ptys
  std::vector<HostPort> listen;      // for peers
  std::shared_ptr<HostTrust> trust;  // null: no keys, loopback alone
  bool encrypt_loopback = false;     // TLS on loopback, too
  uint64_t resume_timeout_ns = 30'000'000'000;
  PathSettings paths;
  WorkerSettings worker;
  unsigned workers = 1;
  size_t sessions_max = limits::sessions_per_host_max;
  std::string decisions_path;    // the log of decisions; empty: in memory
  std::string attachments_path;  // of persistent attachments; empty: they end with the daemon
  RetryTimes retry;
  std::vector<std::unique_ptr<DeviceProvider>> providers;
  std::vector<std::unique_ptr<DeviceProvider>> remote_providers;  // that list over the network
  DriverTypes drivers;
  // What caps a device's measured demand: its bus; empty: unknown.
  std::function<uint64_t(const DeviceInfo&)> bus_rate;
  std::unique_ptr<Hypervisor> hypervisor;   // empty: none
  std::optional<std::string> usbip_server;  // "127.0.0.1:3240", for stock clients
  LiveSettings live;
};

class Daemon {
 public:
  // Everything that can fail fails here, before anything is touched: lock, ports, worker.
  static Result<std::unique_ptr<Daemon>> start(DaemonSettings settings);
  ~Daemon();  // stop()

  // In order: consumers and devices are let go of, sessions say goodbye. False when something did
  // not let go within `limit`: the process can then only end.
  bool stop(std::chrono::milliseconds limit = std::chrono::seconds(15));

  // From any thread.
  void reload(LiveSettings live);
  ControlLoop& loop();
  // The first worker, where channels live; for consumers in this process.
  Worker& worker();
  // On the control thread.
  Service& service();

  // Where it listens for peers, and for stock USB/IP clients (empty: it does not).
  std::vector<std::string> addresses() const;
  std::string usbip_address() const;

 private:
  class Host;
  explicit Daemon(std::unique_ptr<Host> host);
  std::unique_ptr<Host> host_;
};

}  // namespace farport
