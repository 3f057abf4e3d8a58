#include "devices/emulated/fault_source.h"

namespace farport {

std::optional<FaultKind> FaultOrders::take() {
  // Cleared before the counts are read, sequentially consistent: an order whose count is missed
  // below sets it again afterwards.
  waiting_.store(false);
  std::optional<FaultKind> taken;
  for (size_t kind = 0; kind < counts_.size(); ++kind) {
    uint32_t count = counts_[kind].load();
    if (count > 0 && !taken) {
      taken = static_cast<FaultKind>(kind);
      count = counts_[kind].fetch_sub(1) - 1;
    }
    if (count > 0) waiting_.store(true);
  }
  return taken;
}

FaultSource::FaultSource(std::span<const EmulatedFault> faults, uint64_t seed, FaultOrders& orders)
    : orders_(orders), random_state_(seed) {
  for (const EmulatedFault& fault : faults) rules_.push_back({.fault = fault});
}

std::optional<FaultKind> FaultSource::draw() {
  ++transfers_;
  if (orders_.waiting()) {
    if (auto ordered = orders_.take()) return ordered;
  }
  std::optional<FaultKind> struck;
  // Every rule draws, whether or not another has struck, so that rules do not disturb each other.
  for (Rule& rule : rules_) {
    if (strikes(rule) && !struck) struck = rule.fault.kind;
  }
  return struck;
}

bool FaultSource::strikes(Rule& rule) {
  const EmulatedFault& fault = rule.fault;
  const bool by_count = fault.every != 0 && transfers_ % fault.every == 0;
  const bool by_chance = fault.probability > 0 && random() < fault.probability;
  if (!by_count && !by_chance) return false;
  if (fault.times_max != 0 && rule.strikes >= fault.times_max) return false;
  ++rule.strikes;
  return true;
}

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): the same
// sequence from the same seed on every machine.
double FaultSource::random() {
  random_state_ += 0x9e3779b97f4a7c15;
  uint64_t z = random_state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

}  // namespace farport
