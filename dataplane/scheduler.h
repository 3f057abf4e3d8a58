// The clock and timers, as a seam: a Worker in the daemon, a ManualScheduler (tests/unit) under
// simulation. Single-threaded, like everything on a worker.
#pragma once

#include <cstddef>
#include <cstdint>

namespace farport {

class Scheduler;

// A timer that its owner embeds; disarms itself when destroyed. It may be armed again, disarmed, or
// destroyed from its own callback.
class Timer {
 public:
  using Callback = void (*)(void* context);
  Timer(Scheduler& scheduler, Callback callback, void* context)
      : scheduler_(scheduler), callback_(callback), context_(context) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Fires once when the clock reaches `at_ns`; an armed timer is moved.
  void arm_at(uint64_t at_ns);
  void arm_after(uint64_t delay_ns);
  void disarm();
  bool armed() const { return position_ != npos; }
  uint64_t at_ns() const { return at_ns_; }

 private:
  friend class TimerQueue;
  static constexpr size_t npos = ~size_t{0};
  Scheduler& scheduler_;
  Callback callback_;
  void* context_;
  uint64_t at_ns_ = 0;
  uint64_t order_ = 0;  // equal times fire in the order they were armed
  size_t position_ = npos;
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // CLOCK_MONOTONIC in nanoseconds. A worker reads it once an iteration: what happens in one
  // happens at one time.
  virtual uint64_t now_ns() const = 0;
  virtual void arm(Timer& timer, uint64_t at_ns) = 0;
  virtual void disarm(Timer& timer) = 0;
};

}  // namespace farport
