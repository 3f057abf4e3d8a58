#include "bench/report.h"

#include <gtest/gtest.h>

#include "bench/idle.h"

namespace farport::bench {
namespace {

TEST(Median, OfNoneOddAndEven) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

Measurement measurement(double seconds, uint64_t transfers) {
  Measurement one;
  one.seconds = seconds;
  one.transfers = transfers;
  one.rtt_ns_p50 = 50'000;
  one.cpu_ns = transfers * 2'000;
  one.allocations = transfers / 2;
  one.rss_bytes = 4'000'000;
  return one;
}

TEST(Figures, AreRatesOverTheRunsOwnTime) {
  const Figures result = figures({measurement(0.5, 1000)}, 64);
  EXPECT_DOUBLE_EQ(result.transfers_s, 2000);
  EXPECT_DOUBLE_EQ(result.goodput_bytes_s, 128'000);
  EXPECT_DOUBLE_EQ(result.rtt_us_p50, 50);
  EXPECT_DOUBLE_EQ(result.cpu_us_per_transfer, 2);
  EXPECT_DOUBLE_EQ(result.allocations_per_transfer, 0.5);
  EXPECT_DOUBLE_EQ(result.rss_bytes, 4e6);
}

TEST(Figures, OneDisturbedRepetitionDoesNotShow) {
  const Figures result =
      figures({measurement(1, 1000), measurement(1, 10), measurement(1, 1002)}, 1);
  EXPECT_DOUBLE_EQ(result.transfers_s, 1000);
}

TEST(Figures, NothingMovedIsZeroNotNan) {
  const Figures result = figures({measurement(0, 0)}, 64);
  EXPECT_EQ(result.goodput_bytes_s, 0);
  EXPECT_EQ(result.cpu_us_per_transfer, 0);
  EXPECT_EQ(Row().goodput_ratio(), 0);
  EXPECT_EQ(Row().rtt_ratio(), 0);
}

Row row() {
  Row one;
  one.load.kind = TransferType::interrupt;
  one.load.size = 4096;
  one.load.depth = 16;
  one.load.wait = Wait::spin;
  one.load.link = LinkKind::netns;
  one.ours = figures({measurement(1, 900)}, 4096);
  one.floor = figures({measurement(1, 1000)}, 4096);
  return one;
}

// What other programs read: a field may be added, none may go or change its meaning.
TEST(Json, HasEveryPromisedField) {
  Machine machine;
  machine.cpu = "a processor";
  machine.cores = 2;
  const nlohmann::json document = to_json(machine, {row()});
  EXPECT_EQ(document.at("machine").at("cpu"), "a processor");
  EXPECT_EQ(document.at("machine").at("cores"), 2);
  ASSERT_EQ(document.at("runs").size(), 1u);
  const nlohmann::json& run = document.at("runs").at(0);
  EXPECT_EQ(run.at("link"), "netns");
  EXPECT_EQ(run.at("kind"), "interrupt");
  EXPECT_EQ(run.at("size"), 4096);
  EXPECT_EQ(run.at("depth"), 16);
  EXPECT_EQ(run.at("wait"), "spin");
  EXPECT_DOUBLE_EQ(run.at("goodput_bytes_s"), 900 * 4096.0);
  EXPECT_DOUBLE_EQ(run.at("floor_goodput_bytes_s"), 1000 * 4096.0);
  EXPECT_DOUBLE_EQ(run.at("rtt_us_p50"), 50);
  EXPECT_DOUBLE_EQ(run.at("floor_rtt_us_p50"), 50);
  EXPECT_DOUBLE_EQ(run.at("transfers_s"), 900);
  EXPECT_DOUBLE_EQ(run.at("cpu_us_per_transfer"), 2);
  EXPECT_DOUBLE_EQ(run.at("allocations_per_transfer"), 0.5);
  EXPECT_EQ(run.at("rss_bytes"), 4'000'000);
}

TEST(Json, WithoutRunsIsAnEmptyArray) { EXPECT_TRUE(to_json(Machine(), {}).at("runs").is_array()); }

TEST(Table, LinesUpUnderItsTitles) {
  const std::string head = table_head(Machine());
  const size_t titles = head.rfind('\n', head.size() - 2) + 1;
  const std::string line = table_line(row());
  for (size_t at = head.find('|', titles); at != std::string::npos; at = head.find('|', at + 1)) {
    EXPECT_EQ(line.at(at - titles), '|') << line;
  }
  EXPECT_NE(line.find("0.90"), std::string::npos) << line;
}

TEST(Targets, AreJudgedOnlyForTheLoadsTheyNameAndBothWays) {
  Row one = row();
  one.ours.allocations_per_transfer = 0;
  EXPECT_EQ(targets({one}), "");
  one.load = Load();
  one.load.size = 64 * 1024;
  one.load.depth = 16;
  EXPECT_TRUE(targets({one}).starts_with("met")) << targets({one});
  one.ours.goodput_bytes_s = 0.84 * one.floor.goodput_bytes_s;
  EXPECT_TRUE(targets({one}).starts_with("MISSED")) << targets({one});
}

TEST(Targets, TlsIsJudgedBesideTheSameLoadWithoutIt) {
  Row plain = row();
  plain.ours.allocations_per_transfer = 0;
  plain.load = Load();
  plain.load.size = 64 * 1024;
  plain.load.depth = 16;
  Row encrypted = plain;
  encrypted.load.tls = true;
  encrypted.ours.goodput_bytes_s = 0.7 * plain.ours.goodput_bytes_s;
  EXPECT_EQ(targets({encrypted}), "");  // nothing to compare with
  EXPECT_EQ(targets({plain, encrypted}).find("MISSED"), std::string::npos);
  encrypted.ours.goodput_bytes_s = 0.6 * plain.ours.goodput_bytes_s;
  EXPECT_NE(targets({plain, encrypted}).find("MISSED"), std::string::npos);
}

TEST(Targets, AnyAllocationPerTransferIsTold) {
  EXPECT_NE(targets({row()}).find("allocations per transfer"), std::string::npos);
}

TEST(Idle, IsJudgedByTheDaemonsOwnLimits) {
  IdleRow alone;
  alone.daemon = "alone";
  alone.rss_bytes = 49'000'000;
  alone.cpu_percent = 0.4;
  EXPECT_EQ(idle_table({alone}).find("MISSED"), std::string::npos) << idle_table({alone});
  alone.cpu_percent = 0.6;
  EXPECT_NE(idle_table({alone}).find("MISSED"), std::string::npos);
  IdleRow attached = alone;
  attached.attached = 16;
  EXPECT_EQ(idle_table({attached}).find("MISSED"), std::string::npos);
  attached.channel_bytes = 3e6;
  EXPECT_NE(idle_table({attached}).find("MISSED"), std::string::npos);
  EXPECT_EQ(idle_json(Machine(), {attached}).at("idle").at(0).at("attached"), 16);
}

TEST(Texts, ForPeople) {
  EXPECT_EQ(size_text(64), "64 B");
  EXPECT_EQ(size_text(1536), "1536 B");
  EXPECT_EQ(size_text(64 << 10), "64 KiB");
  EXPECT_EQ(size_text(1 << 20), "1 MiB");
  EXPECT_EQ(rate_text(999), "999 B/s");
  EXPECT_EQ(rate_text(1'500'000), "1.50 MB/s");
  EXPECT_EQ(rate_text(15.04e9), "15.0 GB/s");
}

}  // namespace
}  // namespace farport::bench
