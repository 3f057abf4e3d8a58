// A tty with modem lines and error counters, which no kernel without the hardware has: data goes
// through the slave side of a real pty, the rest is in memory. Also a plain pty pair.
#pragma once

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/file_descriptor.h"
#include "devices/serial/tty.h"
#include "devices/serial_requests.h"

namespace farport::serial {

// The master of a new pty; its slave is what a test treats as a serial port.
struct PtyPair {
  PtyPair() : master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)) {
    ::grantpt(master.get());
    ::unlockpt(master.get());
    char name[64] = "";
    ::ptsname_r(master.get(), name, sizeof name);
    path = name;
  }
  termios2 settings() const {
    termios2 found{};
    ::ioctl(master.get(), TCGETS2, &found);
    return found;
  }
  FileDescriptor master;
  std::string path;
};

class FakeTty final : public Tty {
 public:
  explicit FakeTty(const PtyPair& pair)
      : fd_(::open(pair.path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)),
        changed_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  // --- the test's side, from any thread ---
  std::atomic<bool> can_wait{true};       // has TIOCMIWAIT
  std::atomic<int> settings_error{0};     // what set_settings() answers
  std::atomic<bool> ignores_size{false};  // takes 8 data bits whatever is asked
  std::atomic<int> set_lines_calls{0};
  std::atomic<int> waits{0};  // wait_for_change() calls that began
  std::atomic<bool> break_on{false};
  std::atomic<int> breaks{0};
  std::atomic<bool> low_latency{false};
  std::atomic<bool> transmitting{false};  // the hardware's FIFO is not empty
  std::atomic<int> kernel_output{0};      // what output_pending() says
  std::atomic<bool> closed{false};
  std::atomic<int> flushes{0};

  uint8_t lines() {
    std::lock_guard lock(mutex_);
    return lines_;
  }
  // The other side sets its lines. Quietly: without waking wait_for_change().
  void set_remote(uint8_t lines, bool quietly = false) {
    {
      std::lock_guard lock(mutex_);
      const uint8_t changed = lines_ ^ lines;
      if (changed & line::cts) ++counters_.cts;
      if (changed & line::dsr) ++counters_.dsr;
      if (changed & line::dcd) ++counters_.dcd;
      if (changed & line::ring) ++counters_.ring;
      lines_ = lines;
    }
    if (!quietly) wake();
  }
  void count(int LineCounters::* counter) {
    std::lock_guard lock(mutex_);
    ++(counters_.*counter);
  }
  void wake() {
    const uint64_t one = 1;
    (void)!::write(changed_.get(), &one, sizeof one);
  }

  // --- Tty ---
  int fd() const override { return fd_.get(); }
  int get_settings(termios2& settings) override {
    std::lock_guard lock(mutex_);
    if (!have_settings_ && ::ioctl(fd_.get(), TCGETS2, &settings_) < 0) return errno;
    have_settings_ = true;
    settings = settings_;
    return 0;
  }
  int set_settings(const termios2& settings) override {
    if (settings_error != 0) return settings_error;
    std::lock_guard lock(mutex_);
    termios2 pty = settings;
    if (::ioctl(fd_.get(), TCSETS2, &pty) < 0) return errno;
    settings_ = settings;  // a pty would force 8 bits without parity
    if (ignores_size) settings_.c_cflag |= CS8;
    have_settings_ = true;
    return 0;
  }
  int get_lines(uint8_t& lines) override {
    std::lock_guard lock(mutex_);
    lines = lines_;
    return 0;
  }
  int set_lines(uint8_t mask, uint8_t lines) override {
    std::lock_guard lock(mutex_);
    lines_ = static_cast<uint8_t>((lines_ & ~mask) | (lines & mask));
    ++set_lines_calls;
    return 0;
  }
  int wait_for_change() override {
    if (!can_wait) return ENOTTY;
    ++waits;
    pollfd waited{changed_.get(), POLLIN, 0};
    if (::poll(&waited, 1, -1) < 0) return errno;
    uint64_t count = 0;
    (void)!::read(changed_.get(), &count, sizeof count);
    return 0;
  }
  int get_counters(LineCounters& counters) override {
    std::lock_guard lock(mutex_);
    counters = counters_;
    return 0;
  }
  int set_break(bool on) override {
    if (on) ++breaks;
    break_on = on;
    return 0;
  }
  int flush(bool input, bool output) override {
    ++flushes;
    if (output) kernel_output = 0;
    if (input) ::ioctl(fd_.get(), TCFLSH, TCIFLUSH);
    return 0;
  }
  int output_pending(int& bytes) override {
    bytes = kernel_output;
    return 0;
  }
  int transmitter_empty(bool& empty) override {
    empty = !transmitting;
    return 0;
  }
  int set_low_latency(bool on, bool& before) override {
    before = low_latency.exchange(on);
    return 0;
  }
  void close() override {
    fd_.reset();
    closed = true;
  }

 private:
  FileDescriptor fd_;
  FileDescriptor changed_;
  std::mutex mutex_;
  bool have_settings_ = false;
  termios2 settings_{};
  uint8_t lines_ = line::dtr | line::rts;
  LineCounters counters_;
};

}  // namespace farport::serial
