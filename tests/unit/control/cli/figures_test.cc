#include "control/cli/figures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace farport {
namespace {

using nlohmann::json;

TEST(Fields, OfAnotherTypeReadAsNothing) {
  const json object = {{"text", "t"},     {"number", 1.5},        {"count", 7},     {"flag", true},
                       {"null", nullptr}, {"object", {{"a", 1}}}, {"array", {1, 2}}};
  EXPECT_EQ(text_of(object, "text"), "t");
  EXPECT_EQ(number_of(object, "number"), 1.5);
  EXPECT_EQ(count_of(object, "count"), 7u);
  EXPECT_TRUE(flag_of(object, "flag"));
  EXPECT_EQ(array_of(object, "array").size(), 2u);
  for (const char* key : {"number", "count", "flag", "null", "object", "array", "missing"}) {
    EXPECT_EQ(text_of(object, key), "") << key;
  }
  for (const char* key : {"text", "flag", "null", "object", "array", "missing"}) {
    EXPECT_EQ(number_of(object, key), 0) << key;
    EXPECT_EQ(count_of(object, key), 0u) << key;
  }
  EXPECT_EQ(count_of({{"count", -1}}, "count"), 0u);
  for (const char* key : {"text", "null", "missing"}) {
    EXPECT_FALSE(flag_of(object, key)) << key;
    EXPECT_TRUE(object_of(object, key).empty()) << key;
    EXPECT_TRUE(array_of(object, key).empty()) << key;
  }
  EXPECT_EQ(text_of(json::array(), "text"), "");
  EXPECT_EQ(text_of(json(), "text"), "");
}

TEST(Figures, LatenciesHaveTheUnitThatFits) {
  const std::pair<double, const char*> cases[] = {
      {0, "-"},
      {-1, "-"},
      {1, "1 ns"},
      {999, "999 ns"},
      {1'000, "1.0 us"},
      {82'000, "82 us"},
      {211'400, "211 us"},
      {1'250'000, "1.2 ms"},
      {9'960'000, "10 ms"},
      {3.4e9, "3.4 s"},
      {120e9, "120 s"},
  };
  for (const auto& [ns, text] : cases) EXPECT_EQ(format_latency(ns), text) << ns;
}

TEST(Figures, RatesThatAreNoneAreADash) {
  EXPECT_EQ(format_rate_or_dash(0), "-");
  EXPECT_EQ(format_rate_or_dash(-5), "-");
  EXPECT_EQ(format_rate_or_dash(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(format_rate_or_dash(std::numeric_limits<double>::infinity()), "-");
  EXPECT_EQ(format_rate_or_dash(53.2e6), "53.2 MB/s");
  EXPECT_EQ(format_measured_rate(0), "0 B/s");
  EXPECT_EQ(format_measured_rate(950), "950 B/s");
}

TEST(Figures, CountsAreGrouped) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1 000");
  EXPECT_EQ(format_count(1234567), "1 234 567");
}

TEST(Figures, TimesAreLocalAndOthersStay) {
  setenv("TZ", "UTC", 1);
  tzset();
  EXPECT_EQ(format_local_time("2001-02-03T04:05:06.789Z"), "2001-02-03 04:05:06");
  EXPECT_EQ(format_local_time(""), "");
  EXPECT_EQ(format_local_time("yesterday"), "yesterday");
}

TEST(Figures, ADeviceIsNamedWithItsHost) {
  EXPECT_EQ(full_name("lab", "serial:SCALE"), "lab/serial:SCALE");
  EXPECT_EQ(full_name("", "serial:SCALE"), "serial:SCALE");
}

}  // namespace
}  // namespace farport
