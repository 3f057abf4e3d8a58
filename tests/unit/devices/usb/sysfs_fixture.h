// A copy of sysfs's USB part in a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/devices/usb/descriptor_builder.h"

namespace farport::test {

class SysfsTest : public testing::Test {
 protected:
  SysfsTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "farport-usb-XXXXXX").string();
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    std::filesystem::create_directories(devices());
  }
  ~SysfsTest() override { std::filesystem::remove_all(root_); }

  std::string sys() const { return root_ + "/sys"; }
  std::string devices() const { return sys() + "/bus/usb/devices"; }

  void write(const std::string& entry, const std::string& name, const std::string& text) {
    std::filesystem::create_directories(devices() + "/" + entry);
    std::ofstream(devices() + "/" + entry + "/" + name, std::ios::binary) << text;
  }
  void driver(const std::string& entry, const std::string& name) {
    std::filesystem::create_directories(devices() + "/" + entry);
    const std::string link = devices() + "/" + entry + "/driver";
    std::filesystem::remove(link);
    if (!name.empty()) std::filesystem::create_symlink("../../../bus/usb/drivers/" + name, link);
  }
  // A high-speed disk at `port` of bus 1.
  void disk(const std::string& port, int address, const std::string& serial,
            const std::string& vendor = "46f4",
            const std::string& interface_driver = "usb-storage") {
    write(port, "idVendor", vendor + "\n");
    write(port, "idProduct", "0001\n");
    write(port, "busnum", "1\n");
    write(port, "devnum", std::to_string(address) + "\n");
    write(port, "speed", "480\n");
    write(port, "bDeviceClass", "00\n");
    write(port, "bConfigurationValue", "1\n");
    write(port, "manufacturer", "QEMU\n");
    write(port, "product", "QEMU USB HARDDRIVE\n");
    if (!serial.empty()) write(port, "serial", serial + "\n");
    Bytes descriptors = device_descriptor(0x46f4, 0x0001);
    const Bytes configuration = storage_configuration();
    for (const uint8_t byte : configuration) descriptors.push_back(byte);
    write(port, "descriptors", std::string(descriptors.begin(), descriptors.end()));
    driver(port, "usb");
    write(port + ":1.0", "bInterfaceNumber", "00\n");
    driver(port + ":1.0", interface_driver);
  }
  void remove(const std::string& port) {
    std::filesystem::remove_all(devices() + "/" + port);
    std::filesystem::remove_all(devices() + "/" + port + ":1.0");
  }

  std::string root_;
};

}  // namespace farport::test
