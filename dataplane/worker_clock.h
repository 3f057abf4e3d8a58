// The time on a worker: CLOCK_MONOTONIC, also where looking at it is dear.
//
// Mostly the kernel's clock is read in user space, in some 20 ns. Where the kernel cannot trust the
// processor's counter with that (clocksource hpet, acpi_pm, xen; User-Mode Linux) each look is a
// system call, and a worker looks in every iteration. There the counter tells the time between two
// looks at the kernel's clock, which are at most `trusted_ns` apart, and what it says is held
// against that clock again and again: two stretches must agree on its rate, or it is not believed.
//
// A time told is never earlier than the one told before. While the counter runs evenly it is never
// later than the kernel's, and behind it by at most `lag_ns_max` and what a look takes. Where the
// counter jumps or speeds up, it is at most `trusted_ns` off; and were it to stand, every
// `answers_per_look_max`th time would still be the kernel's.
#pragma once

#include <cstdint>

namespace farport {

// Where a WorkerClock looks, as a seam for tests.
class ClockSource {
 public:
  virtual ~ClockSource() = default;
  virtual uint64_t kernel_ns() = 0;
  // Ticks of the processor's counter, whose rate is constant by what the processor says; 0 where
  // there is none.
  virtual uint64_t counter() = 0;

  // CLOCK_MONOTONIC, and the time stamp counter where it is invariant.
  static ClockSource& machine();
};

class WorkerClock {
 public:
  static constexpr uint64_t trusted_ns = 2'000'000;
  static constexpr uint64_t lag_ns_max = 2'500;
  static constexpr uint32_t answers_per_look_max = 256;

  explicit WorkerClock(ClockSource& source = ClockSource::machine());

  // CLOCK_MONOTONIC in nanoseconds. On one thread.
  uint64_t now_ns();
  // The next time told is the kernel's.
  void look_again() { trusted_ticks_ = 0; }
  // Whether the counter is used at all: there is one, and the kernel's clock is dear.
  bool counts() const { return counts_; }

 private:
  static constexpr uint64_t dear_ns = 200;
  static constexpr uint64_t stretch_ns = 100'000'000;

  uint64_t look();
  void gauge(uint64_t ticks, uint64_t ns);

  ClockSource& source_;
  bool counts_ = false;
  double ns_per_tick_ = 0;  // 0: the counter is not believed
  // The last look at the kernel's clock.
  uint64_t looked_ticks_ = 0;
  uint64_t looked_ns_ = 0;
  uint64_t trusted_ticks_ = 0;
  uint32_t answers_ = 0;  // since then
  // The stretch over which the rate is gauged, and the rate of the one before.
  uint64_t stretch_ticks_ = 0;
  uint64_t stretch_began_ns_ = 0;
  double gauged_ = 0;
  uint64_t told_ns_ = 0;
};

}  // namespace farport
