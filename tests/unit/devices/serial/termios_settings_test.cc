#include "devices/serial/termios_settings.h"

#include <asm/termbits.h>
#include <gtest/gtest.h>

namespace farport::serial {
namespace {

TEST(TermiosSettings, EverySettingComesBackAsItWent) {
  for (uint32_t baud : {0u, 50u, 110u, 9600u, 31250u, 115200u, 250000u, 3000000u, 12000000u}) {
    for (uint8_t bits = 5; bits <= 8; ++bits) {
      for (int parity = 0; parity <= 4; ++parity) {
        for (int stop = 0; stop <= 2; ++stop) {
          for (int flow = 0; flow <= 2; ++flow) {
            const LineSettings asked{baud, bits, Parity(parity), StopBits(stop), FlowControl(flow)};
            termios2 settings{};
            const bool possible = asked.stop_bits != StopBits::one_and_half || bits == 5;
            ASSERT_EQ(apply_line(asked, settings), possible);
            if (!possible) continue;
            LineSettings expected = asked;
            // 5 bits with CSTOPB: the hardware makes one and a half.
            if (bits == 5 && stop != 0) expected.stop_bits = StopBits::one_and_half;
            EXPECT_EQ(line_of(settings), expected);
            EXPECT_TRUE(fulfils(settings, settings));
          }
        }
      }
    }
  }
}

TEST(TermiosSettings, RefusesWhatNoFieldCanHold) {
  const LineSettings good;
  for (auto change : {+[](LineSettings& line) { line.data_bits = 4; },
                      +[](LineSettings& line) { line.data_bits = 9; },
                      +[](LineSettings& line) { line.parity = Parity(5); },
                      +[](LineSettings& line) { line.stop_bits = StopBits(3); },
                      +[](LineSettings& line) { line.flow_control = FlowControl(3); }}) {
    LineSettings bad = good;
    change(bad);
    EXPECT_FALSE(valid(bad));
    termios2 settings{};
    EXPECT_FALSE(apply_line(bad, settings));
    EXPECT_EQ(settings.c_cflag, 0u);
  }
  EXPECT_TRUE(valid(good));
}

TEST(TermiosSettings, APortMayMissTheRateByThreePercentAndNothingElse) {
  termios2 asked{}, got{};
  ASSERT_TRUE(apply_line({.baud = 100000}, asked));
  const auto with_baud = [&](uint32_t baud) {
    got = {};
    return apply_line({.baud = baud}, got) && fulfils(asked, got);
  };
  EXPECT_TRUE(with_baud(100000));
  EXPECT_TRUE(with_baud(103000));
  EXPECT_TRUE(with_baud(97000));
  EXPECT_FALSE(with_baud(103001));
  EXPECT_FALSE(with_baud(96999));
  EXPECT_FALSE(with_baud(0));

  ASSERT_TRUE(apply_line({.baud = 100000, .data_bits = 7, .parity = Parity::even}, got));
  EXPECT_FALSE(fulfils(asked, got));
  ASSERT_TRUE(apply_line({.baud = 100000, .flow_control = FlowControl::xon_xoff}, got));
  EXPECT_FALSE(fulfils(asked, got));
  ASSERT_TRUE(apply_line({.baud = 100000}, got));
  got.c_cflag |= PARODD | CMSPAR;  // left over from before, and without meaning
  EXPECT_TRUE(fulfils(asked, got));
}

TEST(TermiosSettings, RawKeepsTheLineButSoftwareFlowControl) {
  termios2 settings{};
  ASSERT_TRUE(apply_line(
      {.baud = 4800, .data_bits = 7, .parity = Parity::odd, .flow_control = FlowControl::xon_xoff},
      settings));
  LineSettings expected = line_of(settings);
  expected.flow_control = FlowControl::none;
  settings.c_iflag |= ICRNL | ISTRIP | BRKINT | IGNBRK | PARMRK | INPCK;
  settings.c_oflag |= OPOST | ONLCR;
  settings.c_lflag |= ICANON | ECHO | ISIG | IEXTEN;
  make_raw(settings);
  EXPECT_EQ(line_of(settings), expected);
  EXPECT_EQ(settings.c_iflag, 0u);
  EXPECT_EQ(settings.c_oflag, 0u);
  EXPECT_EQ(settings.c_lflag, 0u);
  EXPECT_TRUE(settings.c_cflag & CLOCAL);
  EXPECT_TRUE(settings.c_cflag & CREAD);
  EXPECT_EQ(settings.c_cc[VMIN], 1);
  EXPECT_EQ(settings.c_cc[VTIME], 0);
}

TEST(TermiosSettings, TransmissionTime) {
  EXPECT_EQ(transmission_ns({.baud = 12000}, 1000), 1'000'000'000u);
  EXPECT_EQ(transmission_ns({.baud = 0}, 110), 12'000'000'000u);
}

}  // namespace
}  // namespace farport::serial
