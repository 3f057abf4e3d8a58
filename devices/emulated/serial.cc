#include "devices/emulated/serial.h"

#include <algorithm>
#include <cstring>

#include "dataplane/limits.h"

namespace farport {

namespace {

using namespace serial;

constexpr uint8_t kOurLines = line::dtr | line::rts;

bool possible(const LineSettings& line) {
  if (line.data_bits < 5 || line.data_bits > 8) return false;
  if (line.parity > Parity::space || line.flow_control > FlowControl::xon_xoff) return false;
  // As 16550 UARTs have it: the longer stop is 1.5 bits with 5 data bits, and 2 otherwise.
  if (line.stop_bits == StopBits::one) return true;
  return line.stop_bits == (line.data_bits == 5 ? StopBits::one_and_half : StopBits::two);
}

}  // namespace

EmulatedSerial::EmulatedSerial(const EmulatedDeviceSettings& settings,
                               std::shared_ptr<DeviceLink> link)
    : EmulatedDevice(settings, std::move(link)), received_(limits::serial_run_bytes_max) {
  info_.kind = DeviceKind::serial;
  info_.description = chatter() ? "Farport Emulated serial port (chatter)"
                                : "Farport Emulated serial port (loopback)";
}

void EmulatedSerial::power_on(Scheduler& scheduler) {
  scheduler_ = &scheduler;
  output_timer_.emplace(
      scheduler, [](void* context) { static_cast<EmulatedSerial*>(context)->output_moved(); },
      this);
  line_timer_.emplace(
      scheduler, [](void* context) { static_cast<EmulatedSerial*>(context)->line_sent(); }, this);
  set_lines(kOurLines);
  if (chatter()) begin_line(scheduler.now_ns());
}

void EmulatedSerial::submit(Transfer& transfer) {
  if (!running()) return complete(transfer, refusal(), 0);
  const uint8_t endpoint = transfer.endpoint;
  if (transfer.type == TransferType::control && (endpoint & 0x7f) == 0) return control(transfer);
  if (transfer.type == TransferType::interrupt && endpoint == endpoint_notice &&
      transfer.length >= sizeof(SerialNotice)) {
    notices_.push(transfer);
    return give_notices();
  }
  const bool run =
      transfer.type == TransferType::serial && transfer.length <= limits::serial_run_bytes_max;
  if (run && endpoint == endpoint_in && transfer.length > 0) {
    reading_.push(transfer);
    give_received();
    return begin_output(scheduler_->now_ns());
  }
  if (run && endpoint == endpoint_out) {
    transfer.device_cookie = 0;
    writing_.push(transfer);
    return begin_output(scheduler_->now_ns());
  }
  complete(transfer, TransferStatus::invalid, 0);
}

void EmulatedSerial::cancel(Transfer& transfer) {
  if (!running()) return;
  const bool on_the_line = writing_.front() == &transfer;
  if (writing_.remove(transfer)) {
    if (on_the_line) output_timer_->disarm();
    complete(transfer, TransferStatus::cancelled, static_cast<uint32_t>(transfer.device_cookie));
    begin_output(scheduler_->now_ns());
  } else if (reading_.remove(transfer) || notices_.remove(transfer) || draining_.remove(transfer)) {
    complete(transfer, TransferStatus::cancelled, 0);
  }
}

Transfer* EmulatedSerial::take_any() {
  output_timer_->disarm();
  line_timer_->disarm();
  for (WaitingTransfers* queue : {&writing_, &reading_, &notices_, &draining_}) {
    if (Transfer* transfer = queue->pop()) return transfer;
  }
  return nullptr;
}

// What is set must have been sent: of a transfer that goes IN the memory holds what was there.
void EmulatedSerial::control(Transfer& transfer) {
  const auto data = transfer.data();
  bool done = false;
  uint32_t actual = 0;
  switch (static_cast<SerialRequest>(transfer.setup[1])) {
    case SerialRequest::set_line:
      if (LineSettings line; !transfer.in() && data.size() >= sizeof(line)) {
        std::memcpy(&line, data.data(), sizeof(line));
        done = set_line(line);
        actual = sizeof(line);
      }
      break;
    case SerialRequest::get_line:
      if (transfer.in() && data.size() >= sizeof(line_)) {
        std::memcpy(data.data(), &line_, sizeof(line_));
        done = true;
        actual = sizeof(line_);
      }
      break;
    case SerialRequest::set_modem:
      if (ModemControl control; !transfer.in() && data.size() >= sizeof(control)) {
        std::memcpy(&control, data.data(), sizeof(control));
        done = set_modem(control);
        actual = sizeof(control);
      }
      break;
    case SerialRequest::set_break:
      set_break((transfer.setup[2] | transfer.setup[3]) != 0);
      done = true;
      break;
    case SerialRequest::purge:
      purge(transfer.setup[2]);
      done = true;
      break;
    case SerialRequest::drain:
      draining_.push(transfer);
      return finish_drains();
  }
  if (!running()) return complete(transfer, refusal(), 0);
  complete(transfer, done ? TransferStatus::ok : TransferStatus::invalid, done ? actual : 0);
}

bool EmulatedSerial::set_line(const LineSettings& line) {
  if (!possible(line)) return false;
  const bool hung_up = line_.baud == 0;
  line_ = line;
  if (line.baud == 0) {
    set_lines(lines_ & ~kOurLines);
  } else if (hung_up) {
    set_lines(lines_ | kOurLines);
  }
  begin_output(scheduler_->now_ns());
  if (chatter() && !line_timer_->armed()) begin_line(scheduler_->now_ns());
  return true;
}

bool EmulatedSerial::set_modem(ModemControl control) {
  if ((control.mask & ~kOurLines) != 0) return false;
  set_lines(static_cast<uint8_t>((lines_ & ~control.mask) | (control.lines & control.mask)));
  begin_output(scheduler_->now_ns());
  if (chatter() && !line_timer_->armed()) begin_line(scheduler_->now_ns());
  return true;
}

void EmulatedSerial::set_break(bool on) {
  if (on && !break_ && !chatter()) conditions_ |= condition::break_received;
  break_ = on;
  give_notices();
  begin_output(scheduler_->now_ns());
}

void EmulatedSerial::purge(uint8_t what) {
  if ((what & 1) != 0) received_.clear();
  if ((what & 2) != 0) {
    output_timer_->disarm();
    // The port has taken them all, and dropped what had not left yet.
    while (Transfer* transfer = writing_.pop()) {
      complete(*transfer, TransferStatus::ok, transfer->length);
    }
    finish_drains();
  }
  begin_output(scheduler_->now_ns());
}

// Our lines as in `lines`; the others follow from how the port is wired.
void EmulatedSerial::set_lines(uint8_t lines) {
  lines &= kOurLines;
  if (chatter() || (lines & line::dtr) != 0) lines |= line::dsr | line::dcd;
  if (chatter() || (lines & line::rts) != 0) lines |= line::cts;
  lines_ = lines;
  give_notices();
}

void EmulatedSerial::give_notices() {
  if (notices_.empty()) return;
  if (noticed_ && lines_ == noticed_lines_ && conditions_ == 0) return;
  const SerialNotice notice{.lines = lines_,
                            .changed = static_cast<uint8_t>(noticed_ ? lines_ ^ noticed_lines_ : 0),
                            .conditions = conditions_};
  noticed_ = true;
  noticed_lines_ = lines_;
  conditions_ = 0;
  Transfer& transfer = *notices_.pop();
  std::memcpy(transfer.data().data(), &notice, sizeof(notice));
  complete(transfer, TransferStatus::ok, sizeof(notice));
}

}  // namespace farport
