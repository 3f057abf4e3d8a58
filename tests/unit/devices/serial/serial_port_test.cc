#include "devices/serial/serial_port.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/limits.h"
#include "devices/serial/termios_settings.h"
#include "tests/unit/devices/serial/fake_tty.h"
#include "tests/unit/fake_device.h"

namespace farport::serial {
namespace {

constexpr uint64_t patience_ns = 20'000'000'000;

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string moved(const Transfer& transfer) {
  const auto data = transfer.moved();
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// A SerialPort on the slave of a pty, with or without FakeTty's modem lines, on a worker of its
// own.
class SerialPortTest : public testing::Test {
 protected:
  void SetUp() override { worker = *Worker::create({}); }
  void TearDown() override {
    if (port) stop();
  }

  void start_fake() {
    auto tty = std::make_unique<FakeTty>(pair);
    fake = tty.get();
    start(std::move(tty));
  }
  void start(std::unique_ptr<Tty> tty) {
    DeviceInfo info;
    info.kind = DeviceKind::serial;
    info.path = pair.path;
    port = std::make_unique<SerialPort>(info, std::move(tty));
    port->start(*worker, events);
  }
  void stop() {
    port->stop();
    wait([&] { return events.stopped == 1; });
    port.reset();
  }
  void wait(const std::function<bool()>& done) {
    // In slices: much of what is waited for happens outside the worker and does not wake it.
    const uint64_t until_ns = worker->now_ns() + patience_ns;
    while (!worker->run_until(done, 2'000'000)) ASSERT_LT(worker->now_ns(), until_ns);
  }
  void finish(Transfer& transfer) {
    wait([&] { return events.has(transfer); });
  }

  Transfer& submit(Transfer& transfer) {
    port->submit(transfer);
    return transfer;
  }
  Transfer& read(uint32_t length) {
    return submit(transfers.make(TransferType::serial, endpoint_in, length));
  }
  Transfer& write(std::string_view text) {
    return submit(transfers.out(TransferType::serial, endpoint_out, bytes(text)));
  }
  Transfer& notice() { return submit(transfers.make(TransferType::interrupt, endpoint_notice, 4)); }
  SerialNotice noticed(Transfer& transfer) {
    finish(transfer);
    SerialNotice value;
    std::memcpy(&value, transfer.data().data(), sizeof value);
    return value;
  }
  template <class T>
  Transfer& request(SerialRequest request, const T& value) {
    return submit(transfers.control(0x21, uint8_t(request), 0, 0, sizeof value,
                                    std::as_bytes(std::span(&value, 1))));
  }
  Transfer& command(SerialRequest request, uint16_t value = 0) {
    return submit(transfers.control(0x21, uint8_t(request), value, 0, 0));
  }
  TransferStatus result(Transfer& transfer) {
    finish(transfer);
    return transfer.status;
  }
  LineSettings present_line() {
    Transfer& get = submit(transfers.control(0xa1, uint8_t(SerialRequest::get_line), 0, 0, 8));
    EXPECT_EQ(result(get), TransferStatus::ok);
    LineSettings value;
    std::memcpy(&value, get.data().data(), sizeof value);
    return value;
  }
  // What the other end of the wire has received so far, up to `size` bytes.
  std::string received(size_t size) {
    std::string text;
    wait([&] {
      char buffer[4096];
      const ssize_t count = ::read(pair.master.get(), buffer, sizeof buffer);
      if (count > 0) text.append(buffer, static_cast<size_t>(count));
      return text.size() >= size;
    });
    return text;
  }
  void send(std::string_view text) {
    ASSERT_EQ(::write(pair.master.get(), text.data(), text.size()), ssize_t(text.size()));
  }

  PtyPair pair;
  std::unique_ptr<Worker> worker;
  FakeDeviceEvents events;
  TestTransfers transfers;
  FakeTty* fake = nullptr;  // of the port
  std::unique_ptr<SerialPort> port;
};

TEST_F(SerialPortTest, BytesBothWaysOnARealPtyWithoutModemLines) {
  auto tty = open_tty(pair.path, "/nonexistent");
  ASSERT_TRUE(tty) << tty.error().message;
  start(std::move(*tty));
  EXPECT_EQ(noticed(notice()).lines, 0);  // and the port is raw by now
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  Transfer& in = read(4096);
  send(all);
  finish(in);
  std::string got = moved(in);
  while (got.size() < all.size() && !HasFatalFailure()) {
    Transfer& more = read(4096);
    finish(more);
    got += moved(more);
  }
  EXPECT_EQ(got, all);

  EXPECT_EQ(result(write(all)), TransferStatus::ok);
  EXPECT_EQ(received(all.size()), all);

  EXPECT_EQ(result(request(SerialRequest::set_modem, ModemControl{line::dtr, line::dtr})),
            TransferStatus::invalid);
  EXPECT_EQ(result(request(SerialRequest::set_line, LineSettings{.baud = 250000})),
            TransferStatus::ok);
  EXPECT_EQ(present_line().baud, 250000u);
  // A pty forces 8 bits without parity: the port says so and keeps what it had.
  EXPECT_EQ(result(request(SerialRequest::set_line,
                           LineSettings{.baud = 9600, .data_bits = 7, .parity = Parity::even})),
            TransferStatus::invalid);
  EXPECT_EQ(present_line(), LineSettings{.baud = 250000});
  EXPECT_EQ(result(command(SerialRequest::drain)), TransferStatus::ok);
}

TEST_F(SerialPortTest, ARestingReadCompletesWithWhatHasCome) {
  start_fake();
  noticed(notice());
  Transfer& first = read(64);
  Transfer& second = read(64);
  send("abc");
  finish(first);
  EXPECT_EQ(moved(first), "abc");
  EXPECT_FALSE(events.has(second));
  send("d");
  finish(second);
  EXPECT_EQ(moved(second), "d");
}

TEST_F(SerialPortTest, AWriteLargerThanTheKernelTakesWaitsForRoom) {
  start_fake();
  noticed(notice());
  std::string large(60'000, 'x');
  for (size_t at = 0; at < large.size(); ++at) large[at] = static_cast<char>('a' + at % 23);
  Transfer& out = write(large);
  Transfer& after = write("end");
  EXPECT_TRUE(received(large.size() + 3) == large + "end");
  finish(after);
  EXPECT_EQ(out.status, TransferStatus::ok);
  EXPECT_EQ(out.actual, large.size());
  EXPECT_LT(std::find(events.completions.begin(), events.completions.end(), &out),
            std::find(events.completions.begin(), events.completions.end(), &after));
}

TEST_F(SerialPortTest, LineSettingsReachTheTtyOrAreRefusedUnchanged) {
  start_fake();
  const LineSettings wanted{.baud = 31250,
                            .data_bits = 7,
                            .parity = Parity::mark,
                            .stop_bits = StopBits::two,
                            .flow_control = FlowControl::rts_cts};
  EXPECT_EQ(result(request(SerialRequest::set_line, wanted)), TransferStatus::ok);
  EXPECT_EQ(present_line(), wanted);

  LineSettings bad = wanted;
  bad.stop_bits = StopBits::one_and_half;
  EXPECT_EQ(result(request(SerialRequest::set_line, bad)), TransferStatus::invalid);
  bad = wanted;
  bad.data_bits = 9;
  EXPECT_EQ(result(request(SerialRequest::set_line, bad)), TransferStatus::invalid);
  // The driver takes what it can and says nothing: found out by asking.
  fake->ignores_size = true;
  bad = {.baud = 9600, .data_bits = 6};
  EXPECT_EQ(result(request(SerialRequest::set_line, bad)), TransferStatus::invalid);
  fake->ignores_size = false;
  fake->settings_error = EINVAL;
  EXPECT_EQ(result(request(SerialRequest::set_line, wanted)), TransferStatus::invalid);
  fake->settings_error = 0;
  EXPECT_EQ(present_line().baud, 31250u);
}

TEST_F(SerialPortTest, DtrAndRtsChangeByOneCall) {
  start_fake();
  const int before = fake->set_lines_calls;
  EXPECT_EQ(
      result(request(SerialRequest::set_modem, ModemControl{line::dtr | line::rts, line::rts})),
      TransferStatus::ok);
  EXPECT_EQ(fake->set_lines_calls, before + 1);
  EXPECT_EQ(fake->lines(), line::rts);
  EXPECT_EQ(result(request(SerialRequest::set_modem, ModemControl{line::cts, line::cts})),
            TransferStatus::invalid);
}

TEST_F(SerialPortTest, NoticesTellThePresentStateThenEachChange) {
  start_fake();
  SerialNotice first = noticed(notice());
  EXPECT_EQ(first.lines, line::dtr | line::rts);
  EXPECT_EQ(first.changed, 0);
  wait([&] { return fake->waits > 0; });

  Transfer& next = notice();
  fake->set_remote(line::dtr | line::rts | line::cts | line::dcd);
  SerialNotice change = noticed(next);
  EXPECT_EQ(change.lines, line::dtr | line::rts | line::cts | line::dcd);
  EXPECT_EQ(change.changed, line::cts | line::dcd);

  // Gone and back between two looks: only the counters know.
  Transfer& pulse = notice();
  fake->set_remote(line::dtr | line::rts | line::dcd, true);
  fake->set_remote(line::dtr | line::rts | line::cts | line::dcd);
  change = noticed(pulse);
  EXPECT_NE(change.changed & line::cts, 0);
}

TEST_F(SerialPortTest, ChangesWithoutANoticeWaitingAreGathered) {
  start_fake();
  noticed(notice());
  fake->set_remote(line::dtr | line::rts | line::cts);
  // A request later, the helper has looked again.
  EXPECT_EQ(result(request(SerialRequest::set_modem, ModemControl{line::dtr, 0})),
            TransferStatus::ok);
  uint8_t changed = 0;
  while ((changed & (line::cts | line::dtr)) != (line::cts | line::dtr) && !HasFatalFailure()) {
    const SerialNotice change = noticed(notice());
    changed |= change.changed;
    ASSERT_NE(change.changed, 0);
  }
}

TEST_F(SerialPortTest, LinesArePolledWhereTheDriverCannotWait) {
  auto tty = std::make_unique<FakeTty>(pair);
  fake = tty.get();
  fake->can_wait = false;
  start(std::move(tty));
  noticed(notice());
  Transfer& next = notice();
  fake->set_remote(line::dtr | line::rts | line::dsr);
  EXPECT_EQ(noticed(next).changed, line::dsr);
}

TEST_F(SerialPortTest, BreaksAndErrorsComeAsConditions) {
  start_fake();
  noticed(notice());
  Transfer& next = notice();
  Transfer& in = read(16);
  fake->count(&LineCounters::brk);
  fake->count(&LineCounters::parity);
  send(std::string_view("\0", 1));  // what a tty gives for a break
  finish(in);
  EXPECT_EQ(noticed(next).conditions, condition::break_received | condition::parity_error);
}

TEST_F(SerialPortTest, BreakOnAndOff) {
  start_fake();
  EXPECT_EQ(result(command(SerialRequest::set_break, 1)), TransferStatus::ok);
  EXPECT_TRUE(fake->break_on);
  EXPECT_EQ(result(command(SerialRequest::set_break, 0)), TransferStatus::ok);
  EXPECT_FALSE(fake->break_on);
  EXPECT_EQ(result(command(SerialRequest::set_break, 2)), TransferStatus::invalid);
}

TEST_F(SerialPortTest, DrainWaitsForOutputKernelAndHardware) {
  start_fake();
  noticed(notice());  // open
  const std::string large(50'000, 'z');
  fake->kernel_output = 10;
  fake->transmitting = true;
  Transfer& out = write(large);
  Transfer& drain = command(SerialRequest::drain);
  EXPECT_TRUE(received(large.size()) == large);
  finish(out);
  EXPECT_FALSE(events.has(drain));
  fake->kernel_output = 0;
  fake->transmitting = false;
  EXPECT_EQ(result(drain), TransferStatus::ok);
}

TEST_F(SerialPortTest, ADrainThatCannotEndIsCancelledAtOnce) {
  start_fake();
  noticed(notice());
  fake->kernel_output = 10;
  Transfer& drain = command(SerialRequest::drain);
  port->cancel(drain);
  EXPECT_TRUE(events.has(drain));
  EXPECT_EQ(drain.status, TransferStatus::cancelled);
  fake->kernel_output = 0;
}

TEST_F(SerialPortTest, PurgeDropsWaitingOutputAndReceivedInput) {
  start_fake();
  noticed(notice());
  Transfer& stuck = write(std::string(60'000, 'q'));
  EXPECT_FALSE(events.has(stuck));
  send("stale");
  EXPECT_EQ(result(command(SerialRequest::purge, 3)), TransferStatus::ok);
  EXPECT_EQ(stuck.status, TransferStatus::cancelled);
  EXPECT_EQ(events.count(stuck), 1);
  EXPECT_EQ(fake->flushes, 1);
  Transfer& in = read(64);
  send("new");
  finish(in);
  EXPECT_EQ(moved(in), "new");
  EXPECT_EQ(result(command(SerialRequest::purge, 4)), TransferStatus::invalid);
}

TEST_F(SerialPortTest, CancelledTransfersCompleteOnceWithWhatHadMoved) {
  start_fake();
  noticed(notice());
  Transfer& in = read(64);
  Transfer& waiting = notice();
  Transfer& out = write(std::string(60'000, 'c'));
  for (Transfer* transfer : {&in, &waiting, &out}) {
    port->cancel(*transfer);
    EXPECT_EQ(events.count(*transfer), 1);
    EXPECT_EQ(transfer->status, TransferStatus::cancelled);
  }
  EXPECT_GT(out.actual, 0u);
  EXPECT_LT(out.actual, 60'000u);
  port->cancel(in);  // late: nothing to cancel
  EXPECT_EQ(events.count(in), 1);
}

TEST_F(SerialPortTest, WhatThePortDoesNotHaveIsInvalid) {
  start_fake();
  Transfer* bad[] = {
      &transfers.make(TransferType::serial, 0x83, 16),
      &transfers.make(TransferType::serial, endpoint_in, 0),
      &transfers.make(TransferType::serial, endpoint_in, limits::serial_run_bytes_max + 1),
      &transfers.make(TransferType::serial, endpoint_out, limits::serial_run_bytes_max + 1),
      &transfers.make(TransferType::interrupt, endpoint_notice, 3),
      &transfers.make(TransferType::interrupt, 0x83, 4),
      &transfers.make(TransferType::bulk, endpoint_in, 16),
      &transfers.control(0x21, 0x7f, 0, 0, 0),
      &transfers.control(0x21, uint8_t(SerialRequest::set_line), 0, 0, 7),
      &transfers.control(0xa1, uint8_t(SerialRequest::set_line), 0, 0, 8),
      &transfers.control(0xa1, uint8_t(SerialRequest::get_line), 0, 0, 7),
      &transfers.control(0x21, uint8_t(SerialRequest::get_line), 0, 0, 8),
      &transfers.control(0x21, uint8_t(SerialRequest::set_modem), 0, 0, 1),
      &transfers.control(0xa1, uint8_t(SerialRequest::drain), 0, 0, 0),
  };
  for (Transfer* transfer : bad) {
    port->submit(*transfer);
    EXPECT_TRUE(events.has(*transfer));
    EXPECT_EQ(transfer->status, TransferStatus::invalid);
  }
  Transfer& in = read(16);
  send("ok");
  finish(in);
  EXPECT_EQ(moved(in), "ok");
}

TEST_F(SerialPortTest, HangupIsAnUnplugEvenWithNothingSubmitted) {
  start_fake();
  noticed(notice());
  pair.master.reset();
  wait([&] { return !events.unplug_reasons.empty(); });
  EXPECT_EQ(events.unplug_reasons.size(), 1u);
  EXPECT_EQ(read(16).status, TransferStatus::unplugged);
}

TEST_F(SerialPortTest, HangupEndsWhatIsInFlight) {
  start_fake();
  noticed(notice());
  Transfer& in = read(16);
  Transfer& waiting = notice();
  pair.master.reset();
  finish(in);
  EXPECT_EQ(in.status, TransferStatus::unplugged);
  EXPECT_EQ(result(waiting), TransferStatus::unplugged);
  wait([&] { return events.unplug_reasons.size() == 1; });
}

TEST_F(SerialPortTest, StopRestoresTheSettingsFoundAndGivesThePortBack) {
  termios2 found{};
  {
    FileDescriptor slave(::open(pair.path.c_str(), O_RDWR | O_NOCTTY));
    ASSERT_EQ(::ioctl(slave.get(), TCGETS2, &found), 0);
    found.c_lflag |= ICANON | ECHO;
    found.c_oflag |= OPOST;
    ASSERT_EQ(::ioctl(slave.get(), TCSETS2, &found), 0);
    auto tty = open_tty(pair.path, "/nonexistent");
    ASSERT_TRUE(tty);
    start(std::move(*tty));
    EXPECT_EQ(result(request(SerialRequest::set_line, LineSettings{.baud = 1200})),
              TransferStatus::ok);
    EXPECT_EQ(pair.settings().c_lflag, 0u);
    Transfer& in = read(16);
    stop();
    EXPECT_EQ(in.status, TransferStatus::cancelled);
  }
  const termios2 now = pair.settings();
  EXPECT_EQ(now.c_lflag, found.c_lflag);
  EXPECT_EQ(now.c_oflag, found.c_oflag);
  EXPECT_EQ(now.c_iflag, found.c_iflag);
  EXPECT_EQ(now.c_cflag, found.c_cflag);
  EXPECT_EQ(now.c_ospeed, found.c_ospeed);
  EXPECT_TRUE(open_tty(pair.path, "/nonexistent"));
}

TEST_F(SerialPortTest, StopRightAfterStartAndWithARequestUnderWay) {
  start_fake();
  Transfer& in = read(16);
  Transfer& set = request(SerialRequest::set_line, LineSettings{});
  stop();
  EXPECT_EQ(events.count(in), 1);
  EXPECT_EQ(events.count(set), 1);

  events = {};
  start_fake();
  noticed(notice());
  Transfer& modem = request(SerialRequest::set_modem, ModemControl{line::dtr, 0});
  stop();
  EXPECT_EQ(events.count(modem), 1);
}

TEST_F(SerialPortTest, LowLatencyIsAskedForAndTakenBack) {
  auto tty = std::make_unique<FakeTty>(pair);
  fake = tty.get();
  start(std::move(tty));
  noticed(notice());
  EXPECT_TRUE(fake->low_latency);
}

TEST(OpenTty, APortIsHeldByOneOnly) {
  PtyPair pair;
  auto first = open_tty(pair.path, "/nonexistent");
  ASSERT_TRUE(first);
  auto second = open_tty(pair.path, "/nonexistent");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  (*first)->close();
  EXPECT_TRUE(open_tty(pair.path, "/nonexistent"));
}

TEST(OpenTty, RespectsTheLockOfOthers) {
  PtyPair pair;
  FileDescriptor other(::open(pair.path.c_str(), O_RDWR | O_NOCTTY));
  ASSERT_EQ(::ioctl(other.get(), TIOCEXCL), 0);
  auto port = open_tty(pair.path, "/nonexistent");
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().code, ErrorCode::busy);
  EXPECT_NE(port.error().message.find(pair.path), std::string::npos);
}

TEST(OpenTty, WhatIsNoSerialPort) {
  auto null = open_tty("/dev/null", "/nonexistent");
  ASSERT_FALSE(null);
  EXPECT_NE(null.error().message.find("not a serial port"), std::string::npos);
  auto missing = open_tty("/dev/farport-no-such-port", "/nonexistent");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace farport::serial
