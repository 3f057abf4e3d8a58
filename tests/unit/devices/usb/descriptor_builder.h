// Writes descriptors for tests: valid ones by default, anything on request.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "devices/device_info.h"

namespace farport::test {

using Bytes = std::vector<uint8_t>;

inline void append(Bytes& to, std::initializer_list<uint8_t> bytes) {
  for (const uint8_t byte : bytes) to.push_back(byte);
}

class ConfigurationBuilder {
 public:
  explicit ConfigurationBuilder(uint8_t value = 1) {
    append(bytes_, {9, 2, 0, 0, 0, value, 0, 0xc0, 50});
  }
  ConfigurationBuilder& interface(uint8_t number, uint8_t alternate, uint8_t class_code = 0xff,
                                  uint8_t subclass = 0, uint8_t protocol = 0) {
    append(bytes_, {9, 4, number, alternate, 0, class_code, subclass, protocol, 0});
    return *this;
  }
  // `type`: 0 control, 1 isochronous, 2 bulk, 3 interrupt.
  ConfigurationBuilder& endpoint(uint8_t address, uint8_t type, uint16_t max_packet,
                                 uint8_t interval = 0) {
    append(bytes_, {7, 5, address, type, static_cast<uint8_t>(max_packet),
                    static_cast<uint8_t>(max_packet >> 8), interval});
    return *this;
  }
  ConfigurationBuilder& companion(uint8_t burst, uint8_t attributes, uint16_t bytes_interval) {
    append(bytes_, {6, 0x30, burst, attributes, static_cast<uint8_t>(bytes_interval),
                    static_cast<uint8_t>(bytes_interval >> 8)});
    return *this;
  }
  ConfigurationBuilder& iso_companion(uint32_t bytes_interval) {
    append(bytes_,
           {8, 0x31, 0, 0, static_cast<uint8_t>(bytes_interval),
            static_cast<uint8_t>(bytes_interval >> 8), static_cast<uint8_t>(bytes_interval >> 16),
            static_cast<uint8_t>(bytes_interval >> 24)});
    return *this;
  }
  ConfigurationBuilder& raw(std::initializer_list<uint8_t> bytes) {
    append(bytes_, bytes);
    return *this;
  }
  Bytes build() const {
    Bytes bytes = bytes_;
    bytes[2] = static_cast<uint8_t>(bytes.size());
    bytes[3] = static_cast<uint8_t>(bytes.size() >> 8);
    return bytes;
  }

 private:
  Bytes bytes_;
};

inline Bytes device_descriptor(uint16_t vendor, uint16_t product, uint8_t device_class = 0,
                               uint8_t configurations = 1) {
  return {18,
          1,
          0x00,
          0x02,
          device_class,
          0,
          0,
          64,
          static_cast<uint8_t>(vendor),
          static_cast<uint8_t>(vendor >> 8),
          static_cast<uint8_t>(product),
          static_cast<uint8_t>(product >> 8),
          0,
          1,
          1,
          2,
          3,
          configurations};
}

inline DeviceInfo device_info(UsbSpeed speed, std::vector<Bytes> configurations,
                              uint8_t active = 1) {
  DeviceInfo info;
  info.name = "usb:port:1-1";
  info.speed = speed;
  info.vendor = 0x1d6b;
  info.product = 0x0104;
  info.bus = 1;
  info.address = 2;
  info.port_path = "1-1";
  info.device_descriptor =
      device_descriptor(0x1d6b, 0x0104, 0, static_cast<uint8_t>(configurations.size()));
  info.configurations = std::move(configurations);
  info.configuration_value = active;
  return info;
}

// Bulk-only mass storage: interface 0, endpoints 0x81 and 0x02.
inline Bytes storage_configuration(uint16_t max_packet = 512) {
  return ConfigurationBuilder()
      .interface(0, 0, 0x08, 0x06, 0x50)
      .endpoint(0x81, 2, max_packet)
      .endpoint(0x02, 2, max_packet)
      .build();
}

}  // namespace farport::test
