#include "control/daemon/advice.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/daemon/peer_message.h"

namespace farport {

Advice::Advice(std::string host, DecisionLog log, Directory& directory, Attachments& attachments,
               Hypervisor& hypervisor, EventLog& events)
    : host_(std::move(host)),
      log_(std::move(log)),
      advisor_(log_),
      directory_(directory),
      attachments_(attachments),
      hypervisor_(hypervisor),
      events_(events) {}

void Advice::set_policy(const PolicySettings& settings, uint32_t window_s, Threshold threshold) {
  settings_ = settings;
  window_ = window_s <= 1 ? 0 : window_s <= 10 ? 1 : 2;
  threshold_ = std::move(threshold);
}

Result<void> Advice::check_vm(const std::string& vm) const {
  if (vm.empty()) return {};
  std::string known;
  for (const DirectoryVm& one : directory_.vms()) {
    if (one.name == vm) return {};
    known += (known.empty() ? "" : ", ") + one.name;
  }
  return fail(ErrorCode::not_found,
              fmt::format("there is no VM {}; {}", vm,
                          known.empty() ? "a [[vm]] in the configuration names one"
                                        : "there are " + known));
}

PolicyInput Advice::input(const DirectoryVm& vm) const {
  PolicyInput input;
  input.settings = settings_;
  input.vm.name = vm.name;
  input.vm.host = vm.host;
  input.vm.allocation_bytes_s = vm.allocation_bytes_s;
  input.vm.threshold = vm.threshold;
  input.vm.memory_bytes = vm.memory_bytes;
  input.vm.cpu_milli = vm.cpu_milli;
  input.vm.dirty_bytes_s = vm.dirty_bytes_s;
  for (const Attachment& attachment : attachments_.list()) {
    // A pause is short, and no reason to decide anew.
    const bool carried = attachment.state == "open" || attachment.state == "paused";
    if (attachment.vm != vm.name || !carried) continue;
    PolicyDevice device;
    device.name = attachment.device;
    device.host = attachment.device_host;
    if (attachment.nominal_bytes_s != 0) {
      device.nominal_bytes_s = attachment.nominal_bytes_s;
      device.nominal_source = attachment.nominal_source;
    }
    if (const auto stats = attachments_.stats(attachment.id); stats && stats->at_unix_ms != 0) {
      const MeterWindow& window = deciding_window(*stats);
      device.measured_bytes_s = static_cast<uint64_t>(window.demand_bytes_s);
      device.window_full = window.measured;
    }
    std::vector<std::string> names = attachment.aliases;
    names.push_back(attachment.device);
    if (threshold_) device.threshold = threshold_(vm.name, names);
    input.devices.push_back(std::move(device));
  }
  return input;
}

void Advice::evaluate_all(uint64_t now_ns) {
  std::set<std::string> vms;
  for (const Attachment& attachment : attachments_.list()) {
    if (!attachment.vm.empty()) vms.insert(attachment.vm);
  }
  for (const std::string& vm : vms) evaluate(vm, now_ns);
}

void Advice::evaluate(const std::string& name, uint64_t now_ns) {
  const auto vms = directory_.vms();
  const auto vm = std::find_if(vms.begin(), vms.end(),
                               [&name](const DirectoryVm& one) { return one.name == name; });
  if (vm == vms.end()) return;
  const auto advice = advisor_.evaluate(input(*vm), now_ns, static_cast<uint64_t>(unix_now_ms()));
  attachments_.set_verdict(name, std::string(action_name(advice.verdict.action)));
  const bool failed = !advice.log_error.message.empty();
  if (failed && !log_failed_) {
    spdlog::error("decisions are kept in memory only: {}", advice.log_error.message);
  }
  log_failed_ = failed;
  if (!advice.recorded) return;
  const Decision decision = log_.decisions().back();
  announce(decision);
  if (decision.verdict.act) act(decision);
}

void Advice::announce(const Decision& decision) {
  Event event;
  event.type = "decision";
  event.host = decision.verdict.target;
  event.vm = decision.input.vm.name;
  event.message = summarize(decision);
  spdlog::info("decision {}: {}: {}", decision.sequence, event.vm, event.message);
  events_.add(std::move(event));
}

void Advice::act(const Decision& decision) {
  if (!hypervisor_.moves()) return;
  const std::string vm = decision.input.vm.name;
  advisor_.move_started(vm);
  hypervisor_.migrate(vm, decision.verdict.target, [this, vm](const Result<void>& moved) {
    advisor_.move_ended(vm, moved.has_value(), monotonic_ns());
    if (!moved) spdlog::error("VM {} was not moved: {}", vm, moved.error().message);
  });
}

void Advice::detached(const std::string& vm, uint64_t now_ns) {
  if (vm.empty()) return;
  const auto attachments = attachments_.list();
  const bool more = std::any_of(attachments.begin(), attachments.end(),
                                [&vm](const Attachment& one) { return one.vm == vm; });
  if (more) {
    evaluate(vm, now_ns);
  } else {
    advisor_.forget(vm);
  }
}

std::vector<VmEntry> Advice::vms() const {
  std::vector<VmEntry> entries;
  const auto attachments = attachments_.list();
  for (const DirectoryVm& vm : directory_.vms()) {
    VmEntry entry;
    entry.name = vm.name;
    entry.host = vm.host;
    entry.allocation_bytes_s = vm.allocation_bytes_s.value_or(0);
    entry.threshold_percent = vm.threshold.value_or(settings_.threshold).hundredths / 100.0;
    for (const Attachment& attachment : attachments) {
      if (attachment.vm != vm.name) continue;
      entry.attachments.push_back(attachment.id);
      entry.verdict = attachment.verdict;
      const auto stats = attachments_.stats(attachment.id);
      if (!stats) continue;
      const MeterWindow& window = deciding_window(*stats);
      entry.demand_bytes_s +=
          window.measured ? window.demand_bytes_s : static_cast<double>(attachment.nominal_bytes_s);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<DecisionEntry> Advice::decisions(size_t limit) const {
  std::vector<DecisionEntry> entries;
  const auto& all = log_.decisions();
  for (size_t index = all.size() - std::min(limit, all.size()); index < all.size(); ++index) {
    const Decision& decision = all[index];
    DecisionEntry entry;
    entry.number = decision.sequence;
    entry.at_unix_ms = static_cast<int64_t>(decision.time_unix_ms);
    entry.vm = decision.input.vm.name;
    entry.vm_host = decision.input.vm.host;
    for (const PolicyDevice& device : decision.input.devices) {
      entry.devices.push_back(device.host + "/" + device.name);
    }
    entry.verdict = action_name(decision.verdict.action);
    entry.target = decision.verdict.target;
    entry.act = decision.verdict.act;
    entry.demand_bytes_s = decision.verdict.demand_bytes_s;
    entry.allocation_bytes_s = decision.input.vm.allocation_bytes_s.value_or(0);
    entry.summary = summarize(decision);
    for (const Reason& reason : decision.verdict.reasons) entry.reasons.push_back(reason.words);
    entry.record = peer::dump(decision_to_json(decision));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace farport
