#include "drivers/rfc2217/com_port.h"

#include <gtest/gtest.h>

#include "drivers/rfc2217/telnet.h"

namespace farport::com_port {
namespace {

using Bytes = std::vector<uint8_t>;
using serial::FlowControl;
using serial::LineSettings;
using serial::Parity;
using serial::StopBits;

TEST(ComPort, MalformedRequestsAreRefused) {
  for (const Bytes& bytes :
       {Bytes{}, Bytes{13, 1}, Bytes{100}, Bytes{255}, Bytes{1}, Bytes{1, 0, 0, 1}, Bytes{2},
        Bytes{3}, Bytes{4}, Bytes{5}, Bytes{10}, Bytes{11}, Bytes{12}}) {
    EXPECT_FALSE(decode(bytes));
  }
  // These carry no value.
  for (uint8_t command : {0, 6, 7, 8, 9}) EXPECT_TRUE(decode(Bytes{command}));
  // Longer than needed: some clients pad.
  EXPECT_EQ(decode(Bytes{1, 0, 0, 0x25, 0x80, 9, 9})->value, 9600u);
}

struct SettingCase {
  Bytes request;
  LineSettings line;  // after it, from the default
  Bytes answer;
};

TEST(ComPort, LineSettings) {
  const SettingCase cases[] = {
      {{1, 0, 1, 0xc2, 0}, {.baud = 115200}, {101, 0, 1, 0xc2, 0}},
      {{1, 0, 0, 0xff, 0xff}, {.baud = 65535}, {101, 0, 0, 0xff, 0xff}},
      {{2, 5}, {.data_bits = 5}, {102, 5}},
      {{2, 7}, {.data_bits = 7}, {102, 7}},
      {{3, 1}, {.parity = Parity::none}, {103, 1}},
      {{3, 2}, {.parity = Parity::odd}, {103, 2}},
      {{3, 3}, {.parity = Parity::even}, {103, 3}},
      {{3, 4}, {.parity = Parity::mark}, {103, 4}},
      {{3, 5}, {.parity = Parity::space}, {103, 5}},
      {{4, 1}, {.stop_bits = StopBits::one}, {104, 1}},
      {{4, 2}, {.stop_bits = StopBits::two}, {104, 2}},
      {{4, 3}, {.stop_bits = StopBits::one_and_half}, {104, 3}},
      {{5, 1}, {.flow_control = FlowControl::none}, {105, 1}},
      {{5, 2}, {.flow_control = FlowControl::xon_xoff}, {105, 2}},
      {{5, 3}, {.flow_control = FlowControl::rts_cts}, {105, 3}},
  };
  for (const SettingCase& c : cases) {
    const auto request = decode(c.request);
    ASSERT_TRUE(request);
    EXPECT_EQ(change_of(*request), Change::line);
    LineSettings line;
    EXPECT_TRUE(apply(*request, line));
    EXPECT_EQ(line, c.line);
    Bytes out, expected;
    append_setting(out, *request, {.line = line});
    telnet::append_subnegotiation(expected, telnet::option_com_port, c.answer);
    EXPECT_EQ(out, expected);
  }
}

TEST(ComPort, ValuesTheRfcDoesNotHaveChangeNothing) {
  for (const Bytes& bytes : {Bytes{2, 4}, Bytes{2, 9}, Bytes{3, 6}, Bytes{4, 4}}) {
    LineSettings line;
    EXPECT_FALSE(apply(*decode(bytes), line));
    EXPECT_EQ(line, LineSettings{});
  }
}

TEST(ComPort, QuestionsAreAnsweredWithWhatIs) {
  const PortState state{.line = {.baud = 1200,
                                 .data_bits = 7,
                                 .parity = Parity::space,
                                 .stop_bits = StopBits::two,
                                 .flow_control = FlowControl::rts_cts},
                        .lines = serial::line::rts,
                        .break_on = true};
  const std::pair<Bytes, Bytes> cases[] = {
      {{1, 0, 0, 0, 0}, {101, 0, 0, 4, 0xb0}},
      {{2, 0}, {102, 7}},
      {{3, 0}, {103, 5}},
      {{4, 0}, {104, 2}},
      {{5, 0}, {105, 3}},
      {{5, 4}, {105, 5}},
      {{5, 7}, {105, 9}},
      {{5, 10}, {105, 11}},
      {{5, 13}, {105, 16}},
      // What cannot be done: inbound apart from outbound, DCD and DSR flow control.
      {{5, 14}, {105, 16}},
      {{5, 17}, {105, 3}},
      {{5, 18}, {105, 16}},
      {{5, 19}, {105, 3}},
      {{5, 77}, {105, 3}},
  };
  for (const auto& [request, answer] : cases) {
    EXPECT_EQ(change_of(*decode(request)), Change::none);
    Bytes out, expected;
    append_setting(out, *decode(request), state);
    telnet::append_subnegotiation(expected, telnet::option_com_port, answer);
    EXPECT_EQ(out, expected) << int(request[0]) << " " << int(request[1]);
  }
}

TEST(ComPort, DtrAndRtsAddUp) {
  serial::ModemControl modem;
  for (uint8_t value : {9, 11}) {  // DTR off, RTS on
    EXPECT_EQ(change_of(*decode(Bytes{5, value})), Change::modem);
    apply(*decode(Bytes{5, value}), modem);
  }
  EXPECT_EQ(modem.mask, serial::line::dtr | serial::line::rts);
  EXPECT_EQ(modem.lines, serial::line::rts);
  apply(*decode(Bytes{5, 8}), modem);
  apply(*decode(Bytes{5, 12}), modem);
  EXPECT_EQ(modem.lines, serial::line::dtr);
  EXPECT_EQ(change_of(*decode(Bytes{5, 5})), Change::brk);
  EXPECT_EQ(change_of(*decode(Bytes{5, 6})), Change::brk);
}

TEST(ComPort, ABaudRateWith255IsEscaped) {
  Bytes out;
  append_setting(out, *decode(Bytes{1, 0, 0, 0, 1}), {.line = {.baud = 0xff}});
  EXPECT_EQ(out, (Bytes{255, 250, 44, 101, 0, 0, 0, 255, 255, 255, 240}));
}

TEST(ComPort, StateBytes) {
  using namespace serial;
  EXPECT_EQ(modem_state(0, 0), 0);
  EXPECT_EQ(modem_state(line::dcd | line::ring | line::dsr | line::cts, 0), 0xf0);
  EXPECT_EQ(modem_state(line::dtr | line::rts, line::dtr | line::rts), 0);
  EXPECT_EQ(modem_state(line::cts, line::cts), 0x11);
  EXPECT_EQ(modem_state(0, line::dcd | line::dsr), 0x0a);
  EXPECT_EQ(modem_state(line::ring, line::ring), 0x40);
  EXPECT_EQ(modem_state(0, line::ring), 0x04);
  EXPECT_EQ(line_state(0), 0);
  EXPECT_EQ(line_state(condition::break_received), 16);
  EXPECT_EQ(line_state(condition::framing_error | condition::parity_error | condition::overrun),
            14);
  EXPECT_EQ(line_state(condition::hangup), 0);
}

}  // namespace
}  // namespace farport::com_port
