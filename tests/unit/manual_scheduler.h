// A Scheduler whose clock only moves when told: simulation without waiting.
#pragma once

#include <cstdint>

#include "dataplane/scheduler.h"
#include "dataplane/timer_queue.h"

namespace farport {

class ManualScheduler final : public Scheduler {
 public:
  explicit ManualScheduler(uint64_t now_ns = 1'000'000'000) : now_ns_(now_ns) {}

  uint64_t now_ns() const override { return now_ns_; }
  void arm(Timer& timer, uint64_t at_ns) override { timers_.arm(timer, at_ns); }
  void disarm(Timer& timer) override { timers_.disarm(timer); }

  // Moves the clock on and fires, in order and each at its own time, every timer that comes due;
  // those armed meanwhile too.
  void advance(uint64_t duration_ns) { advance_to(now_ns_ + duration_ns); }
  void advance_to(uint64_t at_ns) {
    while (timers_.next_ns() <= at_ns) fire_next();
    if (at_ns > now_ns_) now_ns_ = at_ns;
  }

  // Jumps to the next timer and fires it; false when none is armed.
  bool step() {
    if (idle()) return false;
    fire_next();
    return true;
  }

  bool idle() const { return timers_.next_ns() == TimerQueue::never; }
  uint64_t next_ns() const { return timers_.next_ns(); }

 private:
  void fire_next() {
    if (timers_.next_ns() > now_ns_) now_ns_ = timers_.next_ns();
    timers_.fire(now_ns_);
  }

  uint64_t now_ns_;
  TimerQueue timers_;
};

}  // namespace farport
