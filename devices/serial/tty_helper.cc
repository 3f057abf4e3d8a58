#include "devices/serial/tty_helper.h"

#include <asm/termbits.h>
#include <pthread.h>
#include <signal.h>

#include <cassert>
#include <cerrno>
#include <chrono>
#include <mutex>

#include "devices/serial/termios_settings.h"

namespace farport::serial {

namespace {

using std::chrono::milliseconds;

int wake_signal() { return SIGRTMAX - 3; }

// A handler that does nothing, without SA_RESTART: the system call it meets ends with EINTR.
void install_wake_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(wake_signal(), &action, nullptr);
  });
}

TransferStatus status_of(int error) {
  switch (error) {
    case 0:
      return TransferStatus::ok;
    case EIO:
    case ENODEV:
    case ENXIO:
      return TransferStatus::unplugged;
    case ENOMEM:
      return TransferStatus::no_memory;
    case EINVAL:
    case ENOTTY:
    case EOPNOTSUPP:
      return TransferStatus::invalid;
    default:
      return TransferStatus::protocol;
  }
}

bool differ(const TtyLook& a, const TtyLook& b) {
  const LineCounters &x = a.counters, &y = b.counters;
  return a.lines != b.lines || x.cts != y.cts || x.dsr != y.dsr || x.ring != y.ring ||
         x.dcd != y.dcd || x.frame != y.frame || x.overrun != y.overrun || x.parity != y.parity ||
         x.brk != y.brk;
}

}  // namespace

struct TtyHelper::Found {
  bool prepared = false;
  termios2 settings{};
  bool low_latency_changed = false;
};

TtyHelper::TtyHelper(Tty& tty, Worker& worker, Events& events)
    : tty_(tty), worker_(worker), events_(events) {}

TtyHelper::~TtyHelper() {
  if (!thread_.joinable()) return;
  assert(stopping_);
  thread_.join();
}

void TtyHelper::start() {
  thread_ = std::thread([this] { run(); });
}

void TtyHelper::submit(const TtyJob& job) {
  assert(!job_waiting_);
  job_ = job;
  job_waiting_ = true;
  wake_.release();
}

void TtyHelper::stop() {
  stopping_ = true;
  wake_.release();
}

void TtyHelper::run() {
  install_wake_handler();
  Found found;
  const int error = prepare(found);
  looks_ = look(last_);
  worker_.post([this, error, look = last_] { events_.port_ready(error, look); });
  if (looks_ && error == 0) {
    waiter_done_ = false;
    wait_supported_ = true;
    waiter_ = std::thread([this] { wait_for_changes(); });
  }
  serve();
  end_waiter();
  restore(found);
  tty_.close();
  worker_.post([this] { events_.helper_stopped(); });
}

int TtyHelper::prepare(Found& found) {
  if (const int error = tty_.get_settings(found.settings)) return error;
  termios2 raw = found.settings;
  make_raw(raw);
  if (const int error = tty_.set_settings(raw)) return error;
  found.prepared = true;
  bool before = false;
  found.low_latency_changed = tty_.set_low_latency(true, before) == 0 && !before;
  return 0;
}

void TtyHelper::restore(const Found& found) {
  if (!found.prepared) return;
  int pending = 0;
  const auto end = std::chrono::steady_clock::now() + milliseconds(stop_drain_ms);
  while (tty_.output_pending(pending) == 0 && pending > 0 &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  tty_.flush(false, true);  // or close() would wait for it, up to 30 s
  tty_.set_break(false);
  bool before = false;
  if (found.low_latency_changed) tty_.set_low_latency(false, before);
  tty_.set_settings(found.settings);
}

void TtyHelper::serve() {
  while (!stopping_) {
    if (!looks_) {
      wake_.acquire();
    } else {
      (void)wake_.try_acquire_for(
          milliseconds(wait_supported_ ? look_interval_ms : poll_interval_ms));
    }
    if (job_waiting_.exchange(false)) {
      carry_out(job_);
      // Nobody touches job_ until the worker has taken it: the next submit() comes after.
      worker_.post([this] {
        const TtyJob done = job_;
        events_.job_done(done);
      });
    }
    if (looks_ && !stopping_) look_and_tell();
  }
}

void TtyHelper::carry_out(TtyJob& job) {
  switch (job.kind) {
    case TtyJob::Kind::set_line:
      job.status = set_line(job.line);
      break;
    case TtyJob::Kind::get_line:
      job.status = get_line(job.line);
      break;
    case TtyJob::Kind::set_modem:
      job.status = status_of(tty_.set_lines(job.modem.mask, job.modem.lines));
      break;
    case TtyJob::Kind::set_break:
      job.status = status_of(tty_.set_break(job.break_on));
      break;
    case TtyJob::Kind::purge:
      job.status = status_of(tty_.flush(job.purge_input, job.purge_output));
      break;
    case TtyJob::Kind::drain:
      job.status = drain();
      break;
  }
}

TransferStatus TtyHelper::set_line(LineSettings& line) {
  termios2 before{}, wanted{}, got{};
  if (const int error = tty_.get_settings(before)) return status_of(error);
  wanted = before;
  if (!apply_line(line, wanted)) return TransferStatus::invalid;
  // Some drivers refuse, most take what they can and say so only when asked.
  int error = tty_.set_settings(wanted);
  if (error == 0) error = tty_.get_settings(got);
  if (error == 0 && fulfils(wanted, got)) {
    line = line_of(got);
    return TransferStatus::ok;
  }
  tty_.set_settings(before);
  return error == 0 ? TransferStatus::invalid : status_of(error);
}

TransferStatus TtyHelper::get_line(LineSettings& line) {
  termios2 settings{};
  if (const int error = tty_.get_settings(settings)) return status_of(error);
  line = line_of(settings);
  return TransferStatus::ok;
}

// The kernel's own queue is empty by now; what is left is the hardware's FIFO. Bounded, because
// flow control may hold that for ever: 256 characters, the largest FIFO of common UARTS.
TransferStatus TtyHelper::drain() {
  LineSettings line;
  get_line(line);
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::nanoseconds(transmission_ns(line, 256)) + milliseconds(100);
  bool empty = false;
  while (!stopping_ && tty_.transmitter_empty(empty) == 0 && !empty &&
         std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  return TransferStatus::ok;
}

bool TtyHelper::look(TtyLook& look) {
  const bool has_lines = tty_.get_lines(look.lines) == 0;
  look.has_counters = tty_.get_counters(look.counters) == 0;
  return has_lines || look.has_counters;
}

void TtyHelper::look_and_tell() {
  TtyLook now;
  if (!look(now) || !differ(now, last_)) return;
  last_ = now;
  worker_.post([this, now] { events_.looked(now); });
}

void TtyHelper::wait_for_changes() {
  while (!stopping_) {
    const int error = tty_.wait_for_change();
    if (error == EINTR) continue;
    if (error != 0) break;  // no such call, or the port is gone
    wake_.release();
  }
  wait_supported_ = false;
  waiter_done_ = true;
  wake_.release();
}

void TtyHelper::end_waiter() {
  if (!waiter_.joinable()) return;
  // Again and again: the signal may come just before the thread enters the system call.
  while (!waiter_done_) {
    ::pthread_kill(waiter_.native_handle(), wake_signal());
    std::this_thread::sleep_for(milliseconds(2));
  }
  waiter_.join();
}

}  // namespace farport::serial
