#include "devices/emulated/usb_descriptors.h"

#include <initializer_list>

namespace farport {

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint8_t kManufacturerString = 1;
constexpr uint8_t kProductString = 2;
constexpr uint8_t kSerialString = 3;
constexpr uint16_t kUsEnglish = 0x0409;
constexpr uint8_t kBulkBurst = 15;  // packets after the first of a super-speed burst

void put16(Bytes& bytes, uint16_t value) {
  bytes.push_back(static_cast<uint8_t>(value));
  bytes.push_back(static_cast<uint8_t>(value >> 8));
}

void set16(Bytes& bytes, size_t at, size_t value) {
  bytes[at] = static_cast<uint8_t>(value);
  bytes[at + 1] = static_cast<uint8_t>(value >> 8);
}

uint16_t usb_release(UsbSpeed speed) { return speed == UsbSpeed::super ? 0x0300 : 0x0200; }

// USB 2.0, 9.6.1; at super speed bMaxPacketSize0 is an exponent (USB 3.2, 9.6.1).
Bytes device_descriptor(const UsbDescription& description) {
  Bytes bytes{18, usb::descriptor_device};
  put16(bytes, usb_release(description.speed));
  bytes.insert(bytes.end(), {0, 0, 0});  // class: see interfaces
  bytes.push_back(description.speed == UsbSpeed::super ? 9 : 64);
  put16(bytes, description.vendor);
  put16(bytes, description.product);
  put16(bytes, 0x0100);
  bytes.insert(bytes.end(), {kManufacturerString, kProductString, kSerialString, 1});
  return bytes;
}

// USB 3.2, 9.6.7.
void put_companion(Bytes& bytes, const EndpointDescription& endpoint, uint16_t max_packet_bytes) {
  const bool bulk = endpoint.type == TransferType::bulk;
  bytes.insert(bytes.end(),
               {6, usb::descriptor_endpoint_companion, bulk ? kBulkBurst : uint8_t{0}, 0});
  put16(bytes, bulk ? 0 : max_packet_bytes);
}

void put_alternate(Bytes& bytes, const AlternateDescription& alternate, uint8_t number,
                   UsbSpeed speed) {
  bytes.insert(
      bytes.end(),
      {9, usb::descriptor_interface, 0, number, static_cast<uint8_t>(alternate.endpoints.size()),
       alternate.interface_class, alternate.interface_subclass, alternate.interface_protocol, 0});
  for (const EndpointDescription& endpoint : alternate.endpoints) {
    const uint16_t max_packet_bytes = endpoint.max_packet_bytes[speed_index(speed)];
    bytes.insert(bytes.end(), {7, usb::descriptor_endpoint, endpoint.address,
                               static_cast<uint8_t>(endpoint.type)});
    put16(bytes, max_packet_bytes);
    bytes.push_back(endpoint.interval[speed_index(speed)]);
    if (speed == UsbSpeed::super) put_companion(bytes, endpoint, max_packet_bytes);
  }
}

Bytes configuration_descriptor(const UsbDescription& description, UsbSpeed speed, uint8_t type) {
  // 100 mA; the unit of bMaxPower is 2 mA, 8 mA at super speed.
  const uint8_t max_power = speed == UsbSpeed::super ? 12 : 50;
  constexpr uint8_t self_powered = 0xc0;
  Bytes bytes{9, type, 0, 0, 1, 1, 0, self_powered, max_power};
  uint8_t number = 0;
  for (const AlternateDescription& alternate : description.alternates) {
    put_alternate(bytes, alternate, number++, speed);
  }
  set16(bytes, 2, bytes.size());
  return bytes;
}

// USB 2.0, 9.6.2: the device at the other speed, which is full.
Bytes qualifier_descriptor() {
  return {10, usb::descriptor_device_qualifier, 0x00, 0x02, 0, 0, 0, 64, 1, 0};
}

// USB 3.2, 9.6.2: a USB 2.0 Extension without link power management, and what every super-speed
// device must have, the SuperSpeed USB capability.
Bytes bos_descriptor() {
  Bytes bytes{5, usb::descriptor_bos, 0, 0, 2};
  bytes.insert(bytes.end(), {7, usb::descriptor_device_capability, 2, 0, 0, 0, 0});
  bytes.insert(bytes.end(), {10, usb::descriptor_device_capability, 3,
                             0,          // no latency tolerance messages
                             0x0e, 0,    // full, high and super speed
                             1,          // all functions from full speed on
                             0, 0, 0});  // U1 and U2 exit latency
  set16(bytes, 2, bytes.size());
  return bytes;
}

Bytes string_descriptor(std::string_view text) {
  constexpr size_t characters_max = (255 - 2) / 2;
  text = text.substr(0, characters_max);
  Bytes bytes{static_cast<uint8_t>(2 + 2 * text.size()), usb::descriptor_string};
  for (const char c : text) put16(bytes, static_cast<uint8_t>(c));
  return bytes;
}

}  // namespace

UsbDescriptors make_descriptors(const UsbDescription& description) {
  UsbDescriptors made;
  made.device = device_descriptor(description);
  made.configuration =
      configuration_descriptor(description, description.speed, usb::descriptor_configuration);
  if (description.speed == UsbSpeed::high) {
    made.device_qualifier = qualifier_descriptor();
    made.other_speed_configuration =
        configuration_descriptor(description, UsbSpeed::full, usb::descriptor_other_speed);
  }
  if (description.speed == UsbSpeed::super) made.bos = bos_descriptor();
  Bytes languages{4, usb::descriptor_string};
  put16(languages, kUsEnglish);
  made.strings = {languages, string_descriptor(description.manufacturer),
                  string_descriptor(description.product_name),
                  string_descriptor(description.serial_number)};
  return made;
}

}  // namespace farport
