// The emulated disk as a USB device: commands through its endpoints, resting transfers, halts and
// their recovery, pace, faults, unplug.
#include "tests/unit/devices/emulated/emulated_fixture.h"

namespace farport {
namespace {

constexpr uint8_t kIn = EmulatedDisk::endpoint_in;
constexpr uint8_t kOut = EmulatedDisk::endpoint_out;

class DiskTest : public EmulatedFixture {
 protected:
  void make(EmulatedDeviceSettings settings = {}) {
    settings.name = "DISK0";
    settings.size_bytes = 1 << 20;
    storage_ = *DiskStorage::in_memory(settings.size_bytes);
    disk_ = std::make_unique<EmulatedDisk>(settings, storage_);
    disk_->start_on(clock_, events_);
  }
  Transfer& send(std::span<const std::byte> data) {
    return run(*disk_, transfers_.out(TransferType::bulk, kOut, data));
  }
  Transfer& ask(uint32_t length) {
    return run(*disk_, transfers_.make(TransferType::bulk, kIn, length));
  }
  Transfer& command(std::vector<uint8_t> cdb, uint32_t length, bool in) {
    std::vector<std::byte> bytes(31);
    const uint32_t fields[] = {bot::command_signature, ++tag_, length};
    std::memcpy(bytes.data(), fields, sizeof(fields));
    bytes[12] = std::byte(in ? 0x80 : 0);
    bytes[14] = std::byte(cdb.size());
    std::memcpy(bytes.data() + 15, cdb.data(), cdb.size());
    return send(bytes);
  }
  int status_in(const Transfer& transfer) {
    EXPECT_TRUE(done(transfer));
    EXPECT_EQ(transfer.status, TransferStatus::ok);
    EXPECT_EQ(transfer.actual, 13u);
    uint32_t tag = 0;
    std::memcpy(&tag, transfer.data().data() + 4, 4);
    EXPECT_EQ(tag, tag_);
    return static_cast<int>(transfer.data()[12]);
  }
  TransferStatus clear_halt(uint8_t endpoint) {
    return control(*disk_, 0x02, usb::clear_feature, 0, endpoint, 0).status;
  }
  TransferStatus reset() { return control(*disk_, 0x21, bot::request_reset, 0, 0, 0).status; }

  std::shared_ptr<DiskStorage> storage_;
  std::unique_ptr<EmulatedDisk> disk_;
  uint32_t tag_ = 0;
};

const std::vector<uint8_t> kRead8{0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0};
const std::vector<uint8_t> kWrite8{0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0};
const std::vector<uint8_t> kReady{0, 0, 0, 0, 0, 0};

TEST_F(DiskTest, DescribesItself) {
  make();
  const DeviceInfo& info = disk_->info();
  EXPECT_EQ(info.name, "usb:1d6b:0104:DISK0");
  EXPECT_EQ(info.serial_number, "DISK0");
  const auto& configuration = info.configurations.at(0);
  EXPECT_EQ(configuration[9 + 5], 0x08);
  EXPECT_EQ(configuration[9 + 6], 0x06);
  EXPECT_EQ(configuration[9 + 7], 0x50);
}

TEST_F(DiskTest, WritesAndReads) {
  make();
  command(kWrite8, 4096, false);
  EXPECT_EQ(send(std::vector<std::byte>(4096, std::byte{0x77})).status, TransferStatus::ok);
  EXPECT_EQ(status_in(ask(13)), 0);
  command(kRead8, 4096, true);
  Transfer& data = ask(4096);
  EXPECT_EQ(data.actual, 4096u);
  EXPECT_EQ(data.data()[4095], std::byte{0x77});
  EXPECT_EQ(status_in(ask(13)), 0);
}

// A host may submit data and status before the command has arrived: they rest.
TEST_F(DiskTest, TransfersRestUntilTheirTurn) {
  make();
  Transfer& data = ask(4096);
  Transfer& status = ask(13);
  EXPECT_FALSE(done(data));
  command(kRead8, 4096, true);
  EXPECT_EQ(data.actual, 4096u);
  EXPECT_EQ(status_in(status), 0);
  // The next command rests until the status has been taken.
  command(kReady, 0, false);
  Transfer& next = command(kReady, 0, false);
  EXPECT_FALSE(done(next));
  --tag_;
  EXPECT_EQ(status_in(ask(13)), 0);
  ++tag_;
  EXPECT_TRUE(done(next));
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, LessDataThanAskedHaltsUntilCleared) {
  make();
  command({0x12, 0, 0, 0, 36, 0}, 255, true);
  Transfer& data = ask(255);
  EXPECT_EQ(data.status, TransferStatus::ok);
  EXPECT_EQ(data.actual, 36u);
  EXPECT_EQ(ask(13).status, TransferStatus::stall);
  EXPECT_EQ(clear_halt(kIn), TransferStatus::ok);
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, InvalidWrapperWedgesUntilResetRecovery) {
  make();
  Transfer& resting = ask(13);
  send(std::vector<std::byte>(31));
  EXPECT_EQ(resting.status, TransferStatus::stall);
  // BOT 6.6.1: clearing the halts is not enough,
  EXPECT_EQ(clear_halt(kIn), TransferStatus::ok);
  EXPECT_EQ(clear_halt(kOut), TransferStatus::ok);
  EXPECT_EQ(ask(13).status, TransferStatus::stall);
  EXPECT_EQ(command(kReady, 0, false).status, TransferStatus::stall);
  // and the reset alone leaves the halts (BOT 3.1); all three do it.
  EXPECT_EQ(reset(), TransferStatus::ok);
  EXPECT_EQ(command(kReady, 0, false).status, TransferStatus::stall);
  EXPECT_EQ(clear_halt(kIn), TransferStatus::ok);
  EXPECT_EQ(clear_halt(kOut), TransferStatus::ok);
  EXPECT_EQ(command(kReady, 0, false).status, TransferStatus::ok);
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, SetConfigurationRecoversToo) {
  make();
  send(std::vector<std::byte>(31));
  EXPECT_EQ(control(*disk_, 0x00, usb::set_configuration, 1, 0, 0).status, TransferStatus::ok);
  command(kReady, 0, false);
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, ResetAbandonsACommand) {
  make();
  command(kWrite8, 4096, false);
  EXPECT_EQ(reset(), TransferStatus::ok);
  command(kReady, 0, false);
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, ClassRequests) {
  make();
  Transfer& luns = control(*disk_, 0xa1, bot::request_get_max_lun, 0, 0, 1);
  EXPECT_EQ(luns.actual, 1u);
  EXPECT_EQ(luns.data()[0], std::byte{0});
  EXPECT_EQ(control(*disk_, 0xa1, bot::request_get_max_lun, 0, 1, 1).status, TransferStatus::stall);
  EXPECT_EQ(control(*disk_, 0xa1, bot::request_get_max_lun, 1, 0, 1).status, TransferStatus::stall);
  EXPECT_EQ(control(*disk_, 0x21, bot::request_reset, 0, 1, 0).status, TransferStatus::stall);
}

TEST_F(DiskTest, CancelledTransferComesBackOnce) {
  make();
  Transfer& resting = ask(13);
  disk_->cancel(resting);
  EXPECT_EQ(events_.count(resting), 1);
  EXPECT_EQ(resting.status, TransferStatus::cancelled);
  disk_->cancel(resting);
  EXPECT_EQ(events_.count(resting), 1);
}

TEST_F(DiskTest, RateAndDelayPaceTheDataOnly) {
  make({.rate_bytes_s = 4096 * 100, .delay_us = 1000});  // 4 KiB: 10 ms + 1 ms
  Transfer& wrapper = command(kRead8, 4096, true);
  EXPECT_TRUE(done(wrapper));
  Transfer& data = ask(4096);
  Transfer& status = ask(13);
  clock_.advance(11 * kMs - 1);
  EXPECT_FALSE(done(data));
  clock_.advance(1);
  EXPECT_TRUE(done(data));
  EXPECT_EQ(status_in(status), 0);
}

TEST_F(DiskTest, CancelInServiceFreesTheDevice) {
  make({.delay_us = 1000});
  command(kRead8, 4096, true);
  Transfer& first = ask(4096);
  Transfer& second = ask(4096);
  clock_.advance(kMs / 2);
  disk_->cancel(first);
  EXPECT_EQ(first.status, TransferStatus::cancelled);
  clock_.advance(kMs - 1);
  EXPECT_FALSE(done(second));
  clock_.advance(1);
  EXPECT_TRUE(done(second));
  EXPECT_EQ(second.actual, 4096u);
}

TEST_F(DiskTest, InjectedStallIsRecoveredByTheHost) {
  make();
  disk_->inject(FaultKind::stall);
  command(kRead8, 4096, true);
  EXPECT_EQ(ask(4096).status, TransferStatus::stall);
  EXPECT_EQ(clear_halt(kIn), TransferStatus::ok);
  EXPECT_EQ(status_in(ask(13)), 1);
  command({0x03, 0, 0, 0, 18, 0}, 18, true);
  Transfer& sense = ask(18);
  EXPECT_EQ(sense.data()[2], std::byte{0x0b});
  status_in(ask(13));
  command(kRead8, 4096, true);
  EXPECT_EQ(ask(4096).actual, 4096u);
}

TEST_F(DiskTest, InjectedStallOfAWrite) {
  make();
  disk_->inject(FaultKind::stall);
  command(kWrite8, 4096, false);
  EXPECT_EQ(send(std::vector<std::byte>(4096)).status, TransferStatus::stall);
  EXPECT_EQ(clear_halt(kOut), TransferStatus::ok);
  EXPECT_EQ(status_in(ask(13)), 1);
}

TEST_F(DiskTest, FaultsLeaveCommandsAndStatusAlone) {
  make();
  disk_->inject(FaultKind::stall);
  command(kReady, 0, false);
  EXPECT_EQ(status_in(ask(13)), 0);
}

TEST_F(DiskTest, LateDataComesLater) {
  EmulatedDeviceSettings settings;
  settings.late_us = 5000;
  make(settings);
  disk_->inject(FaultKind::late);
  command(kRead8, 4096, true);
  Transfer& data = ask(4096);
  clock_.advance(5 * kMs - 1);
  EXPECT_FALSE(done(data));
  clock_.advance(1);
  EXPECT_EQ(data.actual, 4096u);
}

TEST_F(DiskTest, UnplugEndsEverythingInFlight) {
  make();
  Transfer& resting = ask(13);
  disk_->inject(FaultKind::unplug);
  command(kWrite8, 4096, false);
  Transfer& data = send(std::vector<std::byte>(4096));
  EXPECT_EQ(data.status, TransferStatus::unplugged);
  EXPECT_EQ(resting.status, TransferStatus::unplugged);
  ASSERT_EQ(events_.unplug_reasons.size(), 1u);
  EXPECT_EQ(ask(13).status, TransferStatus::unplugged);
  EXPECT_EQ(control(*disk_, 0x80, usb::get_status, 0, 0, 2).status, TransferStatus::unplugged);
  disk_->unplug_now("twice");
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
  disk_->stop();
  EXPECT_EQ(events_.stopped, 1);
}

TEST_F(DiskTest, StopCancelsAndIsAnswered) {
  make({.delay_us = 1000});
  command(kRead8, 4096, true);
  Transfer& data = ask(4096);
  Transfer& status = ask(13);
  disk_->stop();
  EXPECT_EQ(data.status, TransferStatus::cancelled);
  EXPECT_EQ(status.status, TransferStatus::cancelled);
  EXPECT_EQ(events_.stopped, 1);
  EXPECT_TRUE(clock_.idle());
}

TEST_F(DiskTest, StoppedInsideACompletion) {
  make();
  events_.on_completed = [this](Transfer& transfer) {
    if (transfer.endpoint == kIn && transfer.length == 4096) disk_->stop();
  };
  Transfer& data = ask(4096);
  Transfer& status = ask(13);
  command(kRead8, 4096, true);
  EXPECT_EQ(data.status, TransferStatus::ok);
  EXPECT_EQ(status.status, TransferStatus::cancelled);
  EXPECT_EQ(events_.stopped, 1);
}

TEST_F(DiskTest, UnknownEndpointsAreInvalid) {
  make();
  EXPECT_EQ(run(*disk_, transfers_.make(TransferType::bulk, 0x83, 8)).status,
            TransferStatus::invalid);
  EXPECT_EQ(run(*disk_, transfers_.make(TransferType::interrupt, kIn, 8)).status,
            TransferStatus::invalid);
  EXPECT_EQ(run(*disk_, transfers_.make(TransferType::serial, kIn, 8)).status,
            TransferStatus::invalid);
}

}  // namespace
}  // namespace farport
