#include "devices/usb/nominal.h"

#include <algorithm>
#include <array>

namespace farport::usb {

namespace {

constexpr uint64_t microframes_s = 8000;
constexpr uint8_t subclass_acm = 0x02;                     // CDC 1.2, table 4
constexpr uint8_t subclass_midi_streaming = 0x03;          // USB Audio 1.0, A.2
constexpr uint64_t full_control_bytes_s = 13 * 64 * 1000;  // USB 2.0, table 5-2
constexpr uint64_t high_control_bytes_s = 31 * 64 * 8000;  // USB 2.0, table 5-3

// USB 2.0, table 5-9: packets a frame by the packet's size.
uint64_t full_bulk_bytes_s(uint32_t max_packet_bytes) {
  struct Row {
    uint32_t bytes, packets;
  };
  constexpr std::array<Row, 4> rows{{{8, 71}, {16, 51}, {32, 33}, {64, 19}}};
  for (const Row& row : rows) {
    if (max_packet_bytes <= row.bytes) return uint64_t{row.bytes} * row.packets * 1000;
  }
  return full_bus_bytes_s;
}

uint64_t control_bytes_s(UsbSpeed speed) {
  switch (speed) {
    case UsbSpeed::full:
      return full_control_bytes_s;
    case UsbSpeed::none:
    case UsbSpeed::low:
      return bus_bytes_s(speed);
    default:
      return high_control_bytes_s;
  }
}

uint64_t class_limit_bytes_s(const Interface& interface) {
  switch (interface.interface_class) {
    case class_code::smart_card:
      return serial_line_bytes_s;
    case class_code::audio:
      return interface.interface_subclass == subclass_midi_streaming ? midi_bytes_s : ~uint64_t{0};
    default:
      return ~uint64_t{0};
  }
}

// CDC's data interface does not say what it carries; the control interface beside it does. A
// configuration whose communications interfaces are all serial lines carries only serial data.
bool carries_serial_lines(const Configuration& configuration) {
  bool any = false;
  for (const Interface& interface : configuration.interfaces) {
    if (interface.interface_class != class_code::communications) continue;
    if (interface.interface_subclass != subclass_acm) return false;
    any = true;
  }
  return any;
}

const Configuration* in_use(const std::vector<Configuration>& configurations, uint8_t value) {
  const auto active = std::ranges::find(configurations, value, &Configuration::value);
  if (active != configurations.end()) return &*active;
  return configurations.empty() ? nullptr : &configurations.front();
}

}  // namespace

uint64_t bus_bytes_s(UsbSpeed speed) {
  switch (speed) {
    case UsbSpeed::none:
      return 0;
    case UsbSpeed::low:
      return low_bus_bytes_s;
    case UsbSpeed::full:
      return full_bus_bytes_s;
    case UsbSpeed::high:
      return high_bus_bytes_s;
    case UsbSpeed::super:
      return super_bus_bytes_s;
    case UsbSpeed::super_plus:
      return super_plus_bus_bytes_s;
  }
  return 0;
}

uint64_t endpoint_bytes_s(const Endpoint& endpoint, UsbSpeed speed) {
  if (endpoint.periodic()) {
    return endpoint.bytes_interval(speed) * microframes_s / endpoint.interval_microframes(speed);
  }
  if (endpoint.type != TransferType::bulk) return 0;
  if (speed == UsbSpeed::full) return full_bulk_bytes_s(endpoint.max_packet_bytes());
  return bus_bytes_s(speed);
}

uint64_t interface_bytes_s(const Interface& interface, UsbSpeed speed) {
  uint64_t periodic = 0, bulk = 0;
  for (const Endpoint& endpoint : interface.endpoints) {
    if (endpoint.periodic()) {
      periodic += endpoint_bytes_s(endpoint, speed);
    } else {
      bulk = std::max(bulk, endpoint_bytes_s(endpoint, speed));  // they share one bus
    }
  }
  return periodic + std::min(bulk, class_limit_bytes_s(interface));
}

uint64_t nominal_bytes_s(const DeviceInfo& info) {
  const auto configurations = parse_configurations(info);
  const Configuration* configuration = in_use(configurations, info.configuration_value);
  if (!configuration) return 0;
  const bool serial = carries_serial_lines(*configuration);
  uint64_t sum = 0;
  for (const uint8_t number : configuration->interface_numbers()) {
    uint64_t largest = 0;
    for (const Interface& interface : configuration->interfaces) {
      if (interface.number != number) continue;
      uint64_t need = interface_bytes_s(interface, info.speed);
      if (serial && interface.interface_class == class_code::communications_data) {
        need = std::min(need, serial_line_bytes_s);
      }
      largest = std::max(largest, need);
    }
    sum += largest;
  }
  if (sum == 0) return control_bytes_s(info.speed);
  return std::min(sum, bus_bytes_s(info.speed));
}

}  // namespace farport::usb
