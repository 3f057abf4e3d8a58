// The daemon's recent events, numbered, and those who follow them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "control/daemon/service.h"

namespace farport {

class EventLog {
 public:
  explicit EventLog(size_t kept_max = 1000);

  // Numbers and dates the event, keeps it, tells the followers.
  void add(Event event);
  uint64_t last() const { return last_; }
  // As Service::subscribe.
  std::unique_ptr<EventSubscription> subscribe(uint64_t after,
                                               std::function<void(const Event&)> callback);

 private:
  struct Followers;
  class Following;
  size_t kept_max_;
  uint64_t last_ = 0;
  std::deque<Event> kept_;
  std::shared_ptr<Followers> followers_;
};

// Milliseconds since 1970.
int64_t unix_now_ms();
// CLOCK_MONOTONIC, in nanoseconds.
uint64_t monotonic_ns();

}  // namespace farport
