#include "dataplane/histogram.h"

#include <cmath>

namespace farport {

Histogram::Bucket Histogram::bucket_at(size_t index) const {
  return {.low_ns = low_of(index), .high_ns = low_of(index + 1) - 1, .count = counts_[index]};
}

uint64_t Histogram::percentile(double percent) const {
  static_assert(bucket_count == index_of(value_ns_max) + 1);
  if (count_ == 0) return 0;
  if (!(percent > 0)) return min_ns_;
  if (percent >= 100) return max_ns_;
  const auto rank = static_cast<uint64_t>(std::ceil(percent / 100 * static_cast<double>(count_)));
  const uint64_t wanted = std::clamp<uint64_t>(rank, 1, count_);
  uint64_t passed = 0;
  for (size_t index = 0; index < counts_.size(); ++index) {
    passed += counts_[index];
    if (passed < wanted) continue;
    const uint64_t low = low_of(index);
    const uint64_t middle = low + (low_of(index + 1) - 1 - low) / 2;
    return std::clamp(middle, min_ns_, max_ns_);
  }
  return max_ns_;
}

void Histogram::merge(const Histogram& other) {
  for (size_t index = 0; index < counts_.size(); ++index) counts_[index] += other.counts_[index];
  count_ += other.count_;
  sum_ns_ += other.sum_ns_;
  min_ns_ = std::min(min_ns_, other.min_ns_);
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

}  // namespace farport
