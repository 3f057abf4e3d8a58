#include "control/policy/decision.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace farport {
namespace {

Decision example() {
  Decision decision;
  decision.sequence = 7;
  decision.time_unix_ms = 1'700'000'000'123;
  PolicyInput& input = decision.input;
  input.vm.name = "web";
  input.vm.host = "west";
  input.vm.allocation_bytes_s = 12'500'000;
  PolicyDevice disk;
  disk.name = "disk0";
  disk.host = "east";
  disk.nominal_bytes_s = 3'100'000;
  disk.nominal_source = "configuration";
  input.devices = {disk};
  decision.verdict = decide(input);
  return decision;
}

TEST(Decision, ExplainsAKeep) {
  EXPECT_EQ(explain(example()),
            "keep: disk0 needs 3.1 MB/s, 25 % of web's 12.5 MB/s; the threshold is 50 %\n"
            "- nominal, from the configuration: disk0; no full window of work was measured yet");
}

TEST(Decision, ExplainsAMove) {
  Decision decision = example();
  decision.input.devices[0].nominal_bytes_s = 31'000'000;
  decision.verdict = decide(decision.input);
  EXPECT_EQ(explain(decision),
            "migrate web to east: disk0 needs 31 MB/s, 248 % of web's 12.5 MB/s; the threshold is "
            "50 %\n"
            "- nominal, from the configuration: disk0; no full window of work was measured yet\n"
            "- what the move costs is not known\n"
            "- not known: web's memory, east's free memory, web's CPUs, east's free CPUs, whether "
            "east reaches web's storage and whether east reaches web's network\n"
            "- recommended only: the policy's mode is recommend");
}

TEST(Decision, JsonHasWhatAPersonLooksFor) {
  const nlohmann::json json = decision_to_json(example());
  EXPECT_EQ(json["sequence"], 7);
  EXPECT_EQ(json["vm"], "web");
  EXPECT_EQ(json["action"], "keep");
  EXPECT_EQ(json["reasons"][0]["code"], "under_threshold");
  EXPECT_EQ(json["input"]["settings"]["threshold_percent"], 50);
  EXPECT_TRUE(json["input"]["vm"]["memory_bytes"].is_null());
}

TEST(Decision, FractionsOfAPercentSurvive) {
  for (const uint32_t hundredths : {0u, 1u, 1250u, 3333u, 5001u, 99'999u, 4'294'967'295u}) {
    Decision decision = example();
    decision.input.settings.threshold = Percent{hundredths};
    decision.verdict = decide(decision.input);
    const auto read = decision_from_text(decision_to_json(decision).dump());
    ASSERT_TRUE(read);
    EXPECT_EQ(read->input.settings.threshold.hundredths, hundredths);
  }
}

TEST(Decision, UnknownFieldsAreSkipped) {
  nlohmann::json json = decision_to_json(example());
  json["later"] = "unknown to us";
  json["input"]["vm"]["later"] = 1;
  const auto read = decision_from_json(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, example());
}

// Each malformed record is refused with the place that is wrong.
TEST(Decision, MalformedRecordsAreRefused) {
  struct Case {
    const char* patch;  // RFC 6902
    const char* message;
  };
  const Case cases[] = {
      {R"([{"op":"replace","path":"","value":[]}])", "decision: : expected an object"},
      {R"([{"op":"remove","path":"/sequence"}])",
       "decision: sequence: expected a value, and there is none"},
      {R"([{"op":"replace","path":"/sequence","value":-1}])",
       "decision: sequence: expected a whole"},
      {R"([{"op":"replace","path":"/sequence","value":1.5}])",
       "decision: sequence: expected a whole"},
      {R"([{"op":"replace","path":"/action","value":"maybe"}])", "decision: action: expected"},
      {R"([{"op":"replace","path":"/reasons","value":[]}])",
       "decision: reasons: expected at least"},
      {R"([{"op":"replace","path":"/reasons/0/code","value":"whim"}])",
       "decision: reasons[0].code: expected"},
      {R"([{"op":"replace","path":"/reasons/0","value":3}])",
       "decision: reasons[0].: expected an object"},
      {R"([{"op":"replace","path":"/act","value":1}])", "decision: act: expected true or false"},
      {R"([{"op":"remove","path":"/input"}])", "decision: input: expected a value"},
      {R"([{"op":"replace","path":"/input","value":null}])",
       "decision: input.: expected an object"},
      {R"([{"op":"replace","path":"/input/vm/name","value":5}])",
       "decision: input.vm.name: expected a string"},
      {R"([{"op":"replace","path":"/input/vm/cpu_milli","value":4294967296}])",
       "decision: input.vm.cpu_milli: expected a whole number from 0 to 4294967295"},
      {R"([{"op":"replace","path":"/input/devices/0/window_full","value":"no"}])",
       "decision: input.devices[0].window_full: expected true or false"},
      {R"([{"op":"replace","path":"/input/devices","value":{}}])",
       "decision: input.devices: expected an array"},
      {R"([{"op":"replace","path":"/input/settings/mode","value":"always"}])",
       "decision: input.settings.mode: expected"},
      {R"([{"op":"replace","path":"/input/settings/threshold_percent","value":-1}])",
       "decision: input.settings.threshold_percent: expected a percentage"},
      {R"([{"op":"replace","path":"/input/settings/threshold_percent","value":1e300}])",
       "decision: input.settings.threshold_percent: expected a percentage"},
  };
  for (const Case& c : cases) {
    const nlohmann::json json = decision_to_json(example()).patch(nlohmann::json::parse(c.patch));
    const auto read = decision_from_json(json);
    ASSERT_FALSE(read) << c.patch;
    EXPECT_EQ(read.error().message.rfind(c.message, 0), 0u) << read.error().message;
  }
  EXPECT_EQ(decision_from_text("{").error().message, "decision: not JSON");
  EXPECT_FALSE(replay(nlohmann::json::array()));
  EXPECT_FALSE(policy_input_from_json(nlohmann::json(3)));
}

TEST(Decision, EveryReasonHasANameOfItsOwn) {
  for (int i = 0; i <= static_cast<int>(ReasonCode::not_acted_unknown); ++i) {
    const auto code = static_cast<ReasonCode>(i);
    EXPECT_EQ(reason_code_from_name(reason_code_name(code)), code);
  }
  EXPECT_FALSE(reason_code_from_name(""));
}

}  // namespace
}  // namespace farport
