#include "dataplane/worker.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>

namespace farport {

namespace {
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kDrainNs = 2 * kSecond;
constexpr int kFlushRounds = 4;
constexpr uint64_t kShortWaitNs = 2'000'000;
}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(const WorkerSettings& settings) {
  std::unique_ptr<Worker> worker(new Worker(settings));
  if (auto opened = worker->open(); !opened) return std::unexpected(opened.error());
  return worker;
}

Worker::Worker(const WorkerSettings& settings)
    : settings_(settings), buffers_(settings.buffer_bytes_max) {}

Worker::~Worker() {
  if (!ring_open_) return;
  drain();
  io_uring_queue_exit(&ring_);
}

Result<void> Worker::open() {
  wakeup_fd_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup_fd_) return fail_errno(errno, "cannot make an eventfd for a worker");
  // DEFER_TASKRUN: completions are worked off when we ask for them, not in the middle of our code.
  // The ring is enabled by the thread that runs it, which SINGLE_ISSUER then holds it to.
  io_uring_params params{};
  params.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |
                 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
  params.cq_entries = settings_.ring_entries * 4;
  int result = io_uring_queue_init_params(settings_.ring_entries, &ring_, &params);
  if (result == -EINVAL) {  // kernels before 6.1
    params = {};
    params.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
    params.cq_entries = settings_.ring_entries * 4;
    result = io_uring_queue_init_params(settings_.ring_entries, &ring_, &params);
  }
  if (result < 0) {
    return fail_errno(-result,
                      "cannot make an io_uring (kernel 5.11 or newer, and "
                      "/proc/sys/kernel/io_uring_disabled at 0, are needed)");
  }
  ring_open_ = true;
  return {};
}

void Worker::post(std::function<void()> message) {
  {
    const std::lock_guard lock(messages_mutex_);
    messages_.push_back(std::move(message));
  }
  messages_waiting_.store(true);
  wake();
}

void Worker::stop() {
  stopping_.store(true);
  wake();
}

void Worker::wake() {
  if (!asleep_.load()) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the worker is being woken already.
  [[maybe_unused]] const auto written = ::write(wakeup_fd_.get(), &one, sizeof one);
}

void Worker::run() {
  enable();
  while (!stopping_.load(std::memory_order_relaxed)) turn(TimerQueue::never, nullptr);
  stopping_.store(false);
  drain();
}

bool Worker::run_until(const std::function<bool()>& done, uint64_t timeout_ns) {
  enable();
  const uint64_t until_ns = now_ns() + timeout_ns;
  while (!done()) {
    if (now_ns() >= until_ns) return false;
    turn(until_ns, &done);
  }
  return true;
}

// The life of a worker. One iteration: what has happened, what it leads to, all of it handed to the
// kernel at once, then sleep or spin.
void Worker::turn(uint64_t until_ns, const std::function<bool()>* done) {
  turning_ = true;
  turn_ns_ = 0;
  unsigned events = reap();
  if (spins()) events += poll();
  if (const unsigned messages = take_messages(); messages != 0) {
    events += messages;
    turn_ns_ = 0;  // one that makes a driver, say, takes its time
  }
  events += static_cast<unsigned>(timers_.next_ns() == TimerQueue::never ? 0 : fire_timers());
  // A few rounds: what a flush leads to, such as a message for the kernel's USB port, need not
  // wait for a system call. Not without end, so that nothing starves completions and messages.
  for (int round = 0; round < kFlushRounds && !flushables_.empty(); ++round) flushables_.run();
  if (!flushables_.empty() || stopping_.load(std::memory_order_relaxed) ||
      (done != nullptr && (*done)())) {
    submit();
  } else if (spins() && spinning(events)) {
    submit();
  } else {
    for (Pollable* pollable : pollables_) pollable->before_sleep();
    submit_and_sleep(until_ns);
  }
  turning_ = false;
}

unsigned Worker::reap() {
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) --operations_;
    reinterpret_cast<RingOperation*>(cqe->user_data)->completed(cqe->res, cqe->flags);
  }
  io_uring_cq_advance(&ring_, count);
  return count;
}

// By index: a poll may add or remove one.
unsigned Worker::poll() {
  unsigned events = 0;
  for (size_t i = 0; i < pollables_.size(); ++i) events += pollables_[i]->poll();
  return events;
}

void Worker::remove_pollable(Pollable& pollable) { std::erase(pollables_, &pollable); }

unsigned Worker::take_messages() {
  if (!messages_waiting_.load(std::memory_order_relaxed)) return 0;
  {
    const std::lock_guard lock(messages_mutex_);
    messages_waiting_.store(false);
    taken_.swap(messages_);
  }
  for (auto& message : taken_) message();
  const auto count = static_cast<unsigned>(taken_.size());
  taken_.clear();
  return count;
}

int Worker::fire_timers() {
  const uint64_t now = now_ns();
  return timers_.next_ns() <= now ? timers_.fire(now) : 0;
}

bool Worker::spinning(unsigned events) {
  if (!spins()) return false;
  const uint64_t now = events != 0 ? clock_.now_ns() : now_ns();
  if (events != 0) busy_at_ns_ = now;
  return now - busy_at_ns_ < uint64_t{settings_.spin_us} * 1000;
}

// Hands over what is prepared and lets the kernel finish what it has, without waiting. Enters the
// kernel only when there is a reason to.
void Worker::submit() {
  const bool task_work =
      (IO_URING_READ_ONCE(*ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  if (task_work) {
    io_uring_submit_and_get_events(&ring_);
  } else if (io_uring_sq_ready(&ring_) != 0) {
    io_uring_submit(&ring_);
  }
}

void Worker::submit_and_sleep(uint64_t until_ns) {
  asleep_.store(true);
  if (messages_waiting_.load() || stopping_.load()) {
    asleep_.store(false);
    submit();
    return;
  }
  until_ns = std::min(until_ns, timers_.next_ns());
  if (until_ns == TimerQueue::never) {
    io_uring_submit_and_wait(&ring_, 1);
  } else {
    // A short wait must not be longer by what this iteration took.
    uint64_t now = now_ns();
    if (until_ns < now + kShortWaitNs) now = clock_.now_ns();
    const uint64_t wait_ns = until_ns > now ? until_ns - now : 0;
    __kernel_timespec time{static_cast<int64_t>(wait_ns / kSecond),
                           static_cast<long long>(wait_ns % kSecond)};
    io_uring_cqe* cqe = nullptr;
    const int result = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &time, nullptr);
    if (result == -ETIME) clock_.look_again();  // a timer is due, by the kernel's clock
  }
  asleep_.store(false);
}

uint64_t Worker::turn_ns() const {
  if (turn_ns_ == 0) turn_ns_ = clock_.now_ns();
  return turn_ns_;
}

uint64_t Worker::read_clock_ns() { return ClockSource::machine().kernel_ns(); }

io_uring_sqe* Worker::prepare(RingOperation& operation) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) {  // the submission queue is full: hand it over early
    enable();
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
    assert(sqe != nullptr);
  }
  // The caller's io_uring_prep_* leaves user_data alone.
  io_uring_sqe_set_data(sqe, &operation);
  ++operations_;
  return sqe;
}

void Worker::cancel(RingOperation& operation) {
  io_uring_sqe* sqe = prepare(ignore_);
  io_uring_prep_cancel(sqe, &operation, 0);
  io_uring_sqe_set_data(sqe, &ignore_);
}

void Worker::enable() {
  if (!enabled_) {
    enabled_ = true;
    // Debian's liburing 2.3 leaves io_uring_enable_rings() out of its library.
    const int result = io_uring_register(static_cast<unsigned>(ring_.ring_fd),
                                         IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    assert(result == 0);
  }
  wakeup_.ending = false;
  wakeup_.listen();
  clock_.look_again();  // what came before was told by the kernel's
}

// Lets what was cancelled come to its end, so that nothing of it outlives the ring.
void Worker::drain() {
  if (!enabled_) return;
  wakeup_.ending = true;
  if (wakeup_.listening) cancel(wakeup_);
  const uint64_t until_ns = now_ns() + kDrainNs;
  while (operations_ > 0 && now_ns() < until_ns) {
    __kernel_timespec time{0, 10'000'000};
    io_uring_cqe* cqe = nullptr;
    const int result = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &time, nullptr);
    if (result < 0 && result != -ETIME && result != -EINTR) return;  // another thread's ring
    reap();
  }
}

void Worker::Wakeup::listen() {
  if (listening) return;
  listening = true;
  io_uring_sqe* sqe = worker.prepare(*this);
  io_uring_prep_read(sqe, worker.wakeup_fd_.get(), &count, sizeof count, 0);
}

void Worker::Wakeup::completed(int result, uint32_t) {
  listening = false;
  if (result != -ECANCELED && !ending) listen();
}

}  // namespace farport
