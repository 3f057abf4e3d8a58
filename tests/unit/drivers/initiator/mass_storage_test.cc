// A disk through the initiator: blocks, errors with sense data, recovery from stalls, short data
// and protocol errors, the end of a channel.
#include "drivers/initiator/mass_storage.h"

#include "tests/unit/drivers/initiator/initiator_fixture.h"

namespace farport {
namespace {

using Bytes = std::vector<std::byte>;

Bytes numbered(size_t size, uint8_t seed) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 512 + seed);
  return bytes;
}

class MassStorageTest : public InitiatorFixture {
 protected:
  Result<void> read(MassStorage& disk, uint64_t block, Bytes& into) {
    std::optional<Result<void>> outcome;
    disk.read(block, into, [&](Result<void> result) { outcome = std::move(result); });
    settle();
    if (!outcome) return fail("no answer");
    return *outcome;
  }
  Result<void> write(MassStorage& disk, uint64_t block, const Bytes& from) {
    std::optional<Result<void>> outcome;
    disk.write(block, from, [&](Result<void> result) { outcome = std::move(result); });
    settle();
    if (!outcome) return fail("no answer");
    return *outcome;
  }
};

TEST_F(MassStorageTest, KnowsItsDisk) {
  attach_disk();
  {
    MassStorage disk(*initiator_);
    std::optional<MassStorage::Identity> identity;
    std::optional<MassStorage::Capacity> capacity;
    bool ready = false, synchronized = false;
    disk.inquiry([&](auto result) { identity = result.value(); });
    disk.capacity([&](auto result) { capacity = result.value(); });
    disk.test_unit_ready([&](auto result) { ready = result.has_value(); });
    disk.synchronize([&](auto result) { synchronized = result.has_value(); });
    settle();
    EXPECT_EQ(identity, (MassStorage::Identity{"FARPORT", "EMULATED DISK", "0001"}));
    EXPECT_EQ(capacity, (MassStorage::Capacity{8192, 512}));
    EXPECT_TRUE(ready && synchronized);
  }
  detach();
}

class MassStorageSpeedTest : public MassStorageTest,
                             public testing::WithParamInterface<UsbSpeed> {};

TEST_P(MassStorageSpeedTest, WritesAndReadsAnyNumberOfBlocks) {
  EmulatedDeviceSettings settings;
  settings.speed = GetParam();
  attach_disk(settings);
  {
    MassStorage disk(*initiator_, 64 << 10);
    for (const size_t blocks : {1u, 7u, 128u, 129u, 1000u}) {
      const Bytes data = numbered(blocks * 512, static_cast<uint8_t>(blocks));
      ASSERT_TRUE(write(disk, 8192 - blocks, data));
      Bytes back(data.size());
      ASSERT_TRUE(read(disk, 8192 - blocks, back));
      EXPECT_EQ(data, back);
    }
    EXPECT_EQ(port_->in_use(), 3u);  // whatever the size
  }
  detach();
}

INSTANTIATE_TEST_SUITE_P(Speeds, MassStorageSpeedTest,
                         testing::Values(UsbSpeed::full, UsbSpeed::high, UsbSpeed::super));

TEST_F(MassStorageTest, SeveralAtOnceAreCarriedOutInTurn) {
  attach_disk({.delay_us = 10});
  {
    MassStorage disk(*initiator_);
    const Bytes a = numbered(4096, 1), b = numbered(4096, 2);
    Bytes back(8192);
    std::vector<int> order;
    disk.write(0, a, [&](Result<void> result) { order.push_back(result ? 1 : -1); });
    disk.write(8, b, [&](Result<void> result) { order.push_back(result ? 2 : -2); });
    disk.read(0, back, [&](Result<void> result) { order.push_back(result ? 3 : -3); });
    settle();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
    EXPECT_TRUE(std::equal(a.begin(), a.end(), back.begin()));
    EXPECT_TRUE(std::equal(b.begin(), b.end(), back.begin() + 4096));
  }
  detach();
}

TEST_F(MassStorageTest, RefusalsSayWhy) {
  EmulatedDeviceSettings settings;
  settings.read_only = true;
  attach_disk(settings);
  {
    MassStorage disk(*initiator_);
    Bytes block(512);
    const auto past = read(disk, 8192, block);
    ASSERT_FALSE(past);
    EXPECT_NE(past.error().message.find("5/21/00"), std::string::npos) << past.error().message;
    const auto denied = write(disk, 0, block);
    ASSERT_FALSE(denied);
    EXPECT_NE(denied.error().message.find("7/27/00"), std::string::npos) << denied.error().message;
    Bytes odd(100);
    EXPECT_EQ(read(disk, 0, odd).error().code, ErrorCode::usage);
    EXPECT_TRUE(read(disk, 0, block));  // and goes on
  }
  detach();
}

struct Fault {
  const char* name;
  FaultKind kind;
  uint32_t times;
  bool cured;
};

class MassStorageFaultTest : public MassStorageTest, public testing::WithParamInterface<Fault> {};

TEST_P(MassStorageFaultTest, IsCuredOrReported) {
  attach_disk();
  {
    MassStorage disk(*initiator_);
    const Bytes data = numbered(64 * 512, 3);
    Bytes back(data.size());
    ASSERT_TRUE(read(disk, 0, back));
    device_->inject(GetParam().kind, GetParam().times);
    EXPECT_EQ(write(disk, 0, data).has_value(), GetParam().cured);
    device_->inject(GetParam().kind, GetParam().times);
    EXPECT_EQ(read(disk, 0, back).has_value(), GetParam().cured);
    // Either way the disk works afterwards.
    ASSERT_TRUE(write(disk, 0, data));
    ASSERT_TRUE(read(disk, 0, back));
    EXPECT_EQ(back, data);
  }
  detach();
}

INSTANTIATE_TEST_SUITE_P(Faults, MassStorageFaultTest,
                         testing::Values(Fault{"stall", FaultKind::stall, 1, true},
                                         Fault{"stalls", FaultKind::stall, 2, true},
                                         Fault{"stalls_too_often", FaultKind::stall, 6, false},
                                         Fault{"short", FaultKind::short_data, 1, true},
                                         Fault{"shorts", FaultKind::short_data, 3, true},
                                         Fault{"late", FaultKind::late, 2, true}),
                         [](const auto& info) { return info.param.name; });

TEST_F(MassStorageTest, UnplugFailsEverythingThatWaits) {
  attach_disk({.delay_us = 1000});
  {
    MassStorage disk(*initiator_);
    Bytes a(512), b(512);
    std::vector<ErrorCode> codes;
    const auto record = [&](Result<void> result) { codes.push_back(result.error().code); };
    ASSERT_TRUE(read(disk, 0, a));
    disk.read(0, a, record);
    disk.read(0, b, record);
    device_->unplug_now("pulled");
    settle();
    EXPECT_EQ(codes, (std::vector<ErrorCode>{ErrorCode::not_found, ErrorCode::not_found}));
    disk.read(0, a, record);
    settle();
    EXPECT_EQ(codes.size(), 3u);
  }
  detach();
}

TEST_F(MassStorageTest, ClosingTheChannelFailsWhatWaits) {
  attach_disk({.delay_us = 1000});
  {
    MassStorage disk(*initiator_);
    Bytes a(512), b(512);
    ASSERT_TRUE(read(disk, 0, a));
    int failed = 0;
    disk.read(0, a, [&](Result<void> result) { failed += result ? 0 : 1; });
    disk.read(0, b, [&](Result<void> result) { failed += result ? 0 : 1; });
    stop();
    EXPECT_EQ(failed, 2);
    EXPECT_EQ(port_->stopped, 1);
  }
  detach();
}

TEST_F(MassStorageTest, DestroyedInFlightAndFromItsOwnCallback) {
  attach_disk({.delay_us = 1000});
  auto disk = std::make_unique<MassStorage>(*initiator_);
  Bytes block(512);
  ASSERT_TRUE(read(*disk, 0, block));
  disk->read(0, block, [](Result<void>) { FAIL() << "called after its disk has gone"; });
  disk.reset();
  settle();
  EXPECT_EQ(port_->in_use(), 0u);

  // The abandoned command leaves the device in the middle of it.
  initiator_->control(make_setup(0x21, 0xff, 0, 0, 0), {}, {});
  settle();
  disk = std::make_unique<MassStorage>(*initiator_);
  bool done = false;
  disk->test_unit_ready([&](Result<void>) {
    done = true;
    disk.reset();
  });
  settle();
  EXPECT_TRUE(done);
  EXPECT_EQ(disk, nullptr);
  detach();
}

TEST_F(MassStorageTest, NotADisk) {
  attach_source_sink();
  {
    MassStorage disk(*initiator_);
    std::optional<Result<MassStorage::Identity>> outcome;
    disk.inquiry([&](auto result) { outcome = std::move(result); });
    settle();
    ASSERT_TRUE(outcome);
    EXPECT_FALSE(*outcome);
  }
  detach();
}

// --- devices that misbehave, by a scripted port ---

class RudeDiskTest : public testing::Test {
 protected:
  // Answers everything the initiator submits, until nothing is left: control requests succeed, and
  // `bulk` decides about the rest.
  void run(const std::function<void(Transfer&)>& bulk) {
    for (int i = 0; i < 1000 && !port_.submitted.empty(); ++i) {
      Transfer& transfer = *port_.submitted.front();
      if (transfer.type == TransferType::control) {
        const auto& answer = transfer.setup[3] == 1 ? kDevice : kConfiguration;
        const auto count = transfer.in() ? std::min<uint32_t>(transfer.length,
                                                              static_cast<uint32_t>(answer.size()))
                                         : 0;
        std::memcpy(transfer.data().data(), answer.data(), count);
        resets_ += transfer.setup[0] == 0x21 && transfer.setup[1] == 0xff;
        port_.complete(transfer, TransferStatus::ok, count);
      } else {
        if (transfer.endpoint == 0x02 && transfer.length == 31) {
          std::memcpy(&tag_, transfer.data().data() + 4, 4);
        }
        bulk(transfer);
      }
    }
  }
  void give_status(Transfer& transfer, uint8_t status, uint32_t residue, uint32_t tag) {
    const uint32_t fields[] = {0x53425355, tag, residue};
    std::memcpy(transfer.data().data(), fields, 12);
    transfer.data()[12] = std::byte{status};
    port_.complete(transfer, TransferStatus::ok, 13);
  }
  void SetUp() override {
    port_.driver = &initiator_;
    ASSERT_TRUE(initiator_.start_on(clock_, port_));
    run([](Transfer&) {});
    ASSERT_TRUE(initiator_.ready());
  }
  // INQUIRY against the scripted device; whether it succeeds.
  Result<MassStorage::Identity> inquire(const std::function<void(Transfer&)>& bulk) {
    std::optional<Result<MassStorage::Identity>> outcome;
    {
      MassStorage disk(initiator_);
      disk.inquiry([&](auto result) { outcome = std::move(result); });
      run(bulk);
      EXPECT_TRUE(outcome) << "no answer";
    }
    initiator_.stop();
    EXPECT_EQ(port_.stopped, 1);
    return outcome.value_or(fail("no answer"));
  }

  static const std::vector<uint8_t> kDevice, kConfiguration;
  ManualScheduler clock_;
  FakePort port_{DeviceInfo{}};
  Initiator initiator_;
  uint32_t tag_ = 0;
  int resets_ = 0;
};

const std::vector<uint8_t> RudeDiskTest::kDevice{18, 1, 0, 2, 0, 0, 0, 64, 1,
                                                 0,  2, 0, 0, 1, 0, 0, 0,  1};
const std::vector<uint8_t> RudeDiskTest::kConfiguration{9, 2, 32, 0, 1, 1,    0, 0xc0, 50, 9,    4,
                                                        0, 0, 2,  8, 6, 80,   0, 7,    5,  0x81, 2,
                                                        0, 2, 0,  7, 5, 0x02, 2, 0,    2,  0};

TEST_F(RudeDiskTest, StatusInPlaceOfDataIsAFailure) {
  int statuses = 0;
  const auto outcome = inquire([&](Transfer& transfer) {
    if (transfer.endpoint == 0x02) {
      port_.complete(transfer, TransferStatus::ok, transfer.length);
    } else if (std::ranges::count(port_.cancelled, &transfer) > 0) {
      std::erase(port_.cancelled, &transfer);
      port_.complete(transfer, TransferStatus::cancelled, 0);
    } else {
      ++statuses;
      give_status(transfer, 1, 36, tag_);
    }
  });
  EXPECT_FALSE(outcome);
  EXPECT_GE(statuses, 2);  // of INQUIRY, and of REQUEST SENSE
  EXPECT_NE(outcome.error().message.find("does not say why"), std::string::npos);
}

TEST_F(RudeDiskTest, ForeignStatusLeadsToResetRecoveryAndThenGivesUp) {
  const auto outcome = inquire([&](Transfer& transfer) {
    if (transfer.endpoint == 0x02 || transfer.length != 13) {
      port_.complete(transfer, TransferStatus::ok, transfer.length);
    } else {
      give_status(transfer, 0, 0, tag_ + 1);
    }
  });
  EXPECT_FALSE(outcome);
  EXPECT_EQ(resets_, 3);
}

TEST_F(RudeDiskTest, PhaseErrorLeadsToResetRecovery) {
  int statuses = 0;
  const auto outcome = inquire([&](Transfer& transfer) {
    if (transfer.endpoint == 0x02 || transfer.length != 13) {
      port_.complete(transfer, TransferStatus::ok, transfer.length);
    } else {
      give_status(transfer, ++statuses == 1 ? 2 : 0, 0, tag_);
    }
  });
  EXPECT_TRUE(outcome);
  EXPECT_EQ(resets_, 1);
}

TEST_F(RudeDiskTest, RefusedWrapperCancelsWhatFollows) {
  int wrappers = 0;
  const auto outcome = inquire([&](Transfer& transfer) {
    if (std::ranges::count(port_.cancelled, &transfer) > 0) {
      std::erase(port_.cancelled, &transfer);
      port_.complete(transfer, TransferStatus::cancelled, 0);
    } else if (transfer.endpoint == 0x02) {
      const bool refuse = ++wrappers == 1;
      port_.complete(transfer, refuse ? TransferStatus::stall : TransferStatus::ok, 0);
    } else if (transfer.length != 13) {
      port_.complete(transfer, TransferStatus::ok, transfer.length);
    } else {
      give_status(transfer, 0, 0, tag_);
    }
  });
  EXPECT_TRUE(outcome);
  EXPECT_EQ(resets_, 1);
}

TEST_F(RudeDiskTest, ResidueBeyondTheDataIsBounded) {
  const auto outcome = inquire([&](Transfer& transfer) {
    if (transfer.endpoint == 0x02 || transfer.length != 13) {
      port_.complete(transfer, TransferStatus::ok, transfer.length);
    } else {
      give_status(transfer, 0, 0xffffffff, tag_);
    }
  });
  EXPECT_FALSE(outcome);
}

}  // namespace
}  // namespace farport
