#include "devices/usb/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>

#include "dataplane/file_descriptor.h"
#include "dataplane/limits.h"
#include "devices/usb/descriptors.h"

namespace farport::usb {

namespace {

constexpr size_t device_descriptor_bytes = 18;
// bNumConfigurations is 8 bits; Linux reads at most 8 (USB_MAXCONFIG).
constexpr size_t descriptors_bytes_max =
    device_descriptor_bytes + size_t{8} * limits::descriptor_bytes_max;
constexpr size_t attribute_bytes_max = 4096;  // a sysfs attribute is at most a page

std::vector<uint8_t> read_file(const std::string& path, size_t bytes_max) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<uint8_t> bytes;
  if (!file) return bytes;
  while (bytes.size() < bytes_max) {
    const size_t have = bytes.size();
    bytes.resize(std::min(have + 4096, bytes_max));
    const ssize_t got = read(file.get(), bytes.data() + have, bytes.size() - have);
    bytes.resize(have + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got <= 0) break;
  }
  return bytes;
}

std::string attribute(const std::string& folder, const char* name) {
  const auto bytes = read_file(folder + "/" + name, attribute_bytes_max);
  std::string text(bytes.begin(), bytes.end());
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

unsigned number(const std::string& text, int base = 10) {
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

// The last part of where a symlink leads; empty when there is none.
std::string link_name(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  if (size <= 0) return {};
  target.resize(static_cast<size_t>(size));
  return target.substr(target.rfind('/') + 1);
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), closedir);
  if (!dir) return names;
  while (const dirent* entry = readdir(dir.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::ranges::sort(names);
  return names;
}

std::string devices_folder(const std::string& sys) { return sys + "/bus/usb/devices"; }

// "1-2.3" is a device; "usb1" a root hub; "1-2.3:1.0" an interface.
bool is_device(const std::string& name) {
  return name.find('-') != std::string::npos && name.find(':') == std::string::npos;
}

// The kernel's `speed` attribute, in Mb/s.
UsbSpeed speed_of(const std::string& text) {
  if (text == "1.5") return UsbSpeed::low;
  if (text == "12") return UsbSpeed::full;
  if (text == "480") return UsbSpeed::high;
  const unsigned megabits = number(text);
  if (megabits >= 10000) return UsbSpeed::super_plus;
  return megabits >= 5000 ? UsbSpeed::super : UsbSpeed::none;
}

// Text from a device, for people: control characters become '?'.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

std::string description_of(const std::string& folder, const DeviceInfo& info) {
  const std::string manufacturer = printable(attribute(folder, "manufacturer"));
  const std::string product = printable(attribute(folder, "product"));
  if (product.empty() && manufacturer.empty()) {
    char text[32];
    std::snprintf(text, sizeof text, "USB device %04x:%04x", info.vendor, info.product);
    return text;
  }
  if (manufacturer.empty() || product.starts_with(manufacturer)) return product;
  return product.empty() ? manufacturer : manufacturer + " " + product;
}

void read_interfaces(const std::string& sys, SysfsDevice& device,
                     const std::vector<std::string>& names) {
  const std::string prefix = device.info.port_path + ":";
  for (const std::string& name : names) {
    if (!name.starts_with(prefix)) continue;
    const std::string folder = devices_folder(sys) + "/" + name;
    device.interfaces.push_back(
        {static_cast<uint8_t>(number(attribute(folder, "bInterfaceNumber"), 16)),
         link_name(folder + "/driver")});
  }
}

SysfsDevice read_device(const std::string& sys, const std::string& name,
                        const std::vector<std::string>& names) {
  const std::string folder = devices_folder(sys) + "/" + name;
  SysfsDevice device;
  DeviceInfo& info = device.info;
  info.kind = DeviceKind::usb;
  info.port_path = name;
  info.vendor = static_cast<uint16_t>(number(attribute(folder, "idVendor"), 16));
  info.product = static_cast<uint16_t>(number(attribute(folder, "idProduct"), 16));
  info.bus = static_cast<uint8_t>(number(attribute(folder, "busnum")));
  info.address = static_cast<uint8_t>(number(attribute(folder, "devnum")));
  info.speed = speed_of(attribute(folder, "speed"));
  info.serial_number = printable(attribute(folder, "serial"));
  info.configuration_value = static_cast<uint8_t>(number(attribute(folder, "bConfigurationValue")));
  info.description = description_of(folder, info);
  split_descriptors(read_file(folder + "/descriptors", descriptors_bytes_max), info);
  device.driver = link_name(folder + "/driver");
  read_interfaces(sys, device, names);
  return device;
}

char in_name(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const bool plain = letter || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  return plain ? c : '_';
}

std::string kind_name(const DeviceInfo& info) {
  char text[32];
  std::snprintf(text, sizeof text, "usb:%04x:%04x", info.vendor, info.product);
  return text;
}

std::string serial_name(const DeviceInfo& info) {
  if (info.serial_number.empty()) return {};
  std::string serial = info.serial_number;
  std::ranges::transform(serial, serial.begin(), in_name);
  return kind_name(info) + ":" + serial;
}

}  // namespace

std::vector<SysfsDevice> read_devices(const std::string& sys) {
  std::vector<SysfsDevice> devices;
  const auto names = entries(devices_folder(sys));
  for (const std::string& name : names) {
    if (!is_device(name)) continue;
    const std::string folder = devices_folder(sys) + "/" + name;
    if (number(attribute(folder, "bDeviceClass"), 16) == class_code::hub) continue;
    SysfsDevice device = read_device(sys, name, names);
    if (device.info.address == 0) continue;  // gone while it was being read
    devices.push_back(std::move(device));
  }
  return devices;
}

std::string fingerprint(const std::string& sys) {
  std::string text;
  for (const std::string& name : entries(devices_folder(sys))) {
    if (!is_device(name)) continue;
    const std::string folder = devices_folder(sys) + "/" + name;
    text += name + ' ' + attribute(folder, "devnum") + ' ' +
            attribute(folder, "bConfigurationValue") + '\n';
  }
  return text;
}

void split_descriptors(const std::vector<uint8_t>& bytes, DeviceInfo& info) {
  info.device_descriptor.clear();
  info.configurations.clear();
  if (bytes.size() < device_descriptor_bytes || bytes[0] < device_descriptor_bytes) return;
  info.device_descriptor.assign(bytes.begin(), bytes.begin() + device_descriptor_bytes);
  std::span<const uint8_t> rest = std::span(bytes).subspan(device_descriptor_bytes);
  while (rest.size() >= 9 && rest[1] == static_cast<uint8_t>(DescriptorType::configuration)) {
    const size_t total = static_cast<size_t>(rest[2] | rest[3] << 8);
    if (total < 9) return;
    const auto configuration = rest.first(std::min(total, rest.size()));
    info.configurations.emplace_back(configuration.begin(), configuration.end());
    rest = rest.subspan(configuration.size());
  }
}

void assign_names(std::vector<SysfsDevice>& devices) {
  std::map<std::string, int> count;
  for (const SysfsDevice& device : devices) {
    ++count[kind_name(device.info)];
    ++count[serial_name(device.info)];
  }
  for (SysfsDevice& device : devices) {
    DeviceInfo& info = device.info;
    const std::string port = "usb:port:" + info.port_path;
    const std::string serial = serial_name(info);
    const bool unique = !serial.empty() && count[serial] == 1;
    info.name = unique ? serial : port;
    info.aliases.clear();
    if (unique) info.aliases.push_back(port);
    if (count[kind_name(info)] == 1) info.aliases.push_back(kind_name(info));
  }
}

}  // namespace farport::usb
