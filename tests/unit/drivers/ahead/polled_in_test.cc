#include "drivers/ahead/polled_in.h"

#include <random>

#include "tests/unit/drivers/ahead/polled_fixture.h"

namespace farport {
namespace {

constexpr uint32_t kExtra = PolledInSettings{}.extra_max;

Packet report(uint8_t value, size_t bytes = 8) { return Packet(bytes, value); }

class PolledInTest : public testing::Test {
 protected:
  PolledBench bench{hid_device(), 0x81, TransferType::interrupt, 8};
};

TEST_F(PolledInTest, ConsumersOwnTransfersGoToTheDeviceUntilItIsSeenToListen) {
  bench.auto_ask = true;
  bench.ask(8);
  for (uint32_t i = 0; i < PolledIn::prompt_min; ++i) {
    EXPECT_EQ(bench.polls(), 1u);
    bench.say(report(1));
    bench.run_device();
  }
  EXPECT_EQ(bench.polls(), 1u + kExtra);
}

TEST_F(PolledInTest, WhatIsAlreadyThereAnswersAtOnce) {
  bench.settle_in(8, report(1));
  ASSERT_EQ(bench.polls(), 1 + kExtra);
  bench.auto_ask = false;
  for (uint8_t i = 0; i < 5; ++i) bench.say(report(i));
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 1u);
  const uint64_t saved = bench.figures("interrupt-in").round_trips_saved;
  for (uint8_t i = 1; i < 5; ++i) {
    bench.ask(8);
    bench.loop.flush();
    ASSERT_EQ(bench.seen.size(), i + 1u);
    EXPECT_EQ(bench.seen[i].data, report(i));
  }
  EXPECT_EQ(bench.figures("interrupt-in").round_trips_saved, saved + 4);
}

TEST_F(PolledInTest, ResultsKeptAreBounded) {
  bench.settle_in(8, report(1));
  bench.auto_ask = false;
  for (int i = 0; i < 100; ++i) bench.say(report(static_cast<uint8_t>(i)));
  bench.run_device();
  EXPECT_EQ(bench.seen.size(), 1u);
  EXPECT_EQ(bench.items.size(), 100u - 1 - kExtra) << "the rest stays with the device";
}

TEST_F(PolledInTest, PollingEndsWithAConsumerThatFallsSilentAndNothingIsLost) {
  bench.settle_in(8, report(1));
  bench.auto_ask = false;
  for (uint8_t i = 0; i < 3; ++i) bench.say(report(i));
  bench.run_device();
  bench.loop.advance(PolledInSettings{}.prompt_ns + 1);
  bench.run_cancels();
  EXPECT_EQ(bench.polls(), 0u);
  for (int i = 0; i < 3; ++i) bench.ask(8);
  bench.loop.flush();
  EXPECT_EQ(bench.polls(), 1u) << "its own: it has to be seen to listen again";
  bench.say(report(3));
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 4u);
  for (uint8_t i = 0; i < 4; ++i) EXPECT_EQ(bench.seen[i].data, report(i));
}

TEST_F(PolledInTest, CancellingTheLastTransferEndsPollingAtOnce) {
  bench.settle_in(8, report(1));
  bench.consumer->port->cancel(*bench.asked.front());
  bench.loop.flush();
  ASSERT_EQ(bench.seen.size(), 1u);
  EXPECT_EQ(bench.seen[0].status, TransferStatus::cancelled);
  // One report overtakes the cancels.
  bench.say(report(7));
  bench.device_step();
  bench.run_cancels();
  EXPECT_EQ(bench.polls(), 0u);
  bench.ask(8);
  bench.loop.flush();
  ASSERT_EQ(bench.seen.size(), 2u);
  EXPECT_EQ(bench.seen[1].data, report(7));
}

TEST_F(PolledInTest, AConsumerThatAwaitsAnswersToItsRequestsIsNotPolledFor) {
  for (int i = 0; i < 20; ++i) {
    bench.send_out(0x02);
    EXPECT_EQ(bench.polls(), 0u) << "nothing older than the request may be taken";
    bench.ask(8);
    bench.say(report(static_cast<uint8_t>(i)));
    bench.run_device();
  }
  EXPECT_EQ(bench.seen.size(), 20u);
  EXPECT_EQ(bench.figures("interrupt-in").round_trips_saved, 0u);
}

TEST_F(PolledInTest, AnErrorIsTellOnceInItsPlaceAndTheNextIsTheDevicesOwn) {
  bench.settle_in(8, report(1));
  bench.say(report(2));
  bench.items.push_back({.error = TransferStatus::protocol});
  bench.items.push_back({.error = TransferStatus::protocol});
  bench.say(report(3));
  bench.run_device();
  bench.run_cancels();
  ASSERT_EQ(bench.seen.size(), 2u);
  EXPECT_EQ(bench.seen[0].data, report(2));
  EXPECT_EQ(bench.seen[1].status, TransferStatus::protocol);
  bench.ask(8);
  bench.loop.flush();
  ASSERT_EQ(bench.seen.size(), 3u);
  EXPECT_EQ(bench.seen[2].data, report(3));
}

TEST_F(PolledInTest, AStalledEndpointStallsEachTransferUntilItIsCleared) {
  bench.settle_in(8, report(1));
  bench.auto_ask = false;
  bench.ask(8);
  bench.halted = true;
  bench.run_device();
  bench.run_cancels();
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 2u) << "both of its own";
  EXPECT_EQ(bench.seen[0].status, TransferStatus::stall);
  EXPECT_EQ(bench.seen[1].status, TransferStatus::stall);
  bench.ask(8);
  EXPECT_EQ(bench.polls(), 1u);
  bench.run_device();
  EXPECT_EQ(bench.seen.back().status, TransferStatus::stall);
  bench.halted = false;
  bench.control(0x02, 1, 0, 0x81);
  bench.finish_control();
  bench.ask(8);
  bench.say(report(9));
  bench.run_device();
  EXPECT_EQ(bench.seen.back().data, report(9));
}

struct Forgetting {
  const char* what;
  uint8_t type, request;
  uint16_t value, index;
  bool forgets;
};
class PolledInRequests : public testing::TestWithParam<Forgetting> {};

TEST_P(PolledInRequests, WhatTheDeviceForgetsIsForgotten) {
  PolledBench bench(hid_device(), 0x81, TransferType::interrupt, 8);
  const Forgetting& is = GetParam();
  for (const bool fails : {false, true}) {
    bench.settle_in(8, report(1));
    bench.auto_ask = false;
    bench.say(report(2));
    bench.say(report(3));
    bench.run_device();
    bench.control(is.type, is.request, is.value, is.index);
    if (is.forgets) {
      EXPECT_EQ(bench.port.find(0), nullptr) << "waits for the polls to end";
      bench.say(report(4));  // and what comes meanwhile is older than the request
      bench.device_step();
    }
    bench.run_cancels();
    bench.finish_control(fails ? TransferStatus::stall : TransferStatus::ok);
    bench.seen.clear();
    bench.ask(8);
    bench.loop.flush();
    EXPECT_EQ(bench.seen.empty(), is.forgets && !fails) << is.what;
    for (int i = 0; i < 9; ++i) {  // takes what is left
      if (bench.asked.empty()) bench.ask(8);
      bench.loop.flush();
      bench.run_device();
    }
    if (!bench.asked.empty()) bench.consumer->port->cancel(*bench.asked.front());
    bench.run_cancels();
    bench.loop.flush();
    bench.items.clear();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Requests, PolledInRequests,
    testing::Values(Forgetting{"SET_CONFIGURATION", 0x00, 9, 1, 0, true},
                    Forgetting{"SET_INTERFACE", 0x01, 11, 0, 0, true},
                    Forgetting{"SET_INTERFACE of another", 0x01, 11, 0, 1, false},
                    Forgetting{"CLEAR_FEATURE(HALT)", 0x02, 1, 0, 0x81, true},
                    Forgetting{"CLEAR_FEATURE(HALT) of another", 0x02, 1, 0, 0x02, false},
                    Forgetting{"port reset", 0x23, 3, 4, 1, true},
                    Forgetting{"HID SET_IDLE", 0x21, 10, 0, 0, false}));

TEST_F(PolledInTest, ARequestThatWaitsTooLongGoesOnAndLateResultsAreDropped) {
  bench.settle_in(8, report(1));
  bench.control(0x02, 1, 0, 0x81);
  EXPECT_EQ(bench.port.find(0), nullptr);
  bench.loop.advance(AheadDriver::settle_ns_max + 1);
  ASSERT_NE(bench.port.find(0), nullptr);
  bench.say(report(2));
  bench.device_step();
  EXPECT_TRUE(bench.seen.empty());
  bench.run_cancels();
  bench.finish_control();
  bench.say(report(3));
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 1u);
  EXPECT_EQ(bench.seen[0].data, report(3));
}

TEST_F(PolledInTest, UnplugGivesEachTransferBackOnce) {
  bench.settle_in(8, report(1));
  bench.auto_ask = false;
  bench.ask(8);
  while (bench.at_device() != nullptr) {
    bench.finish(*bench.at_device(), TransferStatus::unplugged);
  }
  ASSERT_EQ(bench.seen.size(), 2u);
  EXPECT_EQ(bench.seen[0].status, TransferStatus::unplugged);
  EXPECT_EQ(bench.seen[1].status, TransferStatus::unplugged);
}

TEST_F(PolledInTest, StopGivesEachTransferBackOnceAndReleasesItsOwn) {
  bench.settle_in(8, report(1));
  bench.auto_ask = false;
  bench.ask(8);
  bench.stop();
  EXPECT_EQ(bench.seen.size(), 2u);
  EXPECT_EQ(bench.port.in_use(), 0u);
  EXPECT_EQ(bench.port.stopped, 1);
}

TEST_F(PolledInTest, WithoutMemoryForPollsTheConsumersOwnServe) {
  bench.settle_in(8, report(1));
  bench.auto_ask = true;
  // The device end has none for what was asked beyond the consumer's own.
  while (bench.polls() > 1) bench.finish(*bench.port.submitted.back(), TransferStatus::no_memory);
  bench.run_cancels();
  for (uint8_t i = 0; i < 3; ++i) {
    bench.say(report(i));
    bench.run_device();
  }
  ASSERT_EQ(bench.seen.size(), 3u);
  for (uint8_t i = 0; i < 3; ++i) EXPECT_EQ(bench.seen[i].data, report(i));
}

TEST_F(PolledInTest, SwitchedOffItDoesNothing) {
  PolledBench off(hid_device(), 0x81, TransferType::interrupt, 8, {.off = {"interrupt-in"}});
  off.settle_in(8, report(1));
  EXPECT_EQ(off.polls(), 1u);
  EXPECT_FALSE(off.figures("interrupt-in").on);
  EXPECT_EQ(off.figures("interrupt-in").why, "switched off for this device");
}

// A device that sends full packets and no short one ends each transfer exactly when it is full,
// whatever lengths the polls had.
TEST(PolledInLengths, AChangedLengthNeverWaitsForMoreThanItAskedFor) {
  PolledBench bench(acm_device(), 0x81, TransferType::bulk, 64);
  bench.settle_in(128, Packet(5, 1));
  bench.consumer->port->cancel(*bench.asked.front());
  bench.say(Packet(64, 2));  // half of a poll
  bench.device_step();
  bench.run_cancels();
  bench.auto_ask = false;
  bench.ask(128);
  bench.loop.flush();
  EXPECT_EQ(bench.seen.size(), 1u);
  ASSERT_NE(bench.at_device(), nullptr);
  EXPECT_EQ(bench.at_device()->length, 64u) << "the rest of it and no more";
  bench.say(Packet(64, 3));
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 2u);
  Packet both(128, 3);
  std::fill_n(both.begin(), 64, uint8_t{2});
  EXPECT_EQ(bench.seen[1].data, both);
}

TEST(PolledInLengths, AZeroLengthPacketEndsTheTransferItWouldEnd) {
  PolledBench bench(acm_device(), 0x81, TransferType::bulk, 64);
  bench.settle_in(128, Packet(5, 1));
  bench.say(Packet(64, 2));
  bench.say({});
  bench.say({});
  bench.run_device();
  ASSERT_EQ(bench.seen.size(), 2u);
  EXPECT_EQ(bench.seen[0].data, Packet(64, 2));
  EXPECT_EQ(bench.seen[1].data, Packet{});
}

TEST(PolledInLengths, ShortNotOkIsToldByTheConsumersOwnLength) {
  PolledBench bench(acm_device(), 0x81, TransferType::bulk, 64);
  bench.settle_in(128, Packet(5, 1));
  bench.consumer->port->cancel(*bench.asked.front());
  bench.say(Packet(5, 2));
  bench.say(Packet(64, 3));
  bench.say(Packet(64, 3));
  bench.device_step();
  bench.run_cancels();
  bench.loop.flush();
  bench.seen.clear();
  bench.auto_ask = false;
  bench.ask(128, transfer_flags::short_not_ok);
  bench.loop.flush();
  ASSERT_EQ(bench.seen.size(), 1u);
  EXPECT_EQ(bench.seen[0].status, TransferStatus::short_read);
  EXPECT_EQ(bench.seen[0].data, Packet(5, 2));
}

// Checks the consumer's transfers, in order, against the packets that the device sent.
class View {
 public:
  explicit View(std::deque<Item> sent) : sent_(std::move(sent)) {}

  bool allows(const Seen& one) {
    if (one.status == TransferStatus::cancelled) return take_cancelled(one);
    while (true) {
      std::deque<Item> rest = sent_;
      Seen expected{.endpoint = one.endpoint, .length = one.length};
      bool ended = false;
      while (!rest.empty() && !ended) ended = bus_.step(expected, rest);
      expected_ = expected;
      const size_t taken = sent_.size() - rest.size();
      if (ended && one.status == expected.status && one.data == expected.data) {
        if (one.status == TransferStatus::protocol) error_at_ = position_ + taken;
        sent_ = std::move(rest);
        position_ += taken;
        return true;
      }
      if (!skip_echo(taken)) return false;
    }
  }
  // Whether a transfer that still waits should have ended.
  bool would_end(uint32_t length) {
    Seen partial{.length = length};
    bool ended = false;
    std::deque<Item> rest = sent_;
    while (!rest.empty() && !ended) ended = bus_.step(partial, rest);
    return ended && !(partial.status == TransferStatus::protocol && skip_echo(sent_.size()));
  }
  std::string expected() const {
    return "expected " + std::string(transfer_status_name(expected_.status)) +
           " after a number of bytes: " + testing::PrintToString(expected_.data.size());
  }

 private:
  // What had been put into it goes with it, as on the bus.
  bool take_cancelled(const Seen& one) {
    size_t bytes = one.data.size();
    while (bytes > 0 && !sent_.empty() && sent_.front().packet.size() <= bytes) {
      bytes -= sent_.front().packet.size();
      sent_.pop_front();
      ++position_;
    }
    return bytes == 0;
  }
  // An error that struck a poll behind one that failed may stay untold: the consumer did not ask
  // for that one.
  bool skip_echo(size_t within) {
    constexpr size_t polls = 12, packets = 3;
    for (size_t i = 0; i < within && i < sent_.size(); ++i) {
      if (sent_[i].error == TransferStatus::ok) continue;
      if (error_at_ == 0 || position_ + i - error_at_ > polls * packets) return false;
      sent_.erase(sent_.begin() + long(i));
      return true;
    }
    return false;
  }

  const Bus bus_{64};
  std::deque<Item> sent_;
  Seen expected_;
  size_t position_ = 0;
  size_t error_at_ = 0;
};

// Whatever the device, the network and the consumer do, the consumer's transfers are what a host
// controller would have made of the device's packets: nothing lost, doubled, reordered, or kept
// from a consumer that waits for it.
class PolledInProperty : public testing::TestWithParam<uint32_t> {};

TEST_P(PolledInProperty, ConsumerSeesALegalViewOfTheBus) {
  const uint32_t seed = GetParam();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto below = [&random](uint32_t count) { return random() % count; };
  PolledBench bench(acm_device(), 0x81, TransferType::bulk, 64);
  const std::vector<uint32_t> lengths =
      below(2) != 0 ? std::vector<uint32_t>{128} : std::vector<uint32_t>{64, 128, 192, 100, 5};
  bench.auto_ask = below(4) != 0;
  std::deque<Item> sent;
  uint8_t next = 0;
  const auto say = [&] {
    Item item;
    if (below(60) == 0) {
      item.error = TransferStatus::protocol;
    } else {
      item.packet.resize(below(3) == 0 ? below(65) : 64);
      for (uint8_t& byte : item.packet) byte = next++;
    }
    bench.items.push_back(item);
    sent.push_back(item);
  };
  for (int step = 0; step < 600; ++step) {
    switch (below(12)) {
      case 0:
        if (bench.asked.size() < 4) bench.ask(lengths[below(uint32_t(lengths.size()))]);
        break;
      case 1:
        if (!bench.asked.empty() && below(4) == 0) {
          bench.consumer->port->cancel(*bench.asked[below(uint32_t(bench.asked.size()))]);
        }
        break;
      case 2:
        bench.run_cancels();
        break;
      case 3:
        bench.loop.advance(below(30) * 1'000'000);
        break;
      case 4:
        if (below(10) == 0) bench.send_out(0x01);
        break;
      case 5:
      case 6:
      case 7:
        say();
        break;
      default:
        bench.device_step();
    }
    if (below(2) != 0) bench.loop.flush();
  }
  bench.auto_ask = false;
  for (int i = 0; i < 4; ++i) {
    bench.loop.flush();
    bench.run_cancels();
    bench.run_device();
  }
  bench.loop.flush();

  View view(std::move(sent));
  for (const Seen& one : bench.seen) ASSERT_TRUE(view.allows(one)) << view.expected();
  if (!bench.asked.empty()) {
    EXPECT_TRUE(bench.items.empty()) << "the consumer waits, and the device is not asked";
    EXPECT_FALSE(view.would_end(bench.asked.front()->length))
        << "the consumer waits for what is already there";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PolledInProperty, testing::Range(1u, 301u));

}  // namespace
}  // namespace farport
