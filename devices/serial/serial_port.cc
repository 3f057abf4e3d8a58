#include "devices/serial/serial_port.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "dataplane/limits.h"
#include "devices/serial_requests.h"

namespace farport::serial {

SerialPort::SerialPort(DeviceInfo info, std::unique_ptr<Tty> tty)
    : info_(std::move(info)), tty_(std::move(tty)) {}

SerialPort::~SerialPort() { assert(state_ == State::idle || state_ == State::stopped); }

void SerialPort::start(Worker& worker, DeviceEvents& events) {
  assert(state_ == State::idle);
  worker_ = &worker;
  events_ = &events;
  state_ = State::starting;
  drain_timer_ = std::make_unique<Timer>(
      worker, [](void* self) { static_cast<SerialPort*>(self)->drain_output(); }, this);
  helper_.reset(new TtyHelper(*tty_, worker, *this));
  helper_->start();
}

void SerialPort::port_ready(int error, const TtyLook& look) {
  if (state_ != State::starting) return;  // stopped meanwhile
  state_ = State::open;
  if (error != 0) return lose(fmt::format("{}: {}", info_.path, std::strerror(error)));
  lines_ = look.lines;
  has_counters_ = look.has_counters;
  counters_ = look.counters;
  notice_pending_ = true;
  watch_ = Watch(
      *worker_, tty_->fd(), POLLHUP | POLLERR,
      [](void* self, uint32_t events) { static_cast<SerialPort*>(self)->tty_event(events); }, this);
  send_notice();
  next_control();
  if (!output_.empty() && !data_paused_) write_output();
  update_watch();
}

void SerialPort::submit(Transfer& transfer) {
  transfer.actual = 0;
  if (!usable()) {
    return finish(transfer,
                  state_ == State::gone ? TransferStatus::unplugged : TransferStatus::cancelled);
  }
  const bool too_long = transfer.length > limits::serial_run_bytes_max;
  if (transfer.type == TransferType::serial && transfer.endpoint == endpoint_in) {
    if (transfer.length == 0 || too_long) return finish(transfer, TransferStatus::invalid);
    input_.push(transfer);
    update_watch();
  } else if (transfer.type == TransferType::serial && transfer.endpoint == endpoint_out) {
    if (too_long) return finish(transfer, TransferStatus::invalid);
    const bool first = output_.empty();
    output_.push(transfer);
    if (first && state_ == State::open && !data_paused_) write_output();
  } else if (transfer.type == TransferType::interrupt && transfer.endpoint == endpoint_notice) {
    if (transfer.length < sizeof(SerialNotice)) return finish(transfer, TransferStatus::invalid);
    notices_.push(transfer);
    send_notice();
  } else if (transfer.type == TransferType::control) {
    submit_control(transfer);
  } else {
    finish(transfer, TransferStatus::invalid);
  }
}

void SerialPort::cancel(Transfer& transfer) {
  if (&transfer == in_helper_) return;  // it ends in milliseconds, as it ends
  if (input_.remove(transfer) || output_.remove(transfer) || notices_.remove(transfer) ||
      drains_.remove(transfer) || controls_.remove(transfer)) {
    finish(transfer, TransferStatus::cancelled);
    if (state_ == State::open) update_watch();
  }
}

void SerialPort::stop() {
  assert(state_ != State::idle && state_ != State::stopping && state_ != State::stopped);
  const bool was_gone = state_ == State::gone;
  state_ = State::stopping;
  watch_.reset();
  drain_timer_->disarm();
  finish_everything(was_gone ? TransferStatus::unplugged : TransferStatus::cancelled);
  // One turn of the loop later, when the ring has let go of the tty: the last to let go closes it,
  // and closing may block.
  worker_->post([this] { helper_->stop(); });
}

void SerialPort::helper_stopped() {
  // stop() may have reached the helper before the job did.
  if (in_helper_ != nullptr) {
    finish(*std::exchange(in_helper_, nullptr), TransferStatus::cancelled);
  }
  state_ = State::stopped;
  events_->device_stopped();  // may destroy this
}

void SerialPort::tty_event(uint32_t events) {
  if ((events & POLLIN) != 0 && !input_.empty()) read_input();
  if (state_ == State::open && (events & POLLOUT) != 0 && !output_.empty()) write_output();
  if (state_ == State::open && (events & (POLLHUP | POLLERR)) != 0 &&
      (input_.empty() || (events & POLLIN) == 0)) {
    lose(fmt::format("{} hung up: unplugged, or closed by its other side", info_.path));
  }
  if (state_ == State::open) update_watch();
}

// One read, one completion: what is here leaves now.
void SerialPort::read_input() {
  Transfer& transfer = input_.front();
  const ssize_t count = ::read(tty_->fd(), transfer.data().data(), transfer.length);
  const int error = errno;
  if (count > 0) {
    input_.pop();
    transfer.actual = static_cast<uint32_t>(count);
    finish(transfer, TransferStatus::ok);
    LineCounters counters;
    if (has_counters_ && state_ == State::open && tty_->get_counters(counters) == 0) {
      note_conditions(counters);
      send_notice();
    }
  } else if (count == 0) {
    lose(fmt::format("{} hung up: unplugged, or closed by its other side", info_.path));
  } else if (error != EAGAIN && error != EINTR) {
    lose(fmt::format("{}: {}", info_.path, std::strerror(error)));
  }
}

void SerialPort::write_output() {
  while (!output_.empty()) {
    Transfer& transfer = output_.front();
    const auto rest = transfer.data().subspan(transfer.actual);
    if (!rest.empty()) {
      const ssize_t count = ::write(tty_->fd(), rest.data(), rest.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno != EAGAIN) {
        return lose(fmt::format("{}: {}", info_.path, std::strerror(errno)));
      }
      if (count <= 0) break;
      transfer.actual += static_cast<uint32_t>(count);
      if (static_cast<size_t>(count) < rest.size()) break;
    }
    output_.pop();
    finish(transfer, TransferStatus::ok);
    if (state_ != State::open) return;
  }
  if (output_.empty()) drain_output();
  update_watch();
}

void SerialPort::update_watch() {
  if (!watch_) return;
  uint32_t events = POLLHUP | POLLERR;
  if (!data_paused_ && !input_.empty()) events |= POLLIN;
  if (!data_paused_ && !output_.empty()) events |= POLLOUT;
  watch_.set_events(events);
}

void SerialPort::lose(const std::string& reason) {
  if (state_ != State::open) return;
  state_ = State::gone;
  watch_.reset();
  drain_timer_->disarm();
  conditions_ |= condition::hangup;
  finish_everything(TransferStatus::unplugged);
  if (state_ == State::gone) events_->unplugged(reason);
}

void SerialPort::finish(Transfer& transfer, TransferStatus status) {
  transfer.status = status;
  events_->completed(transfer);
}

void SerialPort::finish_all(TransferQueue& queue, TransferStatus status) {
  while (!queue.empty()) finish(queue.pop(), status);
}

void SerialPort::finish_everything(TransferStatus status) {
  for (TransferQueue* queue : {&input_, &output_, &notices_, &drains_, &controls_}) {
    finish_all(*queue, status);
  }
}

}  // namespace farport::serial
