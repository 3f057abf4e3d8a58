// What is known of a device before and while it is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farport {

enum class DeviceKind : uint8_t { usb, serial };

// Speed of a USB device; `none` for serial ports.
enum class UsbSpeed : uint8_t { none = 0, low = 1, full = 2, high = 3, super = 4, super_plus = 5 };

struct DeviceInfo {
  DeviceKind kind = DeviceKind::usb;
  // The stable name: usb:VVVV:PPPP:SERIAL (lower-case hex), usb:port:1-2.3, serial:by-id/...,
  // serial:ttyUSB0. Unique on its host.
  std::string name;
  // Other names it answers to (usb:VVVV:PPPP when unique, usb:port:..., serial:ttyUSB0).
  std::vector<std::string> aliases;
  // For people: "QEMU USB HARDDRIVE", "FT232R USB UART".
  std::string description;

  // USB only.
  UsbSpeed speed = UsbSpeed::none;
  uint16_t vendor = 0;
  uint16_t product = 0;
  std::string serial_number;
  std::string port_path;  // "1-2.3"
  uint8_t bus = 0;
  uint8_t address = 0;
  std::vector<uint8_t> device_descriptor;  // 18 bytes (USB 2.0, 9.6.1)
  std::vector<std::vector<uint8_t>>
      configurations;               // full descriptors, as GET_DESCRIPTOR gives them
  uint8_t configuration_value = 0;  // active; 0 when unconfigured

  // Serial only: the node or symlink opened, "/dev/ttyUSB0".
  std::string path;
};

}  // namespace farport
