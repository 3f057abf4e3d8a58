#include "bench/selection.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/limits.h"

namespace farport::bench {
namespace {

TEST(ParseSize, TakesBytesAndBinaryMultiples) {
  EXPECT_EQ(parse_size("64"), 64u);
  EXPECT_EQ(parse_size("4K"), 4096u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("1M"), 1u << 20);
  EXPECT_EQ(parse_size("16M"), limits::transfer_bytes_max);
}

TEST(ParseSize, RefusesWhatIsNoSizeOrNoTransfer) {
  for (const char* text : {"", "0", "0K", "-1", "K", "4G", "4 K", "4kb", "17M", "16777217", "1.5K",
                           "99999999999999999999", "18014398509481985K"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_EQ(size.error().code, ErrorCode::usage) << text;
    EXPECT_NE(size.error().message.find(text), std::string::npos) << size.error().message;
  }
}

TEST(ParseDepth, TakesOneToTheMostAChannelHolds) {
  EXPECT_EQ(parse_depth("1"), 1u);
  EXPECT_EQ(parse_depth("4096"), limits::transfers_per_channel_max);
  for (const char* text : {"", "0", "4097", "x", "1x", "-1"}) {
    EXPECT_FALSE(parse_depth(text).has_value()) << text;
  }
}

TEST(Loads, WithoutASelectionAreTheQuickTableBothWaysOfWaiting) {
  const auto loads = loads_of({});
  ASSERT_TRUE(loads.has_value());
  const auto has = [&](uint32_t size, uint32_t depth, Wait wait) {
    return std::any_of(loads->begin(), loads->end(), [&](const Load& one) {
      return one.size == size && one.depth == depth && one.wait == wait &&
             one.link == LinkKind::loopback;
    });
  };
  for (const Wait wait : {Wait::sleep, Wait::spin}) {
    EXPECT_TRUE(has(64, 1, wait));
    EXPECT_TRUE(has(64, 64, wait));
    EXPECT_TRUE(has(64 * 1024, 16, wait));
  }
}

TEST(Loads, WithAndWithoutTls) {
  Selection selection;
  selection.sizes = {"64"};
  selection.depths = {"1"};
  ASSERT_EQ(loads_of(selection)->size(), 1u);
  EXPECT_FALSE(loads_of(selection)->front().tls);
  selection.tls = {"off", "on"};
  const auto loads = loads_of(selection);
  ASSERT_EQ(loads->size(), 2u);
  EXPECT_TRUE(loads->back().tls);
  selection.tls = {"maybe"};
  EXPECT_FALSE(loads_of(selection));
}

TEST(Loads, AreEveryCombinationOfWhatIsSelected) {
  Selection selection;
  selection.sizes = {"64", "1K"};
  selection.depths = {"1", "2", "3"};
  selection.kinds = {"bulk", "interrupt"};
  selection.directions = {"in", "out"};
  selection.links = {"loopback", "netns"};
  selection.waits = {"spin"};
  selection.seconds = 2;
  const auto loads = loads_of(selection);
  ASSERT_TRUE(loads.has_value());
  EXPECT_EQ(loads->size(), 2u * 3 * 2 * 2 * 2);
  for (const Load& load : *loads) {
    EXPECT_EQ(load.wait, Wait::spin);
    EXPECT_EQ(load.seconds, 2);
  }
}

TEST(Loads, LeaveOutWhatOneChannelMayNotHaveInFlight) {
  Selection selection;
  selection.sizes = {"1M"};
  selection.depths = {"16", "17"};
  const auto loads = loads_of(selection);
  ASSERT_TRUE(loads.has_value());
  ASSERT_EQ(loads->size(), 1u);
  EXPECT_EQ(loads->front().depth, 16u);
  selection.depths = {"17"};
  const auto none = loads_of(selection);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, ErrorCode::usage);
}

TEST(Loads, FullGoesFrom64BytesTo1MiB) {
  Selection selection;
  selection.full = true;
  const auto loads = loads_of(selection);
  ASSERT_TRUE(loads.has_value());
  const auto [least, most] = std::minmax_element(
      loads->begin(), loads->end(), [](const Load& a, const Load& b) { return a.size < b.size; });
  EXPECT_EQ(least->size, 64u);
  EXPECT_EQ(most->size, 1u << 20);
}

TEST(Loads, RefuseUnknownWords) {
  for (auto field : {&Selection::links, &Selection::kinds, &Selection::directions,
                     &Selection::waits, &Selection::sizes, &Selection::depths}) {
    Selection selection;
    selection.*field = {"sideways"};
    const auto loads = loads_of(selection);
    ASSERT_FALSE(loads.has_value());
    EXPECT_EQ(loads.error().code, ErrorCode::usage);
    EXPECT_NE(loads.error().message.find("sideways"), std::string::npos);
  }
}

}  // namespace
}  // namespace farport::bench
