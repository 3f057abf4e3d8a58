#include "drivers/ahead/stream_clock.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace farport {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(StreamClock, DueTimesFollowEachOtherAtTheInterval) {
  StreamClock clock(kMs);
  clock.start(100 * kMs);
  EXPECT_FALSE(clock.measured());
  EXPECT_EQ(clock.due_ns(0), 100 * kMs);
  EXPECT_EQ(clock.due_ns(8), 108 * kMs);
  clock.shift(5 * kMs);
  EXPECT_EQ(clock.due_ns(8), 113 * kMs);
}

struct Delays {
  const char* what;
  std::vector<uint64_t> ms;  // of results of 8 packets each, repeated to fill the window
  uint64_t base_ms, jitter_ms;
};

TEST(StreamClock, BaseIsTheLeastDelayAndJitterNearlyTheMost) {
  for (const Delays& is : {Delays{"one", {20}, 20, 0}, Delays{"steady", {20, 20, 20}, 20, 0},
                           Delays{"two of three late", {20, 25, 30}, 20, 10},
                           Delays{"sooner later on", {30, 20}, 20, 10}}) {
    StreamClock clock(kMs);
    clock.start(0);
    for (uint64_t i = 0; i < is.ms.size(); ++i) {
      const uint64_t packets = (i + 1) * 8;
      clock.arrived(packets, (packets + is.ms[i]) * kMs);
    }
    EXPECT_EQ(clock.base_ns(), int64_t(is.base_ms * kMs)) << is.what;
    EXPECT_EQ(clock.jitter_ns(), is.jitter_ms * kMs) << is.what;
  }
}

TEST(StreamClock, RareOutliersAreNotJitterAndOldOnesAreForgotten) {
  StreamClock clock(kMs);
  clock.start(0);
  uint64_t packets = 0;
  const auto arrive = [&](uint64_t delay_ms, size_t times) {
    for (size_t i = 0; i < times; ++i) {
      packets += 8;
      clock.arrived(packets, (packets + delay_ms) * kMs);
    }
  };
  arrive(20, 126);
  arrive(500, 2);
  EXPECT_EQ(clock.jitter_ns(), 0u);
  arrive(500, 2);
  EXPECT_EQ(clock.jitter_ns(), 480 * kMs);
  arrive(20, StreamClock::window);
  EXPECT_EQ(clock.jitter_ns(), 0u);
}

TEST(StreamClock, SteersNoFasterThanItsShare) {
  StreamClock clock(kMs);
  clock.start(0);
  clock.steer(1'000 * int64_t(kMs), 64);
  EXPECT_EQ(clock.offset_ns(), int64_t(kMs));
  clock.steer(-1'000 * int64_t(kMs), 128);
  EXPECT_EQ(clock.offset_ns(), -int64_t(kMs));
  clock.steer(-int64_t(kMs) - 5, 64);
  EXPECT_EQ(clock.offset_ns(), -int64_t(kMs) - 5) << "not past where it is to go";
}

class StreamClockProperty : public testing::TestWithParam<uint32_t> {};

// A device whose clock is off by up to 500 ppm, behind any jitter: what is due never runs
// backwards, and stays within the jitter of what comes.
TEST_P(StreamClockProperty, FollowsADriftingDevice) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  std::mt19937 random(GetParam());
  const double drift = 1.0 + (double(random() % 1001) - 500) / 1e6;
  const uint64_t jitter = random() % (20 * kMs) + 1;
  const uint64_t start = kMs * (random() % 1'000'000);
  StreamClock clock(kMs);
  clock.start(start);
  uint64_t due = 0;
  for (uint64_t packets = 8; packets < 80'000; packets += 8) {
    const auto sent = start + uint64_t(double(packets * kMs) * drift) + 10 * kMs;
    clock.arrived(packets, sent + random() % jitter);
    clock.steer(clock.base_ns() + int64_t(clock.jitter_ns()), 8);
    ASSERT_GE(clock.due_ns(packets), due);
    due = clock.due_ns(packets);
    ASSERT_LE(clock.jitter_ns(), jitter + 2 * kMs);
    if (packets < 20'000) continue;
    ASSERT_LE(due, sent + jitter + 2 * kMs);
    ASSERT_GE(due + 2 * kMs, sent);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StreamClockProperty, testing::Range(1u, 31u));

}  // namespace
}  // namespace farport
