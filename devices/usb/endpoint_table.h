// Which endpoints a device has right now: its descriptors, and the configuration and alternate
// settings chosen since. Whoever sees only an endpoint's number (USB/IP) learns its type here.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "devices/usb/descriptors.h"

namespace farport::usb {

// Not thread-safe. find() costs one array access; the set functions may allocate.
class EndpointTable {
 public:
  EndpointTable() = default;
  // Starts in the device's active configuration, every interface in alternate setting 0.
  explicit EndpointTable(const DeviceInfo& info);
  EndpointTable(EndpointTable&&) = default;  // its pointers lead into the vector, which moves along
  EndpointTable& operator=(EndpointTable&&) = default;

  // As after SET_CONFIGURATION and SET_INTERFACE (USB 2.0, 9.4.7 and 9.4.10). False when the
  // descriptors have no such value: then the table has no endpoints (configuration), or is
  // unchanged (interface). Value 0 is always true: unconfigured.
  bool set_configuration(uint8_t value);
  bool set_interface(uint8_t interface_number, uint8_t alternate);

  // Follows a control request that the device has carried out, when it is one of the two.
  void observe(const std::array<uint8_t, 8>& setup);

  // The endpoint with this bEndpointAddress; nullptr for endpoint 0 and for unknown ones.
  const Endpoint* find(uint8_t address) const;
  // The interface that `address` belongs to now; -1 when unknown.
  int interface_of(uint8_t address) const;
  // Control for endpoint 0; for an unknown endpoint `otherwise`.
  TransferType type_of(uint8_t address, TransferType otherwise = TransferType::bulk) const;

  uint8_t configuration_value() const { return value_; }
  // nullptr when unconfigured.
  const Configuration* configuration() const { return configuration_; }
  const Configuration* find_configuration(uint8_t value) const;
  // The alternate setting of an interface, 0 unless set.
  uint8_t alternate_of(uint8_t interface_number) const;

 private:
  struct Entry {
    const Endpoint* endpoint = nullptr;
    uint8_t interface_number = 0;
  };
  static size_t index(uint8_t address) { return (address & 0x0fu) | (address & 0x80u) >> 3; }
  void rebuild();

  std::vector<Configuration> configurations_;
  const Configuration* configuration_ = nullptr;
  uint8_t value_ = 0;
  std::array<uint8_t, 32> alternates_{};  // by interface number
  std::array<Entry, 32> entries_{};       // by endpoint number and direction
};

}  // namespace farport::usb
