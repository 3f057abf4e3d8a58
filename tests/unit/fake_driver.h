// Fakes of the driver seam: a FakeDriver that does what the test says, for testing channels; and a
// FakePort, for testing drivers, alone or in front of a real Device.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/limits.h"
#include "dataplane/worker.h"
#include "devices/device.h"
#include "drivers/driver.h"

namespace farport {

// Records what comes back, and releases it unless `on_completed` keeps it.
class FakeDriver final : public Driver {
 public:
  std::function<void(Transfer&)> on_completed;  // owns the transfer: releases it or submits again
  std::optional<Error> start_error;             // when set, start() fails with it
  bool hold_stop = false;                       // when set, stop() is answered by finish_stop()

  DriverPort* port = nullptr;
  std::vector<TransferStatus> statuses;  // of the transfers that came back
  std::vector<std::string> unplug_reasons;
  bool stopping = false;

  std::string_view name() const override { return "fake"; }
  std::string path() const override { return "fake"; }
  Result<void> start(Worker&, DriverPort& channel_port) override {
    port = &channel_port;
    if (start_error) return std::unexpected(*start_error);
    return {};
  }
  void completed(Transfer& transfer) override {
    statuses.push_back(transfer.status);
    if (on_completed) return on_completed(transfer);
    port->release(transfer);
  }
  void unplugged(std::string_view reason) override { unplug_reasons.emplace_back(reason); }
  void stop() override {
    stopping = true;
    if (!hold_stop) finish_stop();
  }
  void finish_stop() { port->driver_stopped(); }
};

// The near end of a channel, in memory. Without a device, submitted transfers wait in `submitted`
// for the test to complete() them; with one, they go to it at once and its completions wait, as the
// driver seam promises, until deliver() or run() hands them over.
class FakePort final : public DriverPort, public DeviceEvents {
 public:
  explicit FakePort(DeviceInfo info) : info_(std::move(info)) {}
  // `device` has been started with this port as its events.
  explicit FakePort(Device& device) : info_(device.info()), device_(&device) {}
  ~FakePort() { assert(in_use_ == 0 || !check_released); }

  // The driver whose completed() is called.
  Driver* driver = nullptr;
  std::vector<Transfer*> submitted;  // in order; without a device
  std::vector<Transfer*> cancelled;  // those the driver asked to cancel
  std::vector<std::string> left_reasons;
  int stopped = 0;  // driver_stopped() calls
  int device_stopped_count = 0;
  bool check_released = true;       // assert at the end that every transfer was released
  uint32_t allocations_left = ~0u;  // 0: allocate() answers nullptr

  // DriverPort
  const DeviceInfo& info() const override { return info_; }
  Transfer* allocate(uint32_t length, uint16_t packet_count = 0) override {
    if (length > limits::transfer_bytes_max || packet_count > limits::iso_packets_max) {
      return nullptr;
    }
    if (allocations_left == 0) return nullptr;
    if (allocations_left != ~0u) --allocations_left;
    Transfer* transfer = take_free();
    transfer->length = length;
    transfer->packet_count = packet_count;
    transfer->buffer =
        pool_.allocate(Transfer::headroom_bytes + transfer->table_bytes() + size_t{length});
    assert(transfer->buffer);
    std::memset(transfer->packets().data(), 0, transfer->table_bytes());
    ++in_use_;
    return transfer;
  }
  void submit(Transfer& transfer) override {
    transfer.status = TransferStatus::ok;
    transfer.actual = 0;
    transfer.error_count = 0;
    ++in_flight_;
    if (device_ != nullptr) return device_->submit(transfer);
    submitted.push_back(&transfer);
  }
  void cancel(Transfer& transfer) override {
    cancelled.push_back(&transfer);
    if (device_ != nullptr) device_->cancel(transfer);
  }
  void release(Transfer& transfer) override {
    transfer.buffer.reset();
    free_.push_back(&transfer);
    assert(in_use_ > 0);
    --in_use_;
  }
  void consumer_left(std::string_view reason) override { left_reasons.emplace_back(reason); }
  void driver_stopped() override { ++stopped; }

  // DeviceEvents
  void completed(Transfer& transfer) override { completions_.push_back(&transfer); }
  void unplugged(std::string_view reason) override { unplug_reason_ = std::string(reason); }
  void device_stopped() override { ++device_stopped_count; }

  // --- the test's side ---

  // Without a device: ends a transfer the driver has submitted, and tells the driver.
  void complete(Transfer& transfer, TransferStatus status, uint32_t actual) {
    const auto found = std::find(submitted.begin(), submitted.end(), &transfer);
    assert(found != submitted.end());
    submitted.erase(found);
    transfer.status = status;
    transfer.actual = actual;
    --in_flight_;
    driver->completed(transfer);
  }
  // Without a device: the oldest submitted transfer on an endpoint, or nullptr.
  Transfer* find(uint8_t endpoint) const {
    const auto found = std::find_if(submitted.begin(), submitted.end(),
                                    [endpoint](Transfer* t) { return t->endpoint == endpoint; });
    return found == submitted.end() ? nullptr : *found;
  }
  // With a device: hands its completions, and an unplug, to the driver; how many.
  int deliver() {
    int delivered = 0;
    for (; !completions_.empty(); ++delivered) {
      Transfer* transfer = completions_.front();
      completions_.pop_front();
      --in_flight_;
      driver->completed(*transfer);
    }
    if (unplug_reason_) {
      const std::string reason = *std::exchange(unplug_reason_, std::nullopt);
      driver->unplugged(reason);
      ++delivered;
    }
    return delivered;
  }
  // With a device: delivers until nothing more comes.
  void run() {
    while (deliver() > 0) {
    }
  }

  uint32_t in_use() const { return in_use_; }        // allocated and not released
  uint32_t in_flight() const { return in_flight_; }  // submitted and not back

 private:
  Transfer* take_free() {
    if (free_.empty()) {
      all_.push_back(std::make_unique<Transfer>());
      return all_.back().get();
    }
    Transfer* transfer = free_.back();
    free_.pop_back();
    *transfer = Transfer{};
    return transfer;
  }

  DeviceInfo info_;
  Device* device_ = nullptr;
  BufferPool pool_{1ull << 30};
  std::vector<std::unique_ptr<Transfer>> all_;
  std::vector<Transfer*> free_;
  std::deque<Transfer*> completions_;
  std::optional<std::string> unplug_reason_;
  uint32_t in_use_ = 0;
  uint32_t in_flight_ = 0;
};

}  // namespace farport
