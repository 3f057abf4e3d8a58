#include "bench/stage.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <barrier>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "bench/allocations.h"

namespace farport::bench {

namespace {

constexpr const char* kDeviceAddress = "10.113.0.1";
constexpr const char* kDriverAddress = "10.113.0.2";

uint64_t read_ns(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// The first two cores that this process may use, one for each end. With one core there is nothing
// to choose.
void pin(int end) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  int skip = end;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    return;
  }
}

// Runs a command of iproute2 in the calling thread's network namespace.
Result<void> ip(const std::string& arguments) {
  const std::string command = "ip " + arguments;
  const int status = std::system(command.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (status != 0) return fail(fmt::format("`{}` failed (status {})", command, status));
  return {};
}

Result<void> own_namespace() {
  if (unshare(CLONE_NEWNET) != 0) {
    return fail_errno(errno, "cannot make a network namespace (--link netns needs root)");
  }
  return ip("link set lo up");
}

Result<void> configure(const char* interface, const char* address) {
  if (auto done = ip(fmt::format("address add {}/30 dev {}", address, interface)); !done) {
    return done;
  }
  return ip(fmt::format("link set {} up", interface));
}

// The steps that the two threads take together; the first error stops both.
class Setup {
 public:
  explicit Setup(LinkKind link) : link_(link) {}

  void thread(int end, const End& body, Stage& stage) {
    pin(end);
    pthread_getcpuclockid(pthread_self(), end == 0 ? &stage.device_cpu : &stage.driver_cpu);
    if (link_ == LinkKind::netns) network(end);
    together_.arrive_and_wait();
    if (!failed()) note(body(stage));
  }

  Result<void> result() { return result_; }

 private:
  void network(int end) {
    if (end == 0) device_thread_ = static_cast<int>(syscall(SYS_gettid));
    note(own_namespace());
    together_.arrive_and_wait();
    if (end == 1 && !failed()) {
      note(ip(fmt::format("link add driver type veth peer name device netns {}", device_thread_)));
    }
    together_.arrive_and_wait();
    if (failed()) return;
    note(end == 0 ? configure("device", kDeviceAddress) : configure("driver", kDriverAddress));
  }
  bool failed() {
    const std::lock_guard lock(mutex_);
    return !result_;
  }
  void note(const Result<void>& step) {
    const std::lock_guard lock(mutex_);
    if (result_ && !step) result_ = step;
  }

  LinkKind link_;
  std::barrier<> together_{2};
  int device_thread_ = 0;
  std::mutex mutex_;
  Result<void> result_;
};

}  // namespace

uint64_t now_ns() { return read_ns(CLOCK_MONOTONIC); }

Result<void> on_two_threads(LinkKind link, const End& device, const End& driver) {
  Stage stage;
  stage.device_address = link == LinkKind::netns ? kDeviceAddress : "127.0.0.1";
  Setup setup(link);
  std::thread device_thread([&] { setup.thread(0, device, stage); });
  std::thread driver_thread([&] { setup.thread(1, driver, stage); });
  driver_thread.join();
  device_thread.join();
  return setup.result();
}

uint64_t Window::cpu_ns() const { return read_ns(stage_.device_cpu) + read_ns(stage_.driver_cpu); }

uint64_t Window::begin() {
  begin_ns_ = now_ns();
  begin_cpu_ns_ = cpu_ns();
  begin_allocations_ = allocation_count();
  return begin_ns_;
}

Measurement Window::end(uint64_t transfers, const Histogram& round_trips) {
  Measurement measured;
  measured.allocations = allocation_count() - begin_allocations_;
  measured.cpu_ns = cpu_ns() - begin_cpu_ns_;
  measured.seconds = static_cast<double>(now_ns() - begin_ns_) / 1e9;
  measured.transfers = transfers;
  measured.rtt_ns_p50 = round_trips.percentile(50);
  measured.rtt_ns_p99 = round_trips.percentile(99);
  measured.rtt_ns_p999 = round_trips.percentile(99.9);
  return measured;
}

}  // namespace farport::bench
