// The part of SerialPort that is not data: requests on the control endpoint, and notices.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/serial/serial_port.h"
#include "devices/serial/termios_settings.h"
#include "devices/serial_requests.h"

namespace farport::serial {

namespace {

// The fields of a struct from the other host; every byte pattern is a value to be checked.
template <class T>
T copy_from(const Transfer& transfer) {
  T value;
  std::memcpy(&value, transfer.data().data(), sizeof value);
  return value;
}

template <class T>
void copy_to(Transfer& transfer, const T& value) {
  std::memcpy(transfer.data().data(), &value, sizeof value);
  transfer.actual = sizeof value;
}

}  // namespace

void SerialPort::submit_control(Transfer& transfer) {
  TtyJob job;
  if (!read_request(transfer, job)) return finish(transfer, TransferStatus::invalid);
  if (job.kind == TtyJob::Kind::drain) {
    drains_.push(transfer);
    if (output_.empty() && state_ == State::open) drain_output();
    return;
  }
  if (job.kind == TtyJob::Kind::purge && job.purge_output) {
    finish_all(output_, TransferStatus::cancelled);
    if (!usable()) return finish(transfer, TransferStatus::cancelled);
    drain_output();
  }
  controls_.push(transfer);
  next_control();
}

// False for what the port cannot be asked.
bool SerialPort::read_request(Transfer& transfer, TtyJob& job) const {
  const uint16_t value = static_cast<uint16_t>(transfer.setup[2] | transfer.setup[3] << 8);
  switch (static_cast<SerialRequest>(transfer.setup[1])) {
    case SerialRequest::set_line:
      if (transfer.in() || transfer.length < sizeof(LineSettings)) return false;
      job.kind = TtyJob::Kind::set_line;
      job.line = copy_from<LineSettings>(transfer);
      return valid(job.line);
    case SerialRequest::get_line:
      job.kind = TtyJob::Kind::get_line;
      return transfer.in() && transfer.length >= sizeof(LineSettings);
    case SerialRequest::set_modem:
      if (transfer.in() || transfer.length < sizeof(ModemControl)) return false;
      job.kind = TtyJob::Kind::set_modem;
      job.modem = copy_from<ModemControl>(transfer);
      return (job.modem.mask & ~(line::dtr | line::rts)) == 0;
    case SerialRequest::set_break:
      job.kind = TtyJob::Kind::set_break;
      job.break_on = value != 0;
      return !transfer.in() && value <= 1;
    case SerialRequest::purge:
      job.kind = TtyJob::Kind::purge;
      job.purge_input = (value & 1) != 0;
      job.purge_output = (value & 2) != 0;
      return !transfer.in() && value <= 3;
    case SerialRequest::drain:
      job.kind = TtyJob::Kind::drain;
      return !transfer.in();
  }
  return false;
}

void SerialPort::next_control() {
  if (state_ != State::open || in_helper_ != nullptr || controls_.empty()) return;
  in_helper_ = &controls_.pop();
  TtyJob job;
  read_request(*in_helper_, job);
  // Reads and writes of a tty wait, even non-blocking ones, while its settings are being changed or
  // its queues flushed: keep off it meanwhile.
  data_paused_ = job.kind == TtyJob::Kind::set_line || job.kind == TtyJob::Kind::purge;
  if (data_paused_) update_watch();
  helper_->submit(job);
}

void SerialPort::job_done(const TtyJob& job) {
  Transfer& transfer = *std::exchange(in_helper_, nullptr);
  data_paused_ = false;
  if (state_ == State::stopping || state_ == State::gone) {
    return finish(transfer,
                  state_ == State::gone ? TransferStatus::unplugged : TransferStatus::cancelled);
  }
  if (job.status == TransferStatus::ok) {
    if (job.kind == TtyJob::Kind::get_line) {
      copy_to(transfer, job.line);
    } else {
      transfer.actual = transfer.length;
    }
  }
  finish(transfer, job.status);
  next_control();
  if (state_ == State::open && !data_paused_ && !output_.empty()) write_output();
  if (state_ == State::open) update_watch();
}

// Moves the drains to the helper, to wait for the hardware, once the kernel's own queue is empty.
// TIOCOUTQ only reads a counter, so that it may be asked here.
void SerialPort::drain_output() {
  if (drains_.empty() || !output_.empty() || state_ != State::open) return;
  int pending = 0;
  if (tty_->output_pending(pending) == 0 && pending > 0) {
    drain_timer_->arm_after(1'000'000);  // 1 ms: 12 characters at 115200 baud
    return;
  }
  while (!drains_.empty()) controls_.push(drains_.pop());
  next_control();
}

void SerialPort::looked(const TtyLook& look) {
  if (state_ != State::open) return;
  note(look);
  if (look.has_counters) note_conditions(look.counters);
  send_notice();
}

void SerialPort::note(const TtyLook& look) {
  uint8_t changed = static_cast<uint8_t>(lines_ ^ look.lines);
  // A line that went and came back shows in the counters only.
  const LineCounters &now = look.counters, &then = counters_;
  if (look.has_counters) {
    if (now.cts != then.cts) changed |= line::cts;
    if (now.dsr != then.dsr) changed |= line::dsr;
    if (now.dcd != then.dcd) changed |= line::dcd;
    if (now.ring != then.ring) changed |= line::ring;
    counters_.cts = now.cts;
    counters_.dsr = now.dsr;
    counters_.dcd = now.dcd;
    counters_.ring = now.ring;
  }
  lines_ = look.lines;
  changed_ |= changed;
  if (changed != 0) notice_pending_ = true;
}

// The helper's counters may be older than those read here meanwhile: only growth counts.
void SerialPort::note_conditions(const LineCounters& counters) {
  const auto grown = [](int now, int& then) {
    if (static_cast<int>(static_cast<unsigned>(now) - static_cast<unsigned>(then)) <= 0) {
      return false;
    }
    then = now;
    return true;
  };
  uint8_t seen = 0;
  if (grown(counters.brk, counters_.brk)) seen |= condition::break_received;
  if (grown(counters.frame, counters_.frame)) seen |= condition::framing_error;
  if (grown(counters.parity, counters_.parity)) seen |= condition::parity_error;
  if (grown(counters.overrun, counters_.overrun)) seen |= condition::overrun;
  conditions_ |= seen;
  if (seen != 0) notice_pending_ = true;
}

void SerialPort::send_notice() {
  if (!notice_pending_ || notices_.empty() || state_ != State::open) return;
  notice_pending_ = false;
  Transfer& transfer = notices_.pop();
  copy_to(transfer, SerialNotice{.lines = lines_,
                                 .changed = std::exchange(changed_, uint8_t{0}),
                                 .conditions = std::exchange(conditions_, uint8_t{0}),
                                 .reserved = 0});
  finish(transfer, TransferStatus::ok);
}

}  // namespace farport::serial
