// The control thread: one io_context on one thread, where all of the daemon's state lives, and a
// small pool for what may block (opening and listing devices, making drivers). Nothing of control
// is locked: work comes here by post().
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace boost::asio {
class io_context;
}

namespace farport {

class ControlLoop {
 public:
  explicit ControlLoop(unsigned pool_threads = 4);
  ~ControlLoop();  // stop()
  ControlLoop(const ControlLoop&) = delete;
  ControlLoop& operator=(const ControlLoop&) = delete;

  void start();
  // Lets the pool finish what it has begun, then ends the control thread. What was posted and has
  // not run is dropped when the loop is destroyed. Not from the control thread.
  void stop();

  // --- from any thread ---
  // Runs `work` on the control thread, in order of posting.
  void post(std::function<void()> work);
  // Runs `work` on the pool.
  void blocking(std::function<void()> work);
  // Runs `work()` on the pool, then `done(its result)` on the control thread. Either may hold what
  // can only be moved.
  template <class Work, class Done>
  void offload(Work work, Done done) {
    auto both = std::make_shared<std::pair<Work, Done>>(std::move(work), std::move(done));
    blocking([this, both] {
      using Value = decltype(both->first());
      auto value = std::make_shared<Value>(both->first());
      post([both, value] { both->second(std::move(*value)); });
    });
  }
  bool on_thread() const;

  boost::asio::io_context& context();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// Runs a callback once on the control thread, unless it is cancelled or destroyed before.
class ControlTimer {
 public:
  explicit ControlTimer(ControlLoop& loop);
  ~ControlTimer();
  // Replaces what was set before.
  void after(std::chrono::milliseconds delay, std::function<void()> callback);
  void cancel();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace farport
