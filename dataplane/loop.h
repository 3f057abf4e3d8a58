// What code on a worker asks of its loop: clock, timers, a call at the end of the iteration,
// memory. A Worker in the daemon; tests/unit/dataplane/simulated_loop.h under simulation.
#pragma once

#include "dataplane/buffer.h"
#include "dataplane/scheduler.h"

namespace farport {

// Something that gathers work during an iteration and hands it on once at its end.
class Flushable {
 public:
  virtual void flush() = 0;

 protected:
  ~Flushable() = default;

 private:
  friend class FlushQueue;
  bool queued_ = false;
};

class Loop : public Scheduler {
 public:
  // Calls flushable.flush() once at the end of this iteration, before submission to the kernel.
  virtual void flush_later(Flushable& flushable) = 0;
  // Takes back flush_later(); for destructors.
  virtual void forget(Flushable& flushable) = 0;
  virtual BufferPool& buffers() = 0;
};

}  // namespace farport
