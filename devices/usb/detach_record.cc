#include "devices/usb/detach_record.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace farport::usb {

namespace {
constexpr std::string_view prefix = "usb-";
constexpr size_t interfaces_max = 32;
}  // namespace

std::string DetachRecord::path(const std::string& port_path) const {
  return folder_ + "/" + std::string(prefix) + port_path;
}

void DetachRecord::note(const SysfsDevice& device) const {
  if (folder_.empty()) return;
  std::string interfaces;
  for (const SysfsInterface& interface : device.interfaces) {
    if (!interface.driver.empty() && interface.driver != "usbfs") {
      interfaces += ' ' + std::to_string(interface.number);
    }
  }
  if (interfaces.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(folder_, ignored);
  const std::string name = path(device.info.port_path);
  std::ofstream(name + ".new") << int{device.info.bus} << ' ' << int{device.info.address}
                               << interfaces << '\n';
  std::filesystem::rename(name + ".new", name, ignored);
}

void DetachRecord::forget(const std::string& port_path) const {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove(path(port_path), ignored);
}

std::vector<DetachRecord::Entry> DetachRecord::entries() const {
  std::vector<Entry> found;
  std::error_code error;
  if (folder_.empty()) return found;
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = file.path().filename().string();
    if (!name.starts_with(prefix) || name.ends_with(".new")) continue;
    Entry entry;
    entry.port_path = name.substr(prefix.size());
    std::ifstream text(file.path());
    unsigned bus = 0, address = 0, number = 0;
    text >> bus >> address;
    while (entry.interfaces.size() < interfaces_max && text >> number) {
      if (number < interfaces_max) entry.interfaces.push_back(static_cast<uint8_t>(number));
    }
    entry.bus = static_cast<uint8_t>(bus);
    entry.address = static_cast<uint8_t>(address);
    found.push_back(std::move(entry));
  }
  return found;
}

}  // namespace farport::usb
