// The machine names of what policy.h enumerates: part of the API and of recorded decisions, so a
// name stays when it has been released.
#include <array>
#include <utility>

#include "control/policy/policy.h"

namespace farport {
namespace {

using enum ReasonCode;
constexpr std::array names = std::to_array<std::pair<ReasonCode, std::string_view>>({
    {no_remote_device, "no_remote_device"},
    {vm_host_unknown, "vm_host_unknown"},
    {allocation_unknown, "allocation_unknown"},
    {allocation_zero, "allocation_zero"},
    {demand_unknown, "demand_unknown"},
    {under_threshold, "under_threshold"},
    {vm_moving, "vm_moving"},
    {moved_recently, "moved_recently"},
    {within_hysteresis, "within_hysteresis"},
    {not_held_yet, "not_held_yet"},
    {local_devices_outweigh, "local_devices_outweigh"},
    {target_lacks_memory, "target_lacks_memory"},
    {target_lacks_cpu, "target_lacks_cpu"},
    {target_misses_storage, "target_misses_storage"},
    {target_misses_network, "target_misses_network"},
    {move_never_ends, "move_never_ends"},
    {move_costs_more, "move_costs_more"},
    {over_threshold, "over_threshold"},
    {nominal_used, "nominal_used"},
    {measured_used, "measured_used"},
    {device_unknown, "device_unknown"},
    {forwarded_back, "forwarded_back"},
    {still_forwarded, "still_forwarded"},
    {move_cost, "move_cost"},
    {unknown_capacity, "unknown_capacity"},
    {other_target_fails, "other_target_fails"},
    {recommended_only, "recommended_only"},
    {not_acted_unknown, "not_acted_unknown"},
});

constexpr bool in_order() {
  for (size_t i = 0; i < names.size(); ++i) {
    if (static_cast<size_t>(names[i].first) != i) return false;
  }
  return true;
}
static_assert(in_order() && names.size() == static_cast<size_t>(not_acted_unknown) + 1);

}  // namespace

std::string_view reason_code_name(ReasonCode code) {
  return names[static_cast<size_t>(code)].second;
}

std::optional<ReasonCode> reason_code_from_name(std::string_view name) {
  for (const auto& [code, text] : names) {
    if (text == name) return code;
  }
  return std::nullopt;
}

std::string_view action_name(Action action) {
  return action == Action::migrate ? "migrate" : "keep";
}

}  // namespace farport
