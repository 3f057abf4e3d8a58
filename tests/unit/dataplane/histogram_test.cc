#include "dataplane/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace farport {
namespace {

std::vector<Histogram::Bucket> buckets_of(const Histogram& histogram) {
  std::vector<Histogram::Bucket> buckets;
  histogram.for_each_bucket([&](const Histogram::Bucket& bucket) { buckets.push_back(bucket); });
  return buckets;
}

TEST(Histogram, EmptyAnswersZero) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.min(), 0u);
  EXPECT_EQ(histogram.max(), 0u);
  EXPECT_EQ(histogram.mean(), 0.0);
  EXPECT_EQ(histogram.percentile(50), 0u);
  EXPECT_EQ(histogram.percentile(100), 0u);
  EXPECT_TRUE(buckets_of(histogram).empty());
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram histogram;
  for (uint64_t value = 0; value < 64; ++value) histogram.record(value);
  const auto buckets = buckets_of(histogram);
  ASSERT_EQ(buckets.size(), 64u);
  for (uint64_t value = 0; value < 64; ++value) {
    EXPECT_EQ(buckets[value].low_ns, value);
    EXPECT_EQ(buckets[value].high_ns, value);
    EXPECT_EQ(buckets[value].count, 1u);
  }
  EXPECT_EQ(histogram.percentile(50), 31u);
  EXPECT_DOUBLE_EQ(histogram.mean(), 31.5);
}

TEST(Histogram, BucketsHoldTheirValueAndAreNarrow) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    const uint64_t value = (random() >> (random() % 64)) % (Histogram::value_ns_max + 1);
    Histogram histogram;
    histogram.record(value);
    const auto buckets = buckets_of(histogram);
    ASSERT_EQ(buckets.size(), 1u);
    EXPECT_LE(buckets[0].low_ns, value);
    EXPECT_GE(buckets[0].high_ns, value);
    EXPECT_LE(buckets[0].high_ns - buckets[0].low_ns, value / 32);
  }
}

TEST(Histogram, BucketsLeaveNoGap) {
  // Ends of every bucket from 0 to an hour: each low is the one after the last high.
  for (uint64_t value = 0; value <= Histogram::value_ns_max;) {
    Histogram one;
    one.record(value);
    const Histogram::Bucket bucket = buckets_of(one).at(0);
    ASSERT_EQ(bucket.low_ns, value);
    value = bucket.high_ns + 1;
  }
}

TEST(Histogram, PercentilesAreWithinTheDocumentedError) {
  std::mt19937_64 random(2);
  std::lognormal_distribution<double> latency(std::log(30'000), 1.5);
  Histogram histogram;
  std::vector<uint64_t> values;
  for (int i = 0; i < 50'000; ++i) {
    values.push_back(static_cast<uint64_t>(latency(random)));
    histogram.record(values.back());
  }
  std::ranges::sort(values);
  for (const double percent : {0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    const auto rank =
        static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
    const auto exact = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.percentile(percent)), exact, exact * 0.016)
        << percent;
  }
}

TEST(Histogram, PercentilesRiseAndStayBetweenMinAndMax) {
  Histogram histogram;
  for (const uint64_t value : {100, 1'000, 10'000, 1'000'003}) histogram.record(value);
  uint64_t last = 0;
  for (double percent = -5; percent <= 105; percent += 0.5) {
    const uint64_t value = histogram.percentile(percent);
    EXPECT_GE(value, last);
    EXPECT_GE(value, histogram.min());
    EXPECT_LE(value, histogram.max());
    last = value;
  }
  EXPECT_EQ(histogram.percentile(0), 100u);
  EXPECT_EQ(histogram.percentile(100), 1'000'003u);
  EXPECT_EQ(histogram.percentile(std::numeric_limits<double>::quiet_NaN()), 100u);
}

TEST(Histogram, ValuesPastAnHourCountInTheLastBucket) {
  Histogram histogram;
  histogram.record(std::numeric_limits<uint64_t>::max());
  histogram.record(Histogram::value_ns_max);
  const auto buckets = buckets_of(histogram);
  ASSERT_EQ(buckets.size(), 1u);
  EXPECT_EQ(buckets[0].count, 2u);
  EXPECT_EQ(histogram.max(), std::numeric_limits<uint64_t>::max());
}

TEST(Histogram, MergeIsAsIfRecordedInOne) {
  std::mt19937_64 random(3);
  Histogram left, right, both;
  for (int i = 0; i < 1'000; ++i) {
    const uint64_t value = random() % 5'000'000;
    (i % 3 == 0 ? left : right).record(value);
    both.record(value);
  }
  left.merge(right);
  EXPECT_EQ(left.count(), both.count());
  EXPECT_EQ(left.min(), both.min());
  EXPECT_EQ(left.max(), both.max());
  EXPECT_DOUBLE_EQ(left.mean(), both.mean());
  for (double percent = 0; percent <= 100; percent += 1) {
    EXPECT_EQ(left.percentile(percent), both.percentile(percent));
  }

  Histogram empty;
  both.merge(empty);
  EXPECT_EQ(both.count(), 1'000u);
  empty.merge(both);
  EXPECT_EQ(empty.min(), both.min());
}

TEST(Histogram, ResetForgetsEverything) {
  Histogram histogram;
  histogram.record(5);
  histogram.record(50'000);
  histogram.reset();
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.max(), 0u);
  EXPECT_TRUE(buckets_of(histogram).empty());
  histogram.record(7);
  EXPECT_EQ(histogram.min(), 7u);
  EXPECT_EQ(histogram.max(), 7u);
}

}  // namespace
}  // namespace farport
