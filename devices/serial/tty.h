// What a serial port asks of the kernel's tty: the system calls of one open port, without policy. A
// seam inside this folder: LinuxTty here, FakeTty (a pty with modem lines) in the tests.
//
// Every call returns 0 or a positive errno value. ENOTTY: this kind of port has no such thing.
// Those marked (blocks) may wait for the hardware - a USB adapter answers TIOCMGET and TCSETS2 by
// control transfers - and are never made on a worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/error.h"

struct termios2;

namespace farport::serial {

// Counts since the port was opened first, as the driver keeps them (TIOCGICOUNT).
struct LineCounters {
  int cts = 0, dsr = 0, ring = 0, dcd = 0;  // transitions
  int frame = 0, overrun = 0, parity = 0, brk = 0;
};

class Tty {
 public:
  virtual ~Tty() = default;

  // For data: non-blocking. -1 once closed.
  virtual int fd() const = 0;

  virtual int get_settings(termios2& settings) = 0;        // (blocks)
  virtual int set_settings(const termios2& settings) = 0;  // (blocks) at once, output not awaited
  virtual int get_lines(uint8_t& lines) = 0;               // (blocks) bits of serial::line
  virtual int set_lines(uint8_t mask, uint8_t lines) = 0;  // (blocks) all of `mask` by one ioctl
  // (blocks) until a modem line of the other side changes; EINTR when interrupted by a signal.
  virtual int wait_for_change() = 0;
  virtual int get_counters(LineCounters& counters) = 0;
  virtual int set_break(bool on) = 0;              // (blocks)
  virtual int flush(bool input, bool output) = 0;  // (blocks) drops what the kernel holds
  virtual int output_pending(int& bytes) = 0;      // held by the kernel, not yet in the hardware
  virtual int transmitter_empty(bool& empty) = 0;  // (blocks) the hardware has sent it all
  // FTDI adapters hold received bytes for 16 ms unless asked for low latency.
  virtual int set_low_latency(bool on, bool& before) = 0;  // (blocks)
  // (blocks) Gives up the locks and closes.
  virtual void close() = 0;
};

// Opens a port for exclusive use. Three locks, since other programs know different ones:
//   - /run/lock/LCK..NAME with our process id: minicom, uucp, gpsd, ModemManager's old rules. A
//   lock
//     whose process has died is taken over. Skipped, without an error, where `lock_folder` is not
//     writable or the node is not directly in /dev.
//   - flock(): util-linux, picocom, tio, pyserial's exclusive mode, and a second Farport.
//   - TIOCEXCL: keeps out everybody who knows neither (root excepted: the kernel lets it pass).
// `busy` names the holder where it is known; `denied` names the node and the group that may open
// it. The settings of the port are not touched; opening raises DTR and RTS, as the kernel does.
Result<std::unique_ptr<Tty>> open_tty(const std::string& path, const std::string& lock_folder);

}  // namespace farport::serial
