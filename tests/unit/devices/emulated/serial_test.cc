// The emulated serial port: pace by baud rate, loopback, modem lines and notices, flow control,
// chatter, faults.
#include <fmt/format.h>

#include "dataplane/limits.h"
#include "tests/unit/devices/emulated/emulated_fixture.h"

namespace farport {
namespace {

using namespace serial;

std::string text_of(const Transfer& transfer) {
  const auto moved = transfer.moved();
  return {reinterpret_cast<const char*>(moved.data()), moved.size()};
}

class SerialTest : public EmulatedFixture {
 protected:
  void make(EmulatedDeviceSettings settings = {}) {
    settings.name = "S0";
    settings.kind = EmulatedKind::serial;
    port_ = std::make_unique<EmulatedSerial>(settings);
    port_->start_on(clock_, events_);
  }
  Transfer& write(std::string_view text) {
    return run(*port_,
               transfers_.out(TransferType::serial, endpoint_out, std::as_bytes(std::span(text))));
  }
  Transfer& read(uint32_t length = 4096) {
    return run(*port_, transfers_.make(TransferType::serial, endpoint_in, length));
  }
  Transfer& notice() {
    return run(*port_, transfers_.make(TransferType::interrupt, endpoint_notice, 4));
  }
  SerialNotice notice_in(const Transfer& transfer) {
    EXPECT_TRUE(done(transfer));
    SerialNotice value;
    std::memcpy(&value, transfer.data().data(), sizeof(value));
    return value;
  }
  Transfer& request(SerialRequest request, uint16_t value = 0, std::span<const std::byte> data = {},
                    uint8_t type = 0x41) {
    return run(*port_, transfers_.control(type, static_cast<uint8_t>(request), value, 0,
                                          static_cast<uint16_t>(data.size()), data));
  }
  TransferStatus set_line(LineSettings line) {
    return request(SerialRequest::set_line, 0, bytes_of(line)).status;
  }
  TransferStatus set_modem(uint8_t mask, uint8_t lines) {
    return request(SerialRequest::set_modem, 0, bytes_of(ModemControl{mask, lines})).status;
  }

  std::unique_ptr<EmulatedSerial> port_;
};

TEST_F(SerialTest, LoopsBackAtTheBaudRate) {
  make();
  const std::string text(960, 'x');  // one second at 9600 8N1
  Transfer& out = write(text);
  std::string received;
  while (received.size() < text.size()) {
    Transfer& in = read();
    while (!done(in)) ASSERT_TRUE(clock_.step());
    received += text_of(in);
  }
  EXPECT_EQ(received, text);
  EXPECT_TRUE(done(out));
  EXPECT_EQ(clock_.now_ns(), 2 * kSecond);  // it began at 1 s
}

struct Pace {
  LineSettings line;
  uint64_t bytes_per_two_seconds;
};

TEST_F(SerialTest, CharacterLengthCounts) {
  const Pace table[] = {
      {{.baud = 9600, .data_bits = 8}, 1920},
      {{.baud = 9600, .data_bits = 7, .parity = Parity::even}, 1920},
      {{.baud = 11000, .data_bits = 8, .parity = Parity::odd}, 2000},
      {{.baud = 11000, .data_bits = 8, .stop_bits = StopBits::two}, 2000},
      {{.baud = 750, .data_bits = 5, .stop_bits = StopBits::one_and_half}, 200},
      {{.baud = 12345, .data_bits = 8}, 2469},
  };
  for (const Pace& pace : table) {
    make();
    ASSERT_EQ(set_line(pace.line), TransferStatus::ok);
    Transfer& out = write(std::string(pace.bytes_per_two_seconds, 'x'));
    clock_.advance(2 * kSecond - kMs);
    EXPECT_FALSE(done(out)) << pace.line.baud;
    clock_.advance(kMs);
    EXPECT_TRUE(done(out)) << pace.line.baud;
  }
}

TEST_F(SerialTest, ServiceRateCapsTheBaudRate) {
  make({.rate_bytes_s = 100});
  set_line({.baud = 115200});
  Transfer& out = write(std::string(100, 'x'));
  clock_.advance(kSecond - 1);
  EXPECT_FALSE(done(out));
  clock_.advance(1);
  EXPECT_TRUE(done(out));
}

TEST_F(SerialTest, DataBitsMaskWhatIsReceived) {
  make();
  set_line({.baud = 9600, .data_bits = 7});
  write("\xc1");
  Transfer& in = read();
  clock_.advance(kSecond);
  EXPECT_EQ(text_of(in), "\x41");
}

TEST_F(SerialTest, ReadsTakeWhatHasCome) {
  make();
  write("hello");
  clock_.advance(kSecond);
  EXPECT_EQ(text_of(read(2)), "he");
  EXPECT_EQ(text_of(read()), "llo");
  Transfer& resting = read();
  EXPECT_FALSE(done(resting));
  port_->cancel(resting);
  EXPECT_EQ(resting.status, TransferStatus::cancelled);
}

TEST_F(SerialTest, LineSettingsAreKeptOrRefused) {
  make();
  const LineSettings good{.baud = 250000,
                          .data_bits = 7,
                          .parity = Parity::mark,
                          .stop_bits = StopBits::two,
                          .flow_control = FlowControl::rts_cts};
  EXPECT_EQ(set_line(good), TransferStatus::ok);
  const LineSettings bad[] = {
      {.data_bits = 4},
      {.data_bits = 9},
      {.parity = static_cast<Parity>(5)},
      {.data_bits = 8, .stop_bits = StopBits::one_and_half},
      {.data_bits = 5, .stop_bits = StopBits::two},
      {.stop_bits = static_cast<StopBits>(3)},
      {.flow_control = static_cast<FlowControl>(3)},
  };
  for (const LineSettings& line : bad) EXPECT_EQ(set_line(line), TransferStatus::invalid);
  EXPECT_EQ(port_->line_settings(), good);
  Transfer& get = transfers_.control(0xc1, static_cast<uint8_t>(SerialRequest::get_line), 0, 0, 8);
  run(*port_, get);
  LineSettings got;
  ASSERT_EQ(get.actual, sizeof(got));
  std::memcpy(&got, get.data().data(), sizeof(got));
  EXPECT_EQ(got, good);
}

TEST_F(SerialTest, MalformedRequestsAreInvalid) {
  make();
  const std::byte three[3]{};
  EXPECT_EQ(request(SerialRequest::set_line, 0, three).status, TransferStatus::invalid);
  EXPECT_EQ(request(SerialRequest::set_modem, 0, std::span(three).first(1)).status,
            TransferStatus::invalid);
  EXPECT_EQ(request(static_cast<SerialRequest>(0x7f)).status, TransferStatus::invalid);
  EXPECT_EQ(set_modem(line::cts, line::cts), TransferStatus::invalid);
  // The other way round: nothing was sent, what lies in the memory is nobody's to get.
  constexpr uint8_t in = 0xc1, out = 0x41;
  const LineSettings lying = port_->line_settings();
  const Transfer& set = request(SerialRequest::set_line, 0, bytes_of(lying), in);
  EXPECT_EQ(set.status, TransferStatus::invalid);
  EXPECT_EQ(set.actual, 0u);
  EXPECT_EQ(request(SerialRequest::set_modem, 0, bytes_of(ModemControl{line::dtr, 0}), in).status,
            TransferStatus::invalid);
  EXPECT_EQ(request(SerialRequest::get_line, 0, bytes_of(lying), out).status,
            TransferStatus::invalid);
  EXPECT_EQ(read(limits::serial_run_bytes_max + 1).status, TransferStatus::invalid);
  EXPECT_EQ(read(0).status, TransferStatus::invalid);
  EXPECT_EQ(run(*port_, transfers_.make(TransferType::bulk, endpoint_in, 8)).status,
            TransferStatus::invalid);
  EXPECT_EQ(run(*port_, transfers_.make(TransferType::interrupt, endpoint_notice, 3)).status,
            TransferStatus::invalid);
}

TEST_F(SerialTest, ModemLinesAreWiredAsANullModem) {
  make();
  const SerialNotice first = notice_in(notice());
  EXPECT_EQ(first.lines, line::dtr | line::rts | line::dsr | line::dcd | line::cts);
  EXPECT_EQ(first.changed, 0);
  Transfer& second = notice();
  EXPECT_FALSE(done(second));
  EXPECT_EQ(set_modem(line::dtr | line::rts, line::dtr), TransferStatus::ok);
  EXPECT_EQ(notice_in(second).changed, line::rts | line::cts);
  set_modem(line::dtr, 0);
  const SerialNotice third = notice_in(notice());
  EXPECT_EQ(third.lines, 0);
  EXPECT_EQ(third.changed, line::dtr | line::dsr | line::dcd);
  // A change that is taken back before anyone was told is no change.
  set_modem(line::dtr, line::dtr);
  set_modem(line::dtr, 0);
  EXPECT_FALSE(done(notice()));
}

TEST_F(SerialTest, BaudZeroHangsUp) {
  make();
  notice();
  Transfer& told = notice();
  EXPECT_EQ(set_line({.baud = 0}), TransferStatus::ok);
  EXPECT_EQ(notice_in(told).lines, 0);
  Transfer& out = write("held");
  clock_.advance(10 * kSecond);
  EXPECT_FALSE(done(out));
  set_line({.baud = 9600});
  EXPECT_EQ(port_->lines() & line::dtr, line::dtr);
  clock_.advance(kSecond);
  EXPECT_TRUE(done(out));
}

TEST_F(SerialTest, BreakIsReceivedAndHoldsOutput) {
  make();
  notice();
  Transfer& told = notice();
  EXPECT_EQ(request(SerialRequest::set_break, 1).status, TransferStatus::ok);
  EXPECT_EQ(notice_in(told).conditions, condition::break_received);
  Transfer& out = write("x");
  clock_.advance(kSecond);
  EXPECT_FALSE(done(out));
  request(SerialRequest::set_break, 0);
  clock_.advance(kSecond);
  EXPECT_TRUE(done(out));
}

TEST_F(SerialTest, HardwareFlowControlHoldsOutput) {
  make();
  set_line({.baud = 9600, .flow_control = FlowControl::rts_cts});
  set_modem(line::rts, 0);
  Transfer& out = write("x");
  clock_.advance(kSecond);
  EXPECT_FALSE(done(out));
  set_modem(line::rts, line::rts);
  clock_.advance(kSecond);
  EXPECT_TRUE(done(out));
}

TEST_F(SerialTest, FullReceiverLosesBytesOrHoldsThem) {
  for (const FlowControl flow : {FlowControl::none, FlowControl::rts_cts}) {
    make();
    notice();
    set_line({.baud = 10'000'000, .flow_control = flow});
    const std::string text(limits::serial_run_bytes_max, 'x');
    Transfer& first = write(text);
    Transfer& second = write("more");
    clock_.advance(kSecond);
    EXPECT_TRUE(done(first));
    if (flow == FlowControl::none) {
      EXPECT_TRUE(done(second));
      EXPECT_EQ(notice_in(notice()).conditions, condition::overrun);
    } else {
      EXPECT_FALSE(done(second));
      EXPECT_EQ(read(limits::serial_run_bytes_max).actual, text.size());
      clock_.advance(kSecond);
      EXPECT_TRUE(done(second));
      EXPECT_EQ(text_of(read()), "more");
    }
  }
}

TEST_F(SerialTest, DrainWaitsForOutput) {
  make();
  Transfer& at_once = request(SerialRequest::drain);
  EXPECT_TRUE(done(at_once));
  write(std::string(96, 'x'));
  Transfer& drain = request(SerialRequest::drain);
  clock_.advance(100 * kMs - 1);
  EXPECT_FALSE(done(drain));
  clock_.advance(1);
  EXPECT_TRUE(done(drain));
}

TEST_F(SerialTest, PurgeDropsOutputAndInput) {
  make();
  write("in");
  clock_.advance(kSecond);
  Transfer& out = write(std::string(960, 'x'));
  Transfer& drain = request(SerialRequest::drain);
  EXPECT_EQ(request(SerialRequest::purge, 3).status, TransferStatus::ok);
  EXPECT_TRUE(done(out));
  EXPECT_TRUE(done(drain));
  Transfer& in = read();
  clock_.advance(2 * kSecond);
  EXPECT_FALSE(done(in));
}

TEST_F(SerialTest, CancelledOutputSaysHowFarItCame) {
  make();
  Transfer& out = write(std::string(960, 'x'));
  Transfer& next = write("y");
  clock_.advance(kSecond / 2);
  port_->cancel(out);
  EXPECT_EQ(out.status, TransferStatus::cancelled);
  EXPECT_NEAR(out.actual, 480, 8);
  clock_.advance(10 * kMs);
  EXPECT_TRUE(done(next));
}

TEST_F(SerialTest, ChatterSendsNumberedLines) {
  make({.serial_mode = SerialMode::chatter, .lines_s = 10});
  clock_.advance(kSecond);
  std::string expected;
  for (int i = 0; i < 10; ++i) expected += fmt::format("S0 {:08}\r\n", i);
  EXPECT_EQ(text_of(read()), expected);
  EXPECT_EQ(notice_in(notice()).lines & (line::dsr | line::dcd | line::cts),
            line::dsr | line::dcd | line::cts);
  Transfer& out = write("into the void");
  clock_.advance(100 * kMs);
  EXPECT_TRUE(done(out));
}

TEST_F(SerialTest, ChatterIsNoFasterThanTheBaudRate) {
  make({.serial_mode = SerialMode::chatter, .lines_s = 1'000'000});
  clock_.advance(kSecond);
  EXPECT_EQ(read(4096).actual, 960u / 13 * 13);
}

TEST_F(SerialTest, ChatterHeedsRts) {
  make({.serial_mode = SerialMode::chatter, .lines_s = 10});
  set_line({.baud = 9600, .flow_control = FlowControl::rts_cts});
  set_modem(line::rts, 0);
  clock_.advance(100 * kMs);  // the line under way
  EXPECT_EQ(read().actual, 13u);
  Transfer& in = read();
  clock_.advance(kSecond);
  EXPECT_FALSE(done(in));
  set_modem(line::rts, line::rts);
  clock_.advance(kSecond);
  EXPECT_TRUE(done(in));
}

TEST_F(SerialTest, UnreadChatterIsLostInWholeLines) {
  make({.serial_mode = SerialMode::chatter, .lines_s = 1000});
  set_line({.baud = 1'000'000});
  clock_.advance(20 * kSecond);
  notice();
  Transfer& all = read(limits::serial_run_bytes_max);
  EXPECT_EQ(all.actual, limits::serial_run_bytes_max / 13 * 13);
  Transfer& next = read();
  clock_.advance(10 * kMs);
  EXPECT_GT(std::stoi(text_of(next).substr(3, 8)), 19'000);
}

TEST_F(SerialTest, Faults) {
  make();
  notice();
  port_->inject(FaultKind::stall);
  write("x");
  clock_.advance(kSecond);
  EXPECT_EQ(notice_in(notice()).conditions, condition::framing_error);
  EXPECT_EQ(text_of(read()), "x");
  port_->inject(FaultKind::short_data);
  write("xy");
  clock_.advance(kSecond);
  EXPECT_EQ(notice_in(notice()).conditions, condition::overrun);
  EXPECT_EQ(text_of(read()), "x");
  port_->inject(FaultKind::unplug);
  Transfer& out = write("z");
  Transfer& in = read();
  clock_.advance(kSecond);
  EXPECT_EQ(out.status, TransferStatus::unplugged);
  EXPECT_EQ(in.status, TransferStatus::unplugged);
  EXPECT_EQ(events_.unplug_reasons.size(), 1u);
}

TEST_F(SerialTest, StopEndsEverything) {
  make();
  notice();
  Transfer* const all[] = {&write("x"), &read(), &notice(), &request(SerialRequest::drain)};
  port_->stop();
  for (Transfer* transfer : all) EXPECT_EQ(transfer->status, TransferStatus::cancelled);
  EXPECT_EQ(events_.stopped, 1);
  EXPECT_TRUE(clock_.idle());
}

}  // namespace
}  // namespace farport
