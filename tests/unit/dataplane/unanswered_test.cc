// How long a connection is unanswered, as a table of looks at it.
#include "dataplane/unanswered.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace farport {
namespace {

constexpr uint64_t kMs = 1'000'000;

struct Look {
  uint64_t at_ms;
  uint32_t unacknowledged;
  uint64_t bytes_acknowledged;
  uint64_t sent_ms_ago, answered_ms_ago, received_ms_ago;
  uint64_t answer_ms;
};

struct Case {
  const char* name;
  std::vector<Look> looks;
};

class Unanswered : public testing::TestWithParam<Case> {};

TEST_P(Unanswered, SaysHowLong) {
  UnansweredClock clock;
  for (const Look& look : GetParam().looks) {
    EXPECT_EQ(clock.at(look.at_ms * kMs,
                       {look.unacknowledged, look.bytes_acknowledged, look.sent_ms_ago * kMs,
                        look.answered_ms_ago * kMs, look.received_ms_ago * kMs}),
              look.answer_ms * kMs)
        << GetParam().name << " at " << look.at_ms;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tables, Unanswered,
    testing::Values(
        Case{"Idle", {{100'000, 0, 500, 60'000, 60'000, 60'000, 0}}},
        // The last acknowledgement is a minute old: the waiting begins with the sending.
        Case{"SentAfterAMinute", {{100'000, 1, 500, 50, 60'000, 60'000, 50}}},
        // Repetitions are sent, and do not begin it anew.
        Case{"DeadWhileRepeating",
             {{100'000, 1, 500, 50, 60'000, 60'000, 50},
              {100'500, 1, 500, 100, 60'500, 60'500, 550},
              {101'000, 1, 500, 200, 61'000, 61'000, 1'050},
              {103'000, 3, 500, 10, 63'000, 63'000, 3'050}}},
        Case{"DeadWhileStreaming",
             {{1'000, 40, 7'000, 0, 1, 900, 0},
              {2'000, 40, 9'000, 400, 600, 1'900, 400},
              {3'000, 40, 9'000, 400, 1'600, 2'900, 1'400}}},
        // Its machine answers though nothing new is acknowledged (a full window, losses).
        Case{"AnsweredWithoutProgress",
             {{1'000, 4, 7'000, 500, 900, 900, 500}, {2'000, 4, 7'000, 500, 100, 1'900, 100}}},
        // What it sends is a sign of life, too.
        Case{"DataOfThePeer",
             {{1'000, 4, 7'000, 500, 900, 900, 500}, {2'000, 4, 7'000, 500, 1'900, 30, 30}}},
        // Acknowledged, idle, and sent again between two looks: only the last sending waits.
        Case{"AnotherSendingBetweenLooks",
             {{1'000, 1, 7'000, 10, 9'000, 9'000, 10}, {2'000, 1, 8'000, 50, 900, 9'900, 50}}},
        Case{"AnsweredThenAgain",
             {{1'000, 1, 7'000, 700, 9'000, 9'000, 700},
              {1'200, 0, 8'000, 900, 100, 9'000, 0},
              {9'000, 1, 8'000, 20, 7'900, 9'000, 20}}},
        // Clocks of milliseconds against one of nanoseconds.
        Case{"OlderThanTheClock", {{10, 1, 0, 0, 20, 20, 0}, {12, 1, 0, 2, 22, 22, 2}}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace farport
