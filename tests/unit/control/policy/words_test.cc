#include "control/policy/words.h"

#include <gtest/gtest.h>

#include <limits>

namespace farport {
namespace {

TEST(Words, Rates) {
  struct Case {
    uint64_t bytes_s;
    const char* text;
  };
  const Case cases[] = {{0, "0 B/s"},
                        {999, "999 B/s"},
                        {1'000, "1 kB/s"},
                        {11'520, "11.5 kB/s"},
                        {999'499, "999 kB/s"},
                        {999'500, "1 MB/s"},
                        {3'100'000, "3.1 MB/s"},
                        {12'500'000, "12.5 MB/s"},
                        {53'200'000, "53.2 MB/s"},
                        {99'960'000, "100 MB/s"},
                        {450'000'000, "450 MB/s"},
                        {1'250'000'000, "1.25 GB/s"},
                        {std::numeric_limits<uint64_t>::max(), "18.4 EB/s"}};
  for (const Case& c : cases) EXPECT_EQ(format_rate(c.bytes_s), c.text);
  EXPECT_EQ(format_bytes(1'500'000'000), "1.5 GB");
}

TEST(Words, Percentages) {
  EXPECT_EQ(format_percent(Percent::of(50)), "50 %");
  EXPECT_EQ(format_percent({1250}), "12.5 %");
  EXPECT_EQ(format_percent({25}), "0.25 %");
  EXPECT_EQ(format_percent({5}), "0.05 %");
  EXPECT_EQ(format_percent({0}), "0 %");
}

TEST(Words, Durations) {
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(59), "59 s");
  EXPECT_EQ(format_duration(60), "1 min");
  EXPECT_EQ(format_duration(125), "2 min 5 s");
  EXPECT_EQ(format_duration(3600), "1 h");
  EXPECT_EQ(format_duration(5400), "1 h 30 min");
}

}  // namespace
}  // namespace farport
