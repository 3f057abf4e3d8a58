#include "devices/usb/nominal.h"

#include <gtest/gtest.h>

#include "tests/unit/devices/usb/descriptor_builder.h"

namespace farport::usb {
namespace {

using test::Bytes;
using test::ConfigurationBuilder;

TEST(Nominal, OfWholeDevices) {
  const struct {
    const char* what;
    UsbSpeed speed;
    Bytes configuration;
    uint64_t bytes_s;
  } cases[] = {
      {"high-speed disk: all of the bus", UsbSpeed::high, test::storage_configuration(512),
       53'248'000},
      {"full-speed disk", UsbSpeed::full, test::storage_configuration(64), 1'216'000},
      {"full speed, packets of 8: more of them, less data", UsbSpeed::full,
       test::storage_configuration(8), 568'000},
      {"SuperSpeed disk", UsbSpeed::super, test::storage_configuration(1024), 450'000'000},
      {"10 Gb/s disk", UsbSpeed::super_plus, test::storage_configuration(1024), 1'090'000'000},
      {"low-speed mouse: 4 bytes every 10 ms", UsbSpeed::low,
       ConfigurationBuilder().interface(0, 0, 3).endpoint(0x81, 3, 4, 10).build(), 400},
      {"full-speed keyboard: 8 bytes every 10 ms", UsbSpeed::full,
       ConfigurationBuilder().interface(0, 0, 3).endpoint(0x81, 3, 8, 10).build(), 800},
      {"high-speed interrupt: 3 x 1024 every microframe", UsbSpeed::high,
       ConfigurationBuilder().interface(0, 0).endpoint(0x81, 3, 0x1400, 1).build(), 24'576'000},
      {"webcam: the largest alternate setting", UsbSpeed::high,
       ConfigurationBuilder()
           .interface(0, 0, 0x0e, 1)
           .endpoint(0x83, 3, 16, 7)  // 16 bytes every 64 microframes
           .interface(1, 0, 0x0e, 2)
           .interface(1, 1, 0x0e, 2)
           .endpoint(0x81, 1, 192, 1)
           .interface(1, 2, 0x0e, 2)
           .endpoint(0x81, 1, 0x1400, 1)
           .build(),
       24'576'000 + 2'000},
      {"two such streams: at most the bus", UsbSpeed::high,
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(0x81, 1, 0x1400, 1)
           .endpoint(0x82, 1, 0x1400, 1)
           .endpoint(0x83, 1, 0x1400, 1)
           .build(),
       53'248'000},
      {"headset: 48 kHz stereo, 196 bytes every ms", UsbSpeed::full,
       ConfigurationBuilder()
           .interface(1, 0, 1, 2)
           .interface(1, 1, 1, 2)
           .endpoint(1, 9, 196, 1)
           .build(),
       196'000},
      {"SuperSpeed isochronous: wBytesPerInterval counts", UsbSpeed::super,
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(0x81, 1, 1024, 1)
           .companion(15, 2, 40000)
           .build(),
       320'000'000},
      {"SuperSpeedPlus isochronous: dwBytesPerInterval counts", UsbSpeed::super_plus,
       ConfigurationBuilder()
           .interface(0, 0)
           .endpoint(0x81, 1, 1024, 1)
           .companion(15, 0x82, 1)
           .iso_companion(98304)
           .build(),
       786'432'000},
      {"CDC ACM: a serial line, whatever the bus", UsbSpeed::high,
       ConfigurationBuilder()
           .interface(0, 0, 2, 2, 1)
           .endpoint(0x82, 3, 16, 9)  // 16 bytes every 256 microframes
           .interface(1, 0, 0x0a)
           .endpoint(0x81, 2, 512)
           .endpoint(0x01, 2, 512)
           .build(),
       1'200'000 + 500},
      {"CDC NCM: a network", UsbSpeed::high,
       ConfigurationBuilder()
           .interface(0, 0, 2, 0x0d)
           .interface(1, 0, 0x0a)
           .interface(1, 1, 0x0a)
           .endpoint(0x81, 2, 512)
           .endpoint(0x01, 2, 512)
           .build(),
       53'248'000},
      {"smart card reader", UsbSpeed::high,
       ConfigurationBuilder().interface(0, 0, 0x0b).endpoint(0x81, 2, 512).build(), 1'200'000},
      {"MIDI keyboard", UsbSpeed::full,
       ConfigurationBuilder().interface(0, 0, 1, 3).endpoint(0x81, 2, 64).build(), 50'000},
      {"endpoint 0 only", UsbSpeed::full, ConfigurationBuilder().interface(0, 0, 0xfe, 1).build(),
       832'000},
      {"endpoint 0 only, low speed", UsbSpeed::low, ConfigurationBuilder().interface(0, 0).build(),
       24'000},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(nominal_bytes_s(test::device_info(test.speed, {test.configuration})), test.bytes_s)
        << test.what;
  }
}

TEST(Nominal, TakesTheActiveConfigurationElseTheFirst) {
  const std::vector<Bytes> configurations{
      ConfigurationBuilder(1).interface(0, 0, 3).endpoint(0x81, 3, 8, 10).build(),
      ConfigurationBuilder(2).interface(0, 0, 8).endpoint(0x81, 2, 64).build()};
  EXPECT_EQ(nominal_bytes_s(test::device_info(UsbSpeed::full, configurations, 1)), 800u);
  EXPECT_EQ(nominal_bytes_s(test::device_info(UsbSpeed::full, configurations, 2)), 1'216'000u);
  EXPECT_EQ(nominal_bytes_s(test::device_info(UsbSpeed::full, configurations, 0)), 800u);
}

TEST(Nominal, IsZeroWhenNothingCanBeRead) {
  EXPECT_EQ(nominal_bytes_s(test::device_info(UsbSpeed::high, {})), 0u);
  EXPECT_EQ(nominal_bytes_s(test::device_info(UsbSpeed::high, {Bytes{9, 2, 0}})), 0u);
  EXPECT_EQ(nominal_bytes_s(DeviceInfo{}), 0u);
}

}  // namespace
}  // namespace farport::usb
