// Decides which transfer meets with which fault: by count, by chance from a seed, or by order.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/emulated/settings.h"

namespace farport {

// Faults ordered explicitly, from any thread; each strikes one of the next transfers.
class FaultOrders {
 public:
  void add(FaultKind kind, uint32_t times = 1) {
    counts_[static_cast<size_t>(kind)].fetch_add(times);
    waiting_.store(true);
  }
  bool waiting() const { return waiting_.load(std::memory_order_relaxed); }
  // One ordered fault, if any. Called by the device only.
  std::optional<FaultKind> take();

 private:
  std::array<std::atomic<uint32_t>, 4> counts_{};
  std::atomic<bool> waiting_{false};
};

class FaultSource {
 public:
  FaultSource(std::span<const EmulatedFault> faults, uint64_t seed, FaultOrders& orders);

  // What befalls the next transfer; nothing, nearly always. Costs a load when no fault is set.
  std::optional<FaultKind> next() {
    if (rules_.empty() && !orders_.waiting()) [[likely]]
      return {};
    return draw();
  }

 private:
  struct Rule {
    EmulatedFault fault;
    uint64_t strikes = 0;
  };
  std::optional<FaultKind> draw();
  bool strikes(Rule& rule);
  double random();  // 0 <= x < 1

  std::vector<Rule> rules_;
  FaultOrders& orders_;
  uint64_t random_state_;
  uint64_t transfers_ = 0;
};

}  // namespace farport
