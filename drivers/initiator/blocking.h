// Waiting for an initiator: for programs and tests that want an answer, not a callback. Two ways,
// by who runs the worker:
//
//   Drive::here       this thread does, inside the call (Worker::run_until). Nobody else runs it.
//   Drive::elsewhere  another thread is in Worker::run(); the call posts and sleeps.
//
// Every call ends within its time limit, with ErrorCode::timed_out if there is no answer; what was
// begun then still ends by itself, and touches no memory of the caller.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/worker.h"
#include "drivers/initiator/initiator.h"
#include "drivers/initiator/mass_storage.h"
#include "drivers/initiator/serial_line.h"

namespace farport {

enum class Drive : uint8_t { here, elsewhere };

class Waiter {
 public:
  static constexpr uint64_t timeout_ns_default = 30'000'000'000;
  Waiter(Worker& worker, Drive drive, uint64_t timeout_ns = timeout_ns_default)
      : worker_(worker), drive_(drive), timeout_ns_(timeout_ns) {}

  // Runs `begin(done)` on the worker and waits until it calls done(Result<T>).
  template <class T>
  Result<T> wait_for(std::function<void(std::function<void(Result<T>)>)> begin) {
    auto answer = std::make_shared<Answer<T>>();
    auto work = [begin = std::move(begin), answer] {
      begin([answer](Result<T> result) { answer->give(std::move(result)); });
    };
    if (drive_ == Drive::here) {
      work();
      worker_.run_until([&answer] { return answer->given(); }, timeout_ns_);
    } else {
      worker_.post(std::move(work));
    }
    return answer->take(drive_ == Drive::here ? 0 : timeout_ns_);
  }

 private:
  template <class T>
  struct Answer {
    void give(Result<T> value) {
      {
        std::lock_guard lock(mutex);
        result.emplace(std::move(value));
      }
      come.notify_all();
    }
    bool given() {
      std::lock_guard lock(mutex);
      return result.has_value();
    }
    Result<T> take(uint64_t timeout_ns) {
      std::unique_lock lock(mutex);
      come.wait_for(lock, std::chrono::nanoseconds(timeout_ns),
                    [this] { return result.has_value(); });
      if (!result) return fail(ErrorCode::timed_out, "the device does not answer");
      return std::move(*result);
    }
    std::mutex mutex;
    std::condition_variable come;
    std::optional<Result<T>> result;
  };

  Worker& worker_;
  Drive drive_;
  uint64_t timeout_ns_;
};

// Single transfers. The initiator is ready().
class BlockingInitiator {
 public:
  BlockingInitiator(Initiator& initiator, Waiter waiter)
      : initiator_(initiator), waiter_(std::move(waiter)) {}

  using Bytes = std::vector<std::byte>;
  // IN: the answer. OUT: sends `data`, and answers with nothing.
  Result<Bytes> control(const std::array<uint8_t, 8>& setup, std::span<const std::byte> data = {});
  Result<Bytes> bulk_in(uint8_t endpoint, uint32_t length);
  // Bytes taken.
  Result<uint32_t> bulk_out(uint8_t endpoint, std::span<const std::byte> data);
  Result<void> clear_halt(uint8_t endpoint);

 private:
  Initiator& initiator_;
  Waiter waiter_;
};

// A disk. Made and destroyed on any thread; the initiator is ready(), and outlives it.
class BlockingDisk {
 public:
  BlockingDisk(Initiator& initiator, Waiter waiter,
               uint32_t command_bytes = MassStorage::command_bytes_default);
  ~BlockingDisk();

  Result<MassStorage::Identity> inquiry();
  Result<MassStorage::Capacity> capacity();
  // Whole blocks from `block` on.
  Result<void> read(uint64_t block, std::span<std::byte> into);
  Result<void> write(uint64_t block, std::span<const std::byte> from);
  Result<void> synchronize();

 private:
  Waiter waiter_;
  std::shared_ptr<MassStorage> disk_;  // lives on the worker
};

// A serial port, likewise. What is received waits here until it is read.
class BlockingSerial {
 public:
  BlockingSerial(Initiator& initiator, Waiter waiter);
  ~BlockingSerial();

  Result<void> write(std::span<const std::byte> data);
  // Waits for at least one byte; answers with what has come, `bytes_max` at most.
  Result<std::vector<std::byte>> read(size_t bytes_max);
  // Waits for exactly so many.
  Result<std::vector<std::byte>> read_exactly(size_t bytes);
  Result<void> set_line(const serial::LineSettings& line);
  Result<void> set_modem(serial::ModemControl control);
  Result<void> set_break(bool on);
  Result<void> drain();
  // Modem lines, once first noticed.
  Result<uint8_t> lines();

 private:
  struct OnWorker;
  Result<std::vector<std::byte>> read_between(size_t bytes_min, size_t bytes_max);

  Waiter waiter_;
  std::shared_ptr<OnWorker> port_;  // lives on the worker
};

}  // namespace farport
