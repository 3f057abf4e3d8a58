#include "devices/usb/usb_device.h"

#include <poll.h>

#include <cassert>
#include <utility>

#include "dataplane/worker.h"

namespace farport {

namespace {

std::vector<uint8_t> active_interfaces(const DeviceInfo& info) {
  const usb::EndpointTable table(info);
  return table.configuration() ? table.configuration()->interface_numbers()
                               : std::vector<uint8_t>{};
}

// usb_handle.h: the device is being taken away, and not gone yet.
bool says_leaving(uint32_t events) { return (events & POLLHUP) && !(events & POLLERR); }

}  // namespace

UsbDevice::UsbDevice(DeviceInfo info, std::unique_ptr<UsbHandle> handle,
                     std::function<void()> given_back)
    : info_(std::move(info)),
      handle_(std::move(handle)),
      given_back_(std::move(given_back)),
      claims_(*handle_, info_.configuration_value, active_interfaces(info_)),
      endpoints_(info_) {}

Result<std::unique_ptr<UsbDevice>> UsbDevice::open(DeviceInfo info,
                                                   std::unique_ptr<UsbHandle> handle,
                                                   std::function<void()> given_back) {
  std::unique_ptr<UsbDevice> device(
      new UsbDevice(std::move(info), std::move(handle), std::move(given_back)));
  if (auto taken = device->claims_.take(); !taken) {
    Error error = taken.error();
    error.message = device->info_.name + ": " + error.message;
    return std::unexpected(std::move(error));
  }
  return device;
}

UsbDevice::~UsbDevice() {
  assert(state_ == State::opened || state_ == State::stopped);
  if (state_ == State::opened) give_back();
}

void UsbDevice::give_back() {
  claims_.give_back(used_);
  handle_->close();
  if (given_back_) given_back_();
}

void UsbDevice::start(Worker& worker, DeviceEvents& events) {
  assert(state_ == State::opened);
  worker_ = &worker;
  events_ = &events;
  state_ = State::running;
  leaving_timer_.emplace(
      worker,
      [](void* self) {
        auto* device = static_cast<UsbDevice*>(self);
        // A pause ends by watching again.
        if (!device->paused()) device->watch_.set_events(device->handle_->ready_events());
      },
      this);
  watch_ = Watch(
      worker, handle_->events_fd(), handle_->ready_events(),
      [](void* self, uint32_t events) { static_cast<UsbDevice*>(self)->on_ready(events); }, this);
}

void UsbDevice::submit(Transfer& transfer) {
  transfer.actual = 0;
  transfer.error_count = 0;
  used_ = true;
  if (gone_) return finish(transfer, TransferStatus::unplugged);
  if (state_ != State::running) return finish(transfer, TransferStatus::cancelled);
  if (paused() || leaving_ || waiting_head_) return wait(transfer);
  dispatch(transfer);
}

void UsbDevice::cancel(Transfer& transfer) {
  switch (static_cast<Where>(transfer.device_cookie)) {
    case waiting:
      remove_waiting(transfer);
      return finish(transfer, TransferStatus::cancelled);
    case in_flight: {
      auto& slot = *static_cast<TransferSlot*>(transfer.device_context);
      if (gone_ || slot.cancel != TransferSlot::Cancel::none) return;  // it is ending already
      slot.cancel = TransferSlot::Cancel::wanted;
      ++cancels_wanted_;
      return advance();
    }
    case in_operation:
      return;  // cannot be called back; it ends in the time the host's kernel allows it
  }
}

void UsbDevice::stop() {
  assert(state_ == State::running);
  state_ = State::stopping;
  const TransferStatus status = gone_ ? TransferStatus::unplugged : TransferStatus::cancelled;
  while (Transfer* transfer = next_waiting()) finish(*transfer, status);
  for (TransferSlot* slot = in_flight_; slot; slot = slot->next) {
    if (gone_ || slot->cancel != TransferSlot::Cancel::none) continue;
    slot->cancel = TransferSlot::Cancel::wanted;
    ++cancels_wanted_;
  }
  advance();
}

void UsbDevice::on_ready(uint32_t events) {
  if (paused()) return;  // was ready just before the pause
  leaving_ = says_leaving(events);
  if (leaving_) {
    // The kernel is taking the device away. It may have the device's lock, for which any ioctl
    // would wait, and the node stays ready until it is done.
    watch_.set_events(0);
    return leaving_timer_->arm_after(leaving_look_ns);
  }
  in_events_ = true;
  handle_->handle_events(events);
  const bool left = handle_->disconnected();
  while (left && in_flight_) {
    // The kernel ends all of it before it says so; were it not to, nobody would wait forever.
    in_flight_->transfer.status = TransferStatus::unplugged;
    completed(*in_flight_);
  }
  in_events_ = false;
  if (left) {
    watch_.set_events(0);  // the node of a device that is gone is always ready
    gone("the device was unplugged");
  }
  advance();
}

// What a pause has hidden.
bool UsbDevice::look_for_leaving() const {
  pollfd node{handle_->events_fd(), static_cast<short>(handle_->ready_events()), 0};
  return ::poll(&node, 1, 0) > 0 && says_leaving(static_cast<uint32_t>(node.revents));
}

void UsbDevice::gone(std::string_view reason) {
  if (gone_) return;
  gone_ = true;
  cancels_wanted_ = 0;  // what is in flight ends by itself
  while (Transfer* transfer = next_waiting()) finish(*transfer, TransferStatus::unplugged);
  if (state_ == State::running) events_->unplugged(reason);
}

// What comes next, after anything that may have made it possible: cancels first, since the consumer
// waits for them; then what waits, in order; then the end.
void UsbDevice::advance() {
  if (paused() || in_events_ || state_ == State::stopped) return;
  if (cancels_wanted_ > 0) return begin_cancels();
  while (!paused() && !leaving_) {
    Transfer* transfer = next_waiting();
    if (!transfer) break;
    dispatch(*transfer);
  }
  if (!paused() && state_ == State::stopping && !in_flight_) begin_close();
}

void UsbDevice::wait(Transfer& transfer) {
  transfer.device_cookie = waiting;
  transfer.device_context = nullptr;
  transfer.device_next = nullptr;
  (waiting_tail_ ? waiting_tail_->device_next : waiting_head_) = &transfer;
  waiting_tail_ = &transfer;
}

Transfer* UsbDevice::next_waiting() {
  Transfer* transfer = waiting_head_;
  if (transfer) remove_waiting(*transfer);
  return transfer;
}

void UsbDevice::remove_waiting(Transfer& transfer) {
  Transfer* before = nullptr;
  for (Transfer* one = waiting_head_; one != &transfer; one = one->device_next) before = one;
  (before ? before->device_next : waiting_head_) = transfer.device_next;
  if (waiting_tail_ == &transfer) waiting_tail_ = before;
  transfer.device_next = nullptr;
}

void UsbDevice::finish(Transfer& transfer, TransferStatus status) {
  transfer.status = status;
  events_->completed(transfer);
}

}  // namespace farport
