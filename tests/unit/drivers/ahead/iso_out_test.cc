#include "drivers/ahead/iso_out.h"

#include "tests/unit/drivers/ahead/iso_fixture.h"

namespace farport {
namespace {

const std::string kRule = "isochronous-out";

class IsoOutTest : public testing::Test {
 protected:
  void begin(size_t transfers = 4) {
    for (size_t i = 0; i < transfers; ++i) bench.ask();
  }
  IsoBench bench{0x03, {.on = {kRule}}};
};

TEST_F(IsoOutTest, ItIsOffUnlessSwitchedOn) {
  IsoBench other(0x03, {});
  EXPECT_FALSE(other.figures(kRule).on);
  EXPECT_TRUE(bench.figures(kRule).on);
}

TEST_F(IsoOutTest, AStreamFartherAwayThanItsTransfersReachIsPlayedWithoutGaps) {
  bench.delay_ns = 40 * IsoBench::ms;  // the consumer has 32 ms in flight
  begin();
  bench.run(1'000);
  bench.gaps = 0;
  bench.run(2'000);
  EXPECT_EQ(bench.gaps, 0u);
  for (size_t i = 0; i < bench.played.size(); ++i) ASSERT_EQ(bench.played[i], i);
  EXPECT_GT(bench.played.size(), 2'800u);

  IsoBench off(0x03, {});
  off.delay_ns = 40 * IsoBench::ms;
  for (int i = 0; i < 4; ++i) off.ask();
  off.run(3'000);
  EXPECT_GT(off.gaps, 1'000u) << "what it looks like without";
}

// As Linux's snd_usb_audio does it; the rule once never began for it.
TEST_F(IsoOutTest, AStreamWithoutAsapIsServed) {
  bench.flags = 0;
  bench.delay_ns = 40 * IsoBench::ms;
  begin();
  bench.run(1'000);
  bench.gaps = 0;
  bench.run(2'000);
  EXPECT_EQ(bench.gaps, 0u);
  EXPECT_GT(bench.figures(kRule).round_trips_saved, 100u);
}

TEST_F(IsoOutTest, JitterBeyondWhatTheConsumerHasInFlightIsCoveredByALead) {
  bench.delay_ns = 20 * IsoBench::ms;
  bench.jitter_ns = 60 * IsoBench::ms;
  begin(2);
  bench.run(2'000);
  bench.gaps = 0;
  bench.run(4'000);
  EXPECT_LT(bench.gaps, 100u) << "of 4000";
  EXPECT_TRUE(std::ranges::is_sorted(bench.played));
}

TEST_F(IsoOutTest, TransfersCompleteAtTheStreamsRate) {
  bench.delay_ns = 20 * IsoBench::ms;
  begin();
  bench.run(3'000);
  EXPECT_NEAR(double(bench.given.size()), 375.0, 10.0);
  for (const auto& one : bench.given) {
    EXPECT_EQ(one.status, TransferStatus::ok);
    EXPECT_EQ(one.actual, IsoBench::packets * IsoBench::packet_bytes);
  }
}

TEST_F(IsoOutTest, AFailedPacketIsToldWithALaterTransfer) {
  bench.fail_packet = 100;
  begin();
  bench.run(1'000);
  uint32_t errors = 0;
  for (size_t i = 0; i < bench.given.size(); ++i) {
    EXPECT_TRUE(bench.given[i].error_count == 0 || i > 100u / IsoBench::packets) << i;
    errors += bench.given[i].error_count;
  }
  EXPECT_EQ(errors, 1u);
  EXPECT_EQ(bench.figures(kRule).deviations, 1u);
}

TEST_F(IsoOutTest, APauseOfTheNetworkLosesWhatIsSubmittedAndKeepsTheClock) {
  begin();
  bench.run(500);
  bench.paused = true;
  const size_t before = bench.given.size();
  bench.auto_ask = true;
  bench.run(1'500);
  // Those past the bound are late; a consumer that goes on asking is kept at its rate till then.
  EXPECT_GT(bench.given.size() - before, 100u);
  EXPECT_LE(bench.at_device(), IsoOut::ahead_ns_max / IsoBench::ms / IsoBench::packets + 2);
  EXPECT_EQ(bench.given.back().error_count, IsoBench::packets);
  EXPECT_EQ(bench.given.back().packets[0].status, uint32_t(TransferStatus::late));
  EXPECT_GT(bench.figures(kRule).deviations, 0u);
}

TEST_F(IsoOutTest, CancellingAllStopsAtOnceAndNoFurtherPacketIsPlayed) {
  bench.delay_ns = IsoBench::tick;
  begin();
  bench.run(500);
  const uint32_t cancelled = uint32_t(bench.asked.size());
  bench.cancel_all();
  ASSERT_EQ(cancelled, 4u);
  for (size_t i = bench.given.size() - cancelled; i < bench.given.size(); ++i) {
    EXPECT_EQ(bench.given[i].status, TransferStatus::cancelled);
  }
  const size_t played = bench.played.size();
  bench.run(200);
  EXPECT_LE(bench.played.size(), played + IsoBench::packets) << "what was being played";
  EXPECT_EQ(bench.port.in_use(), 0u);
  bench.auto_ask = true;
  begin();
  bench.run(200);
  EXPECT_EQ(bench.given.back().status, TransferStatus::ok) << "and it begins anew";
}

TEST_F(IsoOutTest, AlternateSettingZeroWaitsForTheStreamToEnd) {
  begin();
  bench.run(500);
  bench.set_interface(0);
  EXPECT_EQ(bench.port.find(0), nullptr);
  bench.loop.flush();
  EXPECT_TRUE(bench.asked.empty());
  bench.run(200);
  EXPECT_EQ(bench.port.in_use(), 0u) << "the request went and came back";
}

TEST_F(IsoOutTest, UnplugGivesEachTransferBackOnce) {
  begin();
  bench.run(500);
  bench.auto_ask = false;
  const size_t before = bench.given.size();
  bench.fail_all(TransferStatus::unplugged);
  ASSERT_EQ(bench.given.size(), before + 4);
  for (size_t i = before; i < bench.given.size(); ++i) {
    EXPECT_EQ(bench.given[i].status, TransferStatus::unplugged);
  }
  EXPECT_EQ(bench.port.in_use(), 0u);
}

class IsoOutProperty : public testing::TestWithParam<uint32_t> {};

// Whatever the network does, the device plays packets in order, once each, and each transfer of
// the consumer comes back once.
TEST_P(IsoOutProperty, PacketsInOrderOnceEach) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  IsoBench bench(0x03, {.on = {kRule}}, GetParam());
  const auto below = [&bench](uint32_t count) { return bench.random() % count; };
  bench.delay_ns = below(60) * IsoBench::ms;
  for (uint32_t i = 0; i < 2 + below(4); ++i) bench.ask();
  for (int step = 0; step < 30; ++step) {
    bench.paused = below(8) == 0;
    if (below(4) == 0) bench.jitter_ns = below(80) * IsoBench::ms;
    if (below(12) == 0 || bench.asked.empty()) {
      bench.cancel_all();
      bench.auto_ask = true;
      for (int i = 0; i < 3; ++i) bench.ask();
    }
    bench.run(below(300));
    ASSERT_LE(bench.port.in_use(), 140u) << "bounded";
  }
  for (size_t i = 1; i < bench.played.size(); ++i) {
    ASSERT_GT(bench.played[i], bench.played[i - 1]);
  }
  EXPECT_GT(bench.played.size(), 100u);
  for (const auto& one : bench.given) {
    uint32_t sum = 0;
    uint32_t errors = 0;
    for (const IsoPacket& packet : one.packets) {
      sum += packet.actual;
      errors += packet.status != 0 ? 1 : 0;
    }
    ASSERT_EQ(sum, one.actual);
    ASSERT_EQ(errors, one.error_count);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, IsoOutProperty, testing::Range(1u, 61u));

}  // namespace
}  // namespace farport
