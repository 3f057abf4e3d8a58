// Evaluates VMs again and again: remembers what the policy asks about their past, and records a
// decision when it says something new. Thread rule: one of control's threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "control/policy/decision_log.h"
#include "control/policy/policy.h"

namespace farport {

class Advisor {
 public:
  explicit Advisor(DecisionLog& log) : log_(log) {}

  struct Advice {
    Verdict verdict;
    bool recorded = false;  // it was new: log.decisions().back()
    Error log_error;        // with a message when the record could not be written
  };

  // Decides for one VM now. Fills evaluations_over, since_last_move_s and moving of `input.vm` from
  // what is remembered. `now_ns` is the monotonic clock, `time_unix_ms` the record's.
  Advice evaluate(PolicyInput input, uint64_t now_ns, uint64_t time_unix_ms);

  void move_started(const std::string& vm);
  void move_ended(const std::string& vm, bool moved, uint64_t now_ns);
  // The VM is gone, or holds no device any more: nothing of it is remembered.
  void forget(const std::string& vm) { past_.erase(vm); }

 private:
  struct Past {
    std::string target;
    uint32_t evaluations_over = 0;
    bool moving = false;
    std::optional<uint64_t> moved_at_ns;
    std::optional<Verdict> recorded;
  };
  DecisionLog& log_;
  std::map<std::string, Past> past_;
};

// Whether the second verdict says what the first one did: the same action, to the same host, for
// the same reasons. Figures differ from one evaluation to the next and make no new decision.
bool same_advice(const Verdict& a, const Verdict& b);

}  // namespace farport
