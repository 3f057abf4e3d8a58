#include "dataplane/watch.h"

#include <poll.h>

#include <cerrno>
#include <utility>

namespace farport {

// Outlives its Watch until the kernel has let go of the poll, then deletes itself.
class WatchState final : public RingOperation {
 public:
  WatchState(Worker& worker, int fd, uint32_t events, WatchCallback callback, void* context)
      : worker_(worker), fd_(fd), events_(events), callback_(callback), context_(context) {
    arm();
  }

  void set_events(uint32_t events) {
    if (events == events_) return;
    events_ = events;
    if (armed_) {
      worker_.cancel(*this);  // armed again, for the new events, when the old poll has ended
    } else if (!in_callback_) {
      arm();
    }
  }
  uint32_t events() const { return events_; }

  void abandon() {
    abandoned_ = true;
    if (armed_) {
      worker_.cancel(*this);
    } else if (!in_callback_) {
      delete this;
    }
  }

  void completed(int result, uint32_t) override {
    armed_ = false;
    if (!abandoned_ && result > 0) {
      const auto ready = static_cast<uint32_t>(result) & (events_ | POLLERR | POLLHUP);
      in_callback_ = true;
      if (events_ != 0 && ready != 0) callback_(context_, ready);
      in_callback_ = false;
    }
    if (abandoned_) {
      delete this;
    } else {
      arm();
    }
  }

 private:
  ~WatchState() = default;

  void arm() {
    if (events_ == 0) return;
    armed_ = true;
    io_uring_prep_poll_add(worker_.prepare(*this), fd_, events_);
  }

  Worker& worker_;
  int fd_;
  uint32_t events_;
  WatchCallback callback_;
  void* context_;
  bool armed_ = false;
  bool abandoned_ = false;
  bool in_callback_ = false;
};

Watch::Watch(Worker& worker, int fd, uint32_t events, WatchCallback callback, void* context)
    : state_(new WatchState(worker, fd, events, callback, context)) {}
Watch::Watch(Watch&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    reset();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}
Watch::~Watch() { reset(); }

void Watch::set_events(uint32_t events) { state_->set_events(events); }
uint32_t Watch::events() const { return state_->events(); }
void Watch::reset() {
  if (state_ != nullptr) std::exchange(state_, nullptr)->abandon();
}

}  // namespace farport
