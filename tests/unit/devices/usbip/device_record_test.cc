#include "devices/usbip/device_record.h"

#include <gtest/gtest.h>

#include "devices/usbip/tcp.h"

namespace farport::usbip {
namespace {

DeviceInfo named(const std::string& name, const std::string& port = "") {
  DeviceInfo info;
  info.name = name;
  info.port_path = port;
  return info;
}

TEST(UsbipBusid, IsThePortOrTheNameOrAHash) {
  EXPECT_EQ(busid_of(named("usb:1d6b:0104:A", "1-2.3")), "1-2.3");
  EXPECT_EQ(busid_of(named("usb:1d6b:0104:disk0")), "usb:1d6b:0104:disk0");
  const std::string hashed = busid_of(named("usb:1d6b:0104:a-very-long-serial-number"));
  EXPECT_TRUE(hashed.starts_with("0-")) << hashed;
  EXPECT_LE(hashed.size(), busid_length_max);
  EXPECT_EQ(hashed, busid_of(named("usb:1d6b:0104:a-very-long-serial-number")));
  EXPECT_NE(hashed, busid_of(named("usb:1d6b:0104:a-very-long-serial-numbes")));
  EXPECT_TRUE(busid_of(named("usb:1d6b:0104:with space")).starts_with("0-"));
}

TEST(UsbipSpeed, MapsAsLinuxCounts) {
  EXPECT_EQ(speed_code(UsbSpeed::low), 1u);
  EXPECT_EQ(speed_code(UsbSpeed::full), 2u);
  EXPECT_EQ(speed_code(UsbSpeed::high), 3u);
  EXPECT_EQ(speed_code(UsbSpeed::super), 5u);
  EXPECT_EQ(speed_code(UsbSpeed::super_plus), 5u);  // Linux 6.1's vhci refuses 6
  EXPECT_EQ(speed_from_code(6), UsbSpeed::super_plus);
  EXPECT_EQ(speed_from_code(4), UsbSpeed::high);
  EXPECT_EQ(speed_from_code(99), UsbSpeed::none);
}

TEST(UsbipDevid, IsNeverZero) {
  DeviceInfo info = named("x");
  EXPECT_EQ(devid_of(info) >> 16, 1u);
  info.bus = 3;
  info.address = 7;
  EXPECT_EQ(devid_of(info), 0x30007u);
}

TEST(UsbipRecord, TakesClassesFromTheDescriptors) {
  DeviceInfo info = named("usb:1234:5678:S", "1-1");
  info.vendor = 0x1234;
  info.product = 0x5678;
  info.speed = UsbSpeed::high;
  info.device_descriptor = {18,   1,    0,    2,    0xef, 2, 1, 64, 0x34,
                            0x12, 0x78, 0x56, 0x99, 1,    0, 0, 0,  1};
  info.configurations = {
      {9, 2, 25, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 8, 6, 80, 0, 7, 5, 0x81, 2, 0, 2, 0}};
  info.configuration_value = 1;
  const DeviceRecord record = record_of(info);
  EXPECT_EQ(record.bcd_device, 0x0199);
  EXPECT_EQ(record.device_class, 0xef);
  EXPECT_EQ(record.subclass, 2);
  EXPECT_EQ(record.configurations, 1);
  ASSERT_EQ(record.interfaces.size(), 1u);
  EXPECT_EQ(record.interfaces[0], (InterfaceRecord{8, 6, 80}));
}

TEST(UsbipAddress, IsReadOrRefused) {
  struct Case {
    const char* text;
    const char* host;  // nullptr: an error
    uint16_t port;
  };
  for (const Case& each : std::initializer_list<Case>{
           {"127.0.0.1:3240", "127.0.0.1", 3240},
           {"old", "old", 7},
           {"old:1", "old", 1},
           {"[::1]:65535", "::1", 65535},
           {"[2001:db8::9]", "2001:db8::9", 7},
           {"", nullptr, 0},
           {":3240", nullptr, 0},
           {"[]:1", nullptr, 0},
           {"::1:3240", nullptr, 0},
           {"[::1", nullptr, 0},
           {"[::1]x", nullptr, 0},
           {"old:", nullptr, 0},
           {"old:65536", nullptr, 0},
           {"old:-1", nullptr, 0},
           {"old:12x", nullptr, 0},
       }) {
    const auto address = parse_address(each.text, 7);
    ASSERT_EQ(address.has_value(), each.host != nullptr) << each.text;
    if (!address) {
      EXPECT_EQ(address.error().code, ErrorCode::usage);
      continue;
    }
    EXPECT_EQ(address->host, each.host);
    EXPECT_EQ(address->port, each.port);
  }
}

}  // namespace
}  // namespace farport::usbip
