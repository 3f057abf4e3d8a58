#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "devices/serial/lock_file.h"
#include "devices/serial/serial_provider.h"
#include "tests/unit/devices/serial/fake_tty.h"

namespace farport::serial {
namespace {

namespace fs = std::filesystem;

// A /sys and a /dev of the test's own.
class ProviderTest : public testing::Test {
 protected:
  ProviderTest() {
    char pattern[] = "/tmp/farport-serial-XXXXXX";
    root = ::mkdtemp(pattern);
    folders = {root / "sys/class/tty", root / "dev", root / "lock"};
    for (const auto& folder : {folders.sys_class_tty, folders.dev, folders.lock}) {
      fs::create_directories(folder);
    }
  }
  ~ProviderTest() override { fs::remove_all(root); }

  void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }
  // A port as the kernel shows it. `usb`: behind a USB device with these strings.
  void add_port(const std::string& name, bool real, bool usb = false) {
    const fs::path entry = fs::path(folders.sys_class_tty) / name;
    fs::create_directories(entry);
    if (real) {
      const fs::path device = root / "sys/devices" / name / "1-2:1.0" / name;
      fs::create_directories(device);
      fs::create_directory_symlink(device, entry / "device");
      if (usb) {
        write(root / "sys/devices" / name / "idVendor", "0403");
        write(root / "sys/devices" / name / "manufacturer", "FTDI");
        write(root / "sys/devices" / name / "product", "FT232R USB UART");
        write(root / "sys/devices" / name / "serial", "A50285BI");
      }
    }
    std::ofstream(fs::path(folders.dev) / name);
  }
  void add_link(const std::string& name, const std::string& node) {
    fs::create_directories(fs::path(folders.dev) / "serial/by-id");
    fs::create_symlink("../../" + node, fs::path(folders.dev) / "serial/by-id" / name);
  }
  std::vector<std::string> names(SerialProvider& provider) {
    std::vector<std::string> found;
    const auto ports = provider.list();
    for (const DeviceInfo& info : *ports) found.push_back(info.name);
    return found;
  }

  fs::path root;
  SerialFolders folders;
};

TEST_F(ProviderTest, ListsWhatIsReal) {
  add_port("tty1", false);
  add_port("ttyS0", true);
  add_port("ttyS1", true);
  write(fs::path(folders.sys_class_tty) / "ttyS0/type", "4");
  write(fs::path(folders.sys_class_tty) / "ttyS1/type", "0");  // PORT_UNKNOWN: no UART there
  add_port("ttyUSB0", true, true);
  add_link("usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0", "ttyUSB0");
  add_port("ttyACM0", true);

  SerialProvider provider({}, folders);
  const std::vector<DeviceInfo> ports = *provider.list();
  ASSERT_EQ(ports.size(), 3u);
  EXPECT_EQ(ports[0].name, "serial:by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0");
  EXPECT_EQ(ports[0].aliases, std::vector<std::string>{"serial:ttyUSB0"});
  EXPECT_EQ(ports[0].description, "FTDI FT232R USB UART");
  EXPECT_EQ(ports[0].serial_number, "A50285BI");
  EXPECT_EQ(ports[0].path, folders.dev + "/ttyUSB0");
  EXPECT_EQ(ports[1].name, "serial:ttyACM0");
  EXPECT_EQ(ports[2].name, "serial:ttyS0");
  for (const DeviceInfo& port : ports) EXPECT_EQ(port.kind, DeviceKind::serial);
}

TEST_F(ProviderTest, ExtraPathsAreOfferedUnderTheNameGiven) {
  PtyPair pair;
  const fs::path link = root / "dev/demo-port";
  fs::create_symlink(pair.path, link);
  write(root / "dev/demo-file", "no port");
  SerialProvider provider({(root / "dev/demo-*").string(), (root / "missing").string()}, folders);
  EXPECT_EQ(names(provider), std::vector<std::string>{"serial:" + link.string()});
  auto device = provider.open("serial:" + link.string());
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ((*device)->info().path, link.string());
  auto again = provider.open(link.string());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::busy);
}

TEST_F(ProviderTest, AnUnknownNameIsNotFound) {
  SerialProvider provider({}, folders);
  auto device = provider.open("serial:ttyUSB7");
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().code, ErrorCode::not_found);
  EXPECT_NE(device.error().message.find("serial:ttyUSB7"), std::string::npos);
}

TEST_F(ProviderTest, APermissionThatIsMissingIsNamed) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give up a permission in a child process";
  PtyPair pair;
  ASSERT_EQ(::chmod(pair.path.c_str(), 0600), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    auto tty = open_tty(pair.path, "/nonexistent");
    const bool right = !tty && tty.error().code == ErrorCode::denied &&
                       tty.error().message.find(pair.path) != std::string::npos &&
                       tty.error().message.find("dialout") != std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(ProviderTest, APlugAndAnUnplugAreToldOnceEach) {
  SerialProvider provider({}, folders);
  std::mutex mutex;
  std::condition_variable told;
  std::vector<std::vector<std::string>> lists;
  provider.on_change([&] {
    std::lock_guard lock(mutex);
    lists.push_back(names(provider));
    told.notify_all();
  });
  const auto wait_for = [&](const std::vector<std::string>& expected) {
    std::unique_lock lock(mutex);
    return told.wait_for(lock, std::chrono::seconds(20),
                         [&] { return !lists.empty() && lists.back() == expected; });
  };
  add_port("ttyACM0", true);
  EXPECT_TRUE(wait_for({"serial:ttyACM0"}));
  add_link("usb-X-if00", "ttyACM0");
  EXPECT_TRUE(wait_for({"serial:by-id/usb-X-if00"}));
  fs::remove(fs::path(folders.dev) / "serial/by-id/usb-X-if00");
  fs::remove(fs::path(folders.dev) / "ttyACM0");
  EXPECT_TRUE(wait_for({}));
  provider.on_change({});
  std::lock_guard lock(mutex);
  EXPECT_LE(lists.size(), 4u);
}

// /dev is real here: a lock is named after a node directly in it.
class LockFileTest : public ProviderTest {
 protected:
  fs::path lock_path() const { return fs::path(folders.lock) / "LCK..null"; }
};

TEST_F(LockFileTest, HoldsTheOwnersProcessIdAndGoesAway) {
  {
    auto lock = LockFile::acquire("/dev/null", folders.lock);
    ASSERT_TRUE(lock && *lock);
    std::ifstream file(lock_path());
    std::string line;
    std::getline(file, line);
    EXPECT_EQ(line, fmt::format("{:10}", ::getpid()));
  }
  EXPECT_TRUE(fs::is_empty(folders.lock));
}

TEST_F(LockFileTest, ALivingOwnerIsNamedAndKept) {
  write(lock_path(), fmt::format("{:10}", ::getppid()));
  auto lock = LockFile::acquire("/dev/null", folders.lock);
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, ErrorCode::busy);
  EXPECT_NE(lock.error().message.find(fmt::format("process {} (", ::getppid())), std::string::npos);
  EXPECT_TRUE(fs::exists(lock_path()));
}

TEST_F(LockFileTest, ADeadOwnersLockIsTakenOver) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  write(lock_path(), fmt::format("{:10}", child));
  auto lock = LockFile::acquire("/dev/null", folders.lock);
  ASSERT_TRUE(lock && *lock);
}

TEST_F(LockFileTest, NoLockWhereNoneIsPossible) {
  auto elsewhere = LockFile::acquire((root / "dev").string(), folders.lock);
  ASSERT_TRUE(elsewhere);
  EXPECT_FALSE(*elsewhere);
  auto unwritable = LockFile::acquire("/dev/null", (root / "none").string());
  ASSERT_TRUE(unwritable);
  EXPECT_FALSE(*unwritable);
}

}  // namespace
}  // namespace farport::serial
