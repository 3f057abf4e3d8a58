#include "control/cli/local_checks.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/control/api/api_fixture.h"

namespace farport::test {
namespace {

namespace fs = std::filesystem;

class LocalChecksTest : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text = "") {
    const fs::path full = folder.file(path);
    fs::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  Check check(const std::string& name) {
    for (const Check& one : local_checks(folder.file(""))) {
      if (one.name == name) return one;
    }
    ADD_FAILURE() << "no check " << name;
    return {};
  }
  TemporaryFolder folder;
};

TEST_F(LocalChecksTest, ABareMachineIsToldWhatToDo) {
  for (const Check& one : local_checks(folder.file(""))) {
    EXPECT_FALSE(one.ok) << one.name;
    EXPECT_FALSE(one.message.empty()) << one.name;
    EXPECT_FALSE(one.advice.empty()) << one.name;
  }
}

TEST_F(LocalChecksTest, AFurnishedMachineIsWell) {
  put("sys/devices/platform/vhci_hcd.0/status");
  put("dev/bus/usb/001/001");
  put("dev/bus/usb/001/002");
  put("run/udev/control");
  put("sys/module/usbcore/parameters/usbfs_memory_mb", "256\n");
  for (const Check& one : local_checks(folder.file(""))) {
    EXPECT_TRUE(one.ok) << one.name << ": " << one.message;
    EXPECT_TRUE(one.advice.empty()) << one.name;
  }
  EXPECT_NE(check("usb").message.find("2"), std::string::npos);
}

TEST_F(LocalChecksTest, TheMemoryOfTransfersIsRead) {
  struct Case {
    const char* text;
    bool ok;
    const char* contains;
  };
  for (const Case& one :
       {Case{"0\n", true, "no limit"}, Case{"16\n", false, "16 MB"}, Case{"64\n", true, "64 MB"},
        Case{"", false, "not loaded"}, Case{"many\n", false, "not loaded"}}) {
    put("sys/module/usbcore/parameters/usbfs_memory_mb", one.text);
    const Check found = check("usbfs memory");
    EXPECT_EQ(found.ok, one.ok) << one.text;
    EXPECT_NE(found.message.find(one.contains), std::string::npos) << found.message;
  }
}

TEST_F(LocalChecksTest, DeviceNodesThatCannotBeOpenedAreCounted) {
  put("dev/bus/usb/001/001");
  put("dev/bus/usb/001/002");
  fs::permissions(folder.file("dev/bus/usb/001/002"), fs::perms::none);
  fs::permissions(folder.file("dev/bus/usb/001/001"), fs::perms(0666));
  const Unprivileged unprivileged;
  ASSERT_TRUE(unprivileged.works());
  const Check found = check("usb");
  EXPECT_FALSE(found.ok);
  EXPECT_NE(found.message.find("1 of 2"), std::string::npos) << found.message;
}

}  // namespace
}  // namespace farport::test
