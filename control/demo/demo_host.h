// The demo's hosts: a daemon with its API, by a configuration file that a person can read. One runs
// in this process, the other in a child, so that the two share nothing but their connection.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "control/api/api_server.h"
#include "control/config/config.h"
#include "control/daemon/daemon.h"

namespace farport {

class DemoHost {
 public:
  // Reads `config_path`, adds `initiator` if it can make one, logs to `log_path`. Of the
  // configuration's devices the emulated ones are taken, and none of this machine.
  static Result<std::unique_ptr<DemoHost>> start(const std::string& config_path,
                                                 const std::string& log_path, DriverType initiator);
  ~DemoHost();  // API first, then the daemon
  Daemon& daemon() { return *daemon_; }

 private:
  explicit DemoHost(std::unique_ptr<Daemon> daemon) : daemon_(std::move(daemon)) {}
  Result<void> serve(const HostConfig& host);

  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<ApiServer> api_;  // on the daemon's control thread
};

class ChildHost {
 public:
  // Before this process has a second thread. Waits until the child listens.
  static Result<std::unique_ptr<ChildHost>> start(const std::string& config_path,
                                                  const std::string& log_path);
  ~ChildHost();  // asks it to end, and then does not ask
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  // It has ended by itself.
  bool ended();

 private:
  ChildHost(pid_t pid, std::string address) : pid_(pid), address_(std::move(address)) {}
  pid_t pid_;
  std::string address_;
};

}  // namespace farport
