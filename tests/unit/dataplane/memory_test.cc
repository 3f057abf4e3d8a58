// Buffers and the table of transfers: classes, bounds, generations, nothing lost.
#include <gtest/gtest.h>

#include <cstring>

#include "dataplane/buffer.h"
#include "dataplane/limits.h"
#include "dataplane/transfer_table.h"

namespace farport {
namespace {

TEST(BufferPool, GivesPowersOfTwoAlignedToACacheLine) {
  BufferPool pool(1 << 30);
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{512}, size_t{513}, size_t{65536},
                             size_t{65537}, size_t{1} << 24, (size_t{1} << 24) + 1}) {
    Buffer buffer = pool.allocate(bytes);
    ASSERT_TRUE(buffer) << bytes;
    EXPECT_GE(buffer.capacity(), bytes);
    EXPECT_LT(buffer.capacity() / 2, std::max<size_t>(bytes, 512));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
    std::memset(buffer.data(), 0xa5, buffer.capacity());
  }
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPool, ReusesWhatCameBack) {
  BufferPool pool(1 << 20);
  Buffer first = pool.allocate(1000);
  const std::byte* memory = first.data();
  first.reset();
  EXPECT_EQ(pool.allocate(900).data(), memory);
}

TEST(BufferPool, RefusesPastItsBoundAndPastTheLargestClass) {
  BufferPool pool(4096);
  Buffer held = pool.allocate(4096);
  ASSERT_TRUE(held);
  EXPECT_FALSE(pool.allocate(1));
  held.reset();
  EXPECT_TRUE(pool.allocate(1));
  EXPECT_FALSE(BufferPool(1ull << 40).allocate((size_t{1} << 25) + 1));
}

TEST(BufferPool, KeepsOnlySoManyLargeBlocks) {
  BufferPool pool(1ull << 30);
  std::vector<Buffer> held;
  for (int i = 0; i < 10; ++i) held.push_back(pool.allocate(16 << 20));
  held.clear();
  EXPECT_LE(pool.bytes_cached(), 64u << 20);
}

TEST(TransferTable, NamesEachUseOfASlotAnew) {
  BufferPool pool(1 << 30);
  TransferTable table(pool);
  Transfer* first = table.allocate(64, 0);
  const uint32_t id = first->channel.id;
  EXPECT_EQ(table.find(id), first);
  table.release(*first);
  EXPECT_EQ(table.find(id), nullptr);
  Transfer* second = table.allocate(64, 0);
  EXPECT_EQ(second, first);
  EXPECT_NE(second->channel.id, id);
  table.release(*second);
}

TEST(TransferTable, FollowsAPeersNumbering) {
  BufferPool pool(1 << 30);
  TransferTable table(pool);
  Transfer* taken = table.allocate_as(0x0003'0007, 10, 0);
  ASSERT_NE(taken, nullptr);
  EXPECT_EQ(table.find(0x0003'0007), taken);
  EXPECT_EQ(table.find(0x0002'0007), nullptr) << "another generation";
  EXPECT_EQ(table.allocate_as(0x0004'0007, 10, 0), nullptr) << "the slot is taken";
  EXPECT_EQ(table.allocate_as(limits::transfers_per_channel_max, 10, 0), nullptr);
  table.release(*taken);
  EXPECT_NE(table.allocate_as(0x0004'0007, 10, 0), nullptr);
}

TEST(TransferTable, StopsAtItsLimit) {
  BufferPool pool(1ull << 30);
  TransferTable table(pool);
  for (uint32_t i = 0; i < limits::transfers_per_channel_max; ++i) {
    ASSERT_NE(table.allocate(0, 0), nullptr);
  }
  EXPECT_EQ(table.allocate(0, 0), nullptr);
}

TEST(Transfer, LaysOutHeadroomTableAndData) {
  BufferPool pool(1 << 20);
  TransferTable table(pool);
  Transfer* transfer = table.allocate(100, 4);
  const std::byte* base = transfer->buffer.data();
  EXPECT_EQ(reinterpret_cast<std::byte*>(transfer->packets().data()), base + 16);
  EXPECT_EQ(transfer->data().data(), base + 16 + 4 * 16);
  EXPECT_EQ(transfer->data().size(), 100u);
  EXPECT_EQ(transfer->setup_space(), base + 8);
  table.release(*transfer);
}

}  // namespace
}  // namespace farport
