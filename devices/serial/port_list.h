// Which serial ports this host has, from sysfs and /dev.
//
// A class entry /sys/class/tty/NAME with a `device` is a port of some bus; virtual consoles and
// ptys have none. The 8250 driver makes ttyS* entries for UARTs that are not there: their `type` is
// 0 (PORT_UNKNOWN, linux/serial_core.h), and they are left out. Nothing is opened, since opening
// would raise DTR.
#pragma once

#include <string>
#include <vector>

#include "devices/device_info.h"

namespace farport::serial {

// Where to look; tests point it elsewhere.
struct SerialFolders {
  std::string sys_class_tty = "/sys/class/tty";
  std::string dev = "/dev";
  std::string lock = "/run/lock";
};

// The host's own ports, and those that `extra` (paths or glob patterns) names, sorted by name.
//
//   name         serial:by-id/LINK when /dev/serial/by-id has a link to the node, else
//   serial:ttyUSB0;
//                an extra path: serial:PATH, without a leading /dev/
//   aliases      serial:ttyUSB0, further links, extra paths that lead to the same node
//   description  manufacturer and product of the USB device behind the port, or the kernel's name
//   path         the node, or the extra path as given
//
// Extra paths that match nothing are left out; that they are a serial port is found out on opening.
std::vector<DeviceInfo> list_ports(const SerialFolders& folders,
                                   const std::vector<std::string>& extra);

}  // namespace farport::serial
