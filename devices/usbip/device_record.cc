#include "devices/usbip/device_record.h"

#include <algorithm>

#include "devices/usb/descriptors.h"

namespace farport::usbip {

namespace {

// FNV-1a, 32 bits: small, and the same on every machine.
uint32_t hash_of(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char character : text) {
    hash = (hash ^ static_cast<uint8_t>(character)) * 16777619u;
  }
  return hash;
}

bool fits_busid(std::string_view text) {
  return !text.empty() && text.size() <= busid_length_max &&
         std::all_of(text.begin(), text.end(),
                     [](char character) { return character > ' ' && character <= '~'; });
}

}  // namespace

uint32_t speed_code(UsbSpeed speed) {
  switch (speed) {
    case UsbSpeed::none:
      return 0;
    case UsbSpeed::low:
      return 1;
    case UsbSpeed::full:
      return 2;
    case UsbSpeed::high:
      return 3;
    case UsbSpeed::super:
    case UsbSpeed::super_plus:
      return 5;
  }
  return 0;
}

UsbSpeed speed_from_code(uint32_t code) {
  switch (code) {
    case 1:
      return UsbSpeed::low;
    case 2:
      return UsbSpeed::full;
    case 3:
    case 4:
      return UsbSpeed::high;
    case 5:
      return UsbSpeed::super;
    case 6:
      return UsbSpeed::super_plus;
    default:
      return UsbSpeed::none;
  }
}

std::string busid_of(const DeviceInfo& info) {
  if (fits_busid(info.port_path)) return info.port_path;
  if (fits_busid(info.name)) return info.name;
  return "0-" + std::to_string(hash_of(info.name));
}

uint32_t devid_of(const DeviceInfo& info) {
  if (info.bus != 0) return uint32_t{info.bus} << 16 | info.address;
  return 1u << 16 | (hash_of(info.name) & 0xffff);
}

DeviceRecord record_of(const DeviceInfo& info) {
  DeviceRecord record;
  record.path = "/farport/" + info.name;
  record.busid = busid_of(info);
  record.busnum = devid_of(info) >> 16;
  record.devnum = devid_of(info) & 0xffff;
  record.speed = speed_code(info.speed);
  record.vendor = info.vendor;
  record.product = info.product;
  if (const auto device = usb::parse_device(info.device_descriptor)) {
    record.bcd_device = device->device_version;
    record.device_class = device->device_class;
    record.subclass = device->device_subclass;
    record.protocol = device->device_protocol;
  }
  record.configuration_value = info.configuration_value;
  record.configurations = static_cast<uint8_t>(std::min<size_t>(info.configurations.size(), 255));
  const auto configurations = usb::parse_configurations(info);
  auto active = std::find_if(configurations.begin(), configurations.end(), [&](const auto& each) {
    return each.value == info.configuration_value;
  });
  if (active == configurations.end()) active = configurations.begin();
  if (active == configurations.end()) return record;
  for (const usb::Interface& interface : active->interfaces) {
    if (interface.alternate != 0) continue;
    record.interfaces.push_back(
        {interface.interface_class, interface.interface_subclass, interface.interface_protocol});
  }
  record.interface_count = static_cast<uint8_t>(std::min<size_t>(record.interfaces.size(), 255));
  return record;
}

}  // namespace farport::usbip
