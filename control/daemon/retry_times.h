// How an attachment that waits for its device spaces its attempts.
#pragma once

#include <chrono>

namespace farport {

// When an attachment that waits tries again.
struct RetryTimes {
  std::chrono::milliseconds first{1'000};
  std::chrono::milliseconds last{30'000};     // doubled up to this
  std::chrono::milliseconds give_up{30'000};  // of one that is not persistent; as resume_timeout
  std::chrono::milliseconds gap_max{2'000};   // see gap()
  std::chrono::milliseconds stable{10'000};   // open for so long: the next loss begins anew

  // Before the next attempt after so many that failed; `random` in 0..1 spreads them by a fifth
  // either way, so that what failed together does not come together again.
  std::chrono::milliseconds interval(unsigned failures, double random) const;
  // What must pass between two attempts even when a device came meanwhile: one that comes and goes
  // is not chased.
  std::chrono::milliseconds gap(unsigned failures) const;
};

}  // namespace farport
