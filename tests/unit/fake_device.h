// Fakes of the device seam: a FakeDevice that does what the test says, for testing channels and
// drivers; and FakeDeviceEvents with TestTransfers, for testing devices.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/buffer.h"
#include "dataplane/transfer.h"
#include "devices/device.h"

namespace farport {

// Holds what is submitted until the test completes it, unless `on_submit` answers at once.
class FakeDevice final : public Device {
 public:
  explicit FakeDevice(DeviceInfo info = {}) : info_(std::move(info)) {}

  // Called with each submitted transfer; return true to have it completed there and then (the
  // result fields are yours to set).
  std::function<bool(Transfer&)> on_submit;
  // Called at the end of cancel(): a device may end others there, or go.
  std::function<void()> on_cancelled;
  // When set, a cancelled transfer stays in flight until the test completes it.
  bool hold_cancelled = false;
  // When set, stop() is answered only by finish_stop().
  bool hold_stop = false;

  std::vector<Transfer*> in_flight;  // in order of submission
  std::vector<Transfer*> cancelled;  // those cancel() was called for
  bool started = false;
  bool stopping = false;
  bool gone = false;

  const DeviceInfo& info() const override { return info_; }
  void start(Worker&, DeviceEvents& events) override { start_on(events); }
  void start_on(DeviceEvents& events) {
    events_ = &events;
    started = true;
  }
  void submit(Transfer& transfer) override {
    assert(started && !stopping);
    if (gone) return finish(transfer, TransferStatus::unplugged, 0);
    if (on_submit && on_submit(transfer)) return events_->completed(transfer);
    in_flight.push_back(&transfer);
  }
  void cancel(Transfer& transfer) override {
    cancelled.push_back(&transfer);
    if (!hold_cancelled) complete(transfer, TransferStatus::cancelled, 0);
    if (on_cancelled) on_cancelled();
  }
  void stop() override {
    stopping = true;
    if (!hold_stop) finish_stop();
  }

  // --- the test's side ---

  void complete(Transfer& transfer, TransferStatus status, uint32_t actual) {
    const auto found = std::find(in_flight.begin(), in_flight.end(), &transfer);
    assert(found != in_flight.end());
    in_flight.erase(found);
    finish(transfer, status, actual);
  }
  // Completes the oldest transfer on an endpoint with `data` (IN), or as fully taken (OUT). False
  // when none is there.
  bool complete_next(uint8_t endpoint, std::span<const std::byte> data = {}) {
    const auto found = std::find_if(in_flight.begin(), in_flight.end(),
                                    [endpoint](Transfer* t) { return t->endpoint == endpoint; });
    if (found == in_flight.end()) return false;
    Transfer& transfer = **found;
    uint32_t actual = transfer.length;
    if (transfer.in()) {
      actual = static_cast<uint32_t>(std::min<size_t>(data.size(), transfer.length));
      if (actual > 0) std::memcpy(transfer.data().data(), data.data(), actual);
    }
    complete(transfer, TransferStatus::ok, actual);
    return true;
  }
  void unplug(std::string_view reason = "unplugged by the test") {
    gone = true;
    complete_all(TransferStatus::unplugged);
    events_->unplugged(reason);
  }
  void finish_stop() {
    complete_all(gone ? TransferStatus::unplugged : TransferStatus::cancelled);
    events_->device_stopped();
  }

 private:
  void complete_all(TransferStatus status) {
    while (!in_flight.empty()) complete(*in_flight.front(), status, 0);
  }
  void finish(Transfer& transfer, TransferStatus status, uint32_t actual) {
    transfer.status = status;
    transfer.actual = actual;
    events_->completed(transfer);
  }

  DeviceInfo info_;
  DeviceEvents* events_ = nullptr;
};

// Records what a device reports.
class FakeDeviceEvents final : public DeviceEvents {
 public:
  std::vector<Transfer*> completions;  // in order
  std::vector<std::string> unplug_reasons;
  int stopped = 0;
  std::function<void(Transfer&)> on_completed;

  void completed(Transfer& transfer) override {
    assert(stopped == 0 && "a completion after device_stopped()");
    completions.push_back(&transfer);
    if (on_completed) on_completed(transfer);
  }
  void unplugged(std::string_view reason) override { unplug_reasons.emplace_back(reason); }
  void device_stopped() override { ++stopped; }

  bool has(const Transfer& transfer) const {
    return std::find(completions.begin(), completions.end(), &transfer) != completions.end();
  }
  int count(const Transfer& transfer) const {
    return static_cast<int>(std::count(completions.begin(), completions.end(), &transfer));
  }
};

// Transfers with memory, for tests that talk to a device directly.
class TestTransfers {
 public:
  Transfer& make(TransferType type, uint8_t endpoint, uint32_t length, uint16_t packet_count = 0) {
    auto transfer = std::make_unique<Transfer>();
    transfer->type = type;
    transfer->endpoint = endpoint;
    transfer->length = length;
    transfer->packet_count = packet_count;
    transfer->buffer =
        pool_.allocate(Transfer::headroom_bytes + transfer->table_bytes() + size_t{length});
    assert(transfer->buffer);
    if (packet_count > 0) {
      std::memset(transfer->packets().data(), 0, transfer->table_bytes());
      for (IsoPacket& packet : transfer->packets()) packet.length = length / packet_count;
    }
    std::fill(transfer->data().begin(), transfer->data().end(), std::byte{0xee});
    transfers_.push_back(std::move(transfer));
    return *transfers_.back();
  }
  Transfer& out(TransferType type, uint8_t endpoint, std::span<const std::byte> data) {
    Transfer& transfer = make(type, endpoint, static_cast<uint32_t>(data.size()));
    std::copy(data.begin(), data.end(), transfer.data().begin());
    return transfer;
  }
  // A control transfer: the setup packet's fields (USB 2.0, 9.3), and data to send if OUT.
  Transfer& control(uint8_t request_type, uint8_t request, uint16_t value, uint16_t index,
                    uint16_t length, std::span<const std::byte> data = {}) {
    Transfer& transfer = make(TransferType::control, request_type & 0x80, length);
    transfer.setup = {request_type,
                      request,
                      static_cast<uint8_t>(value),
                      static_cast<uint8_t>(value >> 8),
                      static_cast<uint8_t>(index),
                      static_cast<uint8_t>(index >> 8),
                      static_cast<uint8_t>(length),
                      static_cast<uint8_t>(length >> 8)};
    std::copy(data.begin(), data.end(), transfer.data().begin());
    return transfer;
  }

 private:
  BufferPool pool_{256u << 20};
  std::vector<std::unique_ptr<Transfer>> transfers_;
};

}  // namespace farport
