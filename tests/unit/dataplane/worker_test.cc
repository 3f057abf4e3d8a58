// The worker: timers in order, messages from other threads, watches, and a clean end.
#include "dataplane/worker.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "dataplane/watch.h"
#include "tests/unit/manual_scheduler.h"

namespace farport {
namespace {

constexpr uint64_t kTimeLimitNs = 10'000'000'000;

std::unique_ptr<Worker> make_worker(uint32_t spin_us = 0) {
  WorkerSettings settings;
  settings.spin_us = spin_us;
  auto worker = Worker::create(settings);
  EXPECT_TRUE(worker) << worker.error().message;
  return std::move(*worker);
}

struct Recorder {
  std::vector<int>* order;
  int name;
  static void fire(void* self) {
    auto* recorder = static_cast<Recorder*>(self);
    recorder->order->push_back(recorder->name);
  }
};

TEST(Timers, FireInOrderOfTimeThenOfArming) {
  ManualScheduler scheduler(0);
  std::vector<int> order;
  std::vector<Recorder> recorders;
  for (int i = 0; i < 6; ++i) recorders.push_back({&order, i});
  std::vector<std::unique_ptr<Timer>> timers;
  for (auto& recorder : recorders) {
    timers.push_back(std::make_unique<Timer>(scheduler, Recorder::fire, &recorder));
  }
  const std::array<uint64_t, 6> at{50, 10, 10, 90, 30, 20};
  for (size_t i = 0; i < at.size(); ++i) timers[i]->arm_at(at[i]);
  timers[4]->disarm();
  timers[3]->arm_at(5);  // moved
  scheduler.advance(100);
  EXPECT_EQ(order, (std::vector{3, 1, 2, 5, 0}));
}

TEST(Timers, HeapHoldsUnderRandomUse) {
  std::mt19937 random(7);
  ManualScheduler scheduler(0);
  struct Probe {
    ManualScheduler* scheduler;
    uint64_t due = 0;
    bool armed = false;
    int wrong = 0;
    static void fire(void* self) {
      auto* probe = static_cast<Probe*>(self);
      probe->wrong += !probe->armed || probe->due != probe->scheduler->now_ns();
      probe->armed = false;
    }
  };
  std::vector<Probe> probes(200, Probe{&scheduler});
  std::vector<std::unique_ptr<Timer>> timers;
  for (auto& probe : probes)
    timers.push_back(std::make_unique<Timer>(scheduler, Probe::fire, &probe));
  for (int step = 0; step < 20'000; ++step) {
    const size_t index = random() % probes.size();
    if (random() % 3 == 0) {
      timers[index]->disarm();
      probes[index].armed = false;
    } else {
      probes[index].due = scheduler.now_ns() + 1 + random() % 1000;
      probes[index].armed = true;
      timers[index]->arm_at(probes[index].due);
    }
    if (random() % 4 == 0) scheduler.advance(random() % 100);
  }
  for (const auto& probe : probes) EXPECT_EQ(probe.wrong, 0);
  scheduler.advance(2000);
  for (const auto& probe : probes) EXPECT_FALSE(probe.armed) << "a timer was lost";
}

TEST(Worker, RunsMessagesOfManyThreadsEachInOrder) {
  for (const uint32_t spin_us : {0u, 1000u}) {
    auto worker = make_worker(spin_us);
    std::array<std::vector<int>, 4> seen;
    int total = 0;
    std::vector<std::thread> threads;
    for (size_t t = 0; t < seen.size(); ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 1000; ++i) {
          worker->post([&, t, i] {
            seen[t].push_back(i);
            ++total;
          });
        }
      });
    }
    EXPECT_TRUE(worker->run_until([&] { return total == 4000; }, kTimeLimitNs));
    for (auto& thread : threads) thread.join();
    for (const auto& numbers : seen) {
      EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
    }
  }
}

TEST(Worker, StopsFromAnotherThread) {
  auto worker = make_worker();
  std::thread thread([&] { worker->run(); });
  worker->stop();
  thread.join();
}

TEST(Worker, FlushesOnceAnIterationAndForgets) {
  auto worker = make_worker();
  struct Counter final : Flushable {
    int count = 0;
    void flush() override { ++count; }
  } counted, forgotten;
  worker->flush_later(counted);
  worker->flush_later(counted);
  worker->flush_later(forgotten);
  worker->forget(forgotten);
  EXPECT_TRUE(worker->run_until([&] { return counted.count > 0; }, kTimeLimitNs));
  EXPECT_EQ(counted.count, 1);
  EXPECT_EQ(forgotten.count, 0);
}

struct Echo {
  int fd = -1;
  std::string seen;
  uint32_t events = 0;
  static void ready(void* self, uint32_t events) {
    auto* echo = static_cast<Echo*>(self);
    echo->events |= events;
    char byte = 0;
    if ((events & POLLIN) != 0 && read(echo->fd, &byte, 1) == 1) echo->seen += byte;
  }
};

// Within an iteration the time stands still, though the clock does not; between two it goes on.
TEST(Worker, ReadsTheClockOnceAnIteration) {
  auto worker = make_worker();
  std::vector<uint64_t> seen;
  const auto look = [&] {
    const uint64_t now = worker->now_ns();
    const uint64_t clock = Worker::read_clock_ns();
    while (Worker::read_clock_ns() == clock) {
    }
    seen.push_back(now);
    seen.push_back(worker->now_ns());
  };
  worker->post(look);
  EXPECT_TRUE(worker->run_until([&] { return seen.size() == 2; }, kTimeLimitNs));
  worker->post(look);
  EXPECT_TRUE(worker->run_until([&] { return seen.size() == 4; }, kTimeLimitNs));
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[2], seen[3]);
  EXPECT_LT(seen[1], seen[2]);
  EXPECT_GT(worker->now_ns(), seen[3]);  // outside of an iteration it is the clock
}

// A message may make a driver, and timers do not wait for as long again.
TEST(Worker, ReadsTheClockAnewAfterMessages) {
  auto worker = make_worker();
  uint64_t ended_ns = 0;
  uint64_t done_ns = 0;
  worker->post([&] {
    const uint64_t began_ns = worker->now_ns();
    while ((ended_ns = Worker::read_clock_ns()) <= began_ns) {
    }
  });
  const auto done = [&] {
    if (ended_ns != 0 && done_ns == 0) done_ns = worker->now_ns();  // still in that iteration
    return ended_ns != 0;
  };
  EXPECT_TRUE(worker->run_until(done, kTimeLimitNs));
  EXPECT_GE(done_ns, ended_ns);
}

TEST(Watch, IsLevelTriggeredAndTellsHangup) {
  auto worker = make_worker();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  FileDescriptor near(ends[0]);
  FileDescriptor far(ends[1]);
  Echo echo{near.get(), {}, 0};
  Watch watch(*worker, near.get(), POLLIN, Echo::ready, &echo);
  ASSERT_EQ(write(far.get(), "abc", 3), 3);  // read one at a time: it must come back for the rest
  EXPECT_TRUE(worker->run_until([&] { return echo.seen == "abc"; }, kTimeLimitNs));
  watch.set_events(0);
  ASSERT_EQ(write(far.get(), "d", 1), 1);
  bool turned = false;
  worker->post([&] { turned = true; });
  EXPECT_TRUE(worker->run_until([&] { return turned; }, kTimeLimitNs));
  EXPECT_EQ(echo.seen, "abc") << "it was told to wait for nothing";
  watch.set_events(POLLIN);
  EXPECT_TRUE(worker->run_until([&] { return echo.seen == "abcd"; }, kTimeLimitNs));
  far.reset();
  EXPECT_TRUE(worker->run_until([&] { return (echo.events & POLLHUP) != 0; }, kTimeLimitNs));
}

TEST(Watch, MayBeDestroyedFromItsOwnCallback) {
  auto worker = make_worker();
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  FileDescriptor near(ends[0]);
  FileDescriptor far(ends[1]);
  struct Once {
    Watch watch;
    int calls = 0;
    static void ready(void* self, uint32_t) {
      auto* once = static_cast<Once*>(self);
      ++once->calls;
      once->watch.reset();
    }
  } once;
  once.watch = Watch(*worker, near.get(), POLLIN, Once::ready, &once);
  ASSERT_EQ(write(far.get(), "x", 1), 1);
  EXPECT_TRUE(worker->run_until([&] { return once.calls == 1; }, kTimeLimitNs));
  bool turned = false;
  worker->post([&] { turned = true; });
  EXPECT_TRUE(worker->run_until([&] { return turned; }, kTimeLimitNs));
  EXPECT_EQ(once.calls, 1);
}

}  // namespace
}  // namespace farport
