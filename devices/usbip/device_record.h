// A device as we know it and as USB/IP's operation phase describes it.
#pragma once

#include <string>

#include "devices/device_info.h"
#include "devices/usbip/protocol.h"

namespace farport::usbip {

// Linux's enum usb_device_speed (include/uapi/linux/usb/ch9.h): 1 low, 2 full, 3 high, 5 super, 6
// super+. A stock client (tools/usb/usbip/libsrc/vhci_driver.c) and vhci up to 6.1 refuse 6, so
// super+ is told as super.
uint32_t speed_code(UsbSpeed speed);
// 0 and unknown codes: none. Wireless (4) counts as high, which it is to everything above the bus.
UsbSpeed speed_from_code(uint32_t code);

// The bus ID under which a device is exported: its port path ("1-2.3") where it has one; otherwise
// its name when that fits ("usb:1209:0001:disk"); otherwise "0-" and a hash of the name. At most 31
// characters, the same after every restart.
std::string busid_of(const DeviceInfo& info);

// busnum << 16 | devnum as requests carry it. Emulated devices, which have no bus, get bus 1 and a
// number made from the name.
uint32_t devid_of(const DeviceInfo& info);

// With the interfaces of the active (else the first) configuration, alternate setting 0.
DeviceRecord record_of(const DeviceInfo& info);

}  // namespace farport::usbip
