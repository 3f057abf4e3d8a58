#include "control/policy/decision.h"

#include <fmt/format.h>

namespace farport {

std::string summarize(const Decision& decision) {
  const Verdict& verdict = decision.verdict;
  const std::string& words = verdict.reasons.front().words;
  if (verdict.action == Action::keep) return "keep: " + words;
  return fmt::format("migrate {} to {}: {}", decision.input.vm.name, verdict.target, words);
}

std::string explain(const Decision& decision) {
  std::string text = summarize(decision);
  for (size_t i = 1; i < decision.verdict.reasons.size(); ++i) {
    text += "\n- " + decision.verdict.reasons[i].words;
  }
  return text;
}

}  // namespace farport
