#include "control/policy/advisor.h"

#include <algorithm>
#include <limits>

namespace farport {

bool same_advice(const Verdict& a, const Verdict& b) {
  return a.action == b.action && a.target == b.target && a.act == b.act &&
         std::ranges::equal(a.reasons, b.reasons, {}, &Reason::code, &Reason::code);
}

Advisor::Advice Advisor::evaluate(PolicyInput input, uint64_t now_ns, uint64_t time_unix_ms) {
  Past& past = past_[input.vm.name];
  input.vm.moving = past.moving;
  input.vm.evaluations_over = past.evaluations_over;
  input.vm.since_last_move_s.reset();
  if (past.moved_at_ns) {
    input.vm.since_last_move_s = (now_ns - std::min(now_ns, *past.moved_at_ns)) / 1'000'000'000;
  }

  Advice advice;
  advice.verdict = decide(input);
  const Verdict& verdict = advice.verdict;
  if (!verdict.over_threshold) {
    past.evaluations_over = 0;
  } else if (past.target != verdict.target) {
    past.evaluations_over = 1;
  } else if (past.evaluations_over < std::numeric_limits<uint32_t>::max()) {
    ++past.evaluations_over;
  }
  past.target = verdict.target;

  if (!past.recorded || !same_advice(*past.recorded, verdict)) {
    past.recorded = verdict;
    advice.recorded = true;
    Decision decision;
    decision.time_unix_ms = time_unix_ms;
    decision.input = std::move(input);
    decision.verdict = verdict;
    if (auto written = log_.append(std::move(decision)); !written) {
      advice.log_error = written.error();
    }
  }
  return advice;
}

void Advisor::move_started(const std::string& vm) { past_[vm].moving = true; }

void Advisor::move_ended(const std::string& vm, bool moved, uint64_t now_ns) {
  Past& past = past_[vm];
  past.moving = false;
  if (!moved) return;
  past.moved_at_ns = now_ns;
  past.evaluations_over = 0;
}

}  // namespace farport
