// The record of a decision: what was known, what was decided and why. As JSON it is what the API
// serves, what the log keeps, and what can be replayed.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "control/policy/policy.h"
#include "dataplane/error.h"

namespace farport {

struct Decision {
  uint64_t sequence = 0;      // from 1, rising, given by the log
  uint64_t time_unix_ms = 0;  // wall clock
  PolicyInput input;
  Verdict verdict;
  bool operator==(const Decision&) const = default;
};

// One sentence: "keep: disk0 needs 3.1 MB/s, 25 % of web's 12.5 MB/s; the threshold is 50 %".
std::string summarize(const Decision& decision);
// The sentence, then a line "- ..." for each further reason.
std::string explain(const Decision& decision);

nlohmann::json decision_to_json(const Decision& decision);
// Anything may come from a file: an error says which field is missing or wrong. Unknown fields are
// skipped, so that an older farport reads what a newer one wrote.
Result<Decision> decision_from_json(const nlohmann::json& json);
Result<Decision> decision_from_text(std::string_view text);
// Also by itself, for simulations.
nlohmann::json policy_input_to_json(const PolicyInput& input);
Result<PolicyInput> policy_input_from_json(const nlohmann::json& json);

// Decides again from a record's inputs alone.
Result<Verdict> replay(const nlohmann::json& decision);

}  // namespace farport
