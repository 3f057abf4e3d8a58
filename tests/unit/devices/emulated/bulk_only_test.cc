// The bulk-only transport of the emulated disk, wrapper by wrapper: what is valid, the thirteen
// cases of BOT 6.7, residues, stalls, phase errors.
#include "devices/emulated/bulk_only.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace farport {
namespace {

using Stage = BulkOnly::Stage;
using Bytes = std::vector<std::byte>;

constexpr uint32_t kPacket = 512;
constexpr uint32_t kTag = 0x12345678;

// READ (10) and WRITE (10) of `count` blocks from 0 on, and commands without data.
std::vector<uint8_t> read_10(uint8_t count) { return {0x28, 0, 0, 0, 0, 0, 0, 0, count, 0}; }
std::vector<uint8_t> write_10(uint8_t count) { return {0x2a, 0, 0, 0, 0, 0, 0, 0, count, 0}; }
const std::vector<uint8_t> kReady{0, 0, 0, 0, 0, 0};
const std::vector<uint8_t> kUnknown{0xff, 0, 0, 0, 0, 0};

Bytes wrapper(std::vector<uint8_t> cdb, uint32_t length, bool in) {
  Bytes bytes(bot::command_bytes);
  const uint32_t fields[] = {bot::command_signature, kTag, length};
  std::memcpy(bytes.data(), fields, sizeof(fields));
  bytes[12] = std::byte(in ? 0x80 : 0);
  bytes[14] = std::byte(cdb.size());
  std::memcpy(bytes.data() + 15, cdb.data(), cdb.size());
  return bytes;
}

class BulkOnlyTest : public testing::Test {
 protected:
  BulkOnly::Step take(const Bytes& data) {
    return bulk_.take(data, data.empty() || data.size() % kPacket != 0, kPacket);
  }
  BulkOnly::Step give(uint32_t length) {
    data_.assign(length, std::byte{0xee});
    return bulk_.give(data_, kPacket);
  }
  // Takes the status wrapper; its status, and residue in residue_.
  int status() {
    const auto step = give(bot::status_bytes);
    EXPECT_EQ(step.status, TransferStatus::ok);
    EXPECT_EQ(step.actual, bot::status_bytes);
    uint32_t fields[3];
    std::memcpy(fields, data_.data(), sizeof(fields));
    EXPECT_EQ(fields[0], bot::status_signature);
    EXPECT_EQ(fields[1], kTag);
    residue_ = fields[2];
    EXPECT_EQ(bulk_.stage(), Stage::command);
    return static_cast<int>(data_[12]);
  }

  std::unique_ptr<DiskStorage> storage_ = *DiskStorage::in_memory(64 * 512);
  ScsiDisk disk_{*storage_, false, "S"};
  BulkOnly bulk_{disk_};
  Bytes data_;
  uint32_t residue_ = ~0u;
};

// --- the thirteen cases ---

struct Case {
  const char* name;
  std::vector<uint8_t> cdb;
  uint32_t host_length;
  bool host_in;
  // Expected: which endpoint halts at once, bytes moved, and the status wrapper.
  bool halt_in, halt_out;
  uint32_t moved;
  uint8_t status;
};

class ThirteenCasesTest : public BulkOnlyTest, public testing::WithParamInterface<Case> {};

TEST_P(ThirteenCasesTest, EndsAsSpecified) {
  const Case& expected = GetParam();
  auto step = take(wrapper(expected.cdb, expected.host_length, expected.host_in));
  EXPECT_EQ(step.status, TransferStatus::ok);
  bool halt_in = step.halt_in;
  bool halt_out = step.halt_out;
  uint32_t moved = 0;
  if (bulk_.in_data_stage()) {
    step = expected.host_in ? give(expected.host_length)
                            : take(Bytes(expected.host_length, std::byte{0x5a}));
    moved = step.actual;
    halt_in |= step.halt_in;
    halt_out |= step.halt_out;
    // A transfer that ends by the stall says so; one that is full, or ends by itself, does not.
    EXPECT_EQ(step.status, moved < expected.host_length && moved % kPacket == 0
                               ? TransferStatus::stall
                               : TransferStatus::ok);
  }
  EXPECT_EQ(halt_in, expected.halt_in);
  EXPECT_EQ(halt_out, expected.halt_out);
  EXPECT_EQ(moved, expected.moved);
  EXPECT_EQ(status(), expected.status);
  EXPECT_EQ(residue_, expected.host_length - expected.moved);
}

INSTANTIATE_TEST_SUITE_P(
    Bot67, ThirteenCasesTest,
    testing::Values(
        Case{"case1_Hn_eq_Dn", kReady, 0, false, false, false, 0, bot::status_passed},
        Case{"case1_Hn_eq_Dn_in", kReady, 0, true, false, false, 0, bot::status_passed},
        Case{"case1_fails", kUnknown, 0, false, false, false, 0, bot::status_failed},
        Case{"case2_Hn_lt_Di", read_10(1), 0, true, false, false, 0, bot::status_phase_error},
        Case{"case3_Hn_lt_Do", write_10(1), 0, false, false, false, 0, bot::status_phase_error},
        Case{"case4_Hi_gt_Dn", kReady, 512, true, true, false, 0, bot::status_passed},
        Case{"case4_fails", kUnknown, 512, true, true, false, 0, bot::status_failed},
        Case{"case5_Hi_gt_Di", read_10(1), 2048, true, true, false, 512, bot::status_passed},
        Case{"case5_short_packet",
             {0x12, 0, 0, 0, 36, 0},
             255,
             true,
             true,
             false,
             36,
             bot::status_passed},
        Case{"case6_Hi_eq_Di", read_10(4), 2048, true, false, false, 2048, bot::status_passed},
        Case{"case7_Hi_lt_Di", read_10(4), 512, true, true, false, 0, bot::status_phase_error},
        Case{"case8_Hi_ne_Do", write_10(1), 512, true, true, false, 0, bot::status_phase_error},
        Case{"case9_Ho_gt_Dn", kReady, 512, false, false, true, 0, bot::status_passed},
        Case{"case9_fails", kUnknown, 512, false, false, true, 0, bot::status_failed},
        Case{"case10_Ho_ne_Di", read_10(1), 512, false, false, true, 0, bot::status_phase_error},
        Case{"case11_Ho_gt_Do", write_10(1), 2048, false, false, true, 512, bot::status_passed},
        Case{"case12_Ho_eq_Do", write_10(4), 2048, false, false, false, 2048, bot::status_passed},
        Case{"case13_Ho_lt_Do", write_10(4), 512, false, false, true, 0, bot::status_phase_error}),
    [](const auto& info) { return info.param.name; });

// In cases 7, 8, 10 and 13 the medium is not touched.
TEST_F(BulkOnlyTest, DisagreementWritesNothing) {
  take(wrapper(write_10(4), 512, false));
  EXPECT_FALSE(bulk_.wants_out());
  status();
  Bytes block(512);
  ASSERT_TRUE(storage_->read(0, block));
  EXPECT_EQ(block, Bytes(512));
}

// --- validity (BOT 6.2) ---

struct Malformed {
  const char* name;
  void (*spoil)(Bytes&);
  uint32_t actual;
};

class InvalidWrapperTest : public BulkOnlyTest, public testing::WithParamInterface<Malformed> {};

TEST_P(InvalidWrapperTest, HaltsBothEndpointsUntilReset) {
  Bytes bytes = wrapper(kReady, 0, false);
  GetParam().spoil(bytes);
  const auto step = take(bytes);
  EXPECT_TRUE(step.halt_in);
  EXPECT_TRUE(step.halt_out);
  EXPECT_EQ(step.actual, GetParam().actual);
  EXPECT_EQ(step.status, step.actual < bytes.size() ? TransferStatus::stall : TransferStatus::ok);
  EXPECT_EQ(bulk_.stage(), Stage::reset_needed);
  EXPECT_FALSE(bulk_.wants_in());
  EXPECT_FALSE(bulk_.wants_out());
  bulk_.reset();
  take(wrapper(kReady, 0, false));
  EXPECT_EQ(status(), bot::status_passed);
}

INSTANTIATE_TEST_SUITE_P(
    Bot62, InvalidWrapperTest,
    testing::Values(Malformed{"signature", [](Bytes& b) { b[0] = std::byte{'X'}; }, 31},
                    Malformed{"too_short", [](Bytes& b) { b.resize(30); }, 30},
                    Malformed{"too_long", [](Bytes& b) { b.resize(32); }, 32},
                    Malformed{"empty", [](Bytes& b) { b.clear(); }, 0},
                    Malformed{"longer_than_a_packet", [](Bytes& b) { b.resize(4096); }, 512},
                    Malformed{"reserved_flags", [](Bytes& b) { b[12] = std::byte{0x01}; }, 31},
                    Malformed{"reserved_unit_bits", [](Bytes& b) { b[13] = std::byte{0x10}; }, 31},
                    Malformed{"no_command", [](Bytes& b) { b[14] = std::byte{0}; }, 31},
                    Malformed{"command_too_long", [](Bytes& b) { b[14] = std::byte{17}; }, 31}),
    [](const auto& info) { return info.param.name; });

// --- data in pieces ---

TEST_F(BulkOnlyTest, DataMayCrossInAnyNumberOfTransfers) {
  take(wrapper(write_10(4), 2048, false));
  EXPECT_EQ(take(Bytes(512, std::byte{1})).actual, 512u);
  EXPECT_EQ(take(Bytes(1024, std::byte{2})).actual, 1024u);
  EXPECT_EQ(bulk_.stage(), Stage::data_out);
  EXPECT_EQ(take(Bytes(512, std::byte{3})).actual, 512u);
  EXPECT_EQ(status(), bot::status_passed);
  EXPECT_EQ(residue_, 0u);

  take(wrapper(read_10(4), 2048, true));
  give(1024);
  EXPECT_EQ(data_[511], std::byte{1});
  EXPECT_EQ(data_[512], std::byte{2});
  give(1024);
  EXPECT_EQ(data_[1023], std::byte{3});
  EXPECT_EQ(status(), bot::status_passed);
}

TEST_F(BulkOnlyTest, ShortPacketEndsTheHostsData) {
  take(wrapper(write_10(4), 2048, false));
  EXPECT_EQ(take(Bytes(700, std::byte{1})).actual, 700u);
  EXPECT_EQ(status(), bot::status_passed);
  EXPECT_EQ(residue_, 2048u - 700u);
}

TEST_F(BulkOnlyTest, HostSendsMoreThanItSaid) {
  take(wrapper(write_10(1), 512, false));
  const auto step = take(Bytes(1024, std::byte{1}));
  EXPECT_EQ(step.status, TransferStatus::stall);
  EXPECT_EQ(step.actual, 512u);
  EXPECT_TRUE(step.halt_out);
  EXPECT_EQ(status(), bot::status_passed);
}

TEST_F(BulkOnlyTest, StatusNeedsRoomAndIsKeptUntilTaken) {
  take(wrapper(kReady, 0, false));
  EXPECT_EQ(give(12).status, TransferStatus::overflow);
  EXPECT_EQ(status(), bot::status_passed);
}

TEST_F(BulkOnlyTest, StatusFitsALargerTransfer) {
  take(wrapper(kReady, 0, false));
  EXPECT_EQ(give(512).actual, bot::status_bytes);
}

TEST_F(BulkOnlyTest, FailedComparisonFailsTheCommand) {
  take(wrapper({0x2f, 2, 0, 0, 0, 0, 0, 0, 2, 0}, 1024, false));
  auto step = take(Bytes(512, std::byte{9}));  // the disk holds zeros
  EXPECT_TRUE(step.halt_out);                  // there is more to come
  EXPECT_EQ(status(), bot::status_failed);
  EXPECT_EQ(residue_, 1024u);
  EXPECT_EQ(disk_.sense(), sense::miscompare);
}

// --- faults ---

TEST_F(BulkOnlyTest, InjectedStallFailsTheCommand) {
  take(wrapper(read_10(1), 512, true));
  const auto step = bulk_.fault_stall();
  EXPECT_EQ(step.status, TransferStatus::stall);
  EXPECT_TRUE(step.halt_in);
  EXPECT_FALSE(step.halt_out);
  EXPECT_EQ(status(), bot::status_failed);
  EXPECT_EQ(residue_, 512u);
  EXPECT_EQ(disk_.sense(), sense::data_phase_error);
}

TEST_F(BulkOnlyTest, InjectedShortDataLeavesAResidue) {
  take(wrapper(read_10(4), 2048, true));
  bulk_.fault_half(2048);
  const auto step = give(2048);
  EXPECT_EQ(step.actual, 1024u);
  EXPECT_TRUE(step.halt_in);
  EXPECT_EQ(status(), bot::status_passed);
  EXPECT_EQ(residue_, 1024u);
}

// Whatever comes, each transfer moves no more than it has room for, and the transport never gets
// stuck other than by asking for a reset.
TEST_F(BulkOnlyTest, AnyTrafficIsAnswered) {
  uint32_t state = 7;
  const auto next = [&state](uint32_t below) {
    state = state * 1664525 + 1013904223;
    return (state >> 8) % below;
  };
  for (int i = 0; i < 50'000; ++i) {
    if (bulk_.stage() == Stage::reset_needed) bulk_.reset();
    if (bulk_.wants_out()) {
      Bytes data(next(4) * 256);
      if (bulk_.stage() == Stage::command) {
        std::vector<uint8_t> cdb = next(2) != 0 ? read_10(next(8)) : write_10(next(8));
        data = wrapper(cdb, next(8) * 256, next(2) != 0);
        if (next(10) == 0) data[next(31)] = std::byte(next(256));
      }
      const auto step = take(data);
      ASSERT_LE(step.actual, data.size());
    } else {
      const uint32_t length = next(4) * 256;
      ASSERT_LE(give(length).actual, length);
    }
  }
}

}  // namespace
}  // namespace farport
