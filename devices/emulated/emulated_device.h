// What all emulated devices share: their life (start, unplug, stop), and how a transfer ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/scheduler.h"
#include "devices/device.h"
#include "devices/emulated/device_link.h"
#include "devices/emulated/fault_source.h"
#include "devices/emulated/settings.h"

namespace farport {

class EmulatedDevice : public Device {
 public:
  ~EmulatedDevice() override;

  const DeviceInfo& info() const final { return info_; }
  void start(Worker& worker, DeviceEvents& events) final;
  // start() on any clock, for simulation. The scheduler outlives the device.
  void start_on(Scheduler& scheduler, DeviceEvents& events);
  void stop() final;

  // Takes the device away, as pulling its plug would. On the device's worker.
  void unplug_now(std::string_view reason);
  // The next transfers that carry data meet with this fault.
  void inject(FaultKind kind, uint32_t times = 1) { link_->orders.add(kind, times); }

 protected:
  EmulatedDevice(const EmulatedDeviceSettings& settings, std::shared_ptr<DeviceLink> link);

  // The device begins: make timers, power-on state.
  virtual void power_on(Scheduler& scheduler) = 0;
  // Takes out one transfer in flight, whichever; nullptr when there is none.
  virtual Transfer* take_any() = 0;

  bool running() const { return state_ == State::running; }
  // How a transfer ends that comes when the device is not running.
  TransferStatus refusal() const {
    return gone_ ? TransferStatus::unplugged : TransferStatus::cancelled;
  }
  void complete(Transfer& transfer, TransferStatus status, uint32_t actual) {
    transfer.status = status;
    transfer.actual = actual;
    events_->completed(transfer);
  }
  // The device's own fault; also told to the provider.
  void unplug_self();

  const EmulatedDeviceSettings settings_;
  DeviceInfo info_;
  FaultSource faults_;

 private:
  void begin(Scheduler& scheduler, DeviceEvents& events, Worker* worker);
  void complete_all(TransferStatus status);

  enum class State : uint8_t { idle, running, ended };
  std::shared_ptr<DeviceLink> link_;
  DeviceEvents* events_ = nullptr;
  State state_ = State::idle;
  bool gone_ = false;
};

}  // namespace farport
