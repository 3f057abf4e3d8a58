// The ports of the kernel's virtual USB host controllers, as sysfs tells them. Source: Linux 6.1,
// drivers/usb/usbip/vhci_sysfs.c, status_show_vhci():
//
//   hub port sta spd dev      sockfd local_busid
//   hs  0000 006 003 00010002 000005 1-1
//   ss  0015 004 000 00000000 000000 0-0
//
// One file per controller, status, status.1, ..., all in the folder of controller 0; the port
// numbers run through.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/error.h"
#include "devices/device_info.h"

namespace farport::vhci {

// include/uapi/linux/usbip.h, enum usbip_device_status.
enum class PortState : uint8_t { free = 4, not_assigned = 5, used = 6, error = 7 };

struct Port {
  uint32_t number = 0;
  bool super_speed = false;  // of the controller's super-speed half
  PortState state = PortState::free;
  std::string local_busid;  // "1-1"; "0-0" when free
  bool operator==(const Port&) const = default;
};

// One status file. An error when it does not look like one (a kernel before 4.13, say).
Result<std::vector<Port>> parse_status(std::string_view text);

// Super-speed devices need a port of the super-speed half, all others one of the high-speed half.
bool needs_super_speed(UsbSpeed speed);

// The first free port of the right half whose number is not in `excluded`.
std::optional<uint32_t> find_free_port(std::span<const Port> ports, bool super_speed,
                                       std::span<const uint32_t> excluded = {});

// All ports of all controllers, read from `directory`. Errors: the module is not loaded
// (not_found).
Result<std::vector<Port>> read_ports(const std::string& directory);

}  // namespace farport::vhci
