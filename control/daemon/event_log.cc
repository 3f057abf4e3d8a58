#include "control/daemon/event_log.h"

#include <time.h>

#include <chrono>
#include <vector>

namespace farport {

int64_t unix_now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

struct EventLog::Followers {
  std::map<uint64_t, std::function<void(const Event&)>> callbacks;
  uint64_t next = 1;
};

// May outlive the log.
class EventLog::Following final : public EventSubscription {
 public:
  Following(std::weak_ptr<Followers> followers, uint64_t id)
      : followers_(std::move(followers)), id_(id) {}
  ~Following() override {
    if (const auto followers = followers_.lock()) followers->callbacks.erase(id_);
  }

 private:
  std::weak_ptr<Followers> followers_;
  uint64_t id_;
};

EventLog::EventLog(size_t kept_max)
    : kept_max_(kept_max), followers_(std::make_shared<Followers>()) {}

void EventLog::add(Event event) {
  event.sequence = ++last_;
  if (event.at_unix_ms == 0) event.at_unix_ms = unix_now_ms();
  kept_.push_back(event);
  if (kept_.size() > kept_max_) kept_.pop_front();
  // A follower may subscribe or leave from inside its callback, others too.
  std::vector<uint64_t> ids;
  for (const auto& [id, callback] : followers_->callbacks) ids.push_back(id);
  for (const uint64_t id : ids) {
    const auto found = followers_->callbacks.find(id);
    if (found == followers_->callbacks.end()) continue;
    const auto callback = found->second;
    callback(event);
  }
}

std::unique_ptr<EventSubscription> EventLog::subscribe(uint64_t after,
                                                       std::function<void(const Event&)> callback) {
  const uint64_t id = followers_->next++;
  auto following = std::make_unique<Following>(followers_, id);
  const std::vector<Event> kept(kept_.begin(), kept_.end());
  for (const Event& event : kept) {
    if (event.sequence > after) callback(event);
  }
  followers_->callbacks.emplace(id, std::move(callback));
  return following;
}

}  // namespace farport
