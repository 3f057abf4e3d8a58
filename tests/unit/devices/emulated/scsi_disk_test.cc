// SCSI commands against the emulated disk's command processor, without USB.
#include "devices/emulated/scsi_disk.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace farport {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kBlocks = 1024;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ScsiDiskTest : public testing::Test {
 protected:
  ScsiDisk::Command begin(Bytes cdb, uint8_t unit = 0) { return disk_.begin(unit, cdb); }
  // Runs an IN command; its data.
  std::vector<std::byte> data_of(Bytes cdb, uint8_t unit = 0) {
    const auto command = begin(std::move(cdb), unit);
    EXPECT_TRUE(command.good);
    EXPECT_EQ(command.data, ScsiDisk::Data::in);
    std::vector<std::byte> data(command.length);
    EXPECT_TRUE(disk_.read(0, data));
    return data;
  }
  void write_block(uint8_t block, uint8_t fill) {
    const auto command = begin({0x2a, 0, 0, 0, 0, block, 0, 0, 1, 0});
    ASSERT_EQ(command.length, 512u);
    ASSERT_TRUE(disk_.write(0, std::vector<std::byte>(512, std::byte{fill})));
  }

  std::unique_ptr<DiskStorage> storage_ = *DiskStorage::in_memory(kBlocks * 512);
  ScsiDisk disk_{*storage_, false, "SERIAL0"};
};

struct Case {
  const char* name;
  Bytes cdb;
  ScsiDisk::Data data;
  uint64_t length;
  ScsiSense sense;
};

class ScsiCommandTest : public ScsiDiskTest, public testing::WithParamInterface<Case> {};

TEST_P(ScsiCommandTest, AnswersAsTheStandardSays) {
  const Case& expected = GetParam();
  const auto command = begin(expected.cdb);
  EXPECT_EQ(command.good, expected.sense == sense::none);
  EXPECT_EQ(command.data, expected.data);
  EXPECT_EQ(command.length, expected.length);
  EXPECT_EQ(disk_.sense(), expected.sense);
}

constexpr auto none = ScsiDisk::Data::none;
constexpr auto in = ScsiDisk::Data::in;
constexpr auto out = ScsiDisk::Data::out;

INSTANTIATE_TEST_SUITE_P(
    Commands, ScsiCommandTest,
    testing::Values(
        Case{"test_unit_ready", {0, 0, 0, 0, 0, 0}, none, 0, sense::none},
        Case{"inquiry", {0x12, 0, 0, 0, 96, 0}, in, 36, sense::none},
        Case{"inquiry_of_5_bytes", {0x12, 0, 0, 0, 5, 0}, in, 5, sense::none},
        Case{"inquiry_of_nothing", {0x12, 0, 0, 0, 0, 0}, none, 0, sense::none},
        Case{"inquiry_page_without_evpd", {0x12, 0, 0x80, 0, 96, 0}, none, 0, sense::invalid_field},
        Case{"inquiry_unknown_page", {0x12, 1, 0xc0, 0, 96, 0}, none, 0, sense::invalid_field},
        Case{"inquiry_block_limits", {0x12, 1, 0xb0, 0, 255, 0}, in, 64, sense::none},
        Case{"inquiry_characteristics", {0x12, 1, 0xb1, 0, 255, 0}, in, 64, sense::none},
        Case{"request_sense", {0x03, 0, 0, 0, 18, 0}, in, 18, sense::none},
        Case{"request_sense_descriptors", {0x03, 1, 0, 0, 18, 0}, none, 0, sense::invalid_field},
        Case{"mode_sense_6", {0x1a, 0, 0x08, 0, 192, 0}, in, 24, sense::none},
        Case{"mode_sense_6_all", {0x1a, 0, 0x3f, 0, 4, 0}, in, 4, sense::none},
        Case{"mode_sense_10", {0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 192, 0}, in, 28, sense::none},
        Case{"mode_sense_saved", {0x1a, 0, 0xc8, 0, 192, 0}, none, 0, sense::saving_not_supported},
        Case{"mode_sense_unknown_page", {0x1a, 0, 0x05, 0, 192, 0}, none, 0, sense::invalid_field},
        Case{"prevent", {0x1e, 0, 0, 0, 1, 0}, none, 0, sense::none},
        Case{"prevent_reserved", {0x1e, 0, 0, 0, 2, 0}, none, 0, sense::invalid_field},
        Case{"report_luns", {0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}, in, 16, sense::none},
        Case{"report_luns_too_short",
             {0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0},
             none,
             0,
             sense::invalid_field},
        Case{"format_capacities", {0x23, 0, 0, 0, 0, 0, 0, 0, 252, 0}, in, 12, sense::none},
        Case{"capacity_10", {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}, in, 8, sense::none},
        Case{"capacity_10_with_address",
             {0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0},
             none,
             0,
             sense::invalid_field},
        Case{"capacity_16",
             {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0},
             in,
             32,
             sense::none},
        Case{"service_action_unknown",
             {0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0},
             none,
             0,
             sense::invalid_field},
        Case{"read_6", {0x08, 0, 0, 2, 3, 0}, in, 3 * 512, sense::none},
        Case{"read_6_of_256", {0x08, 0, 0, 0, 0, 0}, in, 256 * 512, sense::none},
        Case{"read_6_high_address",
             {0x08, 0x1f, 0xff, 0xff, 1, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"write_6", {0x0a, 0, 0, 2, 1, 0}, out, 512, sense::none},
        Case{"read_10", {0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0}, in, 8 * 512, sense::none},
        Case{"read_10_last", {0x28, 0, 0, 0, 3, 255, 0, 0, 1, 0}, in, 512, sense::none},
        Case{"read_10_past_the_end",
             {0x28, 0, 0, 0, 3, 255, 0, 0, 2, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"read_10_of_nothing", {0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0}, none, 0, sense::none},
        Case{"read_10_of_nothing_at_the_end",
             {0x28, 0, 0, 0, 4, 0, 0, 0, 0, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"read_10_protected",
             {0x28, 0x20, 0, 0, 0, 0, 0, 0, 8, 0},
             none,
             0,
             sense::invalid_field},
        Case{"read_10_force_unit_access",
             {0x28, 0x08, 0, 0, 0, 0, 0, 0, 8, 0},
             in,
             8 * 512,
             sense::none},
        Case{"write_10", {0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0}, out, 8 * 512, sense::none},
        Case{"write_10_past_the_end",
             {0x2a, 0, 255, 255, 255, 255, 0, 0, 1, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"read_12", {0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}, in, 8 * 512, sense::none},
        Case{"read_12_overflow",
             {0xa8, 0, 0, 0, 0, 1, 255, 255, 255, 255, 0, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"write_12", {0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0}, out, 8 * 512, sense::none},
        Case{"read_16", {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}, in, 1024, sense::none},
        Case{"read_16_far",
             {0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 2, 0, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"write_16",
             {0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0},
             out,
             1024,
             sense::none},
        Case{"verify_10", {0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0}, none, 0, sense::none},
        Case{"verify_10_compare", {0x2f, 2, 0, 0, 0, 0, 0, 0, 8, 0}, out, 8 * 512, sense::none},
        Case{"verify_10_past_the_end",
             {0x2f, 0, 0, 0, 4, 0, 0, 0, 8, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"synchronize_10", {0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, none, 0, sense::none},
        Case{"synchronize_16",
             {0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
             none,
             0,
             sense::none},
        Case{"synchronize_past_the_end",
             {0x35, 0, 0, 0, 4, 0, 0, 0, 1, 0},
             none,
             0,
             sense::block_out_of_range},
        Case{"unknown", {0xff, 0, 0, 0, 0, 0}, none, 0, sense::invalid_command},
        Case{"mode_select", {0x15, 0x10, 0, 0, 24, 0}, none, 0, sense::invalid_command},
        Case{"too_short_for_its_opcode", {0x28, 0, 0, 0, 0, 0}, none, 0, sense::invalid_field}),
    [](const auto& info) { return info.param.name; });

TEST_F(ScsiDiskTest, InquiryNamesTheDisk) {
  const auto data = data_of({0x12, 0, 0, 0, 36, 0});
  EXPECT_EQ(data[0], std::byte{0});
  EXPECT_EQ(text_of(std::span(data).subspan(8, 8)), "FARPORT ");
  EXPECT_EQ(text_of(std::span(data).subspan(16, 16)), "EMULATED DISK   ");
}

TEST_F(ScsiDiskTest, VitalPagesCarryTheSerialNumber) {
  const auto pages = data_of({0x12, 1, 0x00, 0, 255, 0});
  ASSERT_EQ(pages.size(), 9u);
  for (size_t i = 4; i < pages.size(); ++i) {
    const auto page = data_of({0x12, 1, static_cast<uint8_t>(pages[i]), 0, 255, 0});
    EXPECT_EQ(page[1], pages[i]);
    EXPECT_EQ(page.size(), 4u + static_cast<uint8_t>(page[3]));
  }
  EXPECT_EQ(text_of(data_of({0x12, 1, 0x80, 0, 255, 0})).substr(4), "SERIAL0");
  const auto names = text_of(data_of({0x12, 1, 0x83, 0, 255, 0}));
  EXPECT_NE(names.find("FARPORT EMULATED DISK   SERIAL0"), std::string::npos);
}

TEST_F(ScsiDiskTest, CapacityIsTheLastBlock) {
  const auto ten = data_of({0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  const uint8_t expected[] = {0, 0, 3, 255, 0, 0, 2, 0};
  EXPECT_EQ(std::memcmp(ten.data(), expected, 8), 0);
  const auto sixteen = data_of({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0});
  const uint8_t longer[] = {0, 0, 0, 0, 0, 0, 3, 255, 0, 0, 2, 0};
  EXPECT_EQ(std::memcmp(sixteen.data(), longer, 12), 0);
}

// A disk of 4 TiB: READ CAPACITY (10) says "ask the longer form".
TEST(ScsiLargeDiskTest, CapacityOfALargeDisk) {
  auto storage = DiskStorage::in_memory(4ull << 40);
  if (!storage)
    GTEST_SKIP() << "cannot reserve 4 TiB of address space: " << storage.error().message;
  ScsiDisk disk(**storage, false, "BIG");
  const Bytes cdb{0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  std::vector<std::byte> data(disk.begin(0, cdb).length);
  ASSERT_TRUE(disk.read(0, data));
  EXPECT_EQ(data[0], std::byte{0xff});
  EXPECT_EQ(data[3], std::byte{0xff});
  const Bytes far{0x88, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0};
  EXPECT_EQ(disk.begin(0, far).length, 512u);
}

TEST_F(ScsiDiskTest, SenseIsGivenOnceAndClearedByTheNextCommand) {
  EXPECT_FALSE(begin({0xff, 0, 0, 0, 0, 0}).good);
  auto sense = data_of({0x03, 0, 0, 0, 18, 0});
  EXPECT_EQ(sense[0], std::byte{0x70});
  EXPECT_EQ(sense[2], std::byte{0x05});
  EXPECT_EQ(sense[12], std::byte{0x20});
  sense = data_of({0x03, 0, 0, 0, 18, 0});
  EXPECT_EQ(sense[2], std::byte{0});

  EXPECT_FALSE(begin({0xff, 0, 0, 0, 0, 0}).good);
  EXPECT_TRUE(begin({0, 0, 0, 0, 0, 0}).good);
  EXPECT_EQ(disk_.sense(), sense::none);
}

TEST_F(ScsiDiskTest, StoppedUnitRefusesTheMediumOnly) {
  EXPECT_TRUE(begin({0x1b, 0, 0, 0, 0, 0}).good);
  EXPECT_FALSE(begin({0, 0, 0, 0, 0, 0}).good);
  EXPECT_EQ(disk_.sense(), sense::stopped);
  EXPECT_FALSE(begin({0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0}).good);
  EXPECT_TRUE(begin({0x12, 0, 0, 0, 36, 0}).good);
  EXPECT_TRUE(begin({0x1b, 0, 0, 0, 1, 0}).good);
  EXPECT_TRUE(begin({0, 0, 0, 0, 0, 0}).good);
}

TEST_F(ScsiDiskTest, UnitsThatDoNotExist) {
  EXPECT_EQ(data_of({0x12, 0, 0, 0, 36, 0}, 1)[0], std::byte{0x7f});
  EXPECT_FALSE(begin({0, 0, 0, 0, 0, 0}, 1).good);
  EXPECT_EQ(disk_.sense(), sense::unit_not_supported);
  const auto sense = data_of({0x03, 0, 0, 0, 18, 0}, 3);
  EXPECT_EQ(sense[12], std::byte{0x25});
}

TEST_F(ScsiDiskTest, ReadsWhatWasWrittenInPieces) {
  write_block(7, 0xa5);
  EXPECT_EQ(begin({0x28, 0, 0, 0, 0, 6, 0, 0, 3, 0}).length, 1536u);
  std::vector<std::byte> data(1536);
  for (size_t at = 0; at < data.size(); at += 100) {
    const size_t count = std::min<size_t>(100, data.size() - at);
    ASSERT_TRUE(disk_.read(at, std::span(data).subspan(at, count)));
  }
  EXPECT_EQ(data[511], std::byte{0});
  EXPECT_EQ(data[512], std::byte{0xa5});
  EXPECT_EQ(data[1023], std::byte{0xa5});
  EXPECT_EQ(data[1024], std::byte{0});
}

TEST_F(ScsiDiskTest, VerifyCompares) {
  write_block(7, 0xa5);
  const Bytes verify{0x2f, 2, 0, 0, 0, 7, 0, 0, 1, 0};
  begin(verify);
  EXPECT_TRUE(disk_.write(0, std::vector<std::byte>(512, std::byte{0xa5})));
  begin(verify);
  EXPECT_FALSE(disk_.write(0, std::vector<std::byte>(512, std::byte{0xa6})));
  EXPECT_EQ(disk_.sense(), sense::miscompare);
}

TEST_F(ScsiDiskTest, ReadOnlyDiskIsWriteProtected) {
  ScsiDisk disk(*storage_, true, "RO");
  const Bytes write{0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  EXPECT_FALSE(disk.begin(0, write).good);
  EXPECT_EQ(disk.sense(), sense::write_protected);
  const Bytes mode{0x1a, 0, 0x3f, 0, 192, 0};
  std::vector<std::byte> data(disk.begin(0, mode).length);
  ASSERT_TRUE(disk.read(0, data));
  EXPECT_EQ(data[2] & std::byte{0x80}, std::byte{0x80});
}

// Whatever bytes come as a command, the answer stays within the disk and the reply.
TEST_F(ScsiDiskTest, AnyCommandIsAnswered) {
  uint32_t state = 1;
  const auto next = [&state] {
    return static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  };
  for (int i = 0; i < 200'000; ++i) {
    Bytes cdb(1 + next() % 16);
    for (uint8_t& b : cdb) b = next() % 4 == 0 ? next() : 0;
    cdb[0] = next();
    const auto command = begin(cdb, next() % 3);
    ASSERT_LE(command.length, kBlocks * 512);
    ASSERT_EQ(command.length == 0, command.data == ScsiDisk::Data::none);
    std::vector<std::byte> data(std::min<uint64_t>(command.length, 2048));
    if (command.data == ScsiDisk::Data::in) disk_.read(command.length - data.size(), data);
  }
}

}  // namespace
}  // namespace farport
