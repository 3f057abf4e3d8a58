#include "devices/usb/sysfs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "devices/usb/detach_record.h"
#include "devices/usb/hotplug.h"
#include "tests/unit/devices/usb/sysfs_fixture.h"

namespace farport::usb {
namespace {

using test::Bytes;
using test::SysfsTest;

TEST_F(SysfsTest, ReadsADevice) {
  disk("1-2.3", 7, "QM-0001");
  const auto found = read_devices(sys());
  ASSERT_EQ(found.size(), 1u);
  const DeviceInfo& info = found[0].info;
  EXPECT_EQ(info.vendor, 0x46f4);
  EXPECT_EQ(info.product, 0x0001);
  EXPECT_EQ(info.bus, 1);
  EXPECT_EQ(info.address, 7);
  EXPECT_EQ(info.port_path, "1-2.3");
  EXPECT_EQ(info.speed, UsbSpeed::high);
  EXPECT_EQ(info.serial_number, "QM-0001");
  EXPECT_EQ(info.description, "QEMU USB HARDDRIVE");
  EXPECT_EQ(info.configuration_value, 1);
  EXPECT_EQ(info.device_descriptor.size(), 18u);
  ASSERT_EQ(info.configurations.size(), 1u);
  EXPECT_EQ(info.configurations[0], test::storage_configuration());
  EXPECT_EQ(found[0].driver, "usb");
  ASSERT_EQ(found[0].interfaces.size(), 1u);
  EXPECT_EQ(found[0].interfaces[0].driver, "usb-storage");
}

TEST_F(SysfsTest, LeavesOutHubsAndWhatIsGoing) {
  write("usb1", "idVendor", "1d6b\n");
  disk("1-1", 2, "");
  write("1-1", "bDeviceClass", "09\n");
  disk("1-2", 0, "");  // its files are empty already
  disk("1-3", 4, "");
  const auto found = read_devices(sys());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].info.port_path, "1-3");
}

TEST_F(SysfsTest, AHostWithoutUsbHasNoDevices) {
  EXPECT_TRUE(read_devices(root_ + "/nowhere").empty());
  EXPECT_EQ(fingerprint(root_ + "/nowhere"), "");
}

TEST_F(SysfsTest, UnreadableFilesLeaveFieldsEmpty) {
  disk("1-1", 2, "S");
  for (const char* name : {"descriptors", "speed", "product", "manufacturer", "serial"}) {
    std::filesystem::remove(devices() + "/1-1/" + name);
  }
  const auto found = read_devices(sys());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].info.speed, UsbSpeed::none);
  EXPECT_TRUE(found[0].info.configurations.empty());
  EXPECT_EQ(found[0].info.description, "USB device 46f4:0001");
}

TEST_F(SysfsTest, SpeedsAsTheKernelWritesThem) {
  const std::pair<const char*, UsbSpeed> cases[] = {
      {"1.5", UsbSpeed::low},     {"12", UsbSpeed::full},          {"480", UsbSpeed::high},
      {"5000", UsbSpeed::super},  {"10000", UsbSpeed::super_plus}, {"20000", UsbSpeed::super_plus},
      {"unknown", UsbSpeed::none}};
  for (const auto& [text, speed] : cases) {
    disk("1-1", 2, "");
    write("1-1", "speed", std::string(text) + "\n");
    EXPECT_EQ(read_devices(sys()).at(0).info.speed, speed) << text;
  }
}

TEST_F(SysfsTest, NamesAreUniqueAndStable) {
  disk("1-1", 2, "A1");
  disk("1-2", 3, "A1");          // a copy with the same serial
  disk("1-3", 4, "B 2/x:\x01");  // not fit for a name as it is
  disk("1-4", 5, "", "0627");
  auto found = read_devices(sys());
  assign_names(found);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].info.name, "usb:port:1-1");
  EXPECT_TRUE(found[0].info.aliases.empty());
  EXPECT_EQ(found[1].info.name, "usb:port:1-2");
  EXPECT_EQ(found[2].info.name, "usb:46f4:0001:B_2_x__");
  EXPECT_EQ(found[2].info.aliases, (std::vector<std::string>{"usb:port:1-3"}));
  EXPECT_EQ(found[3].info.name, "usb:port:1-4");
  EXPECT_EQ(found[3].info.aliases, (std::vector<std::string>{"usb:0627:0001"}));

  remove("1-2");
  found = read_devices(sys());
  assign_names(found);
  EXPECT_EQ(found[0].info.name, "usb:46f4:0001:A1");
}

TEST(SplitDescriptors, TakesWhatIsThere) {
  const Bytes device = test::device_descriptor(1, 2, 0, 2);
  const Bytes one = test::storage_configuration();
  const auto join = [](std::initializer_list<Bytes> parts) {
    Bytes all;
    for (const Bytes& part : parts) {
      for (const uint8_t byte : part) all.push_back(byte);
    }
    return all;
  };
  const Bytes cut(one.begin(), one.begin() + 20);
  Bytes zero = one;
  zero[2] = zero[3] = 0;
  const struct {
    Bytes bytes;
    size_t configurations;
  } cases[] = {
      {{}, 0},
      {Bytes(device.begin(), device.begin() + 17), 0},
      {device, 0},
      {join({device, one}), 1},
      {join({device, one, one}), 2},
      {join({device, one, cut}), 2},             // what is left of it
      {join({device, one, Bytes{9, 2, 9}}), 1},  // less than a header
      {join({device, zero, one}), 0},            // a length that leads nowhere
      {join({device, Bytes{9, 4, 0}, one}), 0},  // not a configuration
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    DeviceInfo info;
    split_descriptors(cases[i].bytes, info);
    EXPECT_EQ(info.configurations.size(), cases[i].configurations) << i;
  }
}

TEST(Hotplug, KnowsAUeventOfUsb) {
  const std::string usb("add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0SEQNUM=1\0", 52);
  const std::string net("add@/devices/usb\0ACTION=add\0SUBSYSTEM=net", 42);
  const std::string longer("SUBSYSTEM=usbmisc");
  EXPECT_TRUE(concerns_usb(usb.data(), usb.size()));
  EXPECT_FALSE(concerns_usb(net.data(), net.size()));
  EXPECT_FALSE(concerns_usb(longer.data(), longer.size()));
  EXPECT_FALSE(concerns_usb("", 0));
}

TEST_F(SysfsTest, HotplugTellsOfComingGoingAndReconfiguration) {
  std::mutex mutex;
  std::condition_variable told;
  int count = 0;
  const Hotplug hotplug(
      sys(),
      [&] {
        const std::lock_guard lock(mutex);
        ++count;
        told.notify_all();
      },
      false, 1);
  const auto wait_for_more = [&](int than) {
    std::unique_lock lock(mutex);
    return told.wait_for(lock, std::chrono::seconds(20), [&] { return count > than; });
  };
  const auto so_far = [&] {
    const std::lock_guard lock(mutex);
    return count;
  };
  disk("1-1", 2, "A");
  ASSERT_TRUE(wait_for_more(0));
  int before = so_far();
  write("1-1", "bConfigurationValue", "2\n");
  // The file is empty for a moment: one change or two.
  ASSERT_TRUE(wait_for_more(before));
  before = so_far();
  remove("1-1");
  ASSERT_TRUE(wait_for_more(before));
}

TEST_F(SysfsTest, DetachRecordRemembersDriversUntilForgotten) {
  const DetachRecord record(root_ + "/run");
  disk("1-1", 2, "A");
  disk("1-2", 3, "B", "46f4", "");       // no driver: nothing to give back
  disk("1-3", 4, "C", "46f4", "usbfs");  // a program: nothing either
  for (const auto& device : read_devices(sys())) record.note(device);
  const auto entries = record.entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].port_path, "1-1");
  EXPECT_EQ(entries[0].bus, 1);
  EXPECT_EQ(entries[0].address, 2);
  EXPECT_EQ(entries[0].interfaces, (std::vector<uint8_t>{0}));
  record.forget("1-1");
  record.forget("1-1");
  EXPECT_TRUE(record.entries().empty());
  EXPECT_TRUE(DetachRecord("").entries().empty());
}

TEST_F(SysfsTest, DetachRecordSurvivesDamagedFiles) {
  std::filesystem::create_directories(root_ + "/run");
  std::ofstream(root_ + "/run/usb-1-1") << "nonsense";
  std::ofstream(root_ + "/run/usb-1-2") << "1 2 0 77 1";
  std::ofstream(root_ + "/run/other") << "1 2 0";
  auto entries = DetachRecord(root_ + "/run").entries();
  ASSERT_EQ(entries.size(), 2u);
  std::ranges::sort(entries, {}, &DetachRecord::Entry::port_path);
  EXPECT_TRUE(entries[0].interfaces.empty());
  EXPECT_EQ(entries[1].interfaces, (std::vector<uint8_t>{0, 1}));
}

}  // namespace
}  // namespace farport::usb
