// What a configuration descriptor says, as far as an initiator needs it: interfaces, their
// alternate settings and endpoints.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/transfer.h"

namespace farport {

struct UsbEndpointInfo {
  uint8_t address = 0;
  TransferType type = TransferType::bulk;
  uint16_t max_packet_bytes = 0;
  uint8_t interval = 0;
};

struct UsbInterfaceInfo {  // one alternate setting
  uint8_t number = 0;
  uint8_t alternate = 0;
  uint8_t interface_class = 0;
  uint8_t interface_subclass = 0;
  uint8_t interface_protocol = 0;
  std::vector<UsbEndpointInfo> endpoints{};

  // The first endpoint of a type and direction.
  const UsbEndpointInfo* find(TransferType type, bool in) const;
};

struct UsbLayout {
  uint8_t configuration_value = 0;
  std::vector<UsbInterfaceInfo> interfaces{};

  const UsbInterfaceInfo* find_class(uint8_t interface_class, uint8_t subclass,
                                     uint8_t protocol) const;
};

// Reads a configuration descriptor with all that follows it (USB 2.0, 9.6.3..9.6.6). What is not an
// interface or an endpoint is skipped; lengths that do not add up are an error.
Result<UsbLayout> parse_configuration(std::span<const uint8_t> bytes);

}  // namespace farport
