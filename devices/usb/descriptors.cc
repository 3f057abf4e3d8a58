#include "devices/usb/descriptors.h"

#include <algorithm>
#include <string>

namespace farport::usb {

namespace {

constexpr size_t device_bytes = 18;        // USB 2.0, table 9-8
constexpr size_t configuration_bytes = 9;  // table 9-10
constexpr size_t interface_bytes = 9;      // table 9-12
constexpr size_t endpoint_bytes = 7;       // table 9-13
constexpr size_t companion_bytes = 6;      // USB 3.2, table 9-26
constexpr size_t iso_companion_bytes = 8;  // USB 3.2, table 9-27

constexpr uint8_t interface_number_max = 31;  // Linux: USB_MAXINTERFACES
constexpr size_t endpoints_max = 30;          // 15 numbers, two directions

uint16_t u16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] | bytes[at + 1] << 8);
}
uint32_t u32(std::span<const uint8_t> bytes, size_t at) {
  return u16(bytes, at) | uint32_t{u16(bytes, at + 2)} << 16;
}

bool is(const Descriptor& descriptor, DescriptorType type) {
  return descriptor.type == static_cast<uint8_t>(type);
}

bool high_or_faster(UsbSpeed speed) { return speed >= UsbSpeed::high; }

// Builds a Configuration out of the descriptors in the order they come.
class Builder {
 public:
  explicit Builder(Configuration& configuration) : configuration_(configuration) {}

  void add(const Descriptor& descriptor) {
    if (is(descriptor, DescriptorType::interface)) {
      add_interface(descriptor.bytes);
    } else if (is(descriptor, DescriptorType::endpoint)) {
      add_endpoint(descriptor.bytes);
    } else if (is(descriptor, DescriptorType::endpoint_companion)) {
      add_companion(descriptor.bytes);
    } else if (is(descriptor, DescriptorType::iso_endpoint_companion)) {
      add_iso_companion(descriptor.bytes);
    } else if (is(descriptor, DescriptorType::device) ||
               is(descriptor, DescriptorType::configuration)) {
      configuration_.damaged = true;  // has no place here
    }
  }

 private:
  void add_interface(std::span<const uint8_t> bytes) {
    in_interface_ = false;
    in_endpoint_ = false;
    if (bytes.size() < interface_bytes || bytes[2] > interface_number_max ||
        configuration_.find(bytes[2], bytes[3])) {
      configuration_.damaged = true;
      return;
    }
    Interface interface;
    interface.number = bytes[2];
    interface.alternate = bytes[3];
    interface.interface_class = bytes[5];
    interface.interface_subclass = bytes[6];
    interface.interface_protocol = bytes[7];
    configuration_.interfaces.push_back(std::move(interface));
    in_interface_ = true;
  }

  void add_endpoint(std::span<const uint8_t> bytes) {
    in_endpoint_ = false;
    if (!in_interface_ || bytes.size() < endpoint_bytes || !usable(bytes[2])) {
      configuration_.damaged = true;
      return;
    }
    Endpoint endpoint;
    endpoint.address = bytes[2] & 0x8f;
    endpoint.type = static_cast<TransferType>(bytes[3] & 3);
    endpoint.max_packet_raw = u16(bytes, 4);
    endpoint.interval_raw = bytes[6];
    configuration_.interfaces.back().endpoints.push_back(endpoint);
    in_endpoint_ = true;
  }

  // Endpoint 0 has no descriptor, and an address stands once in a setting.
  bool usable(uint8_t address) const {
    const auto& endpoints = configuration_.interfaces.back().endpoints;
    return (address & 0x0f) != 0 && endpoints.size() < endpoints_max &&
           std::ranges::none_of(
               endpoints, [&](const Endpoint& other) { return other.address == (address & 0x8f); });
  }

  void add_companion(std::span<const uint8_t> bytes) {
    if (!in_endpoint_ || bytes.size() < companion_bytes || bytes[2] > 15) {
      configuration_.damaged = true;
      return;
    }
    Endpoint& endpoint = configuration_.interfaces.back().endpoints.back();
    endpoint.has_companion = true;
    endpoint.burst = bytes[2];
    if (endpoint.type == TransferType::isochronous) {
      endpoint.mult = std::min<uint8_t>(bytes[3] & 3, 2);
    }
    endpoint.companion_bytes_interval = u16(bytes, 4);
  }

  void add_iso_companion(std::span<const uint8_t> bytes) {
    if (!in_endpoint_ || bytes.size() < iso_companion_bytes) {
      configuration_.damaged = true;
      return;
    }
    configuration_.interfaces.back().endpoints.back().companion_bytes_interval = u32(bytes, 4);
  }

  Configuration& configuration_;
  bool in_interface_ = false;  // the last interface descriptor was good
  bool in_endpoint_ = false;   // the last endpoint descriptor was good
};

}  // namespace

Result<DeviceDescriptor> parse_device(std::span<const uint8_t> bytes) {
  if (bytes.size() < device_bytes || bytes[0] < device_bytes ||
      bytes[1] != static_cast<uint8_t>(DescriptorType::device)) {
    return fail("the device descriptor is damaged: " + std::to_string(bytes.size()) +
                " bytes where 18 are due (USB 2.0, 9.6.1)");
  }
  DeviceDescriptor device;
  device.usb_version = u16(bytes, 2);
  device.device_class = bytes[4];
  device.device_subclass = bytes[5];
  device.device_protocol = bytes[6];
  device.max_packet_0 = bytes[7];
  device.vendor = u16(bytes, 8);
  device.product = u16(bytes, 10);
  device.device_version = u16(bytes, 12);
  device.configuration_count = bytes[17];
  return device;
}

uint32_t Endpoint::packets_interval(UsbSpeed speed) const {
  if (!periodic()) return 1;
  if (speed >= UsbSpeed::super) return (burst + 1u) * (mult + 1u);
  if (speed == UsbSpeed::high) return std::min(1u + (max_packet_raw >> 11 & 3u), 3u);
  return 1;
}

uint32_t Endpoint::bytes_interval(UsbSpeed speed) const {
  if (speed >= UsbSpeed::super && companion_bytes_interval != 0) return companion_bytes_interval;
  return max_packet_bytes() * packets_interval(speed);
}

uint32_t Endpoint::interval_microframes(UsbSpeed speed) const {
  const uint32_t exponent = std::clamp<uint32_t>(interval_raw, 1, 16) - 1;
  if (high_or_faster(speed)) return 1u << exponent;
  if (type == TransferType::isochronous) return 8u << exponent;
  const uint32_t frames_min = speed == UsbSpeed::low ? 10 : 1;  // USB 2.0, 5.7.4
  return 8u * std::max<uint32_t>(interval_raw, frames_min);
}

const Interface* Configuration::find(uint8_t interface_number, uint8_t alternate) const {
  const auto found = std::ranges::find_if(interfaces, [&](const Interface& interface) {
    return interface.number == interface_number && interface.alternate == alternate;
  });
  return found == interfaces.end() ? nullptr : &*found;
}

std::vector<uint8_t> Configuration::interface_numbers() const {
  std::vector<uint8_t> numbers;
  for (const Interface& interface : interfaces) {
    if (std::ranges::find(numbers, interface.number) == numbers.end()) {
      numbers.push_back(interface.number);
    }
  }
  return numbers;
}

Result<Configuration> parse_configuration(std::span<const uint8_t> bytes) {
  if (bytes.size() < configuration_bytes || bytes[0] < configuration_bytes ||
      bytes[1] != static_cast<uint8_t>(DescriptorType::configuration)) {
    return fail("the configuration descriptor is damaged: " + std::to_string(bytes.size()) +
                " bytes, at least 9 are due (USB 2.0, 9.6.3)");
  }
  Configuration configuration;
  configuration.value = bytes[5];
  configuration.attributes = bytes[7];
  const size_t total = u16(bytes, 2);
  configuration.damaged = total > bytes.size() || total < bytes[0];
  const auto whole = bytes.first(std::min(std::max<size_t>(total, bytes[0]), bytes.size()));

  Builder builder(configuration);
  size_t read = 0;
  for (const Descriptor descriptor : DescriptorRange(whole)) {
    if (read != 0) builder.add(descriptor);
    read += descriptor.bytes.size();
  }
  if (read != whole.size()) configuration.damaged = true;
  return configuration;
}

std::vector<Configuration> parse_configurations(const DeviceInfo& info) {
  std::vector<Configuration> configurations;
  for (const auto& bytes : info.configurations) {
    if (auto configuration = parse_configuration(bytes)) {
      configurations.push_back(std::move(*configuration));
    }
  }
  return configurations;
}

const Endpoint* find_endpoint(const Configuration& configuration, uint8_t interface_number,
                              uint8_t alternate, uint8_t address) {
  const Interface* interface = configuration.find(interface_number, alternate);
  if (!interface) return nullptr;
  const auto found = std::ranges::find(interface->endpoints, address, &Endpoint::address);
  return found == interface->endpoints.end() ? nullptr : &*found;
}

}  // namespace farport::usb
