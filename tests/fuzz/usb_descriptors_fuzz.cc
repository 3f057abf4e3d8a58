// What a device says of itself, and what we conclude from it.

#include "devices/usb/descriptors.cc"
#include "devices/usb/endpoint_table.cc"
#include "devices/usb/nominal.cc"
#include "tests/fuzz/fuzz.h"

using namespace farport;

namespace farport::fuzz {
std::vector<std::string> examples() {
  static constexpr uint8_t device[] = {18,   1, 0x00, 0x02, 0,    0, 0, 64, 0x09,
                                       0x12, 1, 0,    0,    0x01, 1, 2, 3,  1};
  // Mass storage with two bulk endpoints; a camera-like interface with an isochronous alternate.
  static constexpr uint8_t disk[] = {9,    2, 32, 0, 1,    1, 0, 0x80, 50, 9, 4, 0,    0, 2, 8, 6,
                                     0x50, 0, 7,  5, 0x81, 2, 0, 2,    0,  7, 5, 0x02, 2, 0, 2, 0};
  static constexpr uint8_t camera[] = {9,  2,    40, 0, 1,    1, 0, 0x80, 50, 9,  4, 0, 0, 0,
                                       14, 2,    0,  0, 9,    4, 0, 1,    1,  14, 2, 0, 0, 7,
                                       5,  0x81, 5,  0, 0x14, 1, 6, 0x30, 0,  0,  0, 4};
  return {bytes_of(device), bytes_of(disk), bytes_of(camera)};
}
}  // namespace farport::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  (void)usb::parse_device(bytes);
  size_t total = 0;
  for (const usb::Descriptor descriptor : usb::DescriptorRange(bytes)) {
    fuzz_check(descriptor.bytes.size() >= 2);
    total += descriptor.bytes.size();
  }
  fuzz_check(total <= size);

  const auto configuration = usb::parse_configuration(bytes);
  if (!configuration) return 0;
  for (const usb::Interface& interface : configuration->interfaces) {
    fuzz_check(configuration->find(interface.number, interface.alternate) != nullptr);
    for (const usb::Endpoint& endpoint : interface.endpoints) {
      for (const UsbSpeed speed : {UsbSpeed::none, UsbSpeed::low, UsbSpeed::full, UsbSpeed::high,
                                   UsbSpeed::super, UsbSpeed::super_plus}) {
        (void)endpoint.bytes_interval(speed);
        (void)endpoint.packets_interval(speed);
        fuzz_check(!endpoint.periodic() || endpoint.interval_microframes(speed) > 0);
      }
    }
  }
  DeviceInfo info;
  info.speed = static_cast<UsbSpeed>(size % 6);
  info.configurations = {{data, data + size}};
  info.configuration_value = configuration->value;
  fuzz_check(usb::nominal_bytes_s(info) <= usb::bus_bytes_s(info.speed));
  usb::EndpointTable table(info);
  table.set_interface(data[size - 1], data[size - 2]);
  for (unsigned address = 0; address < 256; ++address) {
    const usb::Endpoint* endpoint = table.find(static_cast<uint8_t>(address));
    fuzz_check(endpoint == nullptr ||
               endpoint->type == table.type_of(static_cast<uint8_t>(address)));
  }
  return 0;
}
