// The rule that says whether a VM stays where it is, its devices forwarded to it, or moves to the
// host that has them. A pure function: every decision can be explained, replayed and simulated.
//
//   The rule    The devices of one host that a VM uses need, together, a demand. More than the
//               threshold (50 %) of the VM's allocation: migrate to that host. Otherwise, equality
//               included: keep. Compared in integers.
//   A figure    Demand as measured, once its window is full; before that the nominal requirement.
//               A device with neither counts as nothing, and is named as unknown.
//   Thresholds  A device's own comes before its VM's, and that before the general one. Devices with
//               different thresholds are added as the allocation at which each would just be kept
//               (demand / threshold), rounded up to a whole byte per second per threshold.
//   Hosts       Of several hosts over the threshold the largest demand is tried first; one that
//               cannot take the VM gives way to the next.
//   Hysteresis  The first move needs the rule alone. A VM that has moved before moves again only
//               when the demand is over the threshold by the band as well, and min_interval_s after
//               the last move. A measured demand must have held for hold_evaluations evaluations in
//               a row; a nominal one does not fluctuate, and need not.
//   Staying     Devices on the VM's own host would be forwarded in reverse after a move. If they
//               need as much as the move would save, the VM stays.
//   Cost        Copying the memory, and what is dirtied meanwhile, against the bytes that need not
//               be forwarded over horizon_s. A move that costs as much or more is not worth it, and
//               one that can never finish (dirtied as fast as copied) is not begun.
//   Target      Must have the CPU and memory, and reach the VM's storage and network. What is not
//               known neither stops a recommendation nor is taken for granted: it is named, and
//               `auto` does not act on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/policy/words.h"

namespace farport {

enum class PolicyMode : uint8_t {
  recommend,  // say what should be done
  automatic,  // and do it ("auto")
};

struct PolicySettings {
  PolicyMode mode = PolicyMode::recommend;
  Percent threshold = Percent::of(50);
  Percent hysteresis = Percent::of(10);  // of the threshold
  uint32_t min_interval_s = 300;
  uint32_t hold_evaluations = 3;
  uint32_t horizon_s = 3600;
  bool operator==(const PolicySettings&) const = default;
};

// A device that the VM uses.
struct PolicyDevice {
  std::string name;
  std::string host;  // the host that has it
  std::optional<uint64_t> nominal_bytes_s;
  std::string nominal_source;                // "descriptors", "configuration", "" when not said
  std::optional<uint64_t> measured_bytes_s;  // demand over the window
  bool window_full = false;                  // and the device had work in it: the figure counts
  std::optional<Percent> threshold;          // its own
  bool operator==(const PolicyDevice&) const = default;
};

struct PolicyVm {
  std::string name;
  std::string host;  // where it runs; empty: unknown
  std::optional<uint64_t> allocation_bytes_s;
  std::optional<Percent> threshold;  // its own
  std::optional<uint64_t> memory_bytes;
  std::optional<uint32_t> cpu_milli;  // thousandths of a CPU
  std::optional<uint64_t> dirty_bytes_s;
  bool moving = false;
  std::optional<uint64_t> since_last_move_s;  // empty: it has never moved
  uint32_t evaluations_over = 0;              // in a row, just before this one, over the threshold
  bool operator==(const PolicyVm&) const = default;
};

// A host as seen from the VM: what a move to it would find.
struct PolicyHost {
  std::string name;
  std::optional<uint64_t> free_memory_bytes;
  std::optional<uint32_t> free_cpu_milli;
  std::optional<bool> reaches_storage;
  std::optional<bool> reaches_network;
  std::optional<uint64_t> migration_bytes_s;  // bandwidth of a move from the VM's host to it
  bool operator==(const PolicyHost&) const = default;
};

struct PolicyInput {
  PolicySettings settings;
  PolicyVm vm;
  std::vector<PolicyDevice> devices;  // all that the VM uses, those of its own host included
  std::vector<PolicyHost> hosts;      // a host that is not listed is one of which nothing is known
  bool operator==(const PolicyInput&) const = default;
};

enum class ReasonCode : uint8_t {
  // Why the VM stays.
  no_remote_device,
  vm_host_unknown,
  allocation_unknown,
  allocation_zero,
  demand_unknown,
  under_threshold,
  vm_moving,
  moved_recently,
  within_hysteresis,
  not_held_yet,
  local_devices_outweigh,
  target_lacks_memory,
  target_lacks_cpu,
  target_misses_storage,
  target_misses_network,
  move_never_ends,
  move_costs_more,
  // Why it moves.
  over_threshold,
  // Besides.
  nominal_used,
  measured_used,
  device_unknown,   // neither nominal nor measured
  forwarded_back,   // devices that would be forwarded in reverse afterwards
  still_forwarded,  // devices on third hosts, forwarded before and after
  move_cost,
  unknown_capacity,    // something about the target or the VM's needs
  other_target_fails,  // a host with more demand cannot take the VM
  recommended_only,
  not_acted_unknown,  // `auto` does not act on what is unknown
};
std::string_view reason_code_name(ReasonCode code);
std::optional<ReasonCode> reason_code_from_name(std::string_view name);

struct Reason {
  ReasonCode code = ReasonCode::under_threshold;
  std::string words;
  bool operator==(const Reason&) const = default;
};

enum class Action : uint8_t { keep, migrate };
std::string_view action_name(Action action);

struct Verdict {
  Action action = Action::keep;
  // Where to (migrate), or where the rule alone would have it (keep, but over the threshold).
  std::string target;
  bool over_threshold = false;  // what the rule alone says
  bool act = false;             // to be carried out now: migrate, in mode auto, nothing unknown
  uint64_t demand_bytes_s = 0;  // of the devices on the host the verdict is about
  std::vector<Reason> reasons;  // never empty; the first one decided
  bool operator==(const Verdict&) const = default;
};

Verdict decide(const PolicyInput& input);

// What a live move by pre-copy costs: `memory` and whatever is dirtied while it is copied. Bytes
// and seconds are a geometric series: memory x bandwidth / (bandwidth - dirty). With an unknown
// dirty rate the figures are lower bounds.
struct MoveCost {
  std::optional<uint64_t> bytes;    // empty: the memory is unknown
  std::optional<uint64_t> seconds;  // empty: the bandwidth is unknown
  bool lower_bound = false;
  bool never_ends = false;
};
MoveCost estimate_move(std::optional<uint64_t> memory_bytes, std::optional<uint64_t> dirty_bytes_s,
                       std::optional<uint64_t> bandwidth_bytes_s);

}  // namespace farport
