// Endpoint zero of emulated USB devices: the standard requests of USB 2.0, chapter 9.4, and those
// that USB 3.2 adds. What the device does not do is refused by a stall.
#include <algorithm>
#include <cstring>

#include "devices/emulated/emulated_usb_device.h"

namespace farport {

namespace {

using Answer = std::optional<uint32_t>;

constexpr uint8_t kHubClassRequestToPort = 0x23;
constexpr uint16_t kFeaturePortReset = 4;
// USB 3.2, table 9-7: power states that a super-speed host may enable; we enter none.
constexpr uint16_t kFeatureFunctionSuspend = 0;
constexpr uint16_t kFeatureU1Enable = 48;
constexpr uint16_t kFeatureU2Enable = 49;

Answer give(std::span<std::byte> data, std::span<const uint8_t> bytes) {
  const size_t count = std::min(data.size(), bytes.size());
  if (count > 0) std::memcpy(data.data(), bytes.data(), count);
  return static_cast<uint32_t>(count);
}

Answer give8(std::span<std::byte> data, uint8_t value) { return give(data, {&value, 1}); }

Answer give16(std::span<std::byte> data, uint16_t value) {
  const uint8_t bytes[] = {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8)};
  return give(data, bytes);
}

}  // namespace

void EmulatedUsbDevice::control(Transfer& transfer) {
  const SetupPacket setup(transfer.setup);
  if ((transfer.endpoint & 0x0f) != 0 || (!setup.in() && transfer.length < setup.length)) {
    return complete(transfer, TransferStatus::invalid, 0);
  }
  const auto data = transfer.data().first(std::min<size_t>(transfer.length, setup.length));
  const Answer answer = setup.standard() || setup.request_type == kHubClassRequestToPort
                            ? standard_request(setup, data)
                            : request(setup, data);
  if (!running()) return complete(transfer, refusal(), 0);
  if (!answer) return complete(transfer, TransferStatus::stall, 0);
  if (setup.in()) {
    complete_in(transfer, *answer);
  } else {
    complete(transfer, TransferStatus::ok, static_cast<uint32_t>(data.size()));
  }
  pump();
}

Answer EmulatedUsbDevice::standard_request(const SetupPacket& setup, std::span<std::byte> data) {
  if (setup.request_type == kHubClassRequestToPort) {
    // How a stock USB/IP client asks for a reset of the device. The host at the device end gives it
    // its configuration back, as libusb_reset_device() does.
    if (setup.request != usb::set_feature || setup.value != kFeaturePortReset) return {};
    set_interface(0);
    return 0;
  }
  switch (setup.recipient()) {
    case 0:
      return device_request(setup, data);
    case 1:
      return interface_request(setup, data);
    case 2:
      return endpoint_request(setup, data);
    default:
      return {};
  }
}

Answer EmulatedUsbDevice::device_request(const SetupPacket& setup, std::span<std::byte> data) {
  const bool super = description_.speed == UsbSpeed::super;
  if (setup.in()) {
    switch (setup.request) {
      case usb::get_descriptor:
        return get_descriptor(setup, data);
      case usb::get_configuration:
        return give8(data, configuration_);
      case usb::get_status:
        return give16(data, 1);  // self-powered
      default:
        return {};
    }
  }
  switch (setup.request) {
    case usb::set_address:
      // The address is the business of the host at each end of the channel.
      return setup.value <= 127 ? Answer(0) : Answer();
    case usb::set_configuration:
      return set_configuration(static_cast<uint8_t>(setup.value));
    case usb::set_feature:
    case usb::clear_feature:
      return super && (setup.value == kFeatureU1Enable || setup.value == kFeatureU2Enable)
                 ? Answer(0)
                 : Answer();
    case usb::set_sel:
    case usb::set_isochronous_delay:
      return super ? Answer(0) : Answer();
    default:
      return {};
  }
}

Answer EmulatedUsbDevice::interface_request(const SetupPacket& setup, std::span<std::byte> data) {
  if (configuration_ == 0 || setup.index != 0) return {};
  switch (setup.request) {
    case usb::get_status:
      return setup.in() ? give16(data, 0) : Answer();
    case usb::get_interface:
      return setup.in() ? give8(data, alternate_) : Answer();
    case usb::set_interface:
      if (setup.in() || setup.value >= description_.alternates.size()) return {};
      set_interface(static_cast<uint8_t>(setup.value));
      return 0;
    case usb::set_feature:
    case usb::clear_feature:
      return !setup.in() && description_.speed == UsbSpeed::super &&
                     setup.value == kFeatureFunctionSuspend
                 ? Answer(0)
                 : Answer();
    default:
      return {};
  }
}

Answer EmulatedUsbDevice::endpoint_request(const SetupPacket& setup, std::span<std::byte> data) {
  const bool zero = (setup.index & 0x7f) == 0;
  UsbEndpoint* endpoint = zero ? nullptr : find_endpoint(setup.index);
  if (!zero && endpoint == nullptr) return {};
  if (setup.request == usb::get_status) {
    if (!setup.in()) return {};
    return give16(data, endpoint != nullptr && endpoint->halted ? 1 : 0);
  }
  if (setup.in() || setup.value != usb::feature_endpoint_halt) return {};
  switch (setup.request) {
    case usb::clear_feature:
      if (endpoint != nullptr && may_clear_halt(*endpoint)) {
        endpoint->halted = false;
        endpoint->stream_bytes = 0;
      }
      return 0;
    case usb::set_feature:
      if (endpoint == nullptr || endpoint->type == TransferType::isochronous) return {};
      halt(*endpoint);
      return 0;
    default:
      return {};
  }
}

Answer EmulatedUsbDevice::get_descriptor(const SetupPacket& setup,
                                         std::span<std::byte> data) const {
  const auto index = static_cast<uint8_t>(setup.value);
  const std::vector<uint8_t>* found = nullptr;
  switch (setup.value >> 8) {
    case usb::descriptor_device:
      found = index == 0 ? &descriptors_.device : nullptr;
      break;
    case usb::descriptor_configuration:
      found = index == 0 ? &descriptors_.configuration : nullptr;
      break;
    case usb::descriptor_string:
      found = index < descriptors_.strings.size() ? &descriptors_.strings[index] : nullptr;
      break;
    case usb::descriptor_device_qualifier:
      found = &descriptors_.device_qualifier;
      break;
    case usb::descriptor_other_speed:
      found = index == 0 ? &descriptors_.other_speed_configuration : nullptr;
      break;
    case usb::descriptor_bos:
      found = &descriptors_.bos;
      break;
    default:
      break;
  }
  if (found == nullptr || found->empty()) return {};
  return give(data, *found);
}

Answer EmulatedUsbDevice::set_configuration(uint8_t value) {
  if (value > 1) return {};
  configuration_ = value;
  set_interface(0);
  return 0;
}

UsbEndpoint* EmulatedUsbDevice::find_endpoint(uint16_t index) {
  if (configuration_ == 0 || (index & 0xff70) != 0) return nullptr;
  return endpoints_.find(static_cast<uint8_t>(index));
}

}  // namespace farport
