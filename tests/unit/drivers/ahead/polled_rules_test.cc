// The rules interrupt-in, cdc-acm and ftdi: which devices they fit, and what is FTDI's own.
#include "drivers/ahead/cdc_acm.h"
#include "drivers/ahead/ftdi.h"
#include "drivers/ahead/interrupt_in.h"
#include "tests/unit/drivers/ahead/polled_fixture.h"

namespace farport {
namespace {

usb::Interface interface_of(const DeviceInfo& info, uint8_t number) {
  return *usb::parse_configurations(info).front().find(number, 0);
}

struct Fit {
  const char* what;
  uint16_t vendor;
  uint8_t class_code, subclass;
  uint8_t endpoint, type;
  bool interrupt_in, ftdi;
};

TEST(PolledRules, EachFitsItsOwnDevices) {
  for (const Fit& is : {
           Fit{"keyboard", 0x046d, 0x03, 1, 0x81, 3, true, false},
           Fit{"HID of FTDI", 0x0403, 0x03, 0, 0x81, 3, true, false},
           Fit{"HID without interrupt-IN", 0x046d, 0x03, 0, 0x01, 3, false, false},
           Fit{"camera events", 0x04a9, 0x06, 1, 0x83, 3, true, false},
           Fit{"hub", 0x1d6b, 0x09, 0, 0x81, 3, false, false},
           Fit{"floppy (CBI)", 0x0644, 0x08, 4, 0x81, 3, false, false},
           Fit{"vendor class", 0x1234, 0xff, 0, 0x81, 3, false, false},
           Fit{"FT232R", 0x0403, 0xff, 0xff, 0x81, 2, false, true},
           Fit{"another vendor's serial port", 0x10c4, 0xff, 0xff, 0x81, 2, false, false},
       }) {
    DeviceInfo info = hid_device();
    info.vendor = is.vendor;
    info.configurations = {test::ConfigurationBuilder()
                               .interface(0, 0, is.class_code, is.subclass)
                               .endpoint(is.endpoint, is.type, 64, 1)
                               .build()};
    const usb::Interface interface = interface_of(info, 0);
    EXPECT_EQ(InterruptInRule::fits(info, interface), is.interrupt_in) << is.what;
    EXPECT_EQ(FtdiRule::fits(info, interface), is.ftdi) << is.what;
    EXPECT_FALSE(CdcAcmRule::fits(info, interface)) << is.what;
  }
}

TEST(PolledRules, CdcAcmTakesTheDataInterfaceOfASerialPortNotOfANetwork) {
  DeviceInfo info = hid_device();
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0x02, 2)
                             .endpoint(0x81, 3, 16, 9)
                             .interface(1, 0, 0x0a)
                             .endpoint(0x82, 2, 64)
                             .interface(2, 0, 0x02, 0x0d)  // NCM
                             .endpoint(0x83, 3, 16, 9)
                             .interface(3, 0, 0x0a)
                             .endpoint(0x84, 2, 64)
                             .build()};
  const bool expected[] = {true, true, false, false};
  for (uint8_t number = 0; number < 4; ++number) {
    EXPECT_EQ(CdcAcmRule::fits(info, interface_of(info, number)), expected[number]) << int(number);
  }
}

TEST(PolledRules, AcmNotificationsAndDataAreBothPolled) {
  PolledBench data(acm_device(), 0x81, TransferType::bulk, 64);
  data.settle_in(64, Packet(5, 1));
  EXPECT_GT(data.polls(), 1u);
  PolledBench notices(acm_device(), 0x82, TransferType::interrupt, 16);
  notices.settle_in(16, Packet(10, 1));
  EXPECT_GT(notices.polls(), 1u);
}

TEST(PolledRules, AnEndpointWithoutAPacketSizeIsLeftAlone) {
  PolledBench bench(hid_device(0), 0x81, TransferType::interrupt, 8);
  bench.ask(8);
  ASSERT_NE(bench.at_device(), nullptr);
  bench.finish(*bench.at_device(), TransferStatus::invalid);
  EXPECT_EQ(bench.seen.size(), 1u);
}

class FtdiTest : public testing::Test {
 protected:
  static constexpr uint8_t idle[] = {0x01, 0x60};
  static constexpr uint8_t ringing[] = {0x41, 0x60};
  Packet status(const uint8_t (&of)[2]) { return Packet(of, of + 2); }
  Packet data(uint8_t value) { return {idle[0], idle[1], value}; }
  // The consumer's next, as soon as it can have one.
  std::vector<uint8_t> read() {
    if (bench.asked.empty()) bench.ask(512);
    bench.loop.flush();
    if (bench.seen.empty()) return {};
    Packet first = bench.seen.front().data;
    bench.seen.erase(bench.seen.begin());
    return first;
  }

  PolledBench bench{ftdi_device(), 0x81, TransferType::bulk, 64};
};

TEST_F(FtdiTest, AListenerGetsEveryStatusPacket) {
  bench.settle_in(512, status(idle));
  for (int i = 0; i < 10; ++i) {
    bench.say(status(idle));
    bench.run_device();
  }
  EXPECT_EQ(bench.seen.size(), 10u);
}

TEST_F(FtdiTest, WhileThereIsOnlyStatusFewPollsAreAhead) {
  bench.settle_in(512, status(idle));
  for (int i = 0; i < 20; ++i) {
    bench.say(status(idle));
    bench.run_device();
  }
  EXPECT_EQ(bench.polls(), 1 + PolledIn::quiet_extra);
  bench.say(data(1));
  bench.run_device();
  EXPECT_GT(bench.polls(), 1 + PolledIn::quiet_extra);
}

TEST_F(FtdiTest, StatusThatRepeatsIsKeptOnce) {
  bench.settle_in(512, data(0));
  bench.auto_ask = false;
  bench.say(data(1));
  bench.say(status(idle));
  bench.say(status(idle));
  bench.say(status(idle));
  bench.say(status(ringing));
  bench.say(status(ringing));
  bench.say(data(2));
  bench.run_device();
  EXPECT_TRUE(bench.items.empty());
  EXPECT_EQ(read(), data(1));
  EXPECT_EQ(read(), status(idle));
  EXPECT_EQ(read(), status(ringing));
  EXPECT_EQ(read(), data(2));
}

TEST_F(FtdiTest, EachPacketOfALongTransferKeepsItsStatusBytes) {
  bench.settle_in(512, data(0));
  Packet full(64, 7);
  full[0] = idle[0];
  full[1] = idle[1];
  bench.auto_ask = false;
  bench.say(full);
  bench.say(full);
  bench.say(data(3));
  bench.run_device();
  Packet whole = full;
  whole.insert(whole.end(), full.begin(), full.end());
  const Packet last = data(3);
  whole.insert(whole.end(), last.begin(), last.end());
  EXPECT_EQ(read(), whole);
}

struct Flush {
  const char* what;
  uint8_t type, request;
  uint16_t value, index;
  bool drops;
};

TEST_F(FtdiTest, AFlushTowardsTheHostDropsWhatIsKept) {
  for (const Flush& is :
       {Flush{"reset", 0x40, 0, 0, 1, true}, Flush{"reset, index 0", 0x40, 0, 0, 0, true},
        Flush{"flush towards the host", 0x40, 0, 2, 1, true},
        Flush{"flush of what the host has sent", 0x40, 0, 1, 1, false},
        Flush{"of port B", 0x40, 0, 2, 2, false}, Flush{"SET_LATENCY_TIMER", 0x40, 9, 1, 1, false},
        Flush{"GET_MODEM_STATUS", 0xc0, 5, 0, 1, false}}) {
    PolledBench one(ftdi_device(), 0x81, TransferType::bulk, 64);
    one.settle_in(512, data(0));
    one.auto_ask = false;
    one.say(data(1));
    one.say(data(2));
    one.run_device();
    one.seen.clear();
    one.control(is.type, is.request, is.value, is.index);
    one.run_cancels();
    one.finish_control();
    one.ask(512);
    one.loop.flush();
    EXPECT_EQ(one.seen.empty(), is.drops) << is.what;
  }
}

TEST_F(FtdiTest, InBitBangModesNothingIsPolled) {
  bench.settle_in(512, data(0));
  EXPECT_GT(bench.polls(), 1u);
  bench.control(0x40, 0x0b, 0x01ff, 1);
  bench.finish_control();
  bench.run_cancels();
  for (int i = 0; i < 10; ++i) {
    bench.say(data(1));
    bench.run_device();
  }
  EXPECT_EQ(bench.polls(), 1u);
  bench.control(0x40, 0x0b, 0x0000, 1);
  bench.finish_control();
  for (uint32_t i = 0; i <= PolledIn::prompt_min; ++i) {
    bench.say(data(1));
    bench.run_device();
  }
  EXPECT_GT(bench.polls(), 1u);
}

// Results of one endpoint may overtake each other on the network; the bus's order counts.
TEST_F(FtdiTest, AResultThatOvertakesAnotherWaitsForIt) {
  bench.settle_in(512, data(0));
  bench.auto_ask = false;
  Transfer* first = bench.port.submitted[0];
  Transfer* second = bench.port.submitted[1];
  for (Transfer* one : {second, first}) {
    const Packet packet = data(one == first ? 1 : 2);
    std::memcpy(one->data().data(), packet.data(), packet.size());
    bench.port.complete(*one, TransferStatus::ok, 3);
    bench.loop.flush();
    EXPECT_EQ(bench.seen.empty(), one == second);
  }
  EXPECT_EQ(read(), data(1));
  EXPECT_EQ(read(), data(2));
}

}  // namespace
}  // namespace farport
