// What an emulated device is and how it behaves, as `[[emulated]]` of the configuration says it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "devices/device_info.h"

namespace farport {

enum class EmulatedKind : uint8_t { disk, source_sink, serial };

// What source/sink's IN endpoints send and its OUT endpoints expect (see pattern.h).
enum class DataPattern : uint8_t { none, zeros, mod63, counter };

enum class SerialMode : uint8_t { loopback, chatter };

enum class FaultKind : uint8_t {
  stall,   // the endpoint halts instead of moving the data; a serial port reports a framing error
  unplug,  // the device goes away
  short_data,  // only half of the data moves
  late,        // the transfer takes late_us longer (isochronous: its packets miss their frames)
};

// When a fault strikes. It counts the transfers that carry data: on a disk those of a command's
// data stage, otherwise all but control transfers and serial notices.
struct EmulatedFault {
  FaultKind kind = FaultKind::stall;
  uint64_t every = 0;      // at every n-th transfer; 0: never by count
  double probability = 0;  // 0..1, drawn for each transfer from EmulatedDeviceSettings::fault_seed
  uint64_t times_max = 0;  // strikes at most so often; 0: no limit
};

struct EmulatedDeviceSettings {
  // USB: the serial number, and so the end of the device's name (usb:1d6b:0104:NAME). Serial port:
  // serial:NAME. 1..64 of A-Z a-z 0-9 . _ -
  std::string name{};
  EmulatedKind kind = EmulatedKind::disk;

  // --- USB ---
  UsbSpeed speed = UsbSpeed::high;  // full, high or super
  uint16_t vendor = 0;              // 0: 1d6b for a disk, 0525 for source/sink (see usb_identity())
  uint16_t product = 0;             // 0: 0104 for a disk, a4a0 for source/sink

  // --- disk ---
  uint64_t size_bytes = 64u << 20;  // a multiple of 512; of a file that exists: taken from the file
  std::string file{};               // empty: in memory
  bool read_only = false;

  // --- source/sink ---
  DataPattern pattern = DataPattern::none;

  // --- serial port ---
  SerialMode serial_mode = SerialMode::loopback;
  uint32_t lines_s = 10;  // chatter: lines per second

  // --- service: the device carries out one transfer at a time, each taking
  //     delay_us + bytes / rate_bytes_s. Neither applies to control transfers; on a disk they apply
  //     to the data stage of commands. A serial port is paced by its baud rate, and no faster than
  //     rate_bytes_s. Isochronous transfers take the bus's time instead.
  uint64_t rate_bytes_s = 0;  // 0: no limit
  uint32_t delay_us = 0;

  // --- faults ---
  std::vector<EmulatedFault> faults{};
  uint64_t fault_seed = 1;
  uint32_t late_us = 100'000;
};

// Says what is wrong with the settings, naming the device and the setting.
Result<void> check(const EmulatedDeviceSettings& settings);

// The USB identity with the kind's defaults filled in. A disk has the Linux Foundation's gadget
// numbers (1d6b:0104); source/sink has Gadget Zero's (0525:a4a0), which Linux's usbtest driver
// binds.
struct UsbIdentity {
  uint16_t vendor = 0;
  uint16_t product = 0;
};
UsbIdentity usb_identity(const EmulatedDeviceSettings& settings);

// DeviceInfo::name of the device: usb:1d6b:0104:DISK0, serial:PORT0.
std::string device_name(const EmulatedDeviceSettings& settings);

}  // namespace farport
