// Refusals are counted all, logged once a minute, and held in bounded memory.
#include "control/trust/refusals.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace farport::test {
namespace {

using testing::HasSubstr;

class RefusalsTest : public testing::Test {
 protected:
  int64_t now_ = 1'800'000'000'000;
  std::vector<std::string> lines_;
  Refusals refusals_{[this] { return now_; },
                     [this](const std::string& line) { lines_.push_back(line); }};
};

TEST_F(RefusalsTest, EachReasonHasItsName) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < refusal_reasons; ++i) {
    names.insert(refusal_name(static_cast<Refusal>(i)));
    EXPECT_FALSE(refusal_words(static_cast<Refusal>(i)).empty());
  }
  EXPECT_EQ(names.size(), refusal_reasons);
}

TEST_F(RefusalsTest, OneLineForAReasonAndAnAddressInAMinute) {
  for (int port = 4000; port < 4100; ++port) {
    refusals_.count(Refusal::wrong_key, fmt::format("192.0.2.7:{}", port), "SHA256:x");
  }
  EXPECT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], HasSubstr("192.0.2.7 "));
  EXPECT_THAT(lines_[0], HasSubstr("SHA256:x"));
  refusals_.count(Refusal::not_tls, "192.0.2.7:1", "another reason");
  refusals_.count(Refusal::wrong_key, "192.0.2.8:1", "another address");
  EXPECT_EQ(lines_.size(), 3u);
  now_ += Refusals::quiet_ms;
  refusals_.count(Refusal::wrong_key, "192.0.2.7:9", "again");
  EXPECT_EQ(lines_.size(), 4u);
  EXPECT_EQ(refusals_.total(Refusal::wrong_key), 102u);
  EXPECT_EQ(refusals_.total(), 103u);
}

TEST_F(RefusalsTest, TheListShowsTheLatestLast) {
  refusals_.count(Refusal::wrong_key, "[2001:db8::7]:5", "first");
  refusals_.count(Refusal::not_tls, "192.0.2.7:5", "plain");
  now_ += 5;
  refusals_.count(Refusal::wrong_key, "[2001:db8::7]:6", "second");
  const auto list = refusals_.list();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1].address, "2001:db8::7");
  EXPECT_EQ(list[1].count, 2u);
  EXPECT_EQ(list[1].message, "second");
  EXPECT_EQ(list[1].last_unix_ms - list[1].first_unix_ms, 5);
}

TEST_F(RefusalsTest, MemoryAndLogStaySmallWhateverComes) {
  for (int i = 0; i < 20'000; ++i) {
    const auto address = fmt::format("2001:db8::{:x}:{:x}", i / 65536, i % 65536);
    refusals_.count(Refusal::too_many_half_open, address, "flood");
  }
  EXPECT_EQ(refusals_.total(Refusal::too_many_half_open), 20'000u);
  EXPECT_EQ(refusals_.list().size(), Refusals::recent_max);
  EXPECT_EQ(lines_.size(), Refusals::lines_a_minute_max);
  // The next minute speaks again.
  now_ += Refusals::quiet_ms;
  refusals_.count(Refusal::wrong_key, "192.0.2.7", "after the flood");
  EXPECT_EQ(lines_.size(), Refusals::lines_a_minute_max + 1);
}

TEST_F(RefusalsTest, AClockSetBackKeepsNothingQuietForLong) {
  refusals_.count(Refusal::wrong_key, "192.0.2.7", "one");
  now_ -= 3'600'000;
  refusals_.count(Refusal::wrong_key, "192.0.2.7", "two");
  EXPECT_EQ(lines_.size(), 2u);
}

TEST_F(RefusalsTest, OddAddressesAreTakenAsTheyAre) {
  for (const char* address : {"", "[", "[]", "]", ":", "unix", "[2001:db8::7"}) {
    refusals_.count(Refusal::not_tls, address, "odd");
  }
  EXPECT_EQ(refusals_.total(), 7u);
}

}  // namespace
}  // namespace farport::test
