#include "devices/usbip/iso_packets.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "devices/usbip/protocol.h"

namespace farport::usbip {
namespace {

class IsoPackets : public testing::Test {
 protected:
  Transfer make(uint8_t endpoint, uint32_t length, uint16_t packets) {
    Transfer transfer;
    transfer.type = TransferType::isochronous;
    transfer.endpoint = endpoint;
    transfer.length = length;
    transfer.packet_count = packets;
    transfer.buffer = pool_.allocate(Transfer::headroom_bytes + packets * 16 + length);
    for (uint32_t i = 0; i < length; ++i) transfer.data()[i] = static_cast<std::byte>(i);
    return transfer;
  }
  static void put(Transfer& transfer, std::initializer_list<IsoDescriptor> descriptors) {
    size_t i = 0;
    for (const IsoDescriptor& descriptor : descriptors) {
      const auto bytes = encode_iso(descriptor);
      std::memcpy(&transfer.packets()[i++], &bytes, sizeof bytes);
    }
  }
  static IsoDescriptor get(const void* from) {
    wire::IsoDescriptor bytes;
    std::memcpy(&bytes, from, sizeof bytes);
    return decode_iso(bytes);
  }
  BufferPool pool_{1 << 20};
};

TEST_F(IsoPackets, RequestBecomesOurTable) {
  Transfer transfer = make(0x81, 30, 3);
  put(transfer, {{0, 10, 99, 0}, {10, 0, 0, 0}, {10, 20, 0, 0}});
  ASSERT_TRUE(take_iso_request(transfer));
  EXPECT_EQ(transfer.packets()[0].length, 10u);
  EXPECT_EQ(transfer.packets()[0].actual, 0u);
  EXPECT_EQ(transfer.packets()[1].length, 0u);
  EXPECT_EQ(transfer.packets()[2].length, 20u);
  EXPECT_EQ(transfer.length, 30u);
}

TEST_F(IsoPackets, OutDataWithGapsIsMovedTogether) {
  Transfer transfer = make(0x01, 30, 2);
  put(transfer, {{5, 3, 0, 0}, {20, 4, 0, 0}});
  ASSERT_TRUE(take_iso_request(transfer));
  EXPECT_EQ(transfer.length, 7u);
  const uint8_t expected[] = {5, 6, 7, 20, 21, 22, 23};
  EXPECT_EQ(std::memcmp(transfer.data().data(), expected, 7), 0);
}

TEST_F(IsoPackets, TablesThatDoNotFitAreRefused) {
  const auto refused = [&](uint8_t endpoint, std::initializer_list<IsoDescriptor> table) {
    Transfer transfer = make(endpoint, 30, static_cast<uint16_t>(table.size()));
    put(transfer, table);
    return !take_iso_request(transfer);
  };
  EXPECT_TRUE(refused(0x81, {{0, 31, 0, 0}}));
  EXPECT_TRUE(refused(0x01, {{0, 10, 0, 0}, {9, 10, 0, 0}}));    // overlap
  EXPECT_TRUE(refused(0x01, {{0xffffffff, 0xffffffff, 0, 0}}));  // past 4 GiB
  EXPECT_TRUE(refused(0x01, {{20, 1, 0, 0}, {0, 1, 0, 0}}));     // backwards
  EXPECT_TRUE(refused(0x81, {{0, 10, 0, 0}, {11, 10, 0, 0}}));   // IN with a gap
  EXPECT_FALSE(refused(0x81, {{0, 10, 0, 0}, {10, 10, 0, 0}}));
}

TEST_F(IsoPackets, ReplyAddsUpAndKeepsTheRequestsPlaces) {
  Transfer transfer = make(0x81, 30, 3);
  transfer.packets()[0] = {10, 4, 0, 0};
  transfer.packets()[1] = {10, 0, static_cast<uint32_t>(TransferStatus::late), 0};
  transfer.packets()[2] = {10, 10, 0, 0};
  transfer.actual = 14;
  const IsoTotals totals = put_iso_reply(transfer);
  EXPECT_TRUE(totals.consistent);
  EXPECT_EQ(totals.actual, 14u);
  EXPECT_EQ(totals.error_count, 1u);
  const IsoDescriptor second = get(&transfer.packets()[1]);
  EXPECT_EQ(second.offset, 10u);
  EXPECT_EQ(second.length, 10u);
  EXPECT_EQ(second.status, -EXDEV);
  EXPECT_EQ(get(&transfer.packets()[2]).offset, 20u);
  EXPECT_EQ(get(&transfer.packets()[2]).actual, 10u);
}

// The kernel kills a link whose packets do not sum to actual_length (FACTS.md, trap 3).
TEST_F(IsoPackets, ContradictionsOfTheDeviceBecomeZeroes) {
  struct Case {
    uint32_t first, second, actual;
  };
  for (const Case& each :
       std::initializer_list<Case>{{4, 4, 9}, {11, 4, 15}, {0xffffffff, 1, 0}, {4, 4, 0}}) {
    Transfer transfer = make(0x81, 20, 2);
    transfer.packets()[0] = {10, each.first, 0, 0};
    transfer.packets()[1] = {10, each.second, 0, 0};
    transfer.actual = each.actual;
    const IsoTotals totals = put_iso_reply(transfer);
    EXPECT_FALSE(totals.consistent);
    EXPECT_EQ(totals.actual, 0u);
    EXPECT_EQ(get(&transfer.packets()[0]).actual + get(&transfer.packets()[1]).actual, 0u);
  }
}

TEST_F(IsoPackets, ClientsRequestAndReplyMeetTheServers) {
  Transfer transfer = make(0x81, 30, 2);
  transfer.packets()[0] = {10, 0, 0, 0};
  transfer.packets()[1] = {20, 0, 0, 0};
  std::array<std::byte, 32> table;
  ASSERT_TRUE(put_iso_request(transfer, table));
  EXPECT_EQ(get(table.data() + 16).offset, 10u);

  Transfer at_server = make(0x81, 30, 2);
  std::memcpy(at_server.packets().data(), table.data(), 32);
  ASSERT_TRUE(take_iso_request(at_server));
  at_server.packets()[0].actual = 3;
  at_server.packets()[1].actual = 20;
  at_server.packets()[1].status = static_cast<uint32_t>(TransferStatus::overflow);
  at_server.actual = 23;
  put_iso_reply(at_server);
  std::memcpy(table.data(), at_server.packets().data(), 32);
  ASSERT_TRUE(take_iso_reply(transfer, table, 23));
  EXPECT_EQ(transfer.packets()[0].actual, 3u);
  EXPECT_EQ(transfer.packets()[1].status, static_cast<uint32_t>(TransferStatus::overflow));
  EXPECT_FALSE(take_iso_reply(transfer, table, 22));
}

TEST_F(IsoPackets, ClientDoesNotSendOrTakeWhatDoesNotFit) {
  Transfer transfer = make(0x01, 30, 2);
  std::array<std::byte, 32> table{};
  transfer.packets()[0] = {20, 0, 0, 0};
  transfer.packets()[1] = {11, 0, 0, 0};
  EXPECT_FALSE(put_iso_request(transfer, table));
  transfer.packets()[1].length = 10;
  EXPECT_TRUE(put_iso_request(transfer, table));
  const auto too_much = encode_iso({0, 20, 21, 0});
  std::memcpy(table.data(), &too_much, 16);
  EXPECT_FALSE(take_iso_reply(transfer, table, 21));
}

}  // namespace
}  // namespace farport::usbip
