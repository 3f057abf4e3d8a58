// Life of a UsbDevice: taking and giving back, order around what blocks, cancel, unplug, stop.
#include "devices/usb/usb_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "tests/unit/devices/usb/usb_device_fixture.h"

namespace farport::test {
namespace {

constexpr std::array<uint8_t, 8> set_interface_1_1{0x01, 0x0b, 1, 0, 1, 0, 0, 0};
constexpr std::array<uint8_t, 8> set_configuration_2{0x00, 0x09, 2, 0, 0, 0, 0, 0};
constexpr std::array<uint8_t, 8> set_configuration_1{0x00, 0x09, 1, 0, 0, 0, 0, 0};
constexpr std::array<uint8_t, 8> clear_halt_81{0x02, 0x01, 0, 0, 0x81, 0, 0, 0};
constexpr std::array<uint8_t, 8> port_reset{0x23, 0x03, 4, 0, 1, 0, 0, 0};
constexpr std::array<uint8_t, 8> set_address{0x00, 0x05, 9, 0, 0, 0, 0, 0};

using UsbDeviceOpen = UsbDeviceTest;

TEST_F(UsbDeviceOpen, TakesInterfacesWithoutADriverFirst) {
  usb_.drivers = {0};
  ASSERT_TRUE(open());
  EXPECT_EQ(usb_.calls(), (Calls{"claim 1", "detach 0", "claim 0"}));
}

TEST_F(UsbDeviceOpen, NeverStartedIsGivenBack) {
  usb_.drivers = {0};
  ASSERT_TRUE(open());
  usb_.log.clear();
  device_.reset();
  EXPECT_EQ(usb_.calls(), (Calls{"release 1", "release 0", "attach 0", "close"}));
  EXPECT_EQ(usb_.drivers, (std::set<uint8_t>{0}));
}

TEST_F(UsbDeviceOpen, BusyDisturbsNoDriver) {
  usb_.drivers = {0};
  usb_.results["claim 1"] = LIBUSB_ERROR_BUSY;
  const auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::busy);
  EXPECT_NE(opened.error().message.find("interface 1"), std::string::npos)
      << opened.error().message;
  EXPECT_EQ(usb_.drivers, (std::set<uint8_t>{0}));
  EXPECT_TRUE(std::ranges::find(usb_.log, "detach 0") == usb_.log.end());
}

TEST_F(UsbDeviceOpen, FailingHalfwayGivesBackWhatWasTaken) {
  usb_.drivers = {0, 1};
  usb_.results["claim 1"] = LIBUSB_ERROR_OTHER;
  const auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::failed);
  EXPECT_EQ(usb_.drivers, (std::set<uint8_t>{0, 1}));
  EXPECT_TRUE(usb_.claimed.empty());
  EXPECT_EQ(usb_.calls().back(), "close");
}

class UsbDeviceRun : public UsbDeviceTest {
 protected:
  void SetUp() override {
    usb_.drivers = {0};
    open_and_start();
  }
};

TEST_F(UsbDeviceRun, StopGivesTheDeviceBackAsItWas) {
  Transfer& alternate = control(set_interface_1_1);
  device_->submit(alternate);
  ASSERT_TRUE(wait_for(alternate));
  usb_.log.clear();
  stop();
  EXPECT_EQ(usb_.calls(),
            (Calls{"alternate 1 0", "release 1", "release 0", "reset", "attach 0", "close"}));
  EXPECT_EQ(usb_.drivers, (std::set<uint8_t>{0}));
}

TEST_F(UsbDeviceRun, StopRestoresTheConfiguration) {
  usb_.binds[2] = {0};
  Transfer& configure = control(set_configuration_2);
  device_->submit(configure);
  ASSERT_TRUE(wait_for(configure));
  EXPECT_EQ(configure.status, TransferStatus::ok);
  EXPECT_EQ(usb_.calls(),
            (Calls{"release 1", "release 0", "set_configuration 2", "detach 0", "claim 0"}));
  usb_.log.clear();
  stop();
  EXPECT_EQ(usb_.calls(),
            (Calls{"release 0", "reset", "set_configuration 1", "attach 0", "close"}));
}

TEST_F(UsbDeviceRun, SetConfigurationEndsWhatIsInFlightAndChangesTheEndpoints) {
  Transfer& resting = make(0x81, 512);
  device_->submit(resting);
  Transfer& configure = control(set_configuration_2);
  device_->submit(configure);
  Transfer& old_endpoint = make(0x81, 512);
  Transfer& new_endpoint = make(0x85, 8, TransferType::interrupt);
  device_->submit(old_endpoint);
  device_->submit(new_endpoint);
  ASSERT_TRUE(until([&] { return is_done(resting) && is_done(old_endpoint); }));
  EXPECT_EQ(resting.status, TransferStatus::cancelled);
  EXPECT_EQ(configure.status, TransferStatus::ok);
  EXPECT_EQ(old_endpoint.status, TransferStatus::invalid);
  EXPECT_FALSE(is_done(new_endpoint));
  EXPECT_EQ(usb_.calls().front(), "cancel");  // before usbfs would kill it and call it done
  EXPECT_EQ(usb_.in_flight.size(), 1u);
  EXPECT_EQ(unplugs_, 0);
}

TEST_F(UsbDeviceRun, AConfigurationThatFailsLeavesTheOldOne) {
  usb_.results["set_configuration 2"] = LIBUSB_ERROR_NOT_FOUND;
  Transfer& configure = control(set_configuration_2);
  device_->submit(configure);
  ASSERT_TRUE(wait_for(configure));
  EXPECT_EQ(configure.status, TransferStatus::stall);
  EXPECT_EQ(usb_.claimed, (std::set<uint8_t>{0, 1}));
  device_->submit(make(0x81, 512));
  EXPECT_EQ(usb_.in_flight.size(), 1u);
}

TEST_F(UsbDeviceRun, UnconfiguredIsMinusOneToTheHost) {
  Transfer& configure = control({0x00, 0x09, 0, 0, 0, 0, 0, 0});
  device_->submit(configure);
  ASSERT_TRUE(wait_for(configure));
  EXPECT_EQ(usb_.calls().back(), "set_configuration -1");
}

TEST_F(UsbDeviceRun, SetInterfaceEndsOnlyItsOwnTransfers) {
  Transfer& first = control(set_interface_1_1);
  device_->submit(first);
  ASSERT_TRUE(wait_for(first));
  Transfer& iso = make(0x83, 10, TransferType::isochronous, 1);
  iso.packets()[0] = {10, 0, 0, 0};
  Transfer& bulk = make(0x81, 512);
  device_->submit(iso);
  device_->submit(bulk);
  Transfer& back = control({0x01, 0x0b, 0, 0, 1, 0, 0, 0});
  device_->submit(back);
  ASSERT_TRUE(until([&] { return is_done(back) && is_done(iso); }));
  EXPECT_EQ(iso.status, TransferStatus::cancelled);
  EXPECT_FALSE(is_done(bulk));
}

TEST_F(UsbDeviceRun, WhatBlocksKeepsTheOrderAndTheWorkerFree) {
  Transfer& before = make(0x81, 512);
  device_->submit(before);
  usb_.set_hold(true);
  Transfer& halt = control(clear_halt_81);
  device_->submit(halt);
  ASSERT_TRUE(usb_.wait_blocked());
  Transfer& one = make(0x81, 512);
  Transfer& two = make(0x02, 512);
  Transfer& dropped = make(0x02, 512);
  Transfer& three = control({0x80, 0x06, 0, 1, 0, 0, 18, 0}, 18);
  for (Transfer* transfer : {&one, &two, &dropped, &three}) device_->submit(*transfer);
  device_->cancel(dropped);  // not at the device yet: at once
  EXPECT_TRUE(is_done(dropped));
  EXPECT_EQ(dropped.status, TransferStatus::cancelled);
  device_->cancel(halt);                                      // cannot be called back
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 512);  // waits for the pause to end
  settle();
  EXPECT_FALSE(is_done(before));
  EXPECT_FALSE(is_done(halt));
  EXPECT_TRUE(usb_.in_flight.empty());
  usb_.set_hold(false);
  ASSERT_TRUE(until([&] { return is_done(before) && is_done(halt); }));
  EXPECT_EQ(halt.status, TransferStatus::ok);
  EXPECT_EQ(before.status, TransferStatus::ok);
  ASSERT_EQ(usb_.in_flight.size(), 3u);
  EXPECT_EQ(usb_.in_flight[0]->endpoint, 0x81);
  EXPECT_EQ(usb_.in_flight[1]->endpoint, 0x02);
  EXPECT_EQ(usb_.in_flight[2]->type, TransferType::control);
  EXPECT_EQ(usb_.calls(), (Calls{"clear_halt 129"}));
}

TEST_F(UsbDeviceRun, SeveralThatBlockRunOneAfterTheOther) {
  std::vector<Transfer*> all{&control(clear_halt_81), &control(set_interface_1_1),
                             &control(set_address), &control(set_configuration_1),
                             &control(port_reset)};
  for (Transfer* transfer : all) device_->submit(*transfer);
  ASSERT_TRUE(wait_for(*all.back()));
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(done_.at(i), all[i]) << i;
    EXPECT_EQ(all[i]->status, TransferStatus::ok) << i;
  }
  EXPECT_EQ(usb_.calls().front(), "clear_halt 129");
  EXPECT_EQ(usb_.calls().back(), "reset");
}

TEST_F(UsbDeviceRun, SetAddressIsAnsweredHere) {
  Transfer& transfer = control(set_address);
  device_->submit(transfer);
  EXPECT_TRUE(is_done(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_TRUE(usb_.in_flight.empty());
  EXPECT_TRUE(usb_.calls().empty());
}

TEST_F(UsbDeviceRun, RefusedRequestsStall) {
  usb_.results["alternate 1 1"] = LIBUSB_ERROR_OTHER;
  usb_.results["clear_halt 129"] = LIBUSB_ERROR_NOT_FOUND;
  Transfer& alternate = control(set_interface_1_1);
  Transfer& halt = control(clear_halt_81);
  device_->submit(alternate);
  device_->submit(halt);
  ASSERT_TRUE(wait_for(halt));
  EXPECT_EQ(alternate.status, TransferStatus::stall);
  EXPECT_EQ(halt.status, TransferStatus::stall);
  Transfer& iso = make(0x83, 10, TransferType::isochronous, 1);
  iso.packets()[0] = {10, 0, 0, 0};
  device_->submit(iso);
  EXPECT_EQ(iso.status, TransferStatus::invalid);  // the setting was not changed
}

TEST_F(UsbDeviceRun, ADeviceLostInItsResetIsUnplugged) {
  usb_.results["reset"] = LIBUSB_ERROR_NOT_FOUND;
  Transfer& resting = make(0x81, 512);
  device_->submit(resting);
  Transfer& reset = control(port_reset);
  Transfer& after = make(0x02, 512);
  device_->submit(reset);
  device_->submit(after);
  ASSERT_TRUE(until([&] { return is_done(reset) && is_done(after) && is_done(resting); }));
  EXPECT_EQ(reset.status, TransferStatus::unplugged);
  EXPECT_EQ(after.status, TransferStatus::unplugged);
  EXPECT_EQ(unplugs_, 1);
  stop();
}

TEST_F(UsbDeviceRun, CancelsOneOfMany) {
  std::vector<Transfer*> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(&make(0x81, 512));
    device_->submit(*all.back());
  }
  device_->cancel(*all[3]);
  device_->cancel(*all[3]);  // asked twice: cancelled once
  ASSERT_TRUE(wait_for(*all[3]));
  EXPECT_EQ(all[3]->status, TransferStatus::cancelled);
  EXPECT_EQ(done_.size(), 1u);
  EXPECT_EQ(usb_.in_flight.size(), 7u);
  EXPECT_EQ(usb_.calls(), (Calls{"cancel"}));
}

TEST_F(UsbDeviceRun, ACancelThatComesTooLateChangesNothing) {
  Transfer& transfer = make(0x81, 512);
  device_->submit(transfer);
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 512);
  device_->cancel(transfer);
  ASSERT_TRUE(wait_for(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::ok);
  EXPECT_EQ(transfer.actual, 512u);
}

TEST_F(UsbDeviceRun, UnplugInFlightEndsEverythingOnce) {
  std::vector<Transfer*> all;
  for (int i = 0; i < 16; ++i) {
    all.push_back(&make(i % 2 ? 0x81 : 0x02, 512));
    device_->submit(*all.back());
  }
  usb_.unplug();
  Transfer& late = make(0x81, 512);
  device_->submit(late);  // the kernel knows already, the events come after
  EXPECT_EQ(late.status, TransferStatus::unplugged);
  ASSERT_TRUE(until([&] { return unplugs_ > 0; }));
  for (Transfer* transfer : all) {
    EXPECT_TRUE(is_done(*transfer));
    EXPECT_EQ(transfer->status, TransferStatus::unplugged);
  }
  Transfer& after = make(0x81, 512);
  device_->submit(after);
  EXPECT_EQ(after.status, TransferStatus::unplugged);
  stop();
  EXPECT_EQ(unplugs_, 1);
}

TEST_F(UsbDeviceRun, UnplugWithNothingInFlightIsTold) {
  usb_.unplug();
  ASSERT_TRUE(until([&] { return unplugs_ == 1; }));
}

TEST_F(UsbDeviceRun, UnplugDuringWhatBlocksIsToldAfterIt) {
  usb_.set_hold(true);
  usb_.results["alternate 1 1"] = LIBUSB_ERROR_NO_DEVICE;
  Transfer& resting = make(0x81, 512);
  device_->submit(resting);
  Transfer& alternate = control(set_interface_1_1);
  Transfer& waiting = make(0x02, 512);
  device_->submit(alternate);
  device_->submit(waiting);
  ASSERT_TRUE(usb_.wait_blocked());
  usb_.unplug();
  settle();
  EXPECT_EQ(unplugs_, 0);
  usb_.set_hold(false);
  ASSERT_TRUE(until([&] { return unplugs_ == 1; }));
  for (const Transfer* transfer : {&resting, &alternate, &waiting}) {
    EXPECT_TRUE(is_done(*transfer));
    EXPECT_EQ(transfer->status, TransferStatus::unplugged);
  }
}

// What a node's poll says while its device is taken away, and after it.
class Node {
 public:
  explicit Node(FakeUsb& usb) : usb_(usb) {
    int leaving[2], gone[2];
    EXPECT_EQ(pipe2(leaving, O_CLOEXEC | O_NONBLOCK), 0);
    EXPECT_EQ(pipe2(gone, O_CLOEXEC | O_NONBLOCK), 0);
    leaving_.reset(leaving[0]);
    close(leaving[1]);  // POLLHUP at the reading end
    close(gone[0]);     // POLLERR at the writing end
    gone_.reset(gone[1]);
  }
  void leave() { become(leaving_); }
  void go() { become(gone_); }

 private:
  void become(const FileDescriptor& other) {
    EXPECT_EQ(dup3(other.get(), usb_.ready.get(), O_CLOEXEC), usb_.ready.get());
  }
  FakeUsb& usb_;
  FileDescriptor leaving_, gone_;
};

// POLLHUP without POLLERR: the kernel may hold the device's lock, for which any ioctl would wait.
TEST_F(UsbDeviceRun, ADeviceThatIsBeingTakenAwayIsLeftAloneUntilItIsGone) {
  Node node(usb_);
  Transfer& transfer = make(0x81, 512);
  device_->submit(transfer);
  settle();  // the node is polled, and will be once more after the wake
  usb_.wake();
  node.leave();
  ASSERT_TRUE(until([&] { return usb_.looks == 1; }));  // for the wake
  for (int i = 0; i < 100; ++i) settle();
  EXPECT_EQ(usb_.looks, 1);
  EXPECT_EQ(unplugs_, 0);
  Transfer& late = make(0x81, 512);
  device_->submit(late);
  EXPECT_EQ(usb_.in_flight.size(), 1u);  // which would wait for that lock, too
  usb_.unplug();
  node.go();
  ASSERT_TRUE(wait_for(transfer));
  ASSERT_TRUE(wait_for(late));
  EXPECT_EQ(transfer.status, TransferStatus::unplugged);
  EXPECT_EQ(late.status, TransferStatus::unplugged);
  EXPECT_EQ(unplugs_, 1);
  const int looks = usb_.looks;
  for (int i = 0; i < 100; ++i) settle();
  EXPECT_EQ(usb_.looks, looks);  // though the node stays ready
}

// The pause has hidden that the device leaves, and what waits must not be submitted after it.
TEST_F(UsbDeviceRun, ADeviceThatIsTakenAwayDuringWhatBlocksIsLeftAloneAfterIt) {
  Node node(usb_);
  usb_.set_hold(true);
  Transfer& blocking = control(set_interface_1_1);
  device_->submit(blocking);
  ASSERT_TRUE(usb_.wait_blocked());
  Transfer& first = make(0x81, 512);
  Transfer& second = make(0x81, 512);
  device_->submit(first);
  device_->submit(second);
  settle();
  node.leave();
  usb_.set_hold(false);
  ASSERT_TRUE(wait_for(blocking));
  for (int i = 0; i < 100; ++i) settle();
  EXPECT_TRUE(usb_.in_flight.empty());
  usb_.unplug();
  node.go();
  ASSERT_TRUE(wait_for(second));
  EXPECT_EQ(first.status, TransferStatus::unplugged);
  EXPECT_EQ(second.status, TransferStatus::unplugged);
  EXPECT_EQ(done_, (std::vector<const Transfer*>{&blocking, &first, &second}));
  EXPECT_EQ(unplugs_, 1);
}

TEST_F(UsbDeviceRun, WhatTheKernelForgotEndsWithTheDevice) {
  Transfer& transfer = make(0x81, 512);
  device_->submit(transfer);
  {
    const std::lock_guard lock(usb_.mutex);
    usb_.in_flight.clear();
    usb_.unplugged = true;
  }
  usb_.wake();
  ASSERT_TRUE(wait_for(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::unplugged);
  EXPECT_EQ(unplugs_, 1);
}

TEST_F(UsbDeviceRun, WhatIsTakenInPartIsCancelled) {
  usb_.break_next = true;
  Transfer& transfer = make(0x81, 512);
  device_->submit(transfer);
  Transfer& after = make(0x02, 512);
  device_->submit(after);
  ASSERT_TRUE(wait_for(transfer));
  EXPECT_EQ(transfer.status, TransferStatus::no_memory);
  EXPECT_EQ(usb_.calls(), Calls{"cancel"});
  ASSERT_TRUE(until([&] { return usb_.in_flight.size() == 1; }));  // `after`
  EXPECT_FALSE(is_done(after));
}

TEST_F(UsbDeviceRun, StopEndsWhatIsInFlightAndWhatWaits) {
  Transfer& resting = make(0x81, 512);
  device_->submit(resting);
  usb_.set_hold(true);
  Transfer& halt = control(clear_halt_81);
  Transfer& waiting = make(0x02, 512);
  device_->submit(halt);
  device_->submit(waiting);
  device_->stop();
  EXPECT_EQ(waiting.status, TransferStatus::cancelled);
  EXPECT_FALSE(is_done(resting));
  Transfer& late = make(0x02, 512);
  device_->submit(late);
  EXPECT_EQ(late.status, TransferStatus::cancelled);
  EXPECT_FALSE(stopped_);
  usb_.set_hold(false);
  ASSERT_TRUE(until([&] { return stopped_; }));
  EXPECT_EQ(resting.status, TransferStatus::cancelled);
  EXPECT_EQ(halt.status, TransferStatus::ok);
  EXPECT_EQ(usb_.calls().back(), "close");
  EXPECT_EQ(unplugs_, 0);
}

TEST_F(UsbDeviceRun, MayBeStoppedFromACompletion) {
  std::vector<Transfer*> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(&make(0x81, 512));
    device_->submit(*all.back());
  }
  on_completed_ = [&](Transfer&) {
    on_completed_ = nullptr;
    device_->stop();
  };
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 1);
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 1);
  ASSERT_TRUE(until([&] { return stopped_; }));
  EXPECT_EQ(done_.size(), 4u);
}

TEST_F(UsbDeviceRun, ARequestThatBlocksMayComeFromACompletion) {
  Transfer& first = make(0x81, 512);
  Transfer& second = make(0x81, 512);
  Transfer& halt = control(clear_halt_81);
  Transfer& after = make(0x81, 512);
  device_->submit(first);
  device_->submit(second);
  on_completed_ = [&](Transfer& transfer) {
    if (&transfer != &first) return;
    device_->submit(halt);
    device_->submit(after);
  };
  usb_.complete(usb_.in_flight[0], TransferStatus::stall, 0);
  usb_.complete(usb_.in_flight[0], TransferStatus::ok, 512);
  ASSERT_TRUE(wait_for(halt));
  EXPECT_TRUE(is_done(second));
  settle();
  EXPECT_EQ(usb_.in_flight.size(), 1u);  // `after`, behind the halt
}

// Anything in any order: each submission completes once, the thread rule holds, stop always ends.
TEST_F(UsbDeviceOpen, SurvivesAnyOrder) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 30; ++round) {
    usb_.unplugged = usb_.disconnected = usb_.closed = usb_.break_next = false;
    usb_.in_flight.clear();
    usb_.drivers = {0};
    stopped_ = started_ = false;
    unplugs_ = 0;
    done_.clear();
    transfers_.clear();
    open_and_start();
    size_t submitted = 0;
    const auto submit = [&](Transfer& transfer) {
      ++submitted;
      device_->submit(transfer);
    };
    for (int step = 0; step < 200; ++step) {
      if (random() % 16 == 0) usb_.break_next = true;
      switch (random() % 12) {
        case 0:
          submit(control(set_interface_1_1));
          break;
        case 1:
          submit(control(random() % 2 ? set_configuration_1 : set_configuration_2));
          break;
        case 2:
          submit(control(random() % 2 ? clear_halt_81 : port_reset));
          break;
        case 3:
        case 4: {
          if (transfers_.empty()) break;
          Transfer& transfer = *transfers_[random() % transfers_.size()];
          if (!is_done(transfer)) device_->cancel(transfer);
          break;
        }
        case 5: {
          usb_.mutex.lock();
          BusTransfer* one =
              usb_.in_flight.empty() ? nullptr : usb_.in_flight[random() % usb_.in_flight.size()];
          if (one) usb_.finish(one, TransferStatus::ok, 0);
          usb_.mutex.unlock();
          usb_.wake();
          break;
        }
        case 6:
          settle();
          break;
        case 7:
          if (random() % 100 == 0) usb_.unplug();
          break;
        default:
          submit(make(random() % 2 ? 0x81 : 0x02, 512));
          break;
      }
    }
    device_->stop();
    ASSERT_TRUE(until([&] { return stopped_; }));
    EXPECT_EQ(done_.size(), submitted);
    EXPECT_LE(unplugs_, 1);
    EXPECT_EQ(usb_.violations, 0);
    EXPECT_TRUE(usb_.claimed.empty());
    device_.reset();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace farport::test
