// The USB devices of this host as the kernel tells them in sysfs. Reading does not touch a device:
// it neither wakes it nor disturbs its driver, and needs no permission. (libusb reads the same
// files.)
#pragma once

#include <string>
#include <vector>

#include "devices/device_info.h"

namespace farport::usb {

struct SysfsInterface {
  uint8_t number = 0;
  std::string driver;  // "usb-storage", "usbfs"; empty: none
};

struct SysfsDevice {
  DeviceInfo info;     // without name and aliases
  std::string driver;  // of the device as a whole: "usb", or "usbip-host" when USB/IP exports it
  std::vector<SysfsInterface> interfaces;  // of the active configuration
};

// `sys`: "/sys", or a copy for tests. Root hubs and hubs are left out; what of a device cannot be
// read is left empty. No such directory (a host without USB) means no devices.
std::vector<SysfsDevice> read_devices(const std::string& sys);

// Changes whenever a device comes, goes, or changes its configuration. Cheap.
std::string fingerprint(const std::string& sys);

// The 18 bytes of the device descriptor and then each configuration, as sysfs's `descriptors` and
// usbfs give them, taken apart. Damage ends it.
void split_descriptors(const std::vector<uint8_t>& bytes, DeviceInfo& info);

// Gives every device its stable name, unique on the host, and its aliases:
//   usb:VVVV:PPPP:SERIAL  when no other device has the same
//   usb:port:1-2.3        otherwise; always an alias
//   usb:VVVV:PPPP         alias when it is the only one of its kind
// In a serial, bytes other than letters, digits and .-_ become '_'.
void assign_names(std::vector<SysfsDevice>& devices);

}  // namespace farport::usb
