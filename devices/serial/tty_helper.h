// The threads beside the worker that make a port's blocking system calls: settings and modem lines
// (USB adapters answer them by control transfers, milliseconds each), and the wait for a modem line
// to change.
//
// Two threads a port. The first carries out one job at a time and looks at the modem lines:
//   - when the second thread says so. It rests in TIOCMIWAIT, which a signal ends when the port is
//     given up: the last real-time signal but three, whose handler does nothing, and which is sent
//     to that thread only;
//   - every look_interval_ms, because a change between two calls of TIOCMIWAIT is not reported;
//   - every poll_interval_ms when the driver lacks TIOCMIWAIT, and not at all when it has neither
//     lines nor counters (a pty).
// Results come back to the worker by post().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <thread>

#include "dataplane/transfer.h"
#include "dataplane/worker.h"
#include "devices/serial/tty.h"
#include "devices/serial_requests.h"

namespace farport::serial {

struct TtyJob {
  enum class Kind : uint8_t { set_line, get_line, set_modem, set_break, purge, drain };
  Kind kind = Kind::get_line;
  LineSettings line;  // set_line: wanted; get_line, set_line: the result
  ModemControl modem;
  bool break_on = false;
  bool purge_input = false, purge_output = false;
  TransferStatus status = TransferStatus::ok;  // the result
};

// What the port looked like.
struct TtyLook {
  uint8_t lines = 0;
  bool has_counters = false;
  LineCounters counters;
};

class TtyHelper {
 public:
  // Called on the worker. helper_stopped() is the last.
  struct Events {
    virtual void port_ready(int error, const TtyLook& look) = 0;  // 0, or why it cannot be used
    virtual void job_done(const TtyJob& job) = 0;
    virtual void looked(const TtyLook& look) = 0;
    virtual void helper_stopped() = 0;

   protected:
    ~Events() = default;
  };

  static constexpr int look_interval_ms = 500;
  static constexpr int poll_interval_ms = 50;
  // Output still held by the kernel at stop() is given this long to leave; the rest is dropped.
  static constexpr int stop_drain_ms = 1000;

  TtyHelper(Tty& tty, Worker& worker, Events& events);
  // Only after helper_stopped(): the threads are then about to end, so that joining does not block.
  ~TtyHelper();

  // Remembers the settings found, makes the port raw, then port_ready().
  void start();
  // One at a time, after port_ready().
  void submit(const TtyJob& job);
  // Lets output leave, restores the settings found, closes the tty, then helper_stopped().
  void stop();

 private:
  struct Found;  // the settings as they were
  void run();
  int prepare(Found& found);
  void restore(const Found& found);
  void serve();
  void carry_out(TtyJob& job);
  TransferStatus set_line(LineSettings& line);
  TransferStatus get_line(LineSettings& line);
  TransferStatus drain();
  bool look(TtyLook& look);
  void look_and_tell();
  void wait_for_changes();
  void end_waiter();

  Tty& tty_;
  Worker& worker_;
  Events& events_;
  std::counting_semaphore<> wake_{0};
  TtyJob job_;  // of the helper from submit() to job_done()
  std::atomic<bool> job_waiting_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> waiter_done_{true};
  std::atomic<bool> wait_supported_{false};
  bool looks_ = false;  // the port has lines or counters to look at
  TtyLook last_;
  std::thread waiter_;
  std::thread thread_;
};

}  // namespace farport::serial
