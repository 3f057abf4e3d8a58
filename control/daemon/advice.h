// Decides for the VMs of this host: gathers what the policy weighs, asks it, and makes the verdict
// known.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/attachments.h"
#include "control/daemon/event_log.h"
#include "control/directory/directory.h"
#include "control/policy/advisor.h"
#include "control/vm/hypervisor.h"

namespace farport {

class Advice {
 public:
  Advice(std::string host, DecisionLog log, Directory& directory, Attachments& attachments,
         Hypervisor& hypervisor, EventLog& events);

  using Threshold = std::function<std::optional<Percent>(
      const std::string& vm, const std::vector<std::string>& device_names)>;
  // `window_s`: of the meter, 1, 10 or 60. `threshold`: a VM's own for a device.
  void set_policy(const PolicySettings& settings, uint32_t window_s, Threshold threshold);

  // Every VM that holds a device, by the figures of the last reading. `now_ns`: the monotonic
  // clock.
  void evaluate_all(uint64_t now_ns);
  void evaluate(const std::string& vm, uint64_t now_ns);
  // An attachment of the VM has ended.
  void detached(const std::string& vm, uint64_t now_ns);

  // Whether an attach may name this VM; not_found otherwise.
  Result<void> check_vm(const std::string& vm) const;
  std::vector<VmEntry> vms() const;
  std::vector<DecisionEntry> decisions(size_t limit) const;

 private:
  PolicyInput input(const DirectoryVm& vm) const;
  const MeterWindow& deciding_window(const Stats& stats) const {
    return stats.meter.windows[window_];
  }
  void announce(const Decision& decision);
  void act(const Decision& decision);

  const std::string host_;
  DecisionLog log_;
  Advisor advisor_;
  Directory& directory_;
  Attachments& attachments_;
  Hypervisor& hypervisor_;
  EventLog& events_;
  PolicySettings settings_;
  size_t window_ = 1;
  Threshold threshold_;
  bool log_failed_ = false;
};

}  // namespace farport
