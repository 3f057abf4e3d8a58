// The policy's properties, over inputs of every sort.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "control/policy/decision.h"
#include "control/policy/policy.h"
#include "tests/unit/control/policy/policy_inputs.h"

namespace farport {
namespace {

class Anything {
 public:
  explicit Anything(uint64_t seed) : random_(seed) {}

  PolicyInput input() {
    PolicyInput input;
    input.settings.mode = chance(2) ? PolicyMode::automatic : PolicyMode::recommend;
    input.settings.threshold = Percent{below(chance(8) ? 1'000'000 : 10'001)};
    input.settings.hold_evaluations = below(4);
    input.settings.horizon_s = below(100'000);
    input.vm.name = "vm";
    input.vm.host = chance(20) ? "" : host();
    input.vm.allocation_bytes_s = maybe_amount();
    if (chance(3)) input.vm.threshold = Percent{below(20'000)};
    input.vm.memory_bytes = maybe_amount();
    if (!chance(4)) input.vm.cpu_milli = below(16'000);
    input.vm.dirty_bytes_s = maybe_amount();
    input.vm.moving = chance(10);
    if (chance(3)) input.vm.since_last_move_s = below(1'000);
    input.vm.evaluations_over = below(6);
    for (uint32_t i = below(5); i > 0; --i) input.devices.push_back(any_device());
    for (const char* name : {"a", "b", "c"}) {
      if (!chance(5)) input.hosts.push_back(any_host(name));
    }
    return input;
  }
  bool chance(uint32_t one_in) { return random_() % one_in == 0; }
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(random_() % end); }
  uint64_t amount() { return random_() >> (random_() % 64); }

 private:
  std::string host() { return std::string(1, static_cast<char>('a' + random_() % 3)); }
  std::optional<uint64_t> maybe_amount() {
    if (chance(6)) return std::nullopt;
    return amount();
  }
  std::optional<bool> maybe() {
    if (chance(4)) return std::nullopt;
    return !chance(4);
  }
  PolicyDevice any_device() {
    PolicyDevice device;
    device.name = fmt::format("d{}", below(100));
    device.host = chance(20) ? "" : host();
    device.nominal_bytes_s = maybe_amount();
    device.measured_bytes_s = maybe_amount();
    device.window_full = chance(2);
    if (chance(3)) device.threshold = Percent{below(20'000)};
    return device;
  }
  PolicyHost any_host(const char* name) {
    PolicyHost host;
    host.name = name;
    host.free_memory_bytes = maybe_amount();
    if (!chance(4)) host.free_cpu_milli = below(16'000);
    host.reaches_storage = maybe();
    host.reaches_network = maybe();
    host.migration_bytes_s = maybe_amount();
    return host;
  }
  std::mt19937_64 random_;
};

constexpr int rounds = 20'000;

TEST(PolicyProperty, VerdictsAreWhole) {
  Anything any(11);
  int moves = 0;
  for (int i = 0; i < rounds; ++i) {
    const PolicyInput input = any.input();
    const Verdict verdict = decide(input);
    ASSERT_FALSE(verdict.reasons.empty());
    for (const Reason& reason : verdict.reasons) ASSERT_FALSE(reason.words.empty());
    ASSERT_EQ(verdict, decide(input)) << "not a pure function";
    if (verdict.act) {
      ASSERT_EQ(verdict.action, Action::migrate);
      ASSERT_EQ(input.settings.mode, PolicyMode::automatic);
      ASSERT_FALSE(has(verdict, unknown_capacity));
    }
    if (verdict.action != Action::migrate) continue;
    ++moves;
    ASSERT_TRUE(verdict.over_threshold);
    ASSERT_FALSE(verdict.target.empty());
    ASSERT_NE(verdict.target, input.vm.host);
    ASSERT_FALSE(input.vm.moving);
  }
  EXPECT_GT(moves, rounds / 100) << "the inputs hardly ever reach a move";
}

TEST(PolicyProperty, NeverToAHostThatCannotTakeTheVm) {
  Anything any(12);
  for (int i = 0; i < rounds; ++i) {
    const PolicyInput input = any.input();
    const Verdict verdict = decide(input);
    if (verdict.action != Action::migrate) continue;
    for (const PolicyHost& host : input.hosts) {
      if (host.name != verdict.target) continue;
      ASSERT_TRUE(host.reaches_storage.value_or(true));
      ASSERT_TRUE(host.reaches_network.value_or(true));
      if (host.free_memory_bytes && input.vm.memory_bytes) {
        ASSERT_GE(*host.free_memory_bytes, *input.vm.memory_bytes);
      }
      if (host.free_cpu_milli && input.vm.cpu_milli) {
        ASSERT_GE(*host.free_cpu_milli, *input.vm.cpu_milli);
      }
      if (host.migration_bytes_s && input.vm.dirty_bytes_s) {
        ASSERT_GT(*host.migration_bytes_s, *input.vm.dirty_bytes_s);
      }
    }
  }
}

// More demand of a device on another host never turns a move into staying.
TEST(PolicyProperty, MonotonicInDemand) {
  Anything any(13);
  for (int i = 0; i < rounds; ++i) {
    PolicyInput input = any.input();
    if (decide(input).action != Action::migrate) continue;
    for (PolicyDevice& device : input.devices) {
      if (device.host == input.vm.host || device.host.empty()) continue;
      std::optional<uint64_t>& figure = device.measured_bytes_s && device.window_full
                                            ? device.measured_bytes_s
                                            : device.nominal_bytes_s;
      if (!figure) continue;
      const uint64_t more = any.amount();
      figure = *figure > huge - more ? huge : *figure + more;
      ASSERT_EQ(decide(input).action, Action::migrate) << device.name << " + " << more;
    }
  }
}

// More allocation never turns staying into a move.
TEST(PolicyProperty, MonotonicInAllocation) {
  Anything any(14);
  for (int i = 0; i < rounds; ++i) {
    PolicyInput input = any.input();
    if (!input.vm.allocation_bytes_s || *input.vm.allocation_bytes_s == 0) continue;
    if (decide(input).over_threshold) continue;
    const uint64_t more = any.amount();
    uint64_t& allocation = *input.vm.allocation_bytes_s;
    allocation = allocation > huge - more ? huge : allocation + more;
    ASSERT_FALSE(decide(input).over_threshold);
  }
}

TEST(PolicyProperty, EveryDecisionReplays) {
  Anything any(15);
  for (int i = 0; i < 2'000; ++i) {
    Decision decision;
    decision.sequence = any.amount();
    decision.time_unix_ms = any.amount();
    decision.input = any.input();
    decision.verdict = decide(decision.input);
    const std::string text = decision_to_json(decision).dump();
    const auto read = decision_from_text(text);
    ASSERT_TRUE(read) << read.error().message << text;
    ASSERT_EQ(*read, decision) << text;
    const auto again = replay(decision_to_json(*read));
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(*again, decision.verdict) << text;
  }
}

}  // namespace
}  // namespace farport
