// The vhci driver against a kernel played by the test: a folder of status files, and whatever is
// written to attach and detach.
#include "drivers/vhci/vhci_driver.h"

#include <gtest/gtest.h>
#include <atomic>

#include <filesystem>
#include <fstream>

#include "dataplane/local_channel.h"
#include "devices/emulated/provider.h"
#include "tests/unit/devices/usbip/usbip_peer.h"
#include "tests/unit/fake_device.h"

namespace farport {
namespace {

using test::patience_ns;
using test::Peer;

class VhciDriverTest : public testing::Test, public LocalChannel::Events {
 protected:
  VhciDriverTest() {
    folder_ = std::filesystem::temp_directory_path() / ("farport-vhci-" + std::to_string(getpid()));
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ / "status") << "hub port sta spd dev      sockfd local_busid\n"
                                         "hs  0000 006 003 00010002 000008 7-1\n"
                                         "hs  0001 004 000 00000000 000000 0-0\n"
                                         "hs  0002 004 000 00000000 000000 0-0\n"
                                         "ss  0015 004 000 00000000 000000 0-0\n";
    std::ofstream(folder_ / "attach");
    std::ofstream(folder_ / "detach");
    settings_.directory = folder_;
    settings_.port_used_last = &port_used_last_;
    settings_.write = [this](int, const std::string& line) { return write(line); };
  }
  ~VhciDriverTest() override { std::filesystem::remove_all(folder_); }

  // The kernel's side of attach and detach.
  int write(const std::string& line) {
    unsigned port = 0, socket = 0, devid = 0, speed = 0;
    const int fields = sscanf(line.c_str(), "%u %u %u %u", &port, &socket, &devid, &speed);
    written_.push_back(line.substr(0, line.find(' ')));
    if (fields == 1) {  // detach
      detached_ = true;
      return 0;
    }
    EXPECT_EQ(fields, 4);
    if (refuse_with_ != 0) return refuse_with_;
    if (port == busy_port_) return EBUSY;
    speed_ = speed;
    devid_ = devid;
    kernel_ = std::make_unique<Peer>(*worker_, FileDescriptor(dup(static_cast<int>(socket))));
    return 0;
  }

  void open(std::unique_ptr<Device> device) {
    auto driver = VhciDriver::create(settings_, device->info());
    ASSERT_TRUE(driver) << driver.error().message;
    channel_ =
        std::make_unique<LocalChannel>(*worker_, std::move(device), std::move(*driver), 0, *this);
    channel_->start();
  }
  void channel_closed(LocalChannel&, Error why) override { why_ = std::move(why); }
  bool closed() {
    return worker_->run_until([&] { return why_.has_value(); }, patience_ns);
  }
  void close() {
    channel_->close();
    EXPECT_TRUE(closed());
  }
  static DeviceInfo info(UsbSpeed speed) {
    DeviceInfo info = test::test_device();
    info.speed = speed;
    return info;
  }

  std::filesystem::path folder_;
  std::atomic<int> port_used_last_{-1};
  VhciSettings settings_;
  std::unique_ptr<Worker> worker_ = std::move(Worker::create({}).value());
  std::unique_ptr<Peer> kernel_;
  std::unique_ptr<LocalChannel> channel_;
  std::optional<Error> why_;
  std::vector<std::string> written_;  // first word of each line
  unsigned speed_ = 0, devid_ = 0, busy_port_ = ~0u;
  int refuse_with_ = 0;
  bool detached_ = false;
};

TEST_F(VhciDriverTest, AttachesToAFreePortAndDetachesCleanly) {
  open(std::make_unique<FakeDevice>(info(UsbSpeed::high)));
  EXPECT_EQ(channel_->driver().path(), "vhci port 1");
  EXPECT_EQ(speed_, 3u);
  EXPECT_EQ(devid_, 0x10002u);
  close();
  EXPECT_EQ(written_, (std::vector<std::string>{"1", "1"}));
  EXPECT_TRUE(detached_);
  EXPECT_TRUE(kernel_->at_end());
}

// On its old port the kernel takes it for the same device, reset, and goes on in the middle.
TEST_F(VhciDriverTest, ADeviceThatComesBackTakesAnotherPort) {
  for (const char* port : {"vhci port 1", "vhci port 2", "vhci port 1"}) {
    why_.reset();
    open(std::make_unique<FakeDevice>(info(UsbSpeed::high)));
    EXPECT_EQ(channel_->driver().path(), port);
    close();
  }
}

TEST_F(VhciDriverTest, TheOnlyPortIsTakenAgain) {
  for (int turn = 0; turn < 2; ++turn) {
    why_.reset();
    open(std::make_unique<FakeDevice>(info(UsbSpeed::super)));
    EXPECT_EQ(channel_->driver().path(), "vhci port 15");
    close();
  }
}

TEST_F(VhciDriverTest, SuperSpeedPlusBecomesSuperOnTheOtherHalf) {
  open(std::make_unique<FakeDevice>(info(UsbSpeed::super_plus)));
  EXPECT_EQ(channel_->driver().path(), "vhci port 15");
  EXPECT_EQ(speed_, 5u);
  close();
}

TEST_F(VhciDriverTest, PortTakenByAnotherProcessMeansTheNext) {
  busy_port_ = 1;
  open(std::make_unique<FakeDevice>(info(UsbSpeed::high)));
  EXPECT_EQ(channel_->driver().path(), "vhci port 2");
  close();
}

TEST_F(VhciDriverTest, AllPortsTakenMeanwhileIsBusy) {
  busy_port_ = 15;
  open(std::make_unique<FakeDevice>(info(UsbSpeed::super)));
  ASSERT_TRUE(closed());
  EXPECT_EQ(why_->code, ErrorCode::busy);
}

TEST_F(VhciDriverTest, KernelsRefusalIsTold) {
  refuse_with_ = EINVAL;
  open(std::make_unique<FakeDevice>(info(UsbSpeed::high)));
  ASSERT_TRUE(closed());
  EXPECT_NE(why_->message.find("port 1"), std::string::npos) << why_->message;
}

TEST_F(VhciDriverTest, NothingFreeIsToldBeforeAnythingStarts) {
  std::ofstream(folder_ / "status") << "hub port sta spd dev      sockfd local_busid\n"
                                       "hs  0000 006 003 00010002 000008 7-1\n";
  const auto driver = VhciDriver::create(settings_, info(UsbSpeed::high));
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::busy);
  EXPECT_NE(driver.error().message.find("high-speed"), std::string::npos);
}

TEST_F(VhciDriverTest, MissingPermissionIsTold) {
  std::filesystem::permissions(folder_ / "attach", std::filesystem::perms::none);
  // Root may write everything: be somebody else meanwhile, who can look into the folder.
  constexpr uid_t nobody = 65534;
  const bool root = geteuid() == 0;
  if (root) {
    std::filesystem::permissions(folder_, std::filesystem::perms(0755));
    ASSERT_EQ(setresuid(nobody, nobody, 0), 0);
  }
  const auto driver = VhciDriver::create(settings_, info(UsbSpeed::high));
  if (root) {
    ASSERT_EQ(setresuid(0, 0, 0), 0);
  }
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::denied);
}

TEST_F(VhciDriverTest, MissingModuleIsTold) {
  settings_.directory = "/nonexistent";
  const auto driver = VhciDriver::create(settings_, info(UsbSpeed::high));
  ASSERT_FALSE(driver);
  EXPECT_NE(driver.error().message.find("modprobe"), std::string::npos);
}

TEST_F(VhciDriverTest, PortDetachedBySomebodyElseEndsTheChannel) {
  open(std::make_unique<FakeDevice>(info(UsbSpeed::high)));
  kernel_->close();
  ASSERT_TRUE(closed());
  EXPECT_EQ(why_->code, ErrorCode::failed);
  EXPECT_NE(why_->message.find("vhci port 1"), std::string::npos) << why_->message;
  EXPECT_FALSE(detached_) << "the port may be somebody else's by now";
}

TEST_F(VhciDriverTest, UnplugAnswersWhatIsOutstandingAndDetaches) {
  auto device = std::make_unique<FakeDevice>(info(UsbSpeed::high));
  FakeDevice& fake = *device;
  open(std::move(device));
  kernel_->send(usbip::Request{.seqnum = 1, .in = true, .endpoint = 1, .length = 64});
  ASSERT_TRUE(worker_->run_until([&] { return fake.in_flight.size() == 1; }, patience_ns));
  fake.unplug();
  ASSERT_TRUE(closed());
  EXPECT_EQ(why_->code, ErrorCode::not_found);
  EXPECT_EQ(kernel_->receive_reply().status, -ESHUTDOWN);
  EXPECT_TRUE(kernel_->at_end());
  EXPECT_TRUE(detached_);
}

// What a kernel does first with a disk.
TEST_F(VhciDriverTest, EmulatedDiskIsEnumerated) {
  const EmulatedDeviceSettings disk{.name = "disk"};
  const auto provider = EmulatedProvider::create(std::span(&disk, 1));
  ASSERT_TRUE(provider) << provider.error().message;
  auto device = (*provider)->open("disk");
  ASSERT_TRUE(device);
  const std::vector<uint8_t> descriptor = (*device)->info().device_descriptor;
  open(std::move(*device));
  kernel_->send(
      usbip::Request{.seqnum = 1, .in = true, .length = 18, .setup = {0x80, 6, 0, 1, 0, 0, 18, 0}});
  EXPECT_EQ(kernel_->receive_reply().actual, 18u);
  EXPECT_EQ(std::memcmp(kernel_->receive(18).data(), descriptor.data(), 18), 0);
  kernel_->send(usbip::Request{.seqnum = 2, .setup = {0x00, 9, 1, 0, 0, 0, 0, 0}});
  EXPECT_EQ(kernel_->receive_reply().status, 0);
  kernel_->send(usbip::Request{
      .seqnum = 3, .in = true, .length = 1, .setup = {0xa1, 0xfe, 0, 0, 0, 0, 1, 0}});
  const usbip::Reply luns = kernel_->receive_reply();  // GET MAX LUN, of the bulk-only transport
  EXPECT_EQ(luns.status, 0);
  EXPECT_EQ(kernel_->receive(luns.actual), test::Data(1));
  close();
}

}  // namespace
}  // namespace farport
