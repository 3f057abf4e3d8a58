// Builds a USB device's descriptors from a short description of it: one configuration with one
// interface, for full, high or super speed (USB 2.0, chapter 9.6; USB 3.2, chapter 9.6).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/transfer.h"
#include "devices/device_info.h"

namespace farport {

namespace usb {

// bDescriptorType (USB 2.0, table 9-5; USB 3.2, table 9-6).
inline constexpr uint8_t descriptor_device = 1;
inline constexpr uint8_t descriptor_configuration = 2;
inline constexpr uint8_t descriptor_string = 3;
inline constexpr uint8_t descriptor_interface = 4;
inline constexpr uint8_t descriptor_endpoint = 5;
inline constexpr uint8_t descriptor_device_qualifier = 6;
inline constexpr uint8_t descriptor_other_speed = 7;
inline constexpr uint8_t descriptor_bos = 15;
inline constexpr uint8_t descriptor_device_capability = 16;
inline constexpr uint8_t descriptor_endpoint_companion = 48;

// bRequest of standard requests (USB 2.0, table 9-4; USB 3.2, table 9-5).
inline constexpr uint8_t get_status = 0;
inline constexpr uint8_t clear_feature = 1;
inline constexpr uint8_t set_feature = 3;
inline constexpr uint8_t set_address = 5;
inline constexpr uint8_t get_descriptor = 6;
inline constexpr uint8_t get_configuration = 8;
inline constexpr uint8_t set_configuration = 9;
inline constexpr uint8_t get_interface = 10;
inline constexpr uint8_t set_interface = 11;
inline constexpr uint8_t set_sel = 48;
inline constexpr uint8_t set_isochronous_delay = 49;

inline constexpr uint8_t feature_endpoint_halt = 0;

}  // namespace usb

struct EndpointDescription {
  uint8_t address = 0;
  TransferType type = TransferType::bulk;
  // wMaxPacketSize and bInterval at full, high and super speed.
  std::array<uint16_t, 3> max_packet_bytes{};
  std::array<uint8_t, 3> interval{};
};

struct AlternateDescription {  // an alternate setting of interface 0
  uint8_t interface_class = 0;
  uint8_t interface_subclass = 0;
  uint8_t interface_protocol = 0;
  std::vector<EndpointDescription> endpoints{};
};

struct UsbDescription {
  uint16_t vendor = 0;
  uint16_t product = 0;
  UsbSpeed speed = UsbSpeed::high;  // full, high or super
  std::string manufacturer{};       // ASCII
  std::string product_name{};
  std::string serial_number{};
  std::vector<AlternateDescription> alternates{};
};

struct UsbDescriptors {
  std::vector<uint8_t> device;
  std::vector<uint8_t> configuration;
  std::vector<uint8_t> device_qualifier;           // high speed only
  std::vector<uint8_t> other_speed_configuration;  // high speed only
  std::vector<uint8_t> bos;                        // super speed only
  std::vector<std::vector<uint8_t>> strings;       // by index; 0 lists the one language, US English
};

UsbDescriptors make_descriptors(const UsbDescription& description);

// Index of a speed in EndpointDescription's arrays.
inline size_t speed_index(UsbSpeed speed) {
  return speed == UsbSpeed::full ? 0 : speed == UsbSpeed::high ? 1 : 2;
}

}  // namespace farport
