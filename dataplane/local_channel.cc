#include "dataplane/local_channel.h"

#include <cassert>
#include <utility>

namespace farport {

namespace {
enum TransferState : uint8_t { idle, in_service, done };
}  // namespace

LocalChannel::LocalChannel(Worker& worker, std::unique_ptr<Device> device,
                           std::unique_ptr<Driver> driver, uint64_t nominal_bytes_s, Events& events)
    : worker_(worker),
      device_(std::move(device)),
      driver_(std::move(driver)),
      meter_(nominal_bytes_s, worker.now_ns(), device_->info().kind),
      events_(events),
      transfers_(worker.buffers()) {}

LocalChannel::~LocalChannel() {
  assert(state_ == State::idle || state_ == State::closed);
  worker_.forget(deliver_);
}

void LocalChannel::start() {
  assert(state_ == State::idle);
  state_ = State::open;
  device_->start(worker_, *this);
  if (state_ != State::open) return;
  if (auto started = driver_->start(worker_, *this); !started) {
    why_ = started.error();
    state_ = State::stopping_device;
    device_->stop();
  }
}

void LocalChannel::close() { begin_stop({}); }

// Consumer first, then device: the driver's transfers come back before the device is given up.
void LocalChannel::begin_stop(Error why) {
  if (state_ != State::open) return;
  state_ = State::stopping_driver;
  why_ = std::move(why);
  transfers_.for_each([this](Transfer& transfer) {
    if (transfer.channel.state == in_service) device_->cancel(transfer);
  });
  driver_->stop();
}

Transfer* LocalChannel::allocate(uint32_t length, uint16_t packet_count) {
  return transfers_.allocate(length, packet_count);
}

void LocalChannel::submit(Transfer& transfer) {
  assert(transfer.channel.state != in_service);
  const uint64_t now = worker_.now_ns();
  transfer.channel.state = in_service;
  transfer.channel.submitted_ns = now;
  transfer.status = TransferStatus::ok;
  transfer.actual = 0;
  transfer.error_count = 0;
  meter_.submitted();
  busy_.begin(transfer.type, now);
  if (device_gone_ || state_ != State::open) {
    transfer.status = device_gone_ ? TransferStatus::unplugged : TransferStatus::cancelled;
    completed(transfer);
  } else {
    device_->submit(transfer);
  }
}

void LocalChannel::cancel(Transfer& transfer) {
  if (transfer.channel.state == in_service) device_->cancel(transfer);
}

void LocalChannel::release(Transfer& transfer) {
  assert(transfer.channel.state == idle);
  transfers_.release(transfer);
}

void LocalChannel::consumer_left(std::string_view reason) {
  begin_stop({ErrorCode::failed, std::string(reason)});
}

void LocalChannel::driver_stopped() {
  assert(state_ == State::stopping_driver);
  state_ = State::stopping_device;
  device_->stop();
}

void LocalChannel::completed(Transfer& transfer) {
  assert(transfer.channel.state == in_service && "a device completes each transfer once");
  const uint64_t now = worker_.now_ns();
  busy_.end(transfer.type, now);
  transfer.channel.state = done;
  transfer.channel.service_ns = now - transfer.channel.submitted_ns;
  transfer.channel.next = nullptr;
  if (completed_tail_ == nullptr) {
    completed_head_ = &transfer;
  } else {
    completed_tail_->channel.next = &transfer;
  }
  completed_tail_ = &transfer;
  worker_.flush_later(deliver_);
}

void LocalChannel::unplugged(std::string_view reason) {
  if (device_gone_) return;
  device_gone_ = true;
  if (state_ != State::open) return;
  driver_->unplugged(reason);
  begin_stop({ErrorCode::not_found, std::string(reason)});
}

void LocalChannel::device_stopped() {
  assert(state_ == State::stopping_device);
  state_ = State::stopped;
  worker_.flush_later(
      deliver_);  // channel_closed() comes from the loop, not from inside the device
}

void LocalChannel::deliver() {
  // Only what is here now: a driver that submits again to a device that completes at once would
  // otherwise keep the worker in this loop.
  Transfer* batch = std::exchange(completed_head_, nullptr);
  completed_tail_ = nullptr;
  while (batch != nullptr) {
    Transfer& transfer = *std::exchange(batch, batch->channel.next);
    transfer.channel.state = idle;
    const uint64_t now = worker_.now_ns();
    meter_.completed({.now_ns = now,
                      .bytes = transfer.actual,
                      .type = transfer.type,
                      .status = transfer.status,
                      .round_trip_ns = now - transfer.channel.submitted_ns,
                      .service_ns = transfer.channel.service_ns,
                      .busy_ns = busy_.busy_ns(now)});
    driver_->completed(transfer);
  }
  if (state_ == State::stopped) {
    state_ = State::closed;
    events_.channel_closed(*this, std::move(why_));  // may destroy this
  }
}

}  // namespace farport
