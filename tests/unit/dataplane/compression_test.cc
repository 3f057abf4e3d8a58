// When compression pays, as tables of links and data; and LZ4 blocks of whatever bytes.
#include "dataplane/compression.h"
#include "dataplane/standing_queue.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "dataplane/limits.h"
#include "dataplane/wire.h"

namespace farport {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kFrame = 64 << 10;

// A sender of frames of 64 KiB in front of a link with a buffer, all of it in simulated time.
struct Sender {
  CompressionPolicy policy{};
  double link_bytes_s = 10e6;
  double speed_bytes_s = 600e6;
  double ratio = 0.4;
  double offered_bytes_s = 1e12;  // how fast there is something to send
  uint64_t now_ns = 5 * kSecond;
  double queued_bytes = 0;  // in the socket
  int turns = 0;
  uint64_t samples = 0;
  uint64_t on_ns = 0;
  uint64_t frames_sent = 0;

  static constexpr double socket_bytes = 300e3;

  void pass(double seconds) {
    const auto ns = static_cast<uint64_t>(seconds * 1e9) + 1;
    now_ns += ns;
    if (policy.on()) on_ns += ns;
    queued_bytes = std::max(0.0, queued_bytes - seconds * link_bytes_s);
  }
  void one_frame() {
    const bool was_on = policy.on();
    pass(kFrame / offered_bytes_s);
    double bytes = kFrame;
    const auto next = policy.next(now_ns);
    if (next != CompressionPolicy::Next::plain) {
      const bool sample = next == CompressionPolicy::Next::sample;
      samples += sample;
      const size_t tried = sample ? CompressionPolicy::sample_bytes : kFrame;
      const double took = static_cast<double>(tried) / speed_bytes_s;
      pass(took);
      policy.tried(now_ns, tried, static_cast<size_t>(ratio * static_cast<double>(tried)),
                   static_cast<uint64_t>(took * 1e9));
      if (!sample) bytes *= std::min(ratio, 1.0);
    }
    if (queued_bytes + bytes > socket_bytes) {  // the socket is full: this one waits
      const double waits = (queued_bytes + bytes - socket_bytes) / link_bytes_s;
      pass(waits);
      policy.waited(now_ns, static_cast<uint64_t>(waits * link_bytes_s),
                    static_cast<uint64_t>(waits * 1e9));
    }
    queued_bytes += bytes;
    ++frames_sent;
    turns += policy.on() != was_on;
  }
  void run(double seconds) {
    const uint64_t until_ns = now_ns + static_cast<uint64_t>(seconds * 1e9);
    while (now_ns < until_ns) one_frame();
  }
};

struct Case {
  const char* name;
  double link_bytes_s;
  double speed_bytes_s;
  double ratio;
  double offered_bytes_s;
  bool on;
};

class Policy : public testing::TestWithParam<Case> {};

TEST_P(Policy, DecidesWithinSecondsAndStaysSo) {
  const Case& c = GetParam();
  Sender sender{.link_bytes_s = c.link_bytes_s,
                .speed_bytes_s = c.speed_bytes_s,
                .ratio = c.ratio,
                .offered_bytes_s = c.offered_bytes_s};
  sender.run(3);
  EXPECT_EQ(sender.policy.on(), c.on);
  sender.turns = 0;
  sender.run(60);
  EXPECT_EQ(sender.policy.on(), c.on);
  EXPECT_EQ(sender.turns, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Tables, Policy,
    testing::Values(Case{"SlowAndCompressible", 10e6, 600e6, 0.4, 1e12, true},
                    Case{"VerySlow", 1e6, 600e6, 0.6, 1e12, true},
                    Case{"GigabitAndMuchToGain", 110e6, 600e6, 0.3, 1e12, true},
                    Case{"GigabitAndLittleToGain", 110e6, 600e6, 0.8, 1e12, false},
                    Case{"SlowAndIncompressible", 10e6, 3000e6, 1.0, 1e12, false},
                    Case{"SlowAndHardlyCompressible", 10e6, 600e6, 0.9, 1e12, false},
                    Case{"FasterThanLz4", 1000e6, 600e6, 0.3, 1e12, false},
                    Case{"SlowProcessor", 50e6, 40e6, 0.2, 1e12, false},
                    Case{"TheDeviceIsTheLimit", 100e6, 600e6, 0.2, 20e6, false}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(CompressionPolicy, ALinkThatTakesEverythingPaysForNothing) {
  Sender sender{.link_bytes_s = 3e9, .offered_bytes_s = 1e9};
  sender.run(20);
  EXPECT_EQ(sender.samples, 0u);
}

TEST(CompressionPolicy, SamplesAreRareOnABackloggedLink) {
  Sender sender{.link_bytes_s = 1000e6};
  sender.run(10);
  EXPECT_GT(sender.samples, 10u);
  EXPECT_LE(sender.samples, 10 * kSecond / CompressionPolicy::sample_interval_ns);
}

TEST(CompressionPolicy, EndsWhenTheLinkBecomesFast) {
  for (const double fast : {900e6, 20e9}) {
    Sender sender;
    sender.run(3);
    ASSERT_TRUE(sender.policy.on());
    sender.link_bytes_s = fast;
    sender.run(10);
    EXPECT_FALSE(sender.policy.on()) << fast;
  }
}

TEST(CompressionPolicy, EndsWhenTheDataDoesNotShrinkAnyMore) {
  Sender sender;
  sender.run(3);
  ASSERT_TRUE(sender.policy.on());
  sender.ratio = 1;
  sender.run(3);
  EXPECT_FALSE(sender.policy.on());
}

TEST(CompressionPolicy, ComesBackWhenTheDataShrinksAgain) {
  Sender sender{.ratio = 1};
  sender.run(3);
  ASSERT_FALSE(sender.policy.on());
  sender.ratio = 0.4;
  sender.run(3);
  EXPECT_TRUE(sender.policy.on());
}

TEST(CompressionPolicy, EndsWhenNothingIsSentForAWhile) {
  Sender sender;
  sender.run(3);
  ASSERT_TRUE(sender.policy.on());
  sender.pass(30);
  EXPECT_EQ(sender.policy.next(sender.now_ns), CompressionPolicy::Next::plain);
}

// On the edge it keeps what it has.
TEST(CompressionPolicy, BetweenTheTwoBoundsItStays) {
  Sender sender{.ratio = 0.9};
  sender.run(10);
  EXPECT_FALSE(sender.policy.on());
  Sender other{.ratio = 0.7};
  other.run(3);
  ASSERT_TRUE(other.policy.on());
  other.ratio = 0.9;
  other.turns = 0;
  other.run(60);
  EXPECT_TRUE(other.policy.on());
  EXPECT_EQ(other.turns, 0);
}

// Compressed, the load just fits the link, and the backlog is gone: tries without become rare.
TEST(CompressionPolicy, ABacklogThatItRemovedDoesNotMakeItFlap) {
  Sender sender{.ratio = 0.4, .offered_bytes_s = 20e6};
  sender.run(300);
  EXPECT_LE(sender.turns, 18);  // after 2, 4, ... 64 s, and every 64 s from then on
  EXPECT_GE(sender.on_ns, 285 * kSecond);
}

// A link whose rate swings around the bound.
TEST(CompressionPolicy, ASwingingRateTurnsItAtMostEverySecond) {
  Sender sender{.ratio = 0.7};
  const uint64_t begin_ns = sender.now_ns;
  for (int i = 0; i < 200; ++i) {
    sender.link_bytes_s = i % 2 == 0 ? 60e6 : 180e6;
    sender.run(0.3);
  }
  const uint64_t seconds = (sender.now_ns - begin_ns) / kSecond;
  EXPECT_LE(static_cast<uint64_t>(sender.turns), seconds);
}

// --- blocks ---

std::vector<std::byte> some_data(std::mt19937_64& random, size_t bytes, bool compressible) {
  std::vector<std::byte> data(bytes);
  for (auto& byte : data) byte = static_cast<std::byte>(random() & (compressible ? 3 : 255));
  return data;
}

// --- what tells of a slow link before its socket is full ---

TEST(StandingQueue, ARoundTripFarLongerThanTheShortestIsAQueue) {
  StandingQueue queue;
  const auto stood = [&](uint64_t busy_us, uint64_t bytes, uint32_t rtt_us, uint32_t min_us) {
    return queue.look({.busy_us = busy_us,
                       .bytes_acknowledged = bytes,
                       .round_trip_us = rtt_us,
                       .round_trip_min_us = min_us});
  };
  EXPECT_EQ(stood(90'000, 9'000, 300'000, 5'000).ns, 0u) << "since when it stood is not known";
  const auto slow = stood(180'000, 31'500, 300'000, 5'000);
  EXPECT_EQ(slow.ns, 90'000'000u);
  EXPECT_EQ(slow.bytes, 22'500u);
  EXPECT_EQ(stood(270'000, 50'000, 29'000, 5'000).ns, 0u) << "a burst on a LAN";
  EXPECT_EQ(stood(360'000, 60'000, 31'000, 5'000).ns, 90'000'000u);
  EXPECT_EQ(stood(450'000, 70'000, 150'000, 100'000).ns, 0u) << "far away";
  EXPECT_EQ(stood(540'000, 80'000, 150'000, 0).ns, 0u) << "not measured yet";
  EXPECT_EQ(stood(540'000, 80'000, 300'000, 5'000).ns, 0u) << "nothing was under way";
}

// A disk's reader asks for 120 KiB, waits for them, and asks again; 100 ms between two looks.
TEST(StandingQueue, ALoneRequestAtATimeTurnsCompressionOnWhereTheLinkIsSlow) {
  for (const double link_bytes_s : {250e3, 1e6, 125e6}) {
    CompressionPolicy policy;
    StandingQueue queue;
    const uint64_t request_ns = static_cast<uint64_t>(120e3 / link_bytes_s * 1e9);
    uint64_t now_ns = 1'000'000'000, busy_us = 0, bytes = 0, looked_ns = now_ns;
    while (now_ns < 10'000'000'000) {
      for (uint64_t sent_ns = 0; sent_ns < request_ns;) {
        const uint64_t step_ns = std::min<uint64_t>(request_ns - sent_ns, 20'000'000);
        sent_ns += step_ns;
        now_ns += step_ns;
        busy_us += step_ns / 1'000;
        bytes += static_cast<uint64_t>(link_bytes_s * static_cast<double>(step_ns) / 1e9);
        if (now_ns - looked_ns < 100'000'000) continue;
        looked_ns = now_ns;
        const auto stood =
            queue.look({.busy_us = busy_us,
                        .bytes_acknowledged = bytes,
                        .round_trip_us = static_cast<uint32_t>(5'000 + request_ns / 2'000),
                        .round_trip_min_us = 5'000});
        if (stood.ns != 0) policy.waited(now_ns, stood.bytes, stood.ns);
      }
      now_ns += 10'000'000;
      if (policy.next(now_ns) == CompressionPolicy::Next::sample) {
        policy.tried(now_ns, CompressionPolicy::sample_bytes, 5'000, 30'000);
      }
    }
    EXPECT_EQ(policy.on(), link_bytes_s < 10e6) << link_bytes_s;
    if (policy.on()) {
      EXPECT_NEAR(policy.rate_bytes_s() / link_bytes_s, 1, 0.1);
    }
  }
}

TEST(Packer, WhatIsPackedUnpacksToTheSame) {
  std::mt19937_64 random(7);
  Packer packer;
  std::vector<std::byte> to(limits::frame_data_bytes_max);
  for (int round = 0; round < 300; ++round) {
    const auto data =
        some_data(random, 1024 + random() % (limits::frame_data_bytes_max - 1023), true);
    const size_t packed = packer.pack(data, to);
    ASSERT_GT(packed, wire::compressed_prefix_bytes);
    ASSERT_LT(packed, data.size());
    ASSERT_EQ(unpacked_bytes(std::span(to).first(packed)), data.size());
    std::vector<std::byte> back(data.size());
    ASSERT_TRUE(unpack(std::span(to).first(packed), back));
    ASSERT_EQ(back, data);
  }
}

TEST(Packer, WhatDoesNotFitIsLeftAlone) {
  std::mt19937_64 random(8);
  Packer packer;
  const auto data = some_data(random, kFrame, false);
  std::vector<std::byte> to(kFrame / 8 * 7);
  EXPECT_EQ(packer.pack(data, to), 0u);
  EXPECT_EQ(packer.pack(data, std::span(to).first(3)), 0u);
}

TEST(Unpack, RefusesAnotherLengthAndABrokenBlock) {
  std::mt19937_64 random(9);
  Packer packer;
  const auto data = some_data(random, 5000, true);
  std::vector<std::byte> to(kFrame);
  const auto packed = std::span(to).first(packer.pack(data, to));
  std::vector<std::byte> back(data.size() + 1);
  EXPECT_FALSE(unpack(packed, back));
  EXPECT_FALSE(unpack(packed, std::span(back).first(data.size() - 1)));
  EXPECT_FALSE(unpack(packed.first(packed.size() - 1), std::span(back).first(data.size())));
  EXPECT_FALSE(unpack(packed.first(wire::compressed_prefix_bytes), std::span(back).first(1)));
  const std::vector<std::byte> noise = some_data(random, 300, false);
  EXPECT_FALSE(unpack(noise, std::span(back).first(data.size())));
}

TEST(FrameHeader, CompressedOnlyWhereItBelongs) {
  wire::FrameHeader header{};
  header.flags = wire::frame_flags::compressed;
  header.number = 1;
  const auto fault = [&](wire::FrameType type, uint32_t data_bytes) {
    header.type = static_cast<uint8_t>(type);
    header.body_bytes = 64;
    header.bytes = header.body_bytes + data_bytes;
    header.number = wire::numbered(type) ? 1 : 0;
    const char* text = wire::header_fault(header, limits::frame_data_bytes_max);
    return std::string(text == nullptr ? "" : text);
  };
  using enum wire::FrameType;
  for (const auto type : {submit, data, complete}) {
    EXPECT_EQ(fault(type, 5), "");
    EXPECT_NE(fault(type, 4), "");
    EXPECT_NE(fault(type, 0), "");
  }
  for (const auto type :
       {hello, refuse, goodbye, acknowledge, ping, pong, message, cancel, credit, close}) {
    EXPECT_NE(fault(type, 5).find("never is"), std::string::npos);
  }
  header.flags = 0xfffe;  // of a later version
  EXPECT_EQ(wire::header_fault(header, limits::frame_data_bytes_max), nullptr);
}

}  // namespace
}  // namespace farport
