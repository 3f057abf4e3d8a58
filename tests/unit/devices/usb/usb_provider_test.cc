#include "devices/usb/usb_provider.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <semaphore>

#include "tests/unit/devices/usb/fake_usb_handle.h"
#include "tests/unit/devices/usb/sysfs_fixture.h"

namespace farport::test {
namespace {

class UsbProviderTest : public SysfsTest {
 protected:
  UsbProvider make() {
    UsbProviderSettings settings;
    settings.sys = sys();
    settings.nodes = "/dev/bus/usb";
    settings.record = root_ + "/run";
    settings.uevents = false;
    settings.poll_ms = 1;
    settings.open_node = [this](const std::string& node) -> Result<std::unique_ptr<UsbHandle>> {
      nodes_.push_back(node);
      if (refusal_ != 0) return fail_errno(refusal_, node);
      return std::make_unique<FakeUsbHandle>(usb_);
    };
    return UsbProvider(settings);
  }

  FakeUsb usb_;
  std::vector<std::string> nodes_;
  int refusal_ = 0;
};

TEST_F(UsbProviderTest, ListsAllAndOpensByNameOrAlias) {
  disk("1-1", 2, "A");
  disk("1-2", 3, "B", "0627", "usbfs");  // in use: listed all the same
  usb_.drivers = {0};
  UsbProvider provider = make();
  const auto infos = provider.list();
  ASSERT_TRUE(infos);
  ASSERT_EQ(infos->size(), 2u);
  for (const char* name : {"usb:46f4:0001:A", "usb:port:1-1", "usb:46f4:0001"}) {
    auto device = provider.open(name);
    ASSERT_TRUE(device) << device.error().message;
    EXPECT_EQ((*device)->info().name, "usb:46f4:0001:A");
    EXPECT_TRUE(usb_.claimed.contains(0));
    EXPECT_TRUE(std::filesystem::exists(root_ + "/run/usb-1-1"));
    device->reset();
    EXPECT_FALSE(std::filesystem::exists(root_ + "/run/usb-1-1"));
    EXPECT_TRUE(usb_.drivers.contains(0));
  }
  EXPECT_EQ(nodes_.at(0), "/dev/bus/usb/001/002");
}

TEST_F(UsbProviderTest, ErrorsSayWhatToDo) {
  disk("1-1", 2, "A");
  disk("1-2", 3, "B", "0627", "usbfs");
  disk("1-3", 4, "C", "0628");
  driver("1-3", "usbip-host");
  UsbProvider provider = make();
  const auto open = [&](const char* name) { return provider.open(name).error(); };

  EXPECT_EQ(open("usb:port:9-9").code, ErrorCode::not_found);
  EXPECT_EQ(open("usb:port:1-2").code, ErrorCode::busy);
  const Error exported = open("usb:port:1-3");
  EXPECT_EQ(exported.code, ErrorCode::busy);
  EXPECT_NE(exported.message.find("usbip unbind -b 1-3"), std::string::npos) << exported.message;
  EXPECT_TRUE(nodes_.empty());  // seen without touching them

  refusal_ = EACCES;
  const Error denied = open("usb:port:1-1");
  EXPECT_EQ(denied.code, ErrorCode::denied);
  for (const char* part :
       {"/dev/bus/usb/001/002", "46f4", "GROUP=\"farport\"", "70-farport.rules"}) {
    EXPECT_NE(denied.message.find(part), std::string::npos) << denied.message;
  }
  refusal_ = ENOENT;
  EXPECT_EQ(open("usb:port:1-1").code, ErrorCode::not_found);
  refusal_ = 0;
  usb_.results["claim 0"] = LIBUSB_ERROR_BUSY;
  const Error busy = open("usb:port:1-1");
  EXPECT_EQ(busy.code, ErrorCode::busy);
  EXPECT_NE(busy.message.find("usb:46f4:0001:A"), std::string::npos) << busy.message;
  EXPECT_FALSE(std::filesystem::exists(root_ + "/run/usb-1-1"));
}

// A daemon killed with -9 cannot reattach drivers, and the kernel does not: the disk would stay
// unusable on its own host until replugged.
TEST_F(UsbProviderTest, GivesBackWhatAKilledDaemonLeft) {
  disk("1-1", 2, "A");
  disk("1-2", 9, "B");
  const usb::DetachRecord record(root_ + "/run");
  for (const auto& device : usb::read_devices(sys())) record.note(device);
  driver("1-1:1.0", "");           // as the killed daemon left it
  write("1-2", "devnum", "10\n");  // replugged since
  UsbProvider provider = make();
  EXPECT_EQ(nodes_, (std::vector<std::string>{"/dev/bus/usb/001/002"}));
  EXPECT_EQ(usb_.calls(), (std::vector<std::string>{"reset", "attach 0", "close"}));
  EXPECT_TRUE(record.entries().empty());
}

TEST_F(UsbProviderTest, ChangesAreToldUntilTurnedOff) {
  UsbProvider provider = make();
  std::counting_semaphore<> told(0);
  std::atomic<int> after = 0;
  provider.on_change([&] { told.release(); });
  disk("1-1", 2, "A");
  EXPECT_TRUE(told.try_acquire_for(std::chrono::seconds(20)));
  provider.on_change([&] { ++after; });
  provider.on_change({});  // its thread has ended when this returns
  const int at_return = after;
  disk("1-2", 3, "B");
  EXPECT_EQ(after, at_return);
}

}  // namespace
}  // namespace farport::test
