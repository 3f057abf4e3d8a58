#include "control/daemon/control_loop.h"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <thread>

namespace farport {

namespace asio = boost::asio;

struct ControlLoop::Parts {
  explicit Parts(unsigned pool_threads) : pool(pool_threads) {}
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::thread_pool pool;
  std::thread thread;
};

ControlLoop::ControlLoop(unsigned pool_threads) : parts_(std::make_unique<Parts>(pool_threads)) {}

ControlLoop::~ControlLoop() { stop(); }

void ControlLoop::start() {
  parts_->thread = std::thread([this] {
    pthread_setname_np(pthread_self(), "control");
    parts_->context.run();
  });
}

void ControlLoop::stop() {
  parts_->pool.join();
  parts_->work.reset();
  parts_->context.stop();
  if (parts_->thread.joinable()) parts_->thread.join();
}

void ControlLoop::post(std::function<void()> work) { asio::post(parts_->context, std::move(work)); }

void ControlLoop::blocking(std::function<void()> work) {
  asio::post(parts_->pool, std::move(work));
}

bool ControlLoop::on_thread() const {
  return std::this_thread::get_id() == parts_->thread.get_id();
}

asio::io_context& ControlLoop::context() { return parts_->context; }

// A handler that was queued before cancel() still runs: it then finds another number.
struct ControlTimer::State {
  explicit State(ControlLoop& loop) : timer(loop.context()) {}
  asio::steady_timer timer;
  uint64_t number = 0;
};

ControlTimer::ControlTimer(ControlLoop& loop) : state_(std::make_shared<State>(loop)) {}

ControlTimer::~ControlTimer() { cancel(); }

void ControlTimer::after(std::chrono::milliseconds delay, std::function<void()> callback) {
  const uint64_t number = ++state_->number;
  state_->timer.expires_after(delay);
  state_->timer.async_wait([state = state_, number, callback = std::move(callback)](auto error) {
    if (!error && state->number == number) callback();
  });
}

void ControlTimer::cancel() {
  ++state_->number;
  state_->timer.cancel();
}

}  // namespace farport
