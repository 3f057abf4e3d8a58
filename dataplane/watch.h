// Readiness of a descriptor that is not a socket of ours (a tty, a pty, the node of a USB device,
// the kernel's USB/IP socketpair): level-triggered, polled by the worker's ring.
#pragma once

#include <cstdint>

#include "dataplane/worker.h"

namespace farport {

// Called on the worker's thread with the poll events that hold (POLLIN, POLLOUT, POLLERR, POLLHUP).
using WatchCallback = void (*)(void* context, uint32_t events);

class WatchState;

// Watches one descriptor while it lives. The descriptor must stay open until the Watch is destroyed
// (after which no callback comes, and the descriptor may be closed at once). May be destroyed from
// its own callback.
class Watch {
 public:
  Watch() = default;
  Watch(Worker& worker, int fd, uint32_t events, WatchCallback callback, void* context);
  Watch(Watch&& other) noexcept;
  Watch& operator=(Watch&& other) noexcept;
  ~Watch();

  // Changes what is waited for; 0 waits for nothing (errors and hangup included).
  void set_events(uint32_t events);
  uint32_t events() const;
  explicit operator bool() const { return state_ != nullptr; }
  void reset();

 private:
  WatchState* state_ = nullptr;
};

}  // namespace farport
