#include "dataplane/worker_clock.h"

#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include <algorithm>
#include <cmath>

namespace farport {

namespace {

// CPUID 0x80000007, EDX bit 8 (Intel SDM volume 3, 18.17.1; AMD64 APM volume 3, appendix E.4.7):
// the counter runs at one rate in all states of power and speed.
bool counter_is_invariant() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1u << 8)) != 0;
#else
  return false;
#endif
}

class MachineClock final : public ClockSource {
 public:
  uint64_t kernel_ns() override {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  }
  uint64_t counter() override {
#if defined(__x86_64__)
    return invariant_ ? __rdtsc() : 0;
#else
    return 0;
#endif
  }

 private:
  const bool invariant_ = counter_is_invariant();
};

// Told times stay behind the kernel's by this share of what was counted since the last look; two
// gauged rates agree when they differ by less than half of it.
constexpr double kHeldBack = 1.0 / 1024;

}  // namespace

ClockSource& ClockSource::machine() {
  static MachineClock clock;
  return clock;
}

WorkerClock::WorkerClock(ClockSource& source) : source_(source) {
  if (source_.counter() == 0) return;
  constexpr int kLooks = 8;
  uint64_t least = ~uint64_t{0};
  uint64_t before = source_.kernel_ns();
  for (int i = 0; i < kLooks; ++i) {
    const uint64_t after = source_.kernel_ns();
    least = std::min(least, after - before);
    before = after;
  }
  counts_ = least > dear_ns;
}

uint64_t WorkerClock::now_ns() {
  if (!counts_) return source_.kernel_ns();
  const uint64_t ticks = source_.counter();
  const uint64_t counted = ticks - looked_ticks_;
  if (ns_per_tick_ == 0 || counted >= trusted_ticks_ || ++answers_ == answers_per_look_max) {
    return look();
  }
  const double ns = static_cast<double>(counted) * ns_per_tick_ * (1 - kHeldBack);
  return told_ns_ = std::max(told_ns_, looked_ns_ + static_cast<uint64_t>(ns));
}

uint64_t WorkerClock::look() {
  const uint64_t ns = source_.kernel_ns();
  const uint64_t ticks = source_.counter();  // after it, so that what is told is never too late
  gauge(ticks, ns);
  looked_ticks_ = ticks;
  looked_ns_ = ns;
  trusted_ticks_ = ns_per_tick_ == 0 ? 0 : static_cast<uint64_t>(double{trusted_ns} / ns_per_tick_);
  answers_ = 0;
  return told_ns_ = std::max(told_ns_, ns);
}

void WorkerClock::gauge(uint64_t ticks, uint64_t ns) {
  const bool first = stretch_began_ns_ == 0;
  if (!first && ns - stretch_began_ns_ < stretch_ns) return;
  const double rate = static_cast<double>(ns - stretch_began_ns_) /
                      static_cast<double>(static_cast<int64_t>(ticks - stretch_ticks_));
  stretch_ticks_ = ticks;
  stretch_began_ns_ = ns;
  if (first) return;
  const bool agree = gauged_ > 0 && std::abs(rate / gauged_ - 1) < kHeldBack / 2;
  gauged_ = rate;
  ns_per_tick_ = agree ? rate : 0;
}

}  // namespace farport
