// Standard control requests that are more than bytes to a host: they change what the host's own USB
// stack knows of the device, so they must go through its calls (USB 2.0, 9.4; hub
// requests 11.24.2).
#pragma once

#include <array>
#include <cstdint>

namespace farport::usb {

// A setup packet, taken apart (USB 2.0, 9.3).
struct Request {
  uint8_t type = 0;  // bmRequestType
  uint8_t request = 0;
  uint16_t value = 0, index = 0, length = 0;

  explicit constexpr Request(const std::array<uint8_t, 8>& setup)
      : type(setup[0]),
        request(setup[1]),
        value(static_cast<uint16_t>(setup[2] | setup[3] << 8)),
        index(static_cast<uint16_t>(setup[4] | setup[5] << 8)),
        length(static_cast<uint16_t>(setup[6] | setup[7] << 8)) {}

  constexpr bool in() const { return (type & 0x80) != 0; }

  constexpr bool is_set_address() const { return type == 0x00 && request == 0x05; }
  constexpr bool is_set_configuration() const { return type == 0x00 && request == 0x09; }
  constexpr bool is_set_interface() const { return type == 0x01 && request == 0x0b; }
  // CLEAR_FEATURE(ENDPOINT_HALT) of an endpoint other than 0.
  constexpr bool is_clear_halt() const {
    return type == 0x02 && request == 0x01 && value == 0 && (index & 0x0f) != 0;
  }
  // SET_FEATURE(PORT_RESET) to the port that the device hangs on: how vhci and USB/IP clients ask
  // for a reset of the device.
  constexpr bool is_port_reset() const { return type == 0x23 && request == 0x03 && value == 4; }
};

}  // namespace farport::usb
