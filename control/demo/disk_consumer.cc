#include "control/demo/disk_consumer.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "control/cli/interrupt.h"
#include "drivers/initiator/initiator.h"

namespace farport {

// On the worker only.
struct DiskConsumer::Shared {
  ConsumerDriver* current = nullptr;
};

class DiskConsumer::ConsumerDriver final : public Driver {
 public:
  explicit ConsumerDriver(std::shared_ptr<Shared> shared)
      : shared_(std::move(shared)), initiator_([this](const Result<void>& usable) {
          if (usable) disk_.emplace(initiator_);
        }) {}
  ~ConsumerDriver() override {
    if (shared_->current == this) shared_->current = nullptr;
  }

  std::string_view name() const override { return "initiator"; }
  std::string path() const override { return {}; }
  Result<void> start(Worker& worker, DriverPort& port) override {
    shared_->current = this;
    return initiator_.start(worker, port);
  }
  void completed(Transfer& transfer) override { initiator_.completed(transfer); }
  void unplugged(std::string_view reason) override { initiator_.unplugged(reason); }
  void stop() override { initiator_.stop(); }

  MassStorage* disk() { return disk_ ? &*disk_ : nullptr; }
  const std::string& failure() const { return initiator_.failure(); }

 private:
  std::shared_ptr<Shared> shared_;
  Initiator initiator_;
  std::optional<MassStorage> disk_;  // ends before the initiator
};

DiskConsumer::DiskConsumer() : shared_(std::make_shared<Shared>()) {}

DriverType DiskConsumer::type() {
  return {{DeviceKind::usb},
          [shared = shared_](const DriverRequest&) -> Result<std::unique_ptr<Driver>> {
            return std::make_unique<ConsumerDriver>(shared);
          }};
}

namespace {

template <class T>
struct Answer {
  std::mutex mutex;
  std::condition_variable come;
  std::optional<Result<T>> result;
  void give(Result<T> value) {
    {
      const std::lock_guard lock(mutex);
      result.emplace(std::move(value));
    }
    come.notify_all();
  }
};

}  // namespace

template <class T>
Result<T> DiskConsumer::ask(std::function<void(MassStorage&, MassStorage::Done<T>)> begin) {
  const auto answer = std::make_shared<Answer<T>>();
  worker_->post([shared = shared_, answer, begin = std::move(begin)] {
    MassStorage* disk = shared->current == nullptr ? nullptr : shared->current->disk();
    if (disk == nullptr) {
      const bool failed = shared->current != nullptr && !shared->current->failure().empty();
      return answer->give(fail(failed ? ErrorCode::failed : ErrorCode::not_found,
                               failed ? shared->current->failure() : "the disk is not attached"));
    }
    begin(*disk, [answer](Result<T> result) { answer->give(std::move(result)); });
  });
  const auto until = std::chrono::steady_clock::now() + limit_default;
  std::unique_lock lock(answer->mutex);
  while (!answer->result) {
    if (interrupted()) return fail("interrupted");
    if (std::chrono::steady_clock::now() > until) {
      return fail(ErrorCode::timed_out, "the disk does not answer");
    }
    answer->come.wait_for(lock, std::chrono::milliseconds(100));
  }
  return std::move(*answer->result);
}

Result<MassStorage::Capacity> DiskConsumer::capacity() {
  const auto until = std::chrono::steady_clock::now() + limit_default;
  while (true) {
    auto capacity = ask<MassStorage::Capacity>(
        [](MassStorage& disk, auto done) { disk.capacity(std::move(done)); });
    // Enumeration goes on after the attachment is open.
    if (capacity || capacity.error().code != ErrorCode::not_found ||
        std::chrono::steady_clock::now() > until) {
      return capacity;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Result<void> DiskConsumer::write(uint64_t block, Bytes data) {
  return ask<void>([block, data](MassStorage& disk, auto done) {
    disk.write(block, *data, [data, done](Result<void> result) { done(std::move(result)); });
  });
}

Result<void> DiskConsumer::read(uint64_t block, Bytes data) {
  return ask<void>([block, data](MassStorage& disk, auto done) {
    disk.read(block, *data, [data, done](Result<void> result) { done(std::move(result)); });
  });
}

}  // namespace farport
