// A binary heap of armed timers. Its storage grows to the most timers ever armed, then stays.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/scheduler.h"

namespace farport {

class TimerQueue {
 public:
  static constexpr uint64_t never = ~uint64_t{0};

  void arm(Timer& timer, uint64_t at_ns);
  void disarm(Timer& timer);
  // When the next timer is due, or never.
  uint64_t next_ns() const { return heap_.empty() ? never : heap_.front()->at_ns_; }
  // Fires everything due at `now_ns`; returns how many. Timers armed meanwhile fire next time.
  int fire(uint64_t now_ns);

 private:
  static bool before(const Timer& a, const Timer& b) {
    return a.at_ns_ != b.at_ns_ ? a.at_ns_ < b.at_ns_ : a.order_ < b.order_;
  }
  void put(size_t position, Timer* timer);
  void up(size_t position);
  void down(size_t position);

  std::vector<Timer*> heap_;
  uint64_t order_ = 0;
};

}  // namespace farport
