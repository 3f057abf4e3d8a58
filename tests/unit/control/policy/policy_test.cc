// The policy as tables: what is known, and what must follow.
#include "control/policy/policy.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "control/policy/decision.h"
#include "tests/unit/control/policy/policy_inputs.h"

namespace farport {
namespace {

TEST(Policy, MigratesAndActsWhenAllIsKnown) {
  const Verdict verdict = decide(over());
  EXPECT_EQ(verdict.action, Action::migrate);
  EXPECT_EQ(verdict.target, "east");
  EXPECT_TRUE(verdict.act);
  EXPECT_TRUE(verdict.over_threshold);
  EXPECT_EQ(verdict.demand_bytes_s, 7'500'000u);
  EXPECT_EQ(verdict.reasons.front().code, over_threshold);
  EXPECT_EQ(verdict.reasons.front().words,
            "disk0 needs 7.5 MB/s, 60 % of web's 12.5 MB/s; the threshold is 50 %");
}

// --- the rule: demand against threshold % of the allocation ---

struct RuleCase {
  std::string name;
  uint64_t demand;
  uint64_t allocation;
  uint32_t threshold_hundredths;
  Action action;
};
void PrintTo(const RuleCase& c, std::ostream* out) { *out << c.name; }

class PolicyRule : public testing::TestWithParam<RuleCase> {};

TEST_P(PolicyRule, Decides) {
  const RuleCase& c = GetParam();
  PolicyInput input = over();
  input.devices[0].measured_bytes_s = c.demand;
  input.vm.allocation_bytes_s = c.allocation;
  input.settings.threshold = Percent{c.threshold_hundredths};
  input.vm.memory_bytes = 0;  // a move for nothing: the rule alone decides
  const Verdict verdict = decide(input);
  EXPECT_EQ(verdict.action, c.action) << verdict.reasons.front().words;
  EXPECT_EQ(verdict.over_threshold, c.action == Action::migrate);
  EXPECT_EQ(verdict.reasons.front().code,
            c.action == Action::migrate ? over_threshold : under_threshold);
  EXPECT_EQ(verdict.target, c.action == Action::migrate ? "east" : "");
}

INSTANTIATE_TEST_SUITE_P(
    Table, PolicyRule,
    testing::Values(
        RuleCase{"equality keeps", 6'250'000, 12'500'000, 5000, Action::keep},
        RuleCase{"one byte more moves", 6'250'001, 12'500'000, 5000, Action::migrate},
        RuleCase{"one byte less keeps", 6'249'999, 12'500'000, 5000, Action::keep},
        RuleCase{"half of an odd allocation is no whole byte: under", 2, 5, 5000, Action::keep},
        RuleCase{"half of an odd allocation is no whole byte: over", 3, 5, 5000, Action::migrate},
        RuleCase{"no demand", 0, 12'500'000, 5000, Action::keep},
        RuleCase{"no demand, threshold 0", 0, 12'500'000, 0, Action::keep},
        RuleCase{"any demand, threshold 0", 1, 12'500'000, 0, Action::migrate},
        RuleCase{"33.33 % of three is less than one", 1, 3, 3333, Action::migrate},
        RuleCase{"0.3 %, which no float holds, equal", 3, 1'000, 30, Action::keep},
        RuleCase{"a threshold over 100 %, equal", 15, 10, 15000, Action::keep},
        RuleCase{"a threshold over 100 %, over", 16, 10, 15000, Action::migrate},
        RuleCase{"the largest figures, equal", huge, huge, 10000, Action::keep},
        RuleCase{"the largest figures, over", huge, huge - 1, 10000, Action::migrate},
        RuleCase{"the largest demand", huge, 1, 5000, Action::migrate},
        RuleCase{"the largest allocation", 1, huge, 5000, Action::keep},
        RuleCase{"the largest threshold", huge, 1, 4'294'967'295u, Action::migrate},
        RuleCase{"equality past 2^53, where doubles have gaps", (uint64_t{1} << 61) + 1,
                 (uint64_t{1} << 62) + 2, 5000, Action::keep},
        RuleCase{"one more past 2^53", (uint64_t{1} << 61) + 2, (uint64_t{1} << 62) + 2, 5000,
                 Action::migrate}));

// --- everything else: a change to over(), and the verdict that follows ---

struct Case {
  std::string name;
  std::function<void(PolicyInput&)> change;
  Action action;
  ReasonCode first;                 // what decided
  std::vector<ReasonCode> besides;  // also said
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class PolicyTable : public testing::TestWithParam<Case> {};

TEST_P(PolicyTable, Decides) {
  const Case& c = GetParam();
  PolicyInput input = over();
  c.change(input);
  const Verdict verdict = decide(input);
  ASSERT_FALSE(verdict.reasons.empty());
  EXPECT_EQ(action_name(verdict.action), action_name(c.action)) << verdict.reasons.front().words;
  EXPECT_EQ(reason_code_name(verdict.reasons.front().code), reason_code_name(c.first))
      << verdict.reasons.front().words;
  for (const ReasonCode code : c.besides) {
    EXPECT_TRUE(has(verdict, code)) << reason_code_name(code);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Figures, PolicyTable,
    testing::Values(Case{"nominal before anything was measured",
                         [](PolicyInput& in) { in.devices[0].measured_bytes_s.reset(); },
                         Action::migrate,
                         over_threshold,
                         {nominal_used}},
                    Case{"nominal until the window is full",
                         [](PolicyInput& in) {
                           in.devices[0].measured_bytes_s = 1;
                           in.devices[0].window_full = false;
                         },
                         Action::migrate,
                         over_threshold,
                         {nominal_used}},
                    Case{"measured as soon as it is",
                         [](PolicyInput& in) { in.devices[0].measured_bytes_s = 1; },
                         Action::keep,
                         under_threshold,
                         {measured_used}},
                    Case{"measured over a lower nominal",
                         [](PolicyInput& in) { in.devices[0].nominal_bytes_s = 1; },
                         Action::migrate,
                         over_threshold,
                         {measured_used}},
                    Case{"a nominal demand need not hold",
                         [](PolicyInput& in) {
                           in.devices[0].measured_bytes_s.reset();
                           in.vm.evaluations_over = 0;
                         },
                         Action::migrate,
                         over_threshold,
                         {nominal_used}},
                    Case{"neither nominal nor measured",
                         [](PolicyInput& in) {
                           in.devices[0].measured_bytes_s.reset();
                           in.devices[0].nominal_bytes_s.reset();
                         },
                         Action::keep,
                         demand_unknown,
                         {device_unknown}},
                    Case{"one of two unknown: counted as nothing, and named",
                         [](PolicyInput& in) {
                           in.devices.push_back(device("cam", "east", 0));
                           in.devices[1].measured_bytes_s.reset();
                           in.devices[1].nominal_bytes_s.reset();
                         },
                         Action::migrate,
                         over_threshold,
                         {device_unknown}},
                    Case{"no device",
                         [](PolicyInput& in) { in.devices.clear(); },
                         Action::keep,
                         no_remote_device,
                         {}},
                    Case{"only devices of its own host",
                         [](PolicyInput& in) { in.devices[0].host = "west"; },
                         Action::keep,
                         no_remote_device,
                         {}},
                    Case{"a device whose host is not known",
                         [](PolicyInput& in) { in.devices[0].host = ""; },
                         Action::keep,
                         no_remote_device,
                         {device_unknown}},
                    Case{"the VM's host is not known",
                         [](PolicyInput& in) { in.vm.host = ""; },
                         Action::keep,
                         vm_host_unknown,
                         {}},
                    Case{"the allocation is not known",
                         [](PolicyInput& in) { in.vm.allocation_bytes_s.reset(); },
                         Action::keep,
                         allocation_unknown,
                         {}},
                    Case{"the allocation is zero",
                         [](PolicyInput& in) { in.vm.allocation_bytes_s = 0; },
                         Action::keep,
                         allocation_zero,
                         {}}));

INSTANTIATE_TEST_SUITE_P(
    Thresholds, PolicyTable,
    testing::Values(
        Case{"the VM's own",
             [](PolicyInput& in) { in.vm.threshold = Percent::of(60); },
             Action::keep,
             under_threshold,
             {}},
        Case{"the device's own before the VM's",
             [](PolicyInput& in) {
               in.vm.threshold = Percent::of(60);
               in.devices[0].threshold = Percent{5999};
             },
             Action::migrate,
             over_threshold,
             {}},
        Case{"one device's own, equal",
             [](PolicyInput& in) { in.devices[0].threshold = Percent::of(60); },
             Action::keep,
             under_threshold,
             {}},
        Case{"two of one host are added",
             [](PolicyInput& in) {
               in.devices = {device("a", "east", 3'125'000), device("b", "east", 3'125'001)};
             },
             Action::migrate,
             over_threshold,
             {}},
        Case{"two of one host are added, equal",
             [](PolicyInput& in) {
               in.devices = {device("a", "east", 3'125'000), device("b", "east", 3'125'000)};
             },
             Action::keep,
             under_threshold,
             {}},
        Case{"two of two hosts are not added",
             [](PolicyInput& in) {
               in.devices = {device("a", "east", 6'000'000), device("b", "north", 6'000'000)};
             },
             Action::keep,
             under_threshold,
             {}},
        // 6.25 of 80 % and 3.125 of 50 %: 7.8125 + 6.25 MB/s asked for, of 12.5.
        Case{"different thresholds are added as shares: over",
             [](PolicyInput& in) {
               in.devices = {device("a", "east", 6'250'000), device("b", "east", 3'125'000)};
               in.devices[0].threshold = Percent::of(80);
             },
             Action::migrate,
             over_threshold,
             {}},
        Case{"different thresholds are added as shares: equal",
             [](PolicyInput& in) {
               in.devices = {device("a", "east", 5'000'000), device("b", "east", 3'125'000)};
               in.devices[0].threshold = Percent::of(80);
             },
             Action::keep,
             under_threshold,
             {}}));

INSTANTIATE_TEST_SUITE_P(
    Time, PolicyTable,
    testing::Values(Case{"already moving",
                         [](PolicyInput& in) { in.vm.moving = true; },
                         Action::keep,
                         vm_moving,
                         {over_threshold}},
                    Case{"moved too recently",
                         [](PolicyInput& in) { in.vm.since_last_move_s = 299; },
                         Action::keep,
                         moved_recently,
                         {over_threshold}},
                    Case{"moved long enough ago",
                         [](PolicyInput& in) { in.vm.since_last_move_s = 300; },
                         Action::migrate,
                         over_threshold,
                         {}},
                    Case{"moved before, within the band",
                         [](PolicyInput& in) {
                           in.vm.since_last_move_s = 10'000;
                           in.devices[0].measured_bytes_s =
                               6'875'000;  // 55 %: 50 % and a tenth of it
                         },
                         Action::keep,
                         within_hysteresis,
                         {over_threshold}},
                    Case{"moved before, past the band",
                         [](PolicyInput& in) {
                           in.vm.since_last_move_s = 10'000;
                           in.devices[0].measured_bytes_s = 6'875'001;
                         },
                         Action::migrate,
                         over_threshold,
                         {}},
                    Case{"never moved: the band does not count",
                         [](PolicyInput& in) { in.devices[0].measured_bytes_s = 6'250'001; },
                         Action::migrate,
                         over_threshold,
                         {}},
                    Case{"held twice of three times",
                         [](PolicyInput& in) { in.vm.evaluations_over = 1; },
                         Action::keep,
                         not_held_yet,
                         {over_threshold}},
                    Case{"held three times of three",
                         [](PolicyInput& in) { in.vm.evaluations_over = 2; },
                         Action::migrate,
                         over_threshold,
                         {}},
                    Case{"no holding asked for",
                         [](PolicyInput& in) {
                           in.vm.evaluations_over = 0;
                           in.settings.hold_evaluations = 0;
                         },
                         Action::migrate,
                         over_threshold,
                         {}}));

INSTANTIATE_TEST_SUITE_P(
    Target, PolicyTable,
    testing::Values(Case{"too little memory",
                         [](PolicyInput& in) { in.hosts[0].free_memory_bytes = GB - 1; },
                         Action::keep,
                         target_lacks_memory,
                         {over_threshold}},
                    Case{"just enough memory",
                         [](PolicyInput& in) { in.hosts[0].free_memory_bytes = GB; },
                         Action::migrate,
                         over_threshold,
                         {}},
                    Case{"too few CPUs",
                         [](PolicyInput& in) { in.hosts[0].free_cpu_milli = 1'999; },
                         Action::keep,
                         target_lacks_cpu,
                         {over_threshold}},
                    Case{"does not reach the storage",
                         [](PolicyInput& in) { in.hosts[0].reaches_storage = false; },
                         Action::keep,
                         target_misses_storage,
                         {over_threshold}},
                    Case{"does not reach the network",
                         [](PolicyInput& in) { in.hosts[0].reaches_network = false; },
                         Action::keep,
                         target_misses_network,
                         {over_threshold}},
                    Case{"several at once are all said",
                         [](PolicyInput& in) {
                           in.hosts[0].free_memory_bytes = 0;
                           in.hosts[0].free_cpu_milli = 0;
                           in.hosts[0].reaches_network = false;
                         },
                         Action::keep,
                         target_lacks_memory,
                         {target_lacks_cpu, target_misses_network}},
                    Case{"nothing known of the host",
                         [](PolicyInput& in) { in.hosts.clear(); },
                         Action::migrate,
                         over_threshold,
                         {unknown_capacity, not_acted_unknown}},
                    Case{"the VM's needs are not known",
                         [](PolicyInput& in) {
                           in.vm.memory_bytes.reset();
                           in.vm.cpu_milli.reset();
                         },
                         Action::migrate,
                         over_threshold,
                         {unknown_capacity, not_acted_unknown, move_cost}},
                    Case{"the host with more demand cannot: the next one over the threshold",
                         [](PolicyInput& in) {
                           in.devices.push_back(device("cam", "north", 9'000'000));
                           in.hosts[1].reaches_storage = false;
                         },
                         Action::migrate,
                         over_threshold,
                         {other_target_fails, still_forwarded}},
                    Case{"no host can",
                         [](PolicyInput& in) {
                           in.devices.push_back(device("cam", "north", 9'000'000));
                           in.hosts[0].free_memory_bytes = 0;
                           in.hosts[1].reaches_storage = false;
                         },
                         Action::keep,
                         target_misses_storage,
                         {other_target_fails}}));

INSTANTIATE_TEST_SUITE_P(
    Worth, PolicyTable,
    testing::Values(
        Case{"less is forwarded back than saved",
             [](PolicyInput& in) { in.devices.push_back(device("key", "west", 7'499'999)); },
             // 1 B/s for an hour does not pay for 1 GB.
             Action::keep,
             move_costs_more,
             {forwarded_back}},
        Case{"a little is forwarded back",
             [](PolicyInput& in) { in.devices.push_back(device("key", "west", 1'000)); },
             Action::migrate,
             over_threshold,
             {forwarded_back}},
        Case{"as much is forwarded back as saved",
             [](PolicyInput& in) { in.devices.push_back(device("key", "west", 7'500'000)); },
             Action::keep,
             local_devices_outweigh,
             {forwarded_back, over_threshold}},
        Case{"what would be forwarded back is not known",
             [](PolicyInput& in) {
               in.devices.push_back(device("key", "west", 0));
               in.devices[1].measured_bytes_s.reset();
               in.devices[1].nominal_bytes_s.reset();
             },
             Action::migrate,
             over_threshold,
             {unknown_capacity, not_acted_unknown}},
        Case{"dirtied as fast as copied",
             [](PolicyInput& in) { in.vm.dirty_bytes_s = in.hosts[0].migration_bytes_s; },
             Action::keep,
             move_never_ends,
             {over_threshold}},
        Case{"no bandwidth to move with",
             [](PolicyInput& in) { in.hosts[0].migration_bytes_s = 0; },
             Action::keep,
             move_never_ends,
             {}},
        Case{"costs as much as it saves",
             [](PolicyInput& in) {
               in.vm.dirty_bytes_s = 0;
               in.settings.horizon_s = 100;  // saves 750 MB
               in.vm.memory_bytes = 750 * MB;
             },
             Action::keep,
             move_costs_more,
             {over_threshold}},
        Case{"costs a byte less than it saves",
             [](PolicyInput& in) {
               in.vm.dirty_bytes_s = 0;
               in.settings.horizon_s = 100;
               in.vm.memory_bytes = 750 * MB - 1;
             },
             Action::migrate,
             over_threshold,
             {move_cost}},
        Case{"the dirty rate is not known: at least the memory",
             [](PolicyInput& in) {
               in.vm.dirty_bytes_s.reset();
               in.settings.horizon_s = 100;
             },
             Action::keep,
             move_costs_more,
             {}},
        Case{"recommend",
             [](PolicyInput& in) { in.settings.mode = PolicyMode::recommend; },
             Action::migrate,
             over_threshold,
             {recommended_only, move_cost}}));

TEST(Policy, ActsOnlyInAutoAndWithAllKnown) {
  PolicyInput input = over();
  EXPECT_TRUE(decide(input).act);
  input.hosts[0].reaches_storage.reset();
  EXPECT_FALSE(decide(input).act);
  EXPECT_EQ(decide(input).action, Action::migrate);
  input = over();
  input.settings.mode = PolicyMode::recommend;
  EXPECT_FALSE(decide(input).act);
  input = over();
  input.vm.moving = true;
  EXPECT_FALSE(decide(input).act);
}

TEST(Policy, NamesWhatIsUnknown) {
  PolicyInput input = over();
  input.hosts[0].free_memory_bytes.reset();
  input.hosts[0].reaches_network.reset();
  EXPECT_EQ(words_of(decide(input), unknown_capacity),
            "not known: east's free memory and whether east reaches web's network");
}

TEST(Policy, TheLargestSumOfAHostDecidesWhereTo) {
  PolicyInput input = over();
  input.devices = {device("a", "east", 7'000'000), device("b", "north", 4'000'000),
                   device("c", "north", 4'000'000)};
  const Verdict verdict = decide(input);
  EXPECT_EQ(verdict.action, Action::migrate);
  EXPECT_EQ(verdict.target, "north");
  EXPECT_EQ(verdict.demand_bytes_s, 8'000'000u);
  EXPECT_EQ(
      verdict.reasons.front().words,
      "b and c on north together need 8 MB/s, 64 % of web's 12.5 MB/s; the threshold is 50 %");
  EXPECT_EQ(words_of(verdict, still_forwarded), "a stays forwarded from east");
}

// A share that rounds to the threshold must not read as equal to it.
TEST(Policy, WordsTellJustOverFromEqual) {
  PolicyInput input = over();
  input.devices[0].measured_bytes_s = 6'250'000;
  EXPECT_EQ(decide(input).reasons.front().words,
            "disk0 needs 6.25 MB/s, 50 % of web's 12.5 MB/s; the threshold is 50 %");
  input.devices[0].measured_bytes_s = 6'250'001;
  EXPECT_EQ(decide(input).reasons.front().words,
            "disk0 needs 6.25 MB/s, just over 50 % of web's 12.5 MB/s; the threshold is 50 %");
  input.devices[0].measured_bytes_s = 6'249'999;
  EXPECT_EQ(decide(input).reasons.front().words,
            "disk0 needs 6.25 MB/s, 49.99 % of web's 12.5 MB/s; the threshold is 50 %");
}

struct MoveCase {
  std::optional<uint64_t> memory, dirty, bandwidth;
  std::optional<uint64_t> bytes, seconds;
  bool lower_bound, never_ends;
};

TEST(MoveCost, Table) {
  constexpr auto unknown = std::nullopt;
  const MoveCase cases[] = {
      {1'000, 0, 100, 1'000, 10, false, false},
      {1'000, 50, 100, 2'000, 20, false, false},
      {1'000, 99, 100, 100'000, 1'000, false, false},
      {1'001, 0, 100, 1'001, 11, false, false},
      {1'000, 100, 100, unknown, unknown, false, true},
      {1'000, 200, 100, unknown, unknown, false, true},
      {1'000, 0, 0, unknown, unknown, false, true},
      {1'000, unknown, 0, unknown, unknown, false, true},
      {1'000, unknown, 100, 1'000, 10, true, false},
      {1'000, 50, unknown, 1'000, unknown, true, false},
      {1'000, 0, unknown, 1'000, unknown, false, false},
      {unknown, 0, 100, unknown, unknown, false, false},
      {0, 0, 100, 0, 0, false, false},
      {huge, huge - 1, huge, huge, huge, false, false},
  };
  for (const MoveCase& c : cases) {
    const MoveCost cost = estimate_move(c.memory, c.dirty, c.bandwidth);
    EXPECT_EQ(cost.bytes, c.bytes);
    EXPECT_EQ(cost.seconds, c.seconds);
    EXPECT_EQ(cost.lower_bound, c.lower_bound);
    EXPECT_EQ(cost.never_ends, c.never_ends);
  }
}

}  // namespace
}  // namespace farport
