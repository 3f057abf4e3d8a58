// The endpoints of an emulated USB device, by address: which exist in the interface's alternate
// setting, which are halted, and what waits at each.
#pragma once

#include <array>
#include <cstdint>

#include "devices/emulated/transfer_queue.h"
#include "devices/emulated/usb_descriptors.h"

namespace farport {

struct UsbEndpoint {
  bool present = false;
  bool halted = false;
  uint8_t address = 0;
  TransferType type = TransferType::control;
  uint16_t max_packet_bytes = 0;
  uint8_t interval = 0;       // bInterval
  uint64_t stream_bytes = 0;  // since set up, or a halt was cleared: position in a data pattern
  WaitingTransfers waiting;
};

class UsbEndpoints {
 public:
  // Endpoint `address` (0x80 for IN), or nullptr when the alternate setting has none such.
  UsbEndpoint* find(uint8_t address) {
    UsbEndpoint& endpoint = endpoints_[index(address)];
    return endpoint.present ? &endpoint : nullptr;
  }
  // Exactly the endpoints of `alternate` exist; none is halted. All queues are empty.
  void set(const AlternateDescription& alternate, UsbSpeed speed) {
    clear();
    for (const EndpointDescription& description : alternate.endpoints) {
      UsbEndpoint& endpoint = endpoints_[index(description.address)];
      endpoint.present = true;
      endpoint.address = description.address;
      endpoint.type = description.type;
      endpoint.max_packet_bytes = description.max_packet_bytes[speed_index(speed)];
      endpoint.interval = description.interval[speed_index(speed)];
    }
  }
  void clear() { endpoints_ = {}; }

  auto begin() { return endpoints_.begin(); }
  auto end() { return endpoints_.end(); }

 private:
  static size_t index(uint8_t address) {
    return (address & 0x0f) | ((address & 0x80) != 0 ? 0x10 : 0);
  }
  std::array<UsbEndpoint, 32> endpoints_{};
};

}  // namespace farport
