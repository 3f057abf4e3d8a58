// A worker's clock against a kernel's clock and a counter that do what the test says.
#include "dataplane/worker_clock.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace farport::test {
namespace {

constexpr uint64_t kMs = 1'000'000;

class ScriptedClock final : public ClockSource {
 public:
  uint64_t kernel_ns() override {
    ++looks;
    now += look_ns;
    return now;
  }
  uint64_t counter() override {
    if (ticks_per_ns == 0) return 0;
    return 1'000'000 + ahead +
           static_cast<uint64_t>(static_cast<double>(now - rate_since) * ticks_per_ns) +
           ticks_before;
  }
  void set_rate(double rate) {
    ticks_before += static_cast<uint64_t>(static_cast<double>(now - rate_since) * ticks_per_ns);
    rate_since = now;
    ticks_per_ns = rate;
  }

  uint64_t now = 5'000 * kMs;
  uint64_t look_ns = 1'000;  // what a look takes
  double ticks_per_ns = 2.6;
  uint64_t ahead = 0;
  uint64_t rate_since = 0;
  uint64_t ticks_before = 0;
  uint64_t looks = 0;
};

class WorkerClockTest : public testing::Test {
 protected:
  static constexpr uint64_t step_ns_ = 10'000;

  // Asks every 10 us for `ms`, and holds each answer against the kernel's time.
  void ask(uint64_t ms) {
    const uint64_t until = source_.now + ms * kMs;
    while (source_.now < until) {
      source_.now += step_ns_;
      const uint64_t before = source_.now;
      const uint64_t told = clock_.now_ns();
      ASSERT_GE(told, last_);
      worst_behind_ = std::max(worst_behind_, told < before ? before - told : 0);
      worst_ahead_ = std::max(worst_ahead_, told > source_.now ? told - source_.now : 0);
      last_ = told;
    }
  }
  void forget() { worst_behind_ = worst_ahead_ = source_.looks = 0; }

  ScriptedClock source_;
  WorkerClock clock_{source_};
  uint64_t last_ = 0;
  uint64_t worst_behind_ = 0;
  uint64_t worst_ahead_ = 0;
};

TEST(WorkerClock, ACheapKernelClockIsAskedEachTime) {
  ScriptedClock source;
  source.look_ns = 20;
  WorkerClock clock(source);
  EXPECT_FALSE(clock.counts());
  source.looks = 0;
  for (int i = 0; i < 100; ++i) {
    const uint64_t told = clock.now_ns();
    EXPECT_EQ(told, source.now);
  }
  EXPECT_EQ(source.looks, 100u);
}

TEST(WorkerClock, WithoutACounterTheKernelIsAskedEachTime) {
  ScriptedClock source;
  source.ticks_per_ns = 0;
  WorkerClock clock(source);
  EXPECT_FALSE(clock.counts());
  EXPECT_EQ(clock.now_ns(), source.now);
}

TEST_F(WorkerClockTest, ADearKernelClockIsAskedNowAndThen) {
  EXPECT_TRUE(clock_.counts());
  ask(250);  // until two stretches have agreed
  forget();
  ask(1000);
  EXPECT_LE(source_.looks, 1000 * kMs / WorkerClock::trusted_ns + 1);
  EXPECT_GE(source_.looks, 400u);
  EXPECT_EQ(worst_ahead_, 0u);
  EXPECT_LE(worst_behind_, WorkerClock::lag_ns_max + source_.look_ns);
}

TEST_F(WorkerClockTest, AfterALongSleepTheKernelIsAsked) {
  ask(250);
  source_.now += 3'600'000 * kMs;
  const uint64_t told = clock_.now_ns();
  EXPECT_EQ(told, source_.now);
  ask(500);
  EXPECT_EQ(worst_ahead_, 0u);
}

// A guest moved to another host, cores whose counters differ.
TEST_F(WorkerClockTest, ACounterThatJumpsIsFoundOut) {
  ask(250);
  const auto jump = static_cast<uint64_t>(1.0 * kMs * source_.ticks_per_ns);
  for (const uint64_t to : {jump, uint64_t{0}, 1000 * jump, uint64_t{0} - jump, uint64_t{0}}) {
    source_.ahead = to;
    forget();
    ask(1000);
    EXPECT_LE(worst_ahead_, WorkerClock::trusted_ns);
    EXPECT_LE(worst_behind_, WorkerClock::trusted_ns);
    forget();
    ask(100);  // and is believed again, or the kernel asked
    EXPECT_EQ(worst_ahead_, 0u);
    EXPECT_LE(worst_behind_, WorkerClock::lag_ns_max + source_.look_ns);
  }
}

TEST_F(WorkerClockTest, ACounterOfAnotherRateIsGaugedAnew) {
  ask(250);
  for (const double rate : {1.3, 5.2, 0.001, 2.6}) {
    source_.set_rate(rate);
    forget();
    ask(1000);
    EXPECT_LE(worst_ahead_, WorkerClock::trusted_ns) << rate;
    // Slower: until the counter says that enough has passed, or enough was asked.
    EXPECT_LE(worst_behind_, WorkerClock::answers_per_look_max * step_ns_) << rate;
    forget();
    ask(500);
    EXPECT_EQ(worst_ahead_, 0u) << rate;
    EXPECT_LE(worst_behind_, WorkerClock::lag_ns_max + source_.look_ns) << rate;
  }
}

TEST_F(WorkerClockTest, ACounterThatStandsIsFoundOut) {
  ask(250);
  source_.set_rate(1e-9);
  forget();
  ask(1000);
  EXPECT_LE(worst_behind_, WorkerClock::answers_per_look_max * step_ns_);
  forget();
  ask(100);
  EXPECT_EQ(worst_ahead_, 0u);
  EXPECT_LE(worst_behind_, WorkerClock::lag_ns_max + source_.look_ns);
}

TEST_F(WorkerClockTest, ACounterThatRunsUnevenlyIsNotBelieved) {
  std::mt19937 random(1);
  uint64_t asked = 0;
  for (uint64_t until = source_.now + 10'000 * kMs; source_.now < until; ++asked) {
    source_.now += 100'000;
    source_.ahead += random() % 1'000'000;
    const uint64_t told = clock_.now_ns();
    ASSERT_GE(told, last_);
    last_ = told;
  }
  EXPECT_GE(source_.looks, asked * 9 / 10);
}

TEST_F(WorkerClockTest, LooksWhenItIsTold) {
  ask(250);
  forget();
  clock_.now_ns();
  clock_.now_ns();
  EXPECT_LE(source_.looks, 1u);
  const uint64_t before = source_.looks;
  clock_.look_again();
  EXPECT_EQ(clock_.now_ns(), source_.now);
  EXPECT_EQ(source_.looks, before + 1);
  clock_.now_ns();
  EXPECT_EQ(source_.looks, before + 1);
}

// This machine's own clock, made dear, and its own counter.
class DearClock final : public ClockSource {
 public:
  uint64_t kernel_ns() override {
    ++looks;
    const uint64_t until = machine().kernel_ns() + 1'000;
    uint64_t now = 0;
    while ((now = machine().kernel_ns()) < until) {
    }
    return now;
  }
  uint64_t counter() override { return machine().counter(); }
  uint64_t looks = 0;
};

TEST(WorkerClock, TheMachinesCounterTellsTheMachinesTime) {
  DearClock source;
  WorkerClock clock(source);
  if (source.counter() == 0) {
    EXPECT_FALSE(clock.counts());  // no invariant counter: the kernel's clock, whatever it takes
    return;
  }
  ASSERT_TRUE(clock.counts());
  // Believed when two stretches have agreed, which other load may put off.
  const uint64_t limit = ClockSource::machine().kernel_ns() + 30'000 * kMs;
  uint64_t last = 0, answers = 0;
  while (source.looks >= answers / 2 && last < limit) {
    const uint64_t told = clock.now_ns();
    ++answers;
    ASSERT_GE(told, last);
    ASSERT_LE(told, ClockSource::machine().kernel_ns());
    last = told;
  }
  EXPECT_LT(source.looks, answers / 2);
}

}  // namespace
}  // namespace farport::test
