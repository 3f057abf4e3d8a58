// Line settings as people write them.
#include "drivers/serial/line_text.h"

#include <gtest/gtest.h>

namespace farport::serial {
namespace {

TEST(LineText, ReadsWhatPeopleWrite) {
  const struct {
    const char* text;
    LineSettings settings;
  } table[] = {
      {"115200", {115200, 8, Parity::none, StopBits::one, FlowControl::none}},
      {"2400 7E2", {2400, 7, Parity::even, StopBits::two, FlowControl::none}},
      {"9600,8n1", {9600, 8, Parity::none, StopBits::one, FlowControl::none}},
      {"110 5O1.5", {110, 5, Parity::odd, StopBits::one_and_half, FlowControl::none}},
      {"250000 8M2", {250000, 8, Parity::mark, StopBits::two, FlowControl::none}},
      {"1200 6s1", {1200, 6, Parity::space, StopBits::one, FlowControl::none}},
  };
  for (const auto& row : table) {
    const auto parsed = parse_line_settings(row.text);
    ASSERT_TRUE(parsed) << row.text;
    EXPECT_EQ(*parsed, row.settings) << row.text;
  }
}

TEST(LineText, RefusesTheRestWithAnExample) {
  for (const char* text :
       {"", "8N1", "fast", "0", "-1", "9600 ", "9600 9N1", "9600 8X1", "9600 8N3", "9600 8N",
        "9600 8N11", "9600;8N1", "99999999999", "9600 8N1 x"}) {
    const auto parsed = parse_line_settings(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::usage);
    EXPECT_NE(parsed.error().message.find("2400 7E2"), std::string::npos);
  }
}

}  // namespace
}  // namespace farport::serial
