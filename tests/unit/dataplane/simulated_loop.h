// The loop of a worker under simulation: the clock moves when told, flushes run when told.
#pragma once

#include <cstdint>

#include "dataplane/flush_queue.h"
#include "dataplane/loop.h"
#include "dataplane/timer_queue.h"

namespace farport {

class SimulatedLoop final : public Loop {
 public:
  explicit SimulatedLoop(uint64_t buffer_bytes_max = 1ull << 30) : buffers_(buffer_bytes_max) {}

  uint64_t now_ns() const override { return now_ns_; }
  void arm(Timer& timer, uint64_t at_ns) override { timers_.arm(timer, at_ns); }
  void disarm(Timer& timer) override { timers_.disarm(timer); }
  void flush_later(Flushable& flushable) override { flushables_.add(flushable); }
  void forget(Flushable& flushable) override { flushables_.forget(flushable); }
  BufferPool& buffers() override { return buffers_; }

  void flush() { flushables_.run(); }
  bool flush_waiting() const { return !flushables_.empty(); }
  void advance(uint64_t duration_ns) {
    now_ns_ += duration_ns;
    timers_.fire(now_ns_);
  }

 private:
  uint64_t now_ns_ = 1'000'000'000;
  TimerQueue timers_;
  FlushQueue flushables_;
  BufferPool buffers_;
};

}  // namespace farport
