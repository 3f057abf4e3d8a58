// A serial port of this host as a Device: start here to read devices/serial.
//
// Data goes by non-blocking reads and writes, the moment the worker's ring says that the tty is
// ready; everything that may block runs in TtyHelper. What each transfer does: serial_requests.h.
//
//   tty.h                the system calls of one port (and its locks)
//   termios_settings.h   line settings as the kernel says them
//   tty_helper.h         the threads for what blocks
//   serial_provider.h    finds and opens ports
//
// A port without modem lines (a pty) works: its notices say that no line is set, and requests to
// set one complete as invalid. Breaks and line errors are known from the driver's counters
// (TIOCGICOUNT), read after each read of data; a received break is also a 0 byte in the data, as on
// any tty.
//
// A signal that the other side drops and raises again between two looks is reported by `changed`
// although its level in `lines` is the old one.
#pragma once

#include <memory>
#include <string>

#include "dataplane/scheduler.h"
#include "dataplane/watch.h"
#include "devices/device.h"
#include "devices/serial/transfer_queue.h"
#include "devices/serial/tty.h"
#include "devices/serial/tty_helper.h"

namespace farport::serial {

class SerialPort final : public Device, private TtyHelper::Events {
 public:
  // `tty` is open and locked, its settings untouched so far.
  SerialPort(DeviceInfo info, std::unique_ptr<Tty> tty);
  ~SerialPort() override;

  const DeviceInfo& info() const override { return info_; }
  void start(Worker& worker, DeviceEvents& events) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void stop() override;

 private:
  enum class State : uint8_t { idle, starting, open, gone, stopping, stopped };

  // TtyHelper::Events
  void port_ready(int error, const TtyLook& look) override;
  void job_done(const TtyJob& job) override;
  void looked(const TtyLook& look) override;
  void helper_stopped() override;

  // serial_port.cc: life, data
  void tty_event(uint32_t events);
  void read_input();
  void write_output();
  void update_watch();
  void lose(const std::string& reason);
  void finish(Transfer& transfer, TransferStatus status);
  void finish_all(TransferQueue& queue, TransferStatus status);
  void finish_everything(TransferStatus status);
  bool usable() const { return state_ == State::starting || state_ == State::open; }

  // serial_port_requests.cc: settings, lines, notices
  void submit_control(Transfer& transfer);
  void next_control();
  bool read_request(Transfer& transfer, TtyJob& job) const;
  void drain_output();
  void note(const TtyLook& look);
  void note_conditions(const LineCounters& counters);
  void send_notice();

  DeviceInfo info_;
  std::unique_ptr<Tty> tty_;
  Worker* worker_ = nullptr;
  DeviceEvents* events_ = nullptr;
  State state_ = State::idle;
  std::unique_ptr<TtyHelper> helper_;
  Watch watch_;
  std::unique_ptr<Timer> drain_timer_;

  TransferQueue input_, output_, notices_;
  TransferQueue drains_;           // wait for output_ and the kernel's queue to empty
  TransferQueue controls_;         // wait for the helper
  Transfer* in_helper_ = nullptr;  // the control transfer the helper works on
  bool data_paused_ = false;       // while settings change: the kernel would block reads and writes

  bool notice_pending_ = false;
  bool has_counters_ = false;
  uint8_t lines_ = 0, changed_ = 0, conditions_ = 0;
  LineCounters counters_;
};

}  // namespace farport::serial
