// USB descriptors, read with suspicion: every length in them was written by a device. Pure: no
// libusb, no system calls, so that every end of a channel can use it.
//
// What is damaged is left out and reported (Configuration::damaged), as the kernel does: a device
// with one bad descriptor still works with the others.
#pragma once

#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/transfer.h"
#include "devices/device_info.h"

namespace farport::usb {

// bDescriptorType: USB 2.0, table 9-5; USB 3.2, table 9-6.
enum class DescriptorType : uint8_t {
  device = 0x01,
  configuration = 0x02,
  interface = 0x04,
  endpoint = 0x05,
  endpoint_companion = 0x30,      // SuperSpeed, USB 3.2, 9.6.7
  iso_endpoint_companion = 0x31,  // SuperSpeedPlus isochronous, USB 3.2, 9.6.8
};

// bInterfaceClass and bDeviceClass, as far as a rule of ours asks for them (USB-IF defined class
// codes).
namespace class_code {
inline constexpr uint8_t per_interface = 0x00;
inline constexpr uint8_t audio = 0x01;
inline constexpr uint8_t communications = 0x02;
inline constexpr uint8_t hub = 0x09;
inline constexpr uint8_t communications_data = 0x0a;
inline constexpr uint8_t smart_card = 0x0b;
}  // namespace class_code

// One descriptor of a sequence; `bytes` are its bLength bytes, the two of the header included.
struct Descriptor {
  uint8_t type = 0;
  std::span<const uint8_t> bytes;
};

// Iterates over the descriptors that follow each other in `bytes`. Ends at the first one that
// cannot be true: bLength under 2 (it would never end) or past the end of `bytes`.
class DescriptorRange {
 public:
  class Iterator {
   public:
    using value_type = Descriptor;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::forward_iterator_tag;
    Iterator() = default;
    explicit Iterator(std::span<const uint8_t> rest) : rest_(rest) { check(); }
    Descriptor operator*() const { return {rest_[1], rest_.first(rest_[0])}; }
    Iterator& operator++() {
      rest_ = rest_.subspan(rest_[0]);
      check();
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return rest_.size() == other.rest_.size(); }

   private:
    void check() {
      if (rest_.size() < 2 || rest_[0] < 2 || rest_[0] > rest_.size()) rest_ = {};
    }
    std::span<const uint8_t> rest_;
  };

  explicit DescriptorRange(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  Iterator begin() const { return Iterator(bytes_); }
  Iterator end() const { return {}; }

 private:
  std::span<const uint8_t> bytes_;
};

// USB 2.0, 9.6.1.
struct DeviceDescriptor {
  uint16_t usb_version = 0;  // bcdUSB
  uint8_t device_class = 0, device_subclass = 0, device_protocol = 0;
  uint8_t max_packet_0 = 0;  // bMaxPacketSize0; an exponent of 2 from USB 3.0 on
  uint16_t vendor = 0, product = 0;
  uint16_t device_version = 0;  // bcdDevice
  uint8_t configuration_count = 0;
};
Result<DeviceDescriptor> parse_device(std::span<const uint8_t> bytes);

// An endpoint with its companions. How its numbers count depends on the speed, hence the functions.
struct Endpoint {
  uint8_t address = 0;  // bEndpointAddress, reserved bits cleared
  TransferType type = TransferType::bulk;
  uint16_t max_packet_raw = 0;  // wMaxPacketSize
  uint8_t interval_raw = 0;     // bInterval
  bool has_companion = false;
  uint8_t burst = 0;  // bMaxBurst, 0..15
  uint8_t mult = 0;   // isochronous: bits 1..0 of the companion's bmAttributes
  uint32_t companion_bytes_interval =
      0;  // wBytesPerInterval, or dwBytesPerInterval of the iso companion

  bool in() const { return (address & 0x80) != 0; }
  bool periodic() const {
    return type == TransferType::interrupt || type == TransferType::isochronous;
  }
  // Bytes of one packet: bits 10..0 (USB 2.0, 9.6.6).
  uint32_t max_packet_bytes() const { return max_packet_raw & 0x7ffu; }
  // Periodic endpoints: packets in one service interval. High speed: 1 to 3 (bits 12..11, USB 2.0,
  // 9.6.6); SuperSpeed: (bMaxBurst + 1) x (Mult + 1) (USB 3.2, 9.6.7); otherwise 1.
  uint32_t packets_interval(UsbSpeed speed) const;
  // Periodic endpoints: bytes in one service interval; SuperSpeed's wBytesPerInterval (USB 3.2,
  // 9.6.7) or dwBytesPerInterval (9.6.8) where given.
  uint32_t bytes_interval(UsbSpeed speed) const;
  // Periodic endpoints: length of the service interval in microframes of 125 us (USB 2.0, table
  // 9-13; USB 3.2, 9.6.6). Values outside the standard's range are clamped to it.
  uint32_t interval_microframes(UsbSpeed speed) const;
};

// One alternate setting of one interface (USB 2.0, 9.6.5).
struct Interface {
  uint8_t number = 0;
  uint8_t alternate = 0;
  uint8_t interface_class = 0, interface_subclass = 0, interface_protocol = 0;
  std::vector<Endpoint> endpoints;
};

// USB 2.0, 9.6.3.
struct Configuration {
  uint8_t value = 0;                  // bConfigurationValue
  uint8_t attributes = 0;             // bmAttributes: 0x40 self-powered, 0x20 remote wakeup
  std::vector<Interface> interfaces;  // every alternate setting, in the device's order
  bool damaged = false;               // something in it was wrong and left out

  const Interface* find(uint8_t interface_number, uint8_t alternate) const;
  // Interface numbers, each once, in the device's order.
  std::vector<uint8_t> interface_numbers() const;
};

// A configuration descriptor with all that follows it. Reads min(wTotalLength, bytes.size()) bytes;
// fails only when not even its own 9 bytes are there.
Result<Configuration> parse_configuration(std::span<const uint8_t> bytes);

// All configurations of a device that can be read.
std::vector<Configuration> parse_configurations(const DeviceInfo& info);

// The endpoint `address` of an alternate setting of an interface; nullptr when there is none.
const Endpoint* find_endpoint(const Configuration& configuration, uint8_t interface_number,
                              uint8_t alternate, uint8_t address);

}  // namespace farport::usb
