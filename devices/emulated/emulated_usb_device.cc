#include "devices/emulated/emulated_usb_device.h"

#include <algorithm>
#include <cassert>

namespace farport {

namespace {
constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr uint64_t kNsPerMicrosecond = 1'000;
}  // namespace

EmulatedUsbDevice::EmulatedUsbDevice(const EmulatedDeviceSettings& settings,
                                     std::shared_ptr<DeviceLink> link,
                                     const UsbDescription& description)
    : EmulatedDevice(settings, std::move(link)),
      description_(description),
      descriptors_(make_descriptors(description)),
      paced_(settings.rate_bytes_s != 0 || settings.delay_us != 0) {
  info_.kind = DeviceKind::usb;
  info_.description = description.manufacturer + " " + description.product_name;
  info_.speed = description.speed;
  info_.vendor = description.vendor;
  info_.product = description.product;
  info_.serial_number = description.serial_number;
  info_.device_descriptor = descriptors_.device;
  info_.configurations = {descriptors_.configuration};
  // As the host that a real device hangs on would have configured it.
  info_.configuration_value = 1;
}

void EmulatedUsbDevice::power_on(Scheduler& scheduler) {
  scheduler_ = &scheduler;
  timer_.emplace(
      scheduler, [](void* context) { static_cast<EmulatedUsbDevice*>(context)->service_ended(); },
      this);
  last_service_end_ns_ = scheduler.now_ns();
  configuration_ = info_.configuration_value;
  set_interface(0);
}

void EmulatedUsbDevice::submit(Transfer& transfer) {
  if (!running()) return complete(transfer, refusal(), 0);
  if (transfer.type == TransferType::control) return control(transfer);
  UsbEndpoint* endpoint = endpoints_.find(transfer.endpoint);
  if (endpoint == nullptr || endpoint->type != transfer.type) {
    return complete(transfer, TransferStatus::invalid, 0);
  }
  if (endpoint->halted) return complete(transfer, TransferStatus::stall, 0);
  if (transfer.type == TransferType::isochronous) return submit_isochronous(*endpoint, transfer);
  transfer.device_cookie = paced_ ? scheduler_->now_ns() : 0;
  endpoint->waiting.push(transfer);
  pump(transfer.device_cookie);
}

void EmulatedUsbDevice::submit_isochronous(UsbEndpoint&, Transfer& transfer) {
  complete(transfer, TransferStatus::invalid, 0);
}

void EmulatedUsbDevice::cancel(Transfer& transfer) {
  UsbEndpoint* endpoint = endpoints_.find(transfer.endpoint);
  if (!running() || endpoint == nullptr || transfer.type == TransferType::control) return;
  const bool first = endpoint->waiting.front() == &transfer;
  if (!endpoint->waiting.remove(transfer)) return;  // it has completed
  if (first && in_service_ == endpoint) {
    in_service_ = nullptr;
    timer_->disarm();
    last_service_end_ns_ = scheduler_->now_ns();
  }
  if (transfer.type == TransferType::isochronous) cancelled_isochronous(*endpoint, first);
  complete(transfer, TransferStatus::cancelled, 0);
  pump();
}

Transfer* EmulatedUsbDevice::take_any() {
  if (in_service_ != nullptr) {
    in_service_ = nullptr;
    timer_->disarm();
  }
  for (UsbEndpoint& endpoint : endpoints_) {
    if (Transfer* transfer = endpoint.waiting.pop()) return transfer;
  }
  return nullptr;
}

// Carries out what can be carried out. `now_ns` is when the device became free, in its own time: a
// timer that fires late must not slow the device down.
void EmulatedUsbDevice::pump(uint64_t now_ns) {
  if (pumping_ || in_service_ != nullptr) return;
  pumping_ = true;
  while (running()) {
    UsbEndpoint* endpoint = next_ready();
    if (endpoint == nullptr) break;
    const Transfer& transfer = *endpoint->waiting.front();
    const auto bytes = service_bytes(*endpoint, transfer);
    fault_ = bytes ? faults_.next() : std::nullopt;
    uint64_t cost_ns = bytes && paced_ ? service_ns(*bytes) : 0;
    if (fault_ == FaultKind::late) {
      cost_ns += settings_.late_us * kNsPerMicrosecond;
      if (!paced_) now_ns = scheduler_->now_ns();
    }
    if (cost_ns != 0) {
      in_service_ = endpoint;
      const uint64_t free_ns = std::max(now_ns, last_service_end_ns_);
      service_end_ns_ = std::max(free_ns, transfer.device_cookie) + cost_ns;
      timer_->arm_at(service_end_ns_);
      break;
    }
    serve(*endpoint);
  }
  pumping_ = false;
}

void EmulatedUsbDevice::service_ended() {
  UsbEndpoint& endpoint = *in_service_;
  in_service_ = nullptr;
  last_service_end_ns_ = service_end_ns_;
  pumping_ = true;
  serve(endpoint);
  pumping_ = false;
  pump(last_service_end_ns_);
}

void EmulatedUsbDevice::serve(UsbEndpoint& endpoint) {
  if (fault_ == FaultKind::unplug) return unplug_self();
  Transfer& transfer = *endpoint.waiting.pop();
  if (fault_ == FaultKind::stall) return carry_out_stall(endpoint, transfer);
  carry_out(endpoint, transfer, fault_ == FaultKind::short_data);
}

uint64_t EmulatedUsbDevice::service_ns(uint64_t bytes) const {
  uint64_t cost_ns = settings_.delay_us * kNsPerMicrosecond;
  // No overflow: a transfer has at most 2^24 bytes, and 2^24 x 10^9 < 2^64.
  if (settings_.rate_bytes_s != 0) cost_ns += bytes * kNsPerSecond / settings_.rate_bytes_s;
  return cost_ns;
}

void EmulatedUsbDevice::complete_in(Transfer& transfer, uint32_t actual) {
  const bool error =
      actual < transfer.length && (transfer.flags & transfer_flags::short_not_ok) != 0;
  complete(transfer, error ? TransferStatus::short_read : TransferStatus::ok, actual);
}

void EmulatedUsbDevice::complete_and_halt(UsbEndpoint& endpoint, Transfer& transfer,
                                          TransferStatus status, uint32_t actual) {
  endpoint.halted = true;
  complete(transfer, status, actual);
  stall_waiting(endpoint);
}

void EmulatedUsbDevice::halt(UsbEndpoint& endpoint) {
  endpoint.halted = true;
  stall_waiting(endpoint);
}

void EmulatedUsbDevice::stall_waiting(UsbEndpoint& endpoint) {
  if (in_service_ == &endpoint) {
    in_service_ = nullptr;
    timer_->disarm();
  }
  while (Transfer* transfer = endpoint.waiting.pop()) complete(*transfer, TransferStatus::stall, 0);
}

// USB 2.0, 9.1.1.5: setting a configuration or an interface begins its endpoints anew.
void EmulatedUsbDevice::set_interface(uint8_t alternate) {
  while (Transfer* transfer = take_any()) complete(*transfer, TransferStatus::cancelled, 0);
  alternate_ = alternate;
  if (configuration_ == 0) {
    endpoints_.clear();
  } else {
    endpoints_.set(description_.alternates[alternate], description_.speed);
  }
  interface_set();
}

}  // namespace farport
