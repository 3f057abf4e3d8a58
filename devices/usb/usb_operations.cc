// What blocks in usbfs, on the helper thread, with the device paused.
#include <spdlog/spdlog.h>

#include <utility>

#include "dataplane/worker.h"
#include "devices/usb/usb_device.h"

namespace farport {

namespace {

// usbfs does not say why the device refused; a request that is refused is a stall (USB 2.0, 9.2.7).
TransferStatus status_of_result(int result) {
  switch (result) {
    case 0:
      return TransferStatus::ok;
    case LIBUSB_ERROR_NO_DEVICE:
      return TransferStatus::unplugged;
    case LIBUSB_ERROR_TIMEOUT:
      return TransferStatus::timed_out;
    case LIBUSB_ERROR_NO_MEM:
      return TransferStatus::no_memory;
    default:
      return TransferStatus::stall;
  }
}

}  // namespace

UsbDevice::Operation::Kind UsbDevice::kind_of(const usb::Request& request) {
  if (request.is_set_configuration()) return Operation::Kind::set_configuration;
  if (request.is_set_interface()) return Operation::Kind::set_interface;
  if (request.is_clear_halt()) return Operation::Kind::clear_halt;
  if (request.is_port_reset()) return Operation::Kind::reset;
  return Operation::Kind::none;
}

void UsbDevice::begin_request(Transfer& transfer, const usb::Request& request,
                              Operation::Kind kind) {
  operation_.kind = kind;
  operation_.transfer = &transfer;
  operation_.index = static_cast<uint8_t>(request.index);
  operation_.value = static_cast<uint8_t>(request.value);
  transfer.device_cookie = in_operation;
  switch (kind) {
    case Operation::Kind::set_configuration: {
      const usb::Configuration* configuration = endpoints_.find_configuration(operation_.value);
      operation_.interfaces =
          configuration ? configuration->interface_numbers() : std::vector<uint8_t>{};
      collect_cancels([](const UsbDevice&, const TransferSlot&) { return true; });
      break;
    }
    case Operation::Kind::set_interface:
      collect_cancels([](const UsbDevice& device, const TransferSlot& slot) {
        return device.endpoints_.interface_of(slot.request->endpoint) == device.operation_.index;
      });
      break;
    case Operation::Kind::reset:
      collect_cancels([](const UsbDevice&, const TransferSlot&) { return true; });
      break;
    default:
      break;
  }
  begin();
}

void UsbDevice::begin_cancels() {
  operation_.kind = Operation::Kind::cancel;
  collect_cancels([](const UsbDevice&, const TransferSlot& slot) {
    return slot.cancel == TransferSlot::Cancel::wanted;
  });
  begin();
}

void UsbDevice::begin_close() {
  operation_.kind = Operation::Kind::close;
  watch_.reset();
  leaving_timer_->disarm();
  begin();
}

// The newest first: were an older one cancelled first, the next could start and move data.
void UsbDevice::collect_cancels(bool (*choose)(const UsbDevice&, const TransferSlot&)) {
  for (TransferSlot* slot = in_flight_; slot; slot = slot->next) {
    if (slot->cancel == TransferSlot::Cancel::asked || !choose(*this, *slot)) continue;
    if (slot->cancel == TransferSlot::Cancel::wanted) --cancels_wanted_;
    slot->cancel = TransferSlot::Cancel::asked;
    operation_.cancels.push_back(&slot->transfer);
  }
}

void UsbDevice::begin() {
  if (watch_) watch_.set_events(0);
  helper_.run([](void* self) { static_cast<UsbDevice*>(self)->run_operation(); },
              [](void* self) {
                auto* device = static_cast<UsbDevice*>(self);
                device->worker_->post([device] { device->operation_done(); });
              },
              this);
}

void UsbDevice::run_operation() {
  for (BusTransfer* transfer : operation_.cancels) handle_->cancel(*transfer);
  switch (operation_.kind) {
    case Operation::Kind::none:
    case Operation::Kind::cancel:
      operation_.result = 0;
      break;
    case Operation::Kind::set_configuration:
      operation_.result = claims_.set_configuration(operation_.value, operation_.interfaces);
      if (operation_.result == 0 && claims_.claimed().size() != operation_.interfaces.size()) {
        spdlog::warn("{}: another program took an interface of configuration {}", info_.name,
                     operation_.value);
      }
      break;
    case Operation::Kind::set_interface:
      operation_.result = claims_.set_alternate(operation_.index, operation_.value);
      break;
    case Operation::Kind::clear_halt:
      operation_.result = handle_->clear_halt(operation_.index);
      break;
    case Operation::Kind::reset:
      operation_.result = handle_->reset();
      break;
    case Operation::Kind::close:
      give_back();
      break;
  }
}

void UsbDevice::operation_done() {
  const Operation::Kind kind = std::exchange(operation_.kind, Operation::Kind::none);
  Transfer* transfer = std::exchange(operation_.transfer, nullptr);
  operation_.cancels.clear();
  if (kind == Operation::Kind::close) {
    state_ = State::stopped;
    return events_->device_stopped();  // which may destroy this
  }
  if (operation_.result == 0 && kind == Operation::Kind::set_configuration) {
    endpoints_.set_configuration(operation_.value);
  }
  if (operation_.result == 0 && kind == Operation::Kind::set_interface) {
    endpoints_.set_interface(operation_.index, operation_.value);
  }
  leaving_ = look_for_leaving();
  watch_.set_events(handle_->ready_events());
  const bool lost = kind == Operation::Kind::reset && operation_.result == LIBUSB_ERROR_NOT_FOUND;
  const TransferStatus status =
      lost ? TransferStatus::unplugged : status_of_result(operation_.result);
  if (transfer) finish(*transfer, status);
  if (lost) gone("the device did not come back from its reset");
  advance();
}

}  // namespace farport
