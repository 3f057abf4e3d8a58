#include "control/daemon/path_choice.h"

#include <algorithm>
#include <cassert>

namespace farport {

PathChoice::PathChoice(size_t paths, PathSettings settings)
    : settings_(settings), paths_(paths, Path{{}, settings.return_after_ns}) {}

std::vector<size_t> PathChoice::order() const {
  std::vector<size_t> order;
  for (size_t path = 0; path < paths_.size(); ++path) {
    if (path != lost_) order.push_back(path);
  }
  if (lost_) order.push_back(*lost_);
  return order;
}

void PathChoice::connected(size_t path, uint64_t now_ns) {
  assert(path < paths_.size());
  in_use_ = path;
  connected_ns_ = now_ns;
  lost_.reset();
  for (size_t better = 0; better < path; ++better) paths_[better].well_since_ns.reset();
}

// Whoever fails soon after it was gone to must be well for twice as long the next time.
void PathChoice::lost(uint64_t now_ns) {
  if (!in_use_) return;
  Path& path = paths_[*in_use_];
  path.well_since_ns.reset();
  if (now_ns - connected_ns_ >= settings_.forget_after_ns) {
    path.hold_ns = settings_.return_after_ns;
  } else {
    path.hold_ns = std::min(path.hold_ns * 2, settings_.return_after_max_ns);
  }
  lost_ = in_use_;
  in_use_.reset();
}

void PathChoice::probed(size_t path, bool well, uint64_t now_ns) {
  if (path >= paths_.size()) return;
  auto& since = paths_[path].well_since_ns;
  if (!well) {
    since.reset();
  } else if (!since) {
    since = now_ns;
  }
}

std::vector<size_t> PathChoice::better() const {
  std::vector<size_t> better;
  for (size_t path = 0; in_use_ && path < *in_use_; ++path) better.push_back(path);
  return better;
}

std::optional<size_t> PathChoice::go_back(uint64_t now_ns) const {
  for (const size_t path : better()) {
    const auto& [since, hold] = paths_[path];
    if (since && now_ns - *since >= hold) return path;
  }
  return {};
}

}  // namespace farport
