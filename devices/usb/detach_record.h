// Remembers, in files, which kernel drivers were detached, so that a daemon that was killed can
// give the devices back when it is started again: the kernel does not do so by itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/usb/sysfs.h"

namespace farport::usb {

// One file per device in `folder`, usb-PORT, with its address on the bus and its interfaces: a
// device replugged since has another address, and needs nothing. An empty `folder` records nothing.
class DetachRecord {
 public:
  explicit DetachRecord(std::string folder) : folder_(std::move(folder)) {}

  // Before the drivers of `device` are detached; nothing when it has none. Failing to write is no
  // reason to refuse the device: it costs the giving back after a kill, no more.
  void note(const SysfsDevice& device) const;
  void forget(const std::string& port_path) const;

  struct Entry {
    std::string port_path;
    uint8_t bus = 0, address = 0;
    std::vector<uint8_t> interfaces;
  };
  // What a killed daemon has left.
  std::vector<Entry> entries() const;

 private:
  std::string path(const std::string& port_path) const;
  std::string folder_;
};

}  // namespace farport::usb
