// A decision in words, as `farport decisions` and the demo print it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "control/cli/output.h"

namespace farport {

// "keep", or "migrate to lab".
Cell verdict_words(const nlohmann::json& decision);
// The verdict, then each reason, the deciding one first.
void print_decision(Output& out, const nlohmann::json& decision);

}  // namespace farport
