// A USB device under a test's control: records what is asked, completes transfers as told, and
// holds up blocking calls on request. It also watches the thread rule of usb_handle.h: a submit or
// an event while a blocking call runs is counted as a violation.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/file_descriptor.h"
#include "devices/usb/usb_handle.h"

namespace farport::test {

// What outlives the handle, so that a test can look after the device was destroyed.
struct FakeUsb {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> log;            // blocking calls, in order
  std::set<uint8_t> drivers;               // interfaces with a kernel driver bound
  std::set<uint8_t> claimed;               // by us
  std::map<std::string, int> results;      // by log entry; 0 unless set
  std::map<int, std::set<uint8_t>> binds;  // drivers that the kernel binds at a SET_CONFIGURATION
  bool hold = false;                       // blocking calls wait while true
  int blocked = 0;                         // calls that wait now
  std::atomic<int> blocking{0};
  std::atomic<int> violations{0};
  bool closed = false;

  FileDescriptor ready{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::vector<BusTransfer*> in_flight;  // in the order of their submission
  std::deque<BusTransfer*> done;        // completed at the next handle_events()
  TransferStatus submit_result = TransferStatus::ok;
  bool break_next = false;    // the next submission is taken in part
  std::atomic<int> looks{0};  // calls of handle_events()
  bool unplugged = false;
  bool disconnected = false;

  std::vector<std::string> calls() {
    const std::lock_guard lock(mutex);
    return log;
  }
  void set_hold(bool value) {
    const std::lock_guard lock(mutex);
    hold = value;
    changed.notify_all();
  }
  // Until a blocking call waits.
  bool wait_blocked() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(20), [&] { return blocked > 0; });
  }
  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const auto written = write(ready.get(), &one, sizeof one);
  }
  // The device has carried out a transfer.
  void complete(BusTransfer* transfer, TransferStatus status, uint32_t actual) {
    const std::lock_guard lock(mutex);
    finish(transfer, status, actual);
    wake();
  }
  void unplug() {
    const std::lock_guard lock(mutex);
    unplugged = true;
    for (BusTransfer* transfer : std::vector(in_flight)) {
      finish(transfer, TransferStatus::unplugged, 0);
    }
    wake();
  }
  void finish(BusTransfer* transfer, TransferStatus status, uint32_t actual) {
    std::erase(in_flight, transfer);
    transfer->status = status;
    transfer->actual = actual;
    done.push_back(transfer);
  }
};

class FakeUsbHandle final : public UsbHandle {
 public:
  explicit FakeUsbHandle(FakeUsb& usb) : usb_(usb) {}

  TransferStatus submit(BusTransfer& transfer) override {
    if (usb_.blocking) ++usb_.violations;
    const std::lock_guard lock(usb_.mutex);
    if (usb_.closed) ++usb_.violations;
    if (usb_.unplugged) return TransferStatus::unplugged;
    if (usb_.submit_result != TransferStatus::ok) return usb_.submit_result;
    transfer.broken = std::exchange(usb_.break_next, false);
    usb_.in_flight.push_back(&transfer);
    return TransferStatus::ok;
  }
  int events_fd() const override { return usb_.ready.get(); }
  uint32_t ready_events() const override { return POLLIN; }
  void handle_events(uint32_t) override {
    ++usb_.looks;
    if (usb_.blocking) ++usb_.violations;
    uint64_t count = 0;
    [[maybe_unused]] const auto taken = read(usb_.ready.get(), &count, sizeof count);
    while (true) {
      BusTransfer* transfer = nullptr;
      {
        const std::lock_guard lock(usb_.mutex);
        if (usb_.done.empty()) {
          usb_.disconnected = usb_.unplugged;
          return;
        }
        transfer = usb_.done.front();
        usb_.done.pop_front();
      }
      transfer->completed(*transfer);
      if (usb_.blocking) ++usb_.violations;
    }
  }
  bool disconnected() const override { return usb_.disconnected; }

  void cancel(BusTransfer& transfer) override {
    call("cancel", [&] {
      if (std::ranges::find(usb_.in_flight, &transfer) == usb_.in_flight.end()) return;
      usb_.finish(&transfer,
                  transfer.broken ? TransferStatus::no_memory : TransferStatus::cancelled, 0);
      usb_.wake();
    });
  }
  int set_configuration(int value) override {
    return call("set_configuration " + std::to_string(value), [&] {
      if (!usb_.claimed.empty()) ++usb_.violations;  // usbfs would refuse
      usb_.drivers = usb_.binds[value];
    });
  }
  int claim_interface(uint8_t number) override {
    return call(
        "claim " + std::to_string(number), [&] { usb_.claimed.insert(number); },
        usb_.drivers.contains(number) ? LIBUSB_ERROR_BUSY : 0);
  }
  int release_interface(uint8_t number) override {
    return call("release " + std::to_string(number), [&] { usb_.claimed.erase(number); });
  }
  int set_alternate(uint8_t number, uint8_t alternate) override {
    return call("alternate " + std::to_string(number) + " " + std::to_string(alternate));
  }
  int clear_halt(uint8_t endpoint) override {
    return call("clear_halt " + std::to_string(endpoint));
  }
  int reset() override { return call("reset"); }
  int kernel_driver_active(uint8_t number) override {
    return usb_.drivers.contains(number) ? 1 : 0;
  }
  int detach_kernel_driver(uint8_t number) override {
    const bool bound = usb_.drivers.contains(number);
    return call(
        "detach " + std::to_string(number), [&] { usb_.drivers.erase(number); },
        bound ? 0 : LIBUSB_ERROR_NOT_FOUND);
  }
  int attach_kernel_driver(uint8_t number) override {
    return call("attach " + std::to_string(number), [&] {
      if (usb_.claimed.contains(number)) ++usb_.violations;
      usb_.drivers.insert(number);
    });
  }
  void close() override {
    call("close", [&] {
      if (!usb_.in_flight.empty() || !usb_.done.empty()) ++usb_.violations;
      usb_.closed = true;
    });
  }

 private:
  template <class Effect>
  int call(const std::string& name, Effect effect, int result = 0) {
    ++usb_.blocking;
    std::unique_lock lock(usb_.mutex);
    usb_.log.push_back(name);
    ++usb_.blocked;
    usb_.changed.notify_all();
    usb_.changed.wait(lock, [&] { return !usb_.hold; });
    --usb_.blocked;
    if (const auto set = usb_.results.find(name); set != usb_.results.end()) result = set->second;
    if (result == 0) effect();
    --usb_.blocking;
    return result;
  }
  int call(const std::string& name) {
    return call(name, [] {});
  }

  FakeUsb& usb_;
};

}  // namespace farport::test
