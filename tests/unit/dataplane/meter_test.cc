// The meter under an injected clock: nothing here waits.
#include "dataplane/meter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "dataplane/busy_clock.h"

namespace farport {
namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t s = 1'000 * ms;
constexpr uint64_t opened = 1'000 * s;  // any time but 0

// A transfer of `bytes` each `period`, of which the device is busy for `service`.
struct Load {
  TransferType type = TransferType::bulk;
  uint64_t bytes = 0;
  uint64_t period_ns = 0;
  uint64_t service_ns = 0;
};

// Runs a load for a while; the meter is left at opened + duration.
void run(Meter& meter, const Load& load, uint64_t from_ns, uint64_t duration_ns,
         uint64_t busy_from_ns = 0) {
  uint64_t busy_ns = busy_from_ns;
  const bool counts_as_busy = load.type == TransferType::bulk || load.type == TransferType::control;
  for (uint64_t at = load.period_ns; at <= duration_ns; at += load.period_ns) {
    if (counts_as_busy) busy_ns += load.service_ns;
    meter.submitted();
    meter.completed({.now_ns = from_ns + at,
                     .bytes = load.bytes,
                     .type = load.type,
                     .round_trip_ns = load.period_ns,
                     .service_ns = load.service_ns,
                     .busy_ns = busy_ns});
  }
}

struct DemandCase {
  std::string name;
  Load load;
  uint64_t nominal_bytes_s;
  double achieved_bytes_s;
  double demand_bytes_s;
};
void PrintTo(const DemandCase& c, std::ostream* out) { *out << c.name; }

class MeterDemand : public testing::TestWithParam<DemandCase> {};

TEST_P(MeterDemand, InEveryWindow) {
  const DemandCase& c = GetParam();
  Meter meter(c.nominal_bytes_s, opened);
  if (c.load.period_ns > 0) run(meter, c.load, opened, 70 * s);
  const MeterSnapshot snapshot = meter.snapshot(opened + 70 * s);
  for (const MeterWindow& window : snapshot.windows) {
    // The window's edges may cut off, or hold, one transfer more.
    const double one =
        1.01 * static_cast<double>(c.load.bytes) * 1e9 / static_cast<double>(window.window_ns);
    EXPECT_TRUE(window.full);
    EXPECT_NEAR(window.achieved_bytes_s, c.achieved_bytes_s, one) << window.window_ns;
    EXPECT_NEAR(window.demand_bytes_s, c.demand_bytes_s, c.demand_bytes_s * 0.02 + one)
        << window.window_ns;
  }
}

const Load disk_on_slow_channel{TransferType::bulk, 65'536, 10 * ms, 2 * ms};
const Load sensor{TransferType::interrupt, 64, 10 * ms, 9 * ms};

INSTANTIATE_TEST_SUITE_P(
    Table, MeterDemand,
    testing::Values(DemandCase{"idle", {}, 53'200'000, 0, 0},
                    DemandCase{"a disk on a slow channel would move five times as much",
                               disk_on_slow_channel, 53'200'000, 6'553'600, 32'768'000},
                    DemandCase{"the bus caps what it would move", disk_on_slow_channel, 20'000'000,
                               6'553'600, 20'000'000},
                    DemandCase{"no cap is known", disk_on_slow_channel, 0, 6'553'600, 32'768'000},
                    DemandCase{"a cap below what was achieved is wrong", disk_on_slow_channel,
                               1'000'000, 6'553'600, 6'553'600},
                    DemandCase{"a disk that is always busy is the limit itself",
                               {TransferType::bulk, 65'536, 10 * ms, 10 * ms},
                               53'200'000,
                               6'553'600,
                               6'553'600},
                    DemandCase{"a sensor makes its device wait", sensor, 1'200'000, 6'400, 6'400},
                    DemandCase{"serial input rests at the device",
                               {TransferType::serial, 115, 10 * ms, 1},
                               11'520,
                               11'500,
                               11'500},
                    DemandCase{"isochronous",
                               {TransferType::isochronous, 3'072, 1 * ms, 1 * ms},
                               24'600'000,
                               3'072'000,
                               3'072'000},
                    DemandCase{"control counts as busy",
                               {TransferType::control, 100, 10 * ms, 1 * ms},
                               0,
                               10'000,
                               100'000},
                    DemandCase{"bytes in no measurable time: the cap",
                               {TransferType::bulk, 1'000, 10 * ms, 0},
                               53'200'000,
                               100'000,
                               53'200'000},
                    DemandCase{"bytes in no measurable time, no cap: as achieved",
                               {TransferType::bulk, 1'000, 10 * ms, 0},
                               0,
                               100'000,
                               100'000}));

// A result that is told late asks for a time at which what is in service now had not begun.
TEST(BusyClock, ATimeBeforeThePresentServiceCountsWhatWasBefore) {
  BusyClock clock;
  clock.begin(TransferType::bulk, 10);
  clock.end(TransferType::bulk, 30);
  clock.begin(TransferType::bulk, 100);
  EXPECT_EQ(clock.busy_ns(30), 20u);
  EXPECT_EQ(clock.busy_ns(100), 20u);
  EXPECT_EQ(clock.busy_ns(130), 50u);
}

TEST(Meter, PeriodicAndBulkDemandsAdd) {
  Meter meter(0, opened);
  uint64_t busy_ns = 0;
  for (uint64_t at = 10 * ms; at <= 10 * s; at += 10 * ms) {
    busy_ns += 1 * ms;
    meter.completed({.now_ns = opened + at, .bytes = 1'000, .busy_ns = busy_ns});
    meter.completed(
        {.now_ns = opened + at, .bytes = 50, .type = TransferType::interrupt, .busy_ns = busy_ns});
  }
  const MeterWindow window = meter.snapshot(opened + 10 * s).windows[0];
  EXPECT_NEAR(window.demand_bytes_s, 1'000'000 + 5'000, 1'000);
}

TEST(Meter, WindowsFillOneAfterTheOther) {
  struct Case {
    uint64_t age_ns;
    bool full[3];
  };
  const Case cases[] = {{0, {false, false, false}},    {1 * s - 1, {false, false, false}},
                        {1 * s, {true, false, false}}, {10 * s - 1, {true, false, false}},
                        {10 * s, {true, true, false}}, {60 * s - 1, {true, true, false}},
                        {60 * s, {true, true, true}}};
  const Meter meter(0, opened + 37 * ms);
  for (const Case& c : cases) {
    const MeterSnapshot snapshot = meter.snapshot(opened + 37 * ms + c.age_ns);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(snapshot.windows[i].full, c.full[i]) << c.age_ns;
  }
}

TEST(Meter, AWindowThatIsNotFullIsDividedByTheTimeRun) {
  Meter meter(0, opened);
  run(meter, disk_on_slow_channel, opened, 2 * s);
  const MeterSnapshot snapshot = meter.snapshot(opened + 2 * s);
  EXPECT_TRUE(snapshot.windows[0].full);
  EXPECT_FALSE(snapshot.windows[1].full);
  for (const MeterWindow& window : snapshot.windows) {
    EXPECT_NEAR(window.achieved_bytes_s, 6'553'600, 65'536);
    EXPECT_NEAR(window.transfers_s, 100, 1);
  }
}

TEST(Meter, TheFirstTransferIsNoBurst) {
  Meter meter(0, opened);
  meter.completed({.now_ns = opened + 1, .bytes = 65'536, .busy_ns = 1});
  const MeterWindow window = meter.snapshot(opened + 1).windows[0];
  EXPECT_DOUBLE_EQ(window.achieved_bytes_s, 655'360);
}

TEST(Meter, OldTransfersLeaveTheWindows) {
  Meter meter(0, opened);
  meter.completed({.now_ns = opened + 50 * ms, .bytes = 1'000, .busy_ns = 1 * ms});
  struct Case {
    uint64_t age_ns;
    bool inside[3];
  };
  const Case cases[] = {{1 * s, {true, true, true}},
                        {1 * s + 99 * ms, {true, true, true}},
                        {1 * s + 100 * ms, {false, true, true}},
                        {10 * s + 100 * ms, {false, false, true}},
                        {60 * s + 99 * ms, {false, false, true}},
                        {60 * s + 100 * ms, {false, false, false}},
                        {3'600 * s, {false, false, false}}};
  for (const Case& c : cases) {
    const MeterSnapshot snapshot = meter.snapshot(opened + c.age_ns);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(snapshot.windows[i].achieved_bytes_s > 0, c.inside[i]) << c.age_ns << " " << i;
      EXPECT_EQ(snapshot.windows[i].demand_bytes_s > 0, c.inside[i]) << c.age_ns << " " << i;
    }
    EXPECT_EQ(snapshot.bytes, 1'000u);
  }
}

// After a copy the disk went idle, its last window ran empty, and the decision to migrate flipped
// to keep with "needs 0 B/s": an idle window says nothing.
TEST(Meter, AnIdleWindowIsNoMeasurementAndKeepsTheLastOne) {
  Meter meter(0, opened);
  run(meter, disk_on_slow_channel, opened, 5 * s);
  const MeterSnapshot at_work = meter.snapshot(opened + 5 * s);
  ASSERT_TRUE(at_work.windows[0].measured);
  EXPECT_FALSE(at_work.windows[1].measured) << "it is not full";
  const double demand = at_work.windows[0].demand_bytes_s;
  ASSERT_GT(demand, 0);

  MeterSnapshot idle = meter.snapshot(opened + 20 * s);
  EXPECT_FALSE(idle.windows[0].measured);
  EXPECT_FALSE(idle.windows[1].measured);
  EXPECT_TRUE(idle.windows[1].full);
  Meter::keep_measured(idle, at_work);
  EXPECT_TRUE(idle.windows[0].measured);
  EXPECT_DOUBLE_EQ(idle.windows[0].demand_bytes_s, demand);
  EXPECT_DOUBLE_EQ(idle.windows[0].achieved_bytes_s, 0);
  EXPECT_FALSE(idle.windows[1].measured) << "nothing was measured over 10 s, before or now";

  // Work is measured afresh, whatever was kept.
  run(meter, {TransferType::bulk, 1'000, 10 * ms, 5 * ms}, opened + 20 * s, 2 * s, 3'600 * s);
  MeterSnapshot again = meter.snapshot(opened + 22 * s);
  Meter::keep_measured(again, idle);
  EXPECT_TRUE(again.windows[0].measured);
  EXPECT_NEAR(again.windows[0].demand_bytes_s, 200'000, 5'000);
}

// What counts as work.
TEST(Meter, PollingADiskIsNoWorkAndAQuietSensorIs) {
  struct Case {
    const char* name;
    Load load;
    bool measured;
  };
  const Case cases[] = {
      {"is the medium still there?", {TransferType::bulk, 44, 500 * ms, 100'000}, false},
      {"a receiver that rests until it has a position",
       {TransferType::bulk, 80, 1 * s, 990 * ms},
       true},
      {"a fast disk, hardly used", {TransferType::bulk, 65'536, 500 * ms, 20'000}, true},
      {"a sensor", {TransferType::interrupt, 8, 500 * ms, 490 * ms}, true},
  };
  for (const Case& c : cases) {
    Meter meter(0, opened);
    run(meter, c.load, opened, 70 * s);
    for (const MeterWindow& window : meter.snapshot(opened + 70 * s).windows) {
      EXPECT_EQ(window.measured, c.measured) << c.name << ", " << window.window_ns;
    }
  }
}

// Settings of a port, answered at once, once looked like a flood of bulk.
TEST(Meter, ASerialPortsSettingsAreNoBulk) {
  Meter meter(0, opened, DeviceKind::serial);
  uint64_t busy_ns = 0;
  for (uint64_t at = 10 * ms; at <= 10 * s; at += 10 * ms) {
    busy_ns += 1'000;
    meter.completed(
        {.now_ns = opened + at, .bytes = 8, .type = TransferType::control, .busy_ns = busy_ns});
    meter.completed(
        {.now_ns = opened + at, .bytes = 24, .type = TransferType::serial, .busy_ns = busy_ns});
  }
  const MeterWindow window = meter.snapshot(opened + 10 * s).windows[1];
  EXPECT_NEAR(window.demand_bytes_s, 3'200, 50);
  EXPECT_DOUBLE_EQ(window.demand_bytes_s, window.achieved_bytes_s);
}

TEST(Meter, ARingSliceIsUsedAgainAfterAMinute) {
  Meter meter(0, opened);
  run(meter, disk_on_slow_channel, opened, 300 * s);
  for (const MeterWindow& window : meter.snapshot(opened + 300 * s).windows) {
    EXPECT_NEAR(window.achieved_bytes_s, 6'553'600, 65'536);
  }
}

// The device end restarts: its busy time falls back to 0 and the demand stays what it is.
TEST(Meter, BusyTimeStartsAgainWithTheDeviceEnd) {
  Meter meter(0, opened);
  run(meter, disk_on_slow_channel, opened, 20 * s);
  const uint64_t back = opened + 21 * s;
  run(meter, disk_on_slow_channel, back, 10 * s, 0);
  EXPECT_NEAR(meter.snapshot(back + 10 * s).windows[1].demand_bytes_s, 32'768'000, 400'000);
}

// An urgent completion overtakes a bulk one and brings a newer busy time; the older one that
// follows must not be taken for a restart, which would count the device's whole life as busy now.
TEST(Meter, AnOvertakenReportIsNoRestart) {
  Meter meter(0, opened);
  run(meter, disk_on_slow_channel, opened, 60 * s);  // busy for 12 s
  const uint64_t now = opened + 60 * s + 10 * ms;
  meter.completed(
      {.now_ns = now, .bytes = 8, .type = TransferType::interrupt, .busy_ns = 12'004 * ms});
  meter.completed({.now_ns = now + 1, .bytes = 65'536, .busy_ns = 12'002 * ms});
  meter.completed({.now_ns = now + 2, .bytes = 65'536, .busy_ns = 12'004 * ms});
  EXPECT_NEAR(meter.snapshot(now + 2).windows[0].demand_bytes_s, 32'768'000, 700'000);
}

TEST(Meter, CountsHowTransfersEnd) {
  Meter meter(0, opened);
  using enum TransferStatus;
  for (int i = 0; i < 15; ++i) meter.submitted();
  uint64_t now = opened;
  for (const TransferStatus status : {ok, ok, stall, stall, stall, cancelled, cancelled, unplugged,
                                      timed_out, overflow, short_read, protocol, late, invalid}) {
    meter.completed({.now_ns = ++now, .status = status, .round_trip_ns = 1'000, .service_ns = 400});
  }
  const MeterSnapshot snapshot = meter.snapshot(now);
  EXPECT_EQ(snapshot.transfers, 14u);
  EXPECT_EQ(snapshot.in_flight, 1u);
  EXPECT_EQ(snapshot.stalls, 3u);
  EXPECT_EQ(snapshot.cancellations, 2u);
  EXPECT_EQ(snapshot.errors, 7u);
  // Two were cancelled, one was unplugged: no latency of the device's.
  EXPECT_EQ(meter.total().count(), 11u);
}

TEST(Meter, LatenciesSplitIntoDeviceAndChannel) {
  Meter meter(0, opened);
  meter.completed({.now_ns = opened, .round_trip_ns = 1'000'000, .service_ns = 300'000});
  EXPECT_EQ(meter.total().max(), 1'000'000u);
  EXPECT_EQ(meter.service().max(), 300'000u);
  EXPECT_EQ(meter.channel().max(), 700'000u);
  // A service time longer than the round trip is rounding, or a peer's nonsense.
  meter.completed({.now_ns = opened, .round_trip_ns = 1'000, .service_ns = ~uint64_t{0}});
  EXPECT_EQ(meter.channel().min(), 0u);
}

TEST(Meter, MoreCompletionsThanSubmissionsDoNotWrap) {
  Meter meter(0, opened);
  meter.completed({.now_ns = opened});
  EXPECT_EQ(meter.snapshot(opened).in_flight, 0u);
}

TEST(Meter, ASnapshotBeforeTheLastSampleIsTakenAtTheSample) {
  Meter meter(0, opened);
  meter.completed({.now_ns = opened + 5 * s, .bytes = 100});
  EXPECT_GT(meter.snapshot(opened).windows[0].achieved_bytes_s, 0);
  const Meter fresh(0, opened);
  EXPECT_FALSE(fresh.snapshot(0).windows[0].full);
}

// Whatever a peer reports, the figures stay finite, and demand is never below what was achieved.
TEST(Meter, FiguresStayFiniteWithAnyInput) {
  std::mt19937_64 random(4);
  const auto any = [&] { return random() >> (random() % 64); };
  for (int round = 0; round < 200; ++round) {
    const uint64_t nominal = round % 2 == 0 ? 0 : any();
    Meter meter(nominal, opened);
    uint64_t now = opened;
    for (int i = 0; i < 50; ++i) {
      now += random() % (3 * s);
      meter.completed({.now_ns = now,
                       .bytes = random() % (16u << 20),
                       .type = static_cast<TransferType>(random() % 5),
                       .status = static_cast<TransferStatus>(random() % 12),
                       .round_trip_ns = any(),
                       .service_ns = any(),
                       .busy_ns = any()});
      for (const MeterWindow& window : meter.snapshot(now + random() % s).windows) {
        ASSERT_TRUE(std::isfinite(window.achieved_bytes_s));
        ASSERT_TRUE(std::isfinite(window.demand_bytes_s));
        ASSERT_GE(window.demand_bytes_s, window.achieved_bytes_s);
        ASSERT_GE(window.achieved_bytes_s, 0);
      }
    }
  }
}

}  // namespace
}  // namespace farport
