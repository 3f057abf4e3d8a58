// A serial port through the initiator.
#include "drivers/initiator/serial_line.h"

#include "tests/unit/drivers/initiator/initiator_fixture.h"

namespace farport {
namespace {

using namespace serial;

class SerialLineTest : public InitiatorFixture {
 protected:
  std::unique_ptr<SerialLine> line() {
    return std::make_unique<SerialLine>(
        *initiator_,
        SerialLine::Listener{
            .received =
                [this](std::span<const std::byte> data) {
                  received_.append(reinterpret_cast<const char*>(data.data()), data.size());
                },
            .noticed = [this](const SerialNotice& notice) { notices_.push_back(notice); }});
  }
  SerialLine::Done expect_ok() {
    return [this](Result<void> result) {
      EXPECT_TRUE(result) << result.error().message;
      ++answers_;
    };
  }
  std::string received_;
  std::vector<SerialNotice> notices_;
  int answers_ = 0;
};

TEST_F(SerialLineTest, BytesBothWays) {
  attach_serial();
  auto port = line();
  port->set_line({.baud = 1'000'000}, expect_ok());
  const std::string text(100'000, 'x');  // more than one transfer
  port->write(std::as_bytes(std::span(text)), expect_ok());
  port->drain(expect_ok());
  settle(2 * kSecond);
  EXPECT_EQ(answers_, 3);
  EXPECT_EQ(received_, text);
  port.reset();
  settle();
  detach();
}

TEST_F(SerialLineTest, ModemLinesAndSettings) {
  attach_serial();
  auto port = line();
  settle();
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_EQ(port->lines(), line::dtr | line::rts | line::dsr | line::dcd | line::cts);
  port->set_modem({line::dtr | line::rts, 0}, expect_ok());
  settle();
  ASSERT_EQ(notices_.size(), 2u);  // both lines in one change
  EXPECT_EQ(port->lines(), 0);
  port->set_break(true, expect_ok());
  port->purge(true, true, expect_ok());
  settle();
  EXPECT_EQ(notices_.back().conditions, condition::break_received);
  const LineSettings settings{.baud = 250'000, .data_bits = 7};
  port->set_line(settings, expect_ok());
  std::optional<LineSettings> got;
  port->get_line([&](Result<LineSettings> result) { got = result.value(); });
  settle();
  EXPECT_EQ(got, settings);
  bool refused = false;
  port->set_line({.data_bits = 9}, [&](Result<void> result) { refused = !result; });
  settle();
  EXPECT_TRUE(refused);
  EXPECT_EQ(answers_, 4);
  port.reset();
  settle();
  detach();
}

TEST_F(SerialLineTest, ClosingTheChannel) {
  attach_serial();
  auto port = line();
  settle();
  stop();
  EXPECT_EQ(port_->stopped, 1);
  bool refused = false;
  port->write({}, [&](Result<void> result) { refused = !result; });
  EXPECT_TRUE(refused);
  port.reset();
  detach();
}

}  // namespace
}  // namespace farport
