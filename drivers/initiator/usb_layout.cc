#include "drivers/initiator/usb_layout.h"

#include <algorithm>

namespace farport {

namespace {

constexpr uint8_t kConfiguration = 2;
constexpr uint8_t kInterface = 4;
constexpr uint8_t kEndpoint = 5;
constexpr size_t kConfigurationBytes = 9;
constexpr size_t kInterfaceBytes = 9;
constexpr size_t kEndpointBytes = 7;

uint16_t get16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] | bytes[at + 1] << 8);
}

}  // namespace

const UsbEndpointInfo* UsbInterfaceInfo::find(TransferType type, bool in) const {
  const auto found = std::ranges::find_if(endpoints, [type, in](const UsbEndpointInfo& endpoint) {
    return endpoint.type == type && ((endpoint.address & 0x80) != 0) == in;
  });
  return found == endpoints.end() ? nullptr : &*found;
}

const UsbInterfaceInfo* UsbLayout::find_class(uint8_t interface_class, uint8_t subclass,
                                              uint8_t protocol) const {
  const auto found = std::ranges::find_if(interfaces, [&](const UsbInterfaceInfo& interface) {
    return interface.interface_class == interface_class &&
           interface.interface_subclass == subclass && interface.interface_protocol == protocol;
  });
  return found == interfaces.end() ? nullptr : &*found;
}

Result<UsbLayout> parse_configuration(std::span<const uint8_t> bytes) {
  if (bytes.size() < kConfigurationBytes || bytes[0] < kConfigurationBytes ||
      bytes[1] != kConfiguration || get16(bytes, 2) > bytes.size()) {
    return fail("the device's configuration descriptor is malformed");
  }
  bytes = bytes.first(std::max<size_t>(get16(bytes, 2), kConfigurationBytes));
  UsbLayout layout{.configuration_value = bytes[5]};
  while (!bytes.empty()) {
    const size_t length = bytes[0];
    if (length < 2 || length > bytes.size()) {
      return fail("a descriptor in the device's configuration has a wrong length");
    }
    if (bytes[1] == kInterface && length >= kInterfaceBytes) {
      layout.interfaces.push_back({.number = bytes[2],
                                   .alternate = bytes[3],
                                   .interface_class = bytes[5],
                                   .interface_subclass = bytes[6],
                                   .interface_protocol = bytes[7]});
    } else if (bytes[1] == kEndpoint && length >= kEndpointBytes) {
      if (layout.interfaces.empty()) return fail("an endpoint descriptor precedes any interface");
      layout.interfaces.back().endpoints.push_back(
          {.address = bytes[2],
           .type = static_cast<TransferType>(bytes[3] & 3),
           .max_packet_bytes = static_cast<uint16_t>(get16(bytes, 4) & 0x7ff),
           .interval = bytes[6]});
    }
    bytes = bytes.subspan(length);
  }
  return layout;
}

}  // namespace farport
