// One worker: one thread, one io_uring, its sessions. Everything that runs on it runs to completion
// and must not block; whatever must block (opening a device, its reset, name lookup) runs elsewhere
// and comes back by post().
//
// turn() (worker.cc) reads as the life of a worker: reap completions (which receive, deliver, and
// run device completions), take messages from control, fire timers, flush once, then sleep or spin.
#pragma once

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "dataplane/buffer.h"
#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "dataplane/flush_queue.h"
#include "dataplane/loop.h"
#include "dataplane/timer_queue.h"
#include "dataplane/worker_clock.h"

namespace farport {

struct WorkerSettings {
  uint32_t spin_us = 0;  // keep polling this long after the last event, then sleep
  uint64_t buffer_bytes_max = 1ull << 30;  // bound of all transfers' memory on this worker
  unsigned ring_entries = 1024;
};

// Target of one io_uring completion; its address is the request's user_data. It must live until its
// last completion (the one without IORING_CQE_F_MORE) has come.
class RingOperation {
 public:
  // `result` and `flags` are cqe->res and cqe->flags.
  virtual void completed(int result, uint32_t flags) = 0;

 protected:
  ~RingOperation() = default;
};

// Something that a spinning worker asks by itself, instead of through the ring, whether anything
// has come: an attempt costs less than arming, waking and completing.
class Pollable {
 public:
  // Takes what is there; how many events that was.
  virtual unsigned poll() = 0;
  // The worker is about to sleep: from now on the ring must wake it.
  virtual void before_sleep() = 0;

 protected:
  ~Pollable() = default;
};

class Worker final : public Loop {
 public:
  static Result<std::unique_ptr<Worker>> create(const WorkerSettings& settings);
  ~Worker() override;

  // --- from any thread ---
  // Runs `message` on the worker, in order of posting. Never blocks for longer than it takes to
  // append to a queue. Messages still queued when the worker is destroyed are destroyed unrun.
  void post(std::function<void()> message);
  // Makes run() return after the present iteration.
  void stop();

  // --- on the worker's thread only ---
  void run();
  // Until `done()` holds or `timeout_ns` has passed; true when done. For tests and in-process
  // tools.
  bool run_until(const std::function<bool()>& done, uint64_t timeout_ns);

  uint64_t now_ns() const override { return turning_ ? turn_ns() : read_clock_ns(); }
  // The clock itself, for what an iteration's one time is too coarse for. From any thread.
  static uint64_t read_clock_ns();
  void arm(Timer& timer, uint64_t at_ns) override { timers_.arm(timer, at_ns); }
  void disarm(Timer& timer) override { timers_.disarm(timer); }

  BufferPool& buffers() override { return buffers_; }

  // A free submission entry, with `operation` as its target; submitted at the end of the iteration.
  io_uring_sqe* prepare(RingOperation& operation);
  // Whether it spins at all; then pollables are asked, and need no ring operation while awake.
  bool spins() const { return settings_.spin_us != 0; }
  void add_pollable(Pollable& pollable) { pollables_.push_back(&pollable); }
  void remove_pollable(Pollable& pollable);
  // Asks the kernel to cancel `operation`; its completion still comes (-ECANCELED, or its result).
  void cancel(RingOperation& operation);
  void flush_later(Flushable& flushable) override { flushables_.add(flushable); }
  void forget(Flushable& flushable) override { flushables_.forget(flushable); }

 private:
  explicit Worker(const WorkerSettings& settings);
  Result<void> open();
  void enable();
  void drain();
  void wake();
  void turn(uint64_t until_ns, const std::function<bool()>* done);
  uint64_t turn_ns() const;
  unsigned reap();
  unsigned take_messages();
  unsigned poll();
  int fire_timers();
  bool spinning(unsigned events);
  void submit();
  void submit_and_sleep(uint64_t until_ns);

  struct Wakeup final : RingOperation {
    explicit Wakeup(Worker& worker) : worker(worker) {}
    void completed(int result, uint32_t flags) override;
    void listen();
    Worker& worker;
    uint64_t count = 0;
    bool listening = false;
    bool ending = false;  // drain(): a wakeup that came just then is the last
  };
  struct Ignore final : RingOperation {
    void completed(int, uint32_t) override {}
  };

  WorkerSettings settings_;
  io_uring ring_{};
  bool ring_open_ = false;
  bool enabled_ = false;
  uint64_t operations_ = 0;  // prepared, last completion still to come
  FileDescriptor wakeup_fd_;
  Wakeup wakeup_{*this};
  Ignore ignore_;
  bool turning_ = false;
  mutable WorkerClock clock_;
  // When the present iteration first asked, after its messages again; 0: it has not.
  mutable uint64_t turn_ns_ = 0;
  TimerQueue timers_;
  BufferPool buffers_;
  FlushQueue flushables_;
  std::vector<Pollable*> pollables_;
  uint64_t busy_at_ns_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> asleep_{false};
  std::mutex messages_mutex_;  // control's side only; the worker takes the queue by a swap
  std::vector<std::function<void()>> messages_;
  std::vector<std::function<void()>> taken_;
  std::atomic<bool> messages_waiting_{false};
};

}  // namespace farport
