// What a device needs of its bus by its descriptors alone: the figure for the first decision,
// before anything was measured (DESIGN.md, Measuring).
#pragma once

#include <cstdint>

#include "devices/device_info.h"
#include "devices/usb/descriptors.h"

namespace farport::usb {

// Payload limits of one bus, bytes per second.
//   low       control only, 3 transactions of 8 bytes a frame: USB 2.0, table 5-1
//   full      bulk, 19 packets of 64 bytes a frame:            USB 2.0, table 5-9
//   high      bulk, 13 packets of 512 bytes a microframe:      USB 2.0, table 5-10
//   super     5 Gb/s, 8b/10b = 500 MB/s, less about a tenth for headers and link commands: USB 3.2,
//             6.3.1 and 8; about 450 MB/s is what controllers reach
//   super+    10 Gb/s, 128b/132b = 1212 MB/s, less about a tenth: USB 3.2, 6.3.2
inline constexpr uint64_t low_bus_bytes_s = 3 * 8 * 1000;
inline constexpr uint64_t full_bus_bytes_s = 19 * 64 * 1000;
inline constexpr uint64_t high_bus_bytes_s = 13 * 512 * 8000;
inline constexpr uint64_t super_bus_bytes_s = 450'000'000;
inline constexpr uint64_t super_plus_bus_bytes_s = 1'090'000'000;

// A serial line behind bulk endpoints (CDC ACM, a smart card reader): 12 Mbaud, the fastest common
// UART, at 10 bits a byte. A MIDI jack: 31,250 baud (MIDI 1.0), 16 cables of a USB-MIDI endpoint.
inline constexpr uint64_t serial_line_bytes_s = 1'200'000;
inline constexpr uint64_t midi_bytes_s = 16 * 3125;

// The most that any device of this speed moves. 0 for UsbSpeed::none.
uint64_t bus_bytes_s(UsbSpeed speed);

// A periodic endpoint: bytes_interval x 8000 / interval_microframes (USB 2.0, 5.6.4 and 5.7.4).
// Bulk: the bus's limit, by packet size at full speed (USB 2.0, table 5-9). Control: 0.
uint64_t endpoint_bytes_s(const Endpoint& endpoint, UsbSpeed speed);

// An alternate setting: its periodic endpoints together, and, when it has bulk endpoints, what its
// class makes of the bus: a serial line, MIDI, or otherwise (storage, network, video, vendor) all
// of it.
uint64_t interface_bytes_s(const Interface& interface, UsbSpeed speed);

// The device's nominal requirement: for each interface of the active (else the first) configuration
// its most demanding alternate setting, added up, at most what the bus carries. A device without
// any endpoint but 0 has control's limit (full 832 kB/s, high 15.9 MB/s: USB 2.0, tables 5-2 and
// 5-3). 0 when the descriptors say nothing.
uint64_t nominal_bytes_s(const DeviceInfo& info);

}  // namespace farport::usb
