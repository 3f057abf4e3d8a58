// When faults strike: by count, by chance from a seed, by order.
#include <gtest/gtest.h>

#include <vector>

#include "devices/emulated/fault_source.h"

namespace farport {
namespace {

std::vector<int> strikes(const std::vector<EmulatedFault>& faults, uint64_t seed, int transfers) {
  FaultOrders orders;
  FaultSource source(faults, seed, orders);
  std::vector<int> struck;
  for (int i = 1; i <= transfers; ++i) {
    if (source.next()) struck.push_back(i);
  }
  return struck;
}

TEST(FaultSourceTest, NothingByDefault) { EXPECT_TRUE(strikes({}, 1, 1000).empty()); }

TEST(FaultSourceTest, ByCount) {
  EXPECT_EQ(strikes({{.every = 3}}, 1, 10), (std::vector<int>{3, 6, 9}));
  EXPECT_EQ(strikes({{.every = 3, .times_max = 2}}, 1, 100), (std::vector<int>{3, 6}));
}

TEST(FaultSourceTest, ByChanceFromTheSeed) {
  const std::vector<EmulatedFault> faults{{.probability = 0.1}};
  const auto first = strikes(faults, 42, 10'000);
  EXPECT_EQ(first, strikes(faults, 42, 10'000));
  EXPECT_NE(first, strikes(faults, 43, 10'000));
  // Six standard deviations on either side.
  EXPECT_GT(first.size(), 820u);
  EXPECT_LT(first.size(), 1180u);
  EXPECT_EQ(strikes({{.probability = 1}}, 1, 5).size(), 5u);
}

TEST(FaultSourceTest, FirstRuleWinsAndTheOthersStayInStep) {
  FaultOrders orders;
  const std::vector<EmulatedFault> faults{{.kind = FaultKind::stall, .every = 4},
                                          {.kind = FaultKind::late, .every = 2}};
  FaultSource source(faults, 1, orders);
  std::vector<FaultKind> kinds;
  for (int i = 0; i < 4; ++i) {
    if (const auto kind = source.next()) kinds.push_back(*kind);
  }
  EXPECT_EQ(kinds, (std::vector<FaultKind>{FaultKind::late, FaultKind::stall}));
}

TEST(FaultSourceTest, ByOrder) {
  FaultOrders orders;
  FaultSource source({}, 1, orders);
  EXPECT_FALSE(source.next());
  orders.add(FaultKind::late, 2);
  orders.add(FaultKind::stall);
  EXPECT_EQ(source.next(), FaultKind::stall);
  EXPECT_EQ(source.next(), FaultKind::late);
  EXPECT_EQ(source.next(), FaultKind::late);
  EXPECT_FALSE(source.next());
  EXPECT_FALSE(orders.waiting());
}

}  // namespace
}  // namespace farport
