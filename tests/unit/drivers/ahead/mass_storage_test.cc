// The mass-storage rule against a scripted disk, over a real session: each stage, each failure.
#include "tests/unit/drivers/ahead/ahead_fixture.h"

namespace farport {
namespace {

using Script = PacketDisk::Script;
constexpr auto kOk = TransferStatus::ok;
constexpr auto kStall = TransferStatus::stall;
constexpr auto kCancelled = TransferStatus::cancelled;

class MassStorageRuleTest : public AheadFixture {
 protected:
  void plug(Script script = {}) {
    attach_packets(true);
    disk_->scripts = {script};
  }
  // The status (BOT 5.2) of the present command, if that is what came.
  int status(size_t number) {
    const Seen& seen = seen_[number];
    if (!seen.back || seen.status != kOk || seen.actual != 13) return -1;
    uint32_t tag = 0;
    std::memcpy(&tag, seen.bytes.data() + 4, sizeof tag);
    return tag == tag_ ? static_cast<int>(seen.bytes[12]) : -2;
  }
  void expect(size_t number, TransferStatus status, uint32_t actual) {
    EXPECT_TRUE(seen_[number].back);
    EXPECT_EQ(seen_[number].status, status);
    EXPECT_EQ(seen_[number].actual, actual);
  }
};

TEST_F(MassStorageRuleTest, AReadIsOneRoundTrip) {
  plug();
  EXPECT_EQ(round_trips_to(command(4096, true)), 0);
  const size_t data = ask(4096);
  EXPECT_EQ(round_trips_to(data), 1);
  EXPECT_EQ(seen_[data].bytes, pattern(4096));
  const size_t end = ask(13);
  EXPECT_EQ(round_trips_to(end), 0);
  EXPECT_EQ(status(end), 0);
  EXPECT_EQ(figures().round_trips_saved, 2u);
  EXPECT_EQ(figures().deviations, 0u);
  EXPECT_TRUE(figures().on);
}

TEST_F(MassStorageRuleTest, WithoutTheRuleAReadIsThree) {
  attach_packets(false);
  EXPECT_EQ(round_trips_to(command(4096, true)), 1);
  EXPECT_EQ(round_trips_to(ask(4096)), 1);
  EXPECT_EQ(round_trips_to(ask(13)), 1);
  EXPECT_FALSE(figures().on);
}

TEST_F(MassStorageRuleTest, NoDataIsOneRoundTrip) {
  plug();
  EXPECT_EQ(round_trips_to(command(0, false)), 0);
  const size_t end = ask(13);
  EXPECT_EQ(round_trips_to(end), 1);
  EXPECT_EQ(status(end), 0);
  EXPECT_EQ(figures().round_trips_saved, 1u);
}

TEST_F(MassStorageRuleTest, AWriteIsOneRoundTrip) {
  plug();
  EXPECT_EQ(round_trips_to(command(4096, false)), 0);
  const size_t data = send(pattern(4096));
  EXPECT_EQ(round_trips_to(data), 1);
  expect(data, kOk, 4096);
  const size_t end = ask(13);
  EXPECT_EQ(round_trips_to(end), 0);
  EXPECT_EQ(status(end), 0);
  EXPECT_EQ(disk_->written, pattern(4096));
  EXPECT_EQ(figures().round_trips_saved, 2u);
}

// usb-storage's data stage is one transfer where the controller takes scatter lists, several where
// it does not.
TEST_F(MassStorageRuleTest, SeveralTransfersPerDataStage) {
  plug();
  EXPECT_EQ(round_trips_to(command(4096, false)), 0);
  const size_t first = send(pattern(1024));
  const size_t second = send(pattern(3072, 1024));
  EXPECT_EQ(round_trips_to(second), 1);
  expect(first, kOk, 1024);
  EXPECT_EQ(status(ask(13)), -1);
  run();
  EXPECT_EQ(status(seen_.size() - 1), 0);
  EXPECT_EQ(disk_->written, pattern(4096));

  EXPECT_EQ(round_trips_to(command(4096, true)), 0);
  std::vector<std::byte> all;
  const size_t parts[] = {ask(512), ask(2560), ask(1024)};
  EXPECT_EQ(round_trips_to(parts[2]), 1);
  for (const size_t part : parts) {
    all.insert(all.end(), seen_[part].bytes.begin(), seen_[part].bytes.end());
  }
  EXPECT_EQ(all, pattern(4096));
}

TEST_F(MassStorageRuleTest, ShortDataEndsTheTransferThatMeetsItsEnd) {
  plug({.moves = 700});
  const size_t wrapper = command(4096, true);
  const size_t parts[] = {ask(512), ask(1024)};
  run();
  expect(wrapper, kOk, 31);
  expect(parts[0], kOk, 512);
  expect(parts[1], kOk, 188);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 0);
}

// As QEMU's own disk does.
constexpr Script kForgets{.rests_before_command = true, .forgets_early_status = true};

TEST_F(MassStorageRuleTest, ADeviceThatForgetsAStatusAskedForEarlyIsAskedLater) {
  plug();
  disk_->scripts = {kForgets, kForgets};
  command(4096, true);
  const size_t data = ask(4096);
  run();
  EXPECT_EQ(disk_->waiting_in(), 2u) << "data and status";
  disk_->wake();
  const size_t end = ask(13);
  run();
  loop_.advance(10'000'000);  // the device end gathers for less
  run();
  expect(data, kOk, 4096);
  EXPECT_FALSE(seen_[end].back);
  cancel(end);
  run();
  expect(end, kCancelled, 0);
  const size_t again = ask(13);
  run();
  EXPECT_EQ(status(again), 0);

  command(4096, true);
  run();
  EXPECT_EQ(disk_->waiting_in(), 1u);
  disk_->wake();
  EXPECT_EQ(round_trips_to(ask(4096)), 1);
  const size_t next_end = ask(13);
  EXPECT_EQ(round_trips_to(next_end), 0) << "it is not asked for later than it can be";
  EXPECT_EQ(status(next_end), 0);
  EXPECT_TRUE(figures().on);
  EXPECT_NE(figures().why.find("after the data"), std::string_view::npos) << figures().why;
}

// It was not asked for while data moved.
TEST_F(MassStorageRuleTest, AnyOtherStatusThatIsGivenUpSaysNothing) {
  plug();
  for (const uint32_t bytes : {0u, 4096u}) {
    disk_->scripts = {{.rests_before_status = true}};
    command(bytes, false);
    if (bytes != 0) send(pattern(bytes));
    const size_t end = ask(13);
    run();
    cancel(end);
    run();
    expect(end, kCancelled, 0);
    bulk_reset();
    run();
  }
  EXPECT_EQ(figures().why.find("after the data"), std::string_view::npos) << figures().why;
}

TEST_F(MassStorageRuleTest, OneThatIsKnownToForgetIsNeverAskedEarly) {
  auto disk = std::make_unique<PacketDisk>(0x46f4, 0x0001);
  disk_ = disk.get();
  disk_->scripts = {kForgets};
  const DeviceInfo info = disk->info();
  attach(std::move(disk), info, {});
  command(4096, true);
  run();
  EXPECT_EQ(disk_->waiting_in(), 1u);
  disk_->wake();
  const size_t data = ask(4096);
  const size_t end = ask(13);
  run();
  expect(data, kOk, 4096);
  EXPECT_EQ(status(end), 0);
}

// Data that ends with a whole packet is followed by an empty one, and a transfer may meet only it.
TEST_F(MassStorageRuleTest, AnEmptyPacketIsAPacket) {
  plug({.moves = 512});
  command(4096, true);
  const size_t parts[] = {ask(512), ask(1024)};
  run();
  expect(parts[0], kOk, 512);
  expect(parts[1], kOk, 0);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 0);
}

TEST_F(MassStorageRuleTest, AShortReadIsAnErrorToWhomSaysSo) {
  plug({.moves = 36});
  command(255, true);
  const size_t data = ask(255, transfer_flags::short_not_ok);
  run();
  expect(data, TransferStatus::short_read, 36);
}

TEST_F(MassStorageRuleTest, AStallOfTheDataBeginsNoStatus) {
  plug({.moves = 1024, .stalls_data = true, .status = 1});
  command(4096, true);
  const size_t data = ask(4096);
  run();
  expect(data, kStall, 1024);
  EXPECT_EQ(disk_->waiting_in(), 0u);
  const size_t end = ask(13);  // the endpoint is halted
  run();
  expect(end, kStall, 0);
  clear_halt(PacketDisk::in);
  const size_t again = ask(13);
  run();
  EXPECT_EQ(status(again), 1);
}

TEST_F(MassStorageRuleTest, AStallOfTheStatusIsTheStatusReadersOwn) {
  plug({.moves = 700, .stalls_status = true});
  command(4096, true);
  const size_t data = ask(4096);
  run();
  expect(data, kOk, 700);
  const size_t end = ask(13);
  run();
  expect(end, kStall, 0);
  clear_halt(PacketDisk::in);
  const size_t again = ask(13);
  run();
  EXPECT_EQ(status(again), 0);
}

// BOT 6.7.2 lets a host clear the halt without having met it.
TEST_F(MassStorageRuleTest, AHaltThatIsClearedUnseenIsOver) {
  plug({.moves = 700, .stalls_status = true});
  command(4096, true);
  ask(4096);
  run();
  clear_halt(PacketDisk::in);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 0);
}

TEST_F(MassStorageRuleTest, ARefusedReadCommandIsToldToTheData) {
  plug({.stalls_command = true});
  const size_t wrapper = command(4096, true);
  const size_t data = ask(4096);
  run();
  expect(wrapper, kOk, 31);
  expect(data, kStall, 0);
  EXPECT_EQ(disk_->seen, std::vector<std::string>{"command 1"});
  EXPECT_EQ(disk_->waiting_in(), 0u) << "a stage was begun";
  const size_t again = ask(4096);  // and that is the device's own answer
  run();
  expect(again, kStall, 0);
}

TEST_F(MassStorageRuleTest, ARefusedCommandIsToldToWhoeverComesLater) {
  plug({.stalls_command = true});
  command(0, false);
  run();
  EXPECT_EQ(disk_->waiting_in(), 0u) << "a stage was begun";
  const size_t end = ask(13);
  EXPECT_EQ(round_trips_to(end), 0);
  expect(end, kStall, 0);
  port_reset();
  run();
  const size_t next = command(0, false);
  const size_t next_end = ask(13);
  run();
  expect(next, kOk, 31);
  EXPECT_EQ(status(next_end), 0);
}

// A wrapper that is with the device may be taken yet: what was to follow it is given up first, and
// a reset ends both.
TEST_F(MassStorageRuleTest, AReadOfACommandThatRestsMayBeGivenUp) {
  plug({.rests_before_command = true});
  const size_t wrapper = command(4096, true);
  const size_t data = ask(4096);
  run();
  expect(wrapper, kOk, 31);
  EXPECT_FALSE(seen_[data].back);
  cancel(data);
  run();
  expect(data, kCancelled, 0);
  const size_t other = ask(4096);
  run();
  EXPECT_FALSE(seen_[other].back) << "it overtook the wrapper";
  EXPECT_EQ(disk_->waiting_in(), 0u);
  cancel(other);
  const size_t reset = bulk_reset();
  run();
  expect(other, kCancelled, 0);
  expect(reset, kOk, 0);
  EXPECT_TRUE(disk_->seen.empty() || disk_->seen.front() != "command 1");
}

TEST_F(MassStorageRuleTest, ARefusedWriteCommandIsToldToTheData) {
  plug({.stalls_command = true});
  const size_t wrapper = command(1024, false);
  const size_t data = send(pattern(1024));
  run();
  expect(wrapper, kOk, 31);
  expect(data, kStall, 0);
  EXPECT_EQ(disk_->seen, std::vector<std::string>{"command 1"});
  EXPECT_TRUE(disk_->written.empty());
}

TEST_F(MassStorageRuleTest, ARefusedWriteCommandIsToldToDataThatComesLater) {
  plug({.stalls_command = true});
  command(1024, false);
  run();
  const size_t data = send(pattern(1024));
  run();
  expect(data, kStall, 0);
  EXPECT_EQ(disk_->seen, std::vector<std::string>{"command 1"});
  bulk_reset();
  clear_halt(PacketDisk::in);
  clear_halt(PacketDisk::out);
  run();
  const size_t next = command(0, false);
  run();
  expect(next, kOk, 31);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 0);
}

TEST_F(MassStorageRuleTest, AWriteThatStallsHalfWay) {
  plug({.moves = 1024, .stalls_data = true, .status = 1});
  command(4096, false);
  const size_t parts[] = {send(pattern(1024)), send(pattern(3072, 1024))};
  run();
  expect(parts[0], kStall, 1024);
  expect(parts[1], kStall, 0);  // it met with the halted endpoint
  clear_halt(PacketDisk::out);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 1);
}

TEST_F(MassStorageRuleTest, WhatTheStatusSaysIsHandedOn) {
  for (const Script script : {Script{.status = 1}, Script{.status = 2}, Script{.tag_error = 5}}) {
    if (disk_ == nullptr) {
      plug(script);
    } else {
      disk_->scripts = {script};
    }
    command(512, true);
    const size_t data = ask(512);
    const size_t end = ask(13);
    run();
    expect(data, kOk, 512);
    EXPECT_EQ(status(end), script.tag_error != 0 ? -2 : script.status);
  }
}

TEST_F(MassStorageRuleTest, ACancelledDataReadHasWhatTheDeviceGave) {
  plug({.rests_after = 1536});
  command(4096, true);
  const size_t data = ask(4096);
  run();
  EXPECT_FALSE(seen_[data].back);
  cancel(data);
  run();
  expect(data, kCancelled, 1536);
  EXPECT_EQ(disk_->waiting_in(), 0u) << "the status was begun";
}

TEST_F(MassStorageRuleTest, CancelledPartsGetWhatWouldHaveReachedThem) {
  plug({.rests_after = 1536});
  command(4096, true);
  const size_t parts[] = {ask(1024), ask(1024), ask(2048)};
  run();
  for (const size_t part : {parts[2], parts[1], parts[0]}) cancel(part);
  run();
  expect(parts[0], kOk, 1024);
  expect(parts[1], kCancelled, 512);
  expect(parts[2], kCancelled, 0);
}

// Only the last part is given up: the others go on, from the device.
TEST_F(MassStorageRuleTest, TheOtherPartsGoOn) {
  plug({.rests_after = 512});
  command(4096, true);
  const size_t parts[] = {ask(1024), ask(3072)};
  run();
  cancel(parts[1]);
  run();
  expect(parts[1], kCancelled, 0);
  EXPECT_FALSE(seen_[parts[0]].back);
  EXPECT_EQ(disk_->waiting_in(), 1u);
  cancel(parts[0]);
  run();
  expect(parts[0], kCancelled, 512);
}

TEST_F(MassStorageRuleTest, ACancelledStatusReadMayBeRepeated) {
  plug({.rests_before_status = true});
  command(0, false);
  const size_t end = ask(13);
  run();
  cancel(end);
  run();
  expect(end, kCancelled, 0);
  const size_t reset = port_reset();
  run();
  expect(reset, kOk, 0);
  const size_t next = command(0, false);
  run();
  expect(next, kOk, 31);
}

TEST_F(MassStorageRuleTest, ACancelledCommandBeginsNothing) {
  plug();
  const size_t wrapper = command(4096, true);
  cancel(wrapper);
  run();
  EXPECT_TRUE(seen_[wrapper].back);
  EXPECT_EQ(disk_->waiting_in(), 0u);
}

TEST_F(MassStorageRuleTest, AResetEndsWhatIsAheadFirst) {
  for (const bool port : {false, true}) {
    for (const Script script :
         {Script{}, Script{.rests_after = 512}, Script{.rests_before_status = true}}) {
      if (disk_ == nullptr) {
        plug(script);
      } else {
        disk_->scripts = {script};
      }
      command(2048, true);
      run();
      EXPECT_EQ(disk_->waiting_in(),
                script.rests_after != PacketDisk::all || script.rests_before_status ? 1u : 0u);
      const size_t number = port ? port_reset() : bulk_reset();
      run();
      expect(number, kOk, 0);
      EXPECT_EQ(disk_->waiting_in(), 0u);
      command(512, true);
      const size_t data = ask(512);
      run();
      EXPECT_EQ(seen_[data].bytes, pattern(512)) << "something of the former command was kept";
      const size_t end = ask(13);
      run();
      EXPECT_EQ(status(end), 0);
    }
  }
}

// As Linux never does: its own transfer is still there.
TEST_F(MassStorageRuleTest, AResetDoesNotWaitForAReadOfTheConsumers) {
  plug({.rests_after = 512});
  command(2048, true);
  const size_t data = ask(2048);
  run();
  const size_t reset = bulk_reset();
  run();
  expect(reset, kOk, 0);
  EXPECT_FALSE(seen_[data].back);
  cancel(data);
  run();
  expect(data, kCancelled, 512);
}

TEST_F(MassStorageRuleTest, AResetInAWrite) {
  plug();
  command(2048, false);
  const size_t reset = bulk_reset();
  run();
  expect(reset, kOk, 0);
  command(512, false);
  const size_t data = send(pattern(512));
  run();
  expect(data, kOk, 512);
  EXPECT_EQ(disk_->written, pattern(512));
}

TEST_F(MassStorageRuleTest, AnUnplugEndsEveryTransferOnce) {
  plug({.rests_after = 512});
  command(4096, true);
  const size_t data = ask(4096);
  const size_t end = ask(13);
  run();
  disk_->unplug();
  run();
  EXPECT_TRUE(seen_[data].back && seen_[end].back);
  EXPECT_EQ(seen_[data].status, TransferStatus::unplugged);
}

TEST_F(MassStorageRuleTest, TheEndOfTheSessionEndsEveryTransferOnce) {
  plug({.rests_after = 512});
  command(4096, true);
  const size_t transfers[] = {ask(4096), ask(13), command(512, false)};
  leave();
  for (const size_t one : transfers) EXPECT_TRUE(seen_[one].back);
}

// --- consumers that do something else ---

TEST_F(MassStorageRuleTest, AConsumerThatAsksForAllAtOnce) {
  plug();
  const size_t transfers[] = {command(4096, true), ask(4096), ask(13)};
  EXPECT_EQ(round_trips_to(transfers[2]), 1);
  EXPECT_EQ(seen_[transfers[1]].bytes, pattern(4096));
  EXPECT_EQ(status(transfers[2]), 0);
  EXPECT_EQ(figures().round_trips_saved, 0u) << "it saved them itself";
}

TEST_F(MassStorageRuleTest, AConsumerThatAsksForMoreThanItSaid) {
  plug();
  command(1024, true);
  const size_t data = ask(4096);
  run();
  // The status is the short packet that ends the transfer.
  expect(data, kOk, 1024 + 13);
}

TEST_F(MassStorageRuleTest, ACommandBeforeTheLastOnesStatusWasRead) {
  plug();
  command(512, true);
  run();
  const size_t wrapper = command(0, false);
  const size_t transfers[] = {ask(512), ask(13), ask(13)};
  run();
  expect(wrapper, kOk, 31);
  --tag_;
  EXPECT_EQ(seen_[transfers[0]].bytes, pattern(512));
  EXPECT_EQ(status(transfers[1]), 0);
  ++tag_;
  EXPECT_EQ(status(transfers[2]), 0);
  EXPECT_EQ(figures().deviations, 1u);
}

TEST_F(MassStorageRuleTest, ACommandWhileTheLastOneIsStillUnderWay) {
  plug({.rests_after = 512});
  command(1024, true);
  run();
  const size_t wrapper = command(0, false);
  run();
  EXPECT_FALSE(seen_[wrapper].back);  // the device rests
  const size_t data = ask(1024);
  run();
  EXPECT_FALSE(seen_[data].back);
  cancel(data);
  cancel(wrapper);
  run();
  expect(data, kCancelled, 512);
  expect(wrapper, kCancelled, 0);
}

TEST_F(MassStorageRuleTest, APartOfAPacketRetiresTheRule) {
  plug();
  command(1024, true);
  const size_t data = ask(100);
  run();
  expect(data, TransferStatus::overflow, 100);
  EXPECT_FALSE(figures().on);
  EXPECT_FALSE(figures().why.empty());
  port_reset();
  run();
  EXPECT_EQ(round_trips_to(command(0, false)), 1);
  EXPECT_EQ(round_trips_to(ask(13)), 1);
}

TEST_F(MassStorageRuleTest, LessDataThanSaidIsNotWaitedFor) {
  plug();
  command(1024, false);
  const size_t data = send(pattern(100));
  run();
  expect(data, kOk, 100);
  const size_t end = ask(13);
  run();
  EXPECT_EQ(status(end), 0);
}

}  // namespace
}  // namespace farport
