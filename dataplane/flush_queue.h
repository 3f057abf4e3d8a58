// The Flushables of one loop that have something to do at the end of the iteration.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "dataplane/loop.h"

namespace farport {

class FlushQueue {
 public:
  void add(Flushable& flushable) {
    if (flushable.queued_) return;
    flushable.queued_ = true;
    waiting_.push_back(&flushable);
  }

  void forget(Flushable& flushable) {
    if (!flushable.queued_) return;
    flushable.queued_ = false;
    std::erase(waiting_, &flushable);
    std::replace(running_.begin(), running_.end(), &flushable, static_cast<Flushable*>(nullptr));
  }

  bool empty() const { return waiting_.empty(); }

  // One round: what a flush sets off (a local device that completes at once, say) is for the next.
  void run() {
    running_.swap(waiting_);
    for (Flushable*& slot : running_) {
      if (slot == nullptr) continue;  // forgotten meanwhile
      Flushable* flushable = std::exchange(slot, nullptr);
      flushable->queued_ = false;
      flushable->flush();
    }
    running_.clear();
  }

 private:
  std::vector<Flushable*> waiting_;
  std::vector<Flushable*> running_;
};

}  // namespace farport
