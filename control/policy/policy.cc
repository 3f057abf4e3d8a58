#include "control/policy/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>

namespace farport {
namespace {

// Products of two 64-bit figures: a threshold is compared without rounding.
__extension__ typedef unsigned __int128 uint128;

constexpr uint32_t whole = 10'000;               // 100 % in hundredths of a percent
constexpr uint128 unbounded = uint128{1} << 90;  // more than any sum of demands / thresholds

uint64_t saturated(uint128 value) {
  constexpr uint64_t max = std::numeric_limits<uint64_t>::max();
  return value > max ? max : static_cast<uint64_t>(value);
}

std::optional<uint64_t> demand_of(const PolicyDevice& device) {
  if (device.measured_bytes_s && device.window_full) return device.measured_bytes_s;
  return device.nominal_bytes_s;
}
bool is_measured(const PolicyDevice& device) {
  return device.measured_bytes_s.has_value() && device.window_full;
}

Percent threshold_of(const PolicyInput& input, const PolicyDevice& device) {
  if (device.threshold) return *device.threshold;
  return input.vm.threshold.value_or(input.settings.threshold);
}

// The devices that the VM uses on one host.
struct Group {
  std::string host;
  std::vector<const PolicyDevice*> devices;
  std::map<uint32_t, uint128> demand_by_threshold;  // hundredths -> bytes/s
  uint128 demand = 0;
  bool known = false;  // the demand of at least one is
};

std::map<std::string, Group> group_by_host(const PolicyInput& input) {
  std::map<std::string, Group> groups;
  for (const PolicyDevice& device : input.devices) {
    Group& group = groups[device.host];
    group.host = device.host;
    group.devices.push_back(&device);
    const auto demand = demand_of(device);
    if (!demand) continue;
    group.known = true;
    group.demand += *demand;
    group.demand_by_threshold[threshold_of(input, device).hundredths] += *demand;
  }
  return groups;
}

// The allocation at which these devices would just be kept. Rounding up is exact as long as there
// is one threshold: for whole numbers, ceil(x) > a exactly when x > a.
uint128 needed_allocation(const Group& group) {
  uint128 needed = 0;
  for (const auto& [threshold, demand] : group.demand_by_threshold) {
    if (demand == 0) continue;
    if (threshold == 0) return unbounded;
    needed += (demand * whole + threshold - 1) / threshold;
  }
  return std::min(needed, unbounded);
}

// a > b x (100 % + margin)
bool exceeds(uint128 a, uint128 b, Percent margin) {
  return a * whole > b * (uint128{whole} + margin.hundredths);
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  return text;
}

template <class Keep>
std::vector<std::string> names_of(const std::vector<const PolicyDevice*>& devices, Keep keep) {
  std::vector<std::string> names;
  for (const PolicyDevice* device : devices) {
    if (keep(*device)) names.push_back(device->name);
  }
  return names;
}

bool any_device(const PolicyDevice&) { return true; }

// "25 %", and never the same text as the threshold unless it is equal to it.
std::string share_words(uint128 demand, uint64_t allocation, Percent threshold) {
  const uint128 exact = demand * whole / allocation;
  if (exact >= 1000u * whole) return fmt::format("{} times", saturated(exact / whole));
  const auto share = Percent{static_cast<uint32_t>(exact)};
  Percent rounded = share;
  if (share.hundredths >= 1000) rounded = Percent{(share.hundredths + 50) / 100 * 100};
  if (rounded != threshold) return format_percent(rounded);
  const uint128 at_threshold = uint128{allocation} * threshold.hundredths;
  if (demand * whole == at_threshold) return format_percent(rounded);
  if (share != threshold) return format_percent(share);
  return "just over " + format_percent(threshold);
}

// "disk0 needs 3.1 MB/s, 25 % of web's 12.5 MB/s; the threshold is 50 %".
std::string rule_words(const PolicyInput& input, const Group& group) {
  const auto known = names_of(
      group.devices, [](const PolicyDevice& device) { return demand_of(device).has_value(); });
  const uint64_t allocation = *input.vm.allocation_bytes_s;
  std::string subject = known.size() <= 3 ? join(known) : fmt::format("{} devices", known.size());
  subject += known.size() == 1 ? " needs" : fmt::format(" on {} together need", group.host);
  const bool one_threshold = group.demand_by_threshold.size() == 1;
  const Percent threshold{group.demand_by_threshold.begin()->first};
  std::string words =
      fmt::format("{} {}, {} of {}'s {}", subject, format_rate(saturated(group.demand)),
                  share_words(group.demand, allocation, one_threshold ? threshold : Percent{}),
                  input.vm.name, format_rate(allocation));
  if (one_threshold) return words + "; the threshold is " + format_percent(threshold);
  std::vector<std::string> thresholds;
  for (const auto& [hundredths, demand] : group.demand_by_threshold) {
    thresholds.push_back(format_percent({hundredths}));
  }
  const uint128 needed = needed_allocation(group);
  if (needed == unbounded) return words + "; a threshold is 0 %";
  return words + fmt::format("; by their thresholds of {} that takes an allocation of {}",
                             join(thresholds), format_rate(saturated(needed)));
}

const PolicyHost& host_state(const PolicyInput& input, const std::string& name) {
  static const PolicyHost nothing_known;
  for (const PolicyHost& host : input.hosts) {
    if (host.name == name) return host;
  }
  return nothing_known;
}

// Gathers what speaks against one move, and what else there is to say of it.
class Weighing {
 public:
  Weighing(const PolicyInput& input, const std::map<std::string, Group>& groups,
           const Group& target)
      : input_(input),
        vm_(input.vm),
        groups_(groups),
        target_(target),
        host_(host_state(input, target.host)) {
    weigh_time();
    weigh_local_devices();
    weigh_capacity();
    weigh_reach();
    weigh_cost();
    if (!unknown_.empty()) {
      note(ReasonCode::unknown_capacity, "not known: " + join(unknown_));
    }
  }

  const Group& target() const { return target_; }
  const std::vector<Reason>& objections() const { return objections_; }
  const std::vector<Reason>& notes() const { return notes_; }
  bool all_known() const { return unknown_.empty(); }

 private:
  void object(ReasonCode code, std::string words) {
    objections_.push_back({code, std::move(words)});
  }
  void note(ReasonCode code, std::string words) { notes_.push_back({code, std::move(words)}); }

  // A VM that has moved before needs more than the bare rule.
  Percent margin() const { return vm_.since_last_move_s ? input_.settings.hysteresis : Percent{}; }

  void weigh_time();
  void weigh_local_devices();
  void weigh_capacity();
  void weigh_reach();
  void weigh_cost();

  const PolicyInput& input_;
  const PolicyVm& vm_;
  const std::map<std::string, Group>& groups_;
  const Group& target_;
  const PolicyHost& host_;
  uint128 local_demand_ = 0;
  std::vector<Reason> objections_;
  std::vector<Reason> notes_;
  std::vector<std::string> unknown_;
};

void Weighing::weigh_time() {
  const PolicySettings& settings = input_.settings;
  if (vm_.moving) object(ReasonCode::vm_moving, vm_.name + " is already moving");
  if (vm_.since_last_move_s && *vm_.since_last_move_s < settings.min_interval_s) {
    object(ReasonCode::moved_recently,
           fmt::format("{} moved {} ago; {} must pass between moves", vm_.name,
                       format_duration(*vm_.since_last_move_s),
                       format_duration(settings.min_interval_s)));
  }
  if (!exceeds(needed_allocation(target_), *vm_.allocation_bytes_s, margin())) {
    object(ReasonCode::within_hysteresis,
           fmt::format("{} has moved before, and the demand is over the threshold by no more than "
                       "the band of {}",
                       vm_.name, format_percent(settings.hysteresis)));
  }
  const bool fluctuates = std::ranges::any_of(
      target_.devices, [](const PolicyDevice* device) { return is_measured(*device); });
  const uint64_t held = uint64_t{vm_.evaluations_over} + 1;
  if (fluctuates && held < settings.hold_evaluations) {
    object(ReasonCode::not_held_yet, fmt::format("the demand has held for {} of {} evaluations",
                                                 held, settings.hold_evaluations));
  }
}

void Weighing::weigh_local_devices() {
  for (const auto& [host, group] : groups_) {
    if (host == target_.host || host.empty()) continue;
    const std::string names = join(names_of(group.devices, any_device));
    if (host != vm_.host) {
      note(ReasonCode::still_forwarded, fmt::format("{} stay{} forwarded from {}", names,
                                                    group.devices.size() == 1 ? "s" : "", host));
      continue;
    }
    local_demand_ = group.demand;
    note(ReasonCode::forwarded_back, fmt::format("{} on {} would be forwarded back: {}", names,
                                                 host, format_rate(saturated(group.demand))));
    for (const PolicyDevice* device : group.devices) {
      if (!demand_of(*device)) unknown_.push_back(device->name + "'s demand");
    }
    if (!exceeds(target_.demand, local_demand_, margin())) {
      object(
          ReasonCode::local_devices_outweigh,
          fmt::format("{} on {} need{} {}, as much as the move would save", names, host,
                      group.devices.size() == 1 ? "s" : "", format_rate(saturated(group.demand))));
    }
  }
}

void Weighing::weigh_capacity() {
  if (!vm_.memory_bytes) unknown_.push_back(vm_.name + "'s memory");
  if (!host_.free_memory_bytes) unknown_.push_back(target_.host + "'s free memory");
  if (vm_.memory_bytes && host_.free_memory_bytes && *host_.free_memory_bytes < *vm_.memory_bytes) {
    object(ReasonCode::target_lacks_memory,
           fmt::format("{} has {} of memory free, {} needs {}", target_.host,
                       format_bytes(*host_.free_memory_bytes), vm_.name,
                       format_bytes(*vm_.memory_bytes)));
  }
  if (!vm_.cpu_milli) unknown_.push_back(vm_.name + "'s CPUs");
  if (!host_.free_cpu_milli) unknown_.push_back(target_.host + "'s free CPUs");
  if (vm_.cpu_milli && host_.free_cpu_milli && *host_.free_cpu_milli < *vm_.cpu_milli) {
    object(ReasonCode::target_lacks_cpu,
           fmt::format("{} has {:g} CPUs free, {} needs {:g}", target_.host,
                       *host_.free_cpu_milli / 1000.0, vm_.name, *vm_.cpu_milli / 1000.0));
  }
}

void Weighing::weigh_reach() {
  const auto weigh = [&](const std::optional<bool>& reaches, ReasonCode code, const char* what) {
    if (!reaches) {
      unknown_.push_back(fmt::format("whether {} reaches {}'s {}", target_.host, vm_.name, what));
    } else if (!*reaches) {
      object(code, fmt::format("{} does not reach {}'s {}", target_.host, vm_.name, what));
    }
  };
  weigh(host_.reaches_storage, ReasonCode::target_misses_storage, "storage");
  weigh(host_.reaches_network, ReasonCode::target_misses_network, "network");
}

void Weighing::weigh_cost() {
  const MoveCost cost = estimate_move(vm_.memory_bytes, vm_.dirty_bytes_s, host_.migration_bytes_s);
  if (cost.never_ends) {
    object(ReasonCode::move_never_ends,
           fmt::format("a live move cannot finish: {} dirties {} and {} can be copied", vm_.name,
                       format_rate(vm_.dirty_bytes_s.value_or(0)),
                       format_rate(*host_.migration_bytes_s)));
    return;
  }
  if (!cost.bytes) {
    note(ReasonCode::move_cost, "what the move costs is not known");
    return;
  }
  const uint128 saved_rate = target_.demand - std::min(target_.demand, local_demand_);
  const uint128 saved = saved_rate * input_.settings.horizon_s;
  const std::string words =
      fmt::format("the move copies {}{}{}{}, and saves {} of forwarding in {}",
                  cost.lower_bound ? "at least " : "", format_bytes(*cost.bytes),
                  cost.seconds ? " in about " + format_duration(*cost.seconds) : "",
                  cost.lower_bound ? " (what is dirtied meanwhile is not known)" : "",
                  format_bytes(saturated(saved)), format_duration(input_.settings.horizon_s));
  if (*cost.bytes >= saved) {
    object(ReasonCode::move_costs_more, words);
  } else {
    note(ReasonCode::move_cost, words);
  }
}

Verdict keep(ReasonCode code, std::string words) {
  Verdict verdict;
  verdict.reasons.push_back({code, std::move(words)});
  return verdict;
}

// Where the figures of these devices come from.
void note_figures(const Group& group, std::vector<Reason>& reasons) {
  const auto measured = names_of(group.devices, is_measured);
  if (!measured.empty()) {
    reasons.push_back({ReasonCode::measured_used, "measured: " + join(measured)});
  }
  std::map<std::string, std::vector<std::string>> nominal;  // by source
  for (const PolicyDevice* device : group.devices) {
    if (is_measured(*device) || !demand_of(*device)) continue;
    nominal[device->nominal_source].push_back(device->name);
  }
  for (const auto& [source, names] : nominal) {
    reasons.push_back({ReasonCode::nominal_used,
                       fmt::format("nominal{}: {}; no full window of work was measured yet",
                                   source.empty() ? "" : ", from the " + source, join(names))});
  }
}

void note_unknown_devices(const PolicyInput& input, std::vector<Reason>& reasons) {
  for (const PolicyDevice& device : input.devices) {
    if (device.host.empty()) {
      reasons.push_back(
          {ReasonCode::device_unknown, "which host has " + device.name + " is not known"});
    } else if (!demand_of(device)) {
      reasons.push_back({ReasonCode::device_unknown, fmt::format("what {} on {} needs is not known",
                                                                 device.name, device.host)});
    }
  }
}

// Why there is nothing to compare, if so.
std::optional<Verdict> incomparable(const PolicyInput& input, const std::vector<Group>& remote) {
  const PolicyVm& vm = input.vm;
  if (vm.host.empty()) {
    return keep(ReasonCode::vm_host_unknown, "on which host " + vm.name + " runs is not known");
  }
  if (remote.empty()) {
    return keep(ReasonCode::no_remote_device, vm.name + " uses no device of another host");
  }
  if (!vm.allocation_bytes_s) {
    return keep(ReasonCode::allocation_unknown,
                fmt::format("{}'s allocation is not known: name it in the configuration, under "
                            "[[vm]]",
                            vm.name));
  }
  if (*vm.allocation_bytes_s == 0) {
    return keep(ReasonCode::allocation_zero,
                vm.name + "'s allocation is 0, of which no share can be taken");
  }
  if (std::ranges::none_of(remote, &Group::known)) {
    return keep(ReasonCode::demand_unknown,
                "nothing was measured yet, and no nominal requirement is known");
  }
  return std::nullopt;
}

Verdict migrate(const PolicyInput& input, const Weighing& weighing) {
  Verdict verdict;
  verdict.action = Action::migrate;
  verdict.over_threshold = true;
  verdict.reasons.push_back({ReasonCode::over_threshold, rule_words(input, weighing.target())});
  note_figures(weighing.target(), verdict.reasons);
  verdict.reasons.insert(verdict.reasons.end(), weighing.notes().begin(), weighing.notes().end());
  verdict.act = input.settings.mode == PolicyMode::automatic && weighing.all_known();
  if (input.settings.mode == PolicyMode::recommend) {
    verdict.reasons.push_back(
        {ReasonCode::recommended_only, "recommended only: the policy's mode is recommend"});
  } else if (!verdict.act) {
    verdict.reasons.push_back(
        {ReasonCode::not_acted_unknown, "not carried out: auto acts only on what is known"});
  }
  return verdict;
}

Verdict stay(const PolicyInput& input, const Weighing& weighing) {
  Verdict verdict;
  verdict.over_threshold = true;
  verdict.reasons = weighing.objections();
  verdict.reasons.push_back({ReasonCode::over_threshold, rule_words(input, weighing.target())});
  note_figures(weighing.target(), verdict.reasons);
  verdict.reasons.insert(verdict.reasons.end(), weighing.notes().begin(), weighing.notes().end());
  return verdict;
}

// The order in which hosts are tried: those whose devices ask for the most first.
bool before(const Group& a, const Group& b) {
  if (a.known != b.known) return a.known;
  const uint128 needed_by_a = needed_allocation(a);
  const uint128 needed_by_b = needed_allocation(b);
  if (needed_by_a != needed_by_b) return needed_by_a > needed_by_b;
  if (a.demand != b.demand) return a.demand > b.demand;
  return a.host < b.host;
}

}  // namespace

Verdict decide(const PolicyInput& input) {
  const std::map<std::string, Group> groups = group_by_host(input);
  std::vector<Group> remote;
  for (const auto& [host, group] : groups) {
    if (host != input.vm.host && !host.empty()) remote.push_back(group);
  }
  std::ranges::sort(remote, before);

  std::optional<Verdict> verdict = incomparable(input, remote);
  const Group* subject = remote.empty() ? nullptr : &remote.front();
  if (!verdict) {
    const uint64_t allocation = *input.vm.allocation_bytes_s;
    std::vector<Reason> failed;
    for (const Group& group : remote) {
      if (!exceeds(needed_allocation(group), allocation, Percent{})) break;
      const Weighing weighing(input, groups, group);
      if (weighing.objections().empty()) {
        verdict = migrate(input, weighing);
        subject = &group;
        break;
      }
      if (!verdict) verdict = stay(input, weighing);
      failed.push_back(
          {ReasonCode::other_target_fails,
           fmt::format("not to {}: {}", group.host, weighing.objections().front().words)});
    }
    if (!verdict) {
      verdict = keep(ReasonCode::under_threshold, rule_words(input, remote.front()));
      note_figures(remote.front(), verdict->reasons);
    }
    // A verdict to stay speaks of the first host itself.
    if (verdict->action == Action::keep && !failed.empty()) failed.erase(failed.begin());
    verdict->reasons.insert(verdict->reasons.end(), failed.begin(), failed.end());
    if (verdict->over_threshold) verdict->target = subject->host;
  }
  if (subject != nullptr) verdict->demand_bytes_s = saturated(subject->demand);
  note_unknown_devices(input, verdict->reasons);
  return *verdict;
}

MoveCost estimate_move(std::optional<uint64_t> memory_bytes, std::optional<uint64_t> dirty_bytes_s,
                       std::optional<uint64_t> bandwidth_bytes_s) {
  MoveCost cost;
  cost.never_ends = bandwidth_bytes_s && dirty_bytes_s.value_or(0) >= *bandwidth_bytes_s;
  if (cost.never_ends || !memory_bytes) return cost;
  cost.lower_bound = !dirty_bytes_s || (!bandwidth_bytes_s && *dirty_bytes_s > 0);
  cost.bytes = memory_bytes;
  if (!bandwidth_bytes_s) return cost;
  const uint128 bandwidth = *bandwidth_bytes_s;
  const uint128 gained = bandwidth - dirty_bytes_s.value_or(0);  // copied faster than dirtied
  cost.bytes = saturated(uint128{*memory_bytes} * bandwidth / gained);
  cost.seconds = saturated((uint128{*memory_bytes} + gained - 1) / gained);
  return cost;
}

}  // namespace farport
