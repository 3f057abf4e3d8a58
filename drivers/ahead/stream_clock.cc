#include "drivers/ahead/stream_clock.h"

#include <algorithm>

namespace farport {

void StreamClock::arrived(uint64_t packets, uint64_t now_ns) {
  delays_[count_++ % window] = static_cast<int64_t>(now_ns - packets * interval_ns_);
  const size_t kept = std::min(count_, window);
  std::array<int64_t, window> sorted = delays_;
  base_ns_ = *std::min_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(kept));
  // Rounded up: of a few results, the latest counts.
  const size_t rank = (kept * jitter_percent + 99) / 100 - 1;
  const auto at = sorted.begin() + static_cast<ptrdiff_t>(rank);
  std::nth_element(sorted.begin(), at, sorted.begin() + static_cast<ptrdiff_t>(kept));
  jitter_ns_ = static_cast<uint64_t>(*at - base_ns_);
}

void StreamClock::steer(int64_t offset_ns, uint64_t packets) {
  const auto step = static_cast<int64_t>(packets * interval_ns_ / steer_share);
  offset_ns_ += std::clamp(offset_ns - offset_ns_, -step, step);
}

}  // namespace farport
