#include "devices/emulated/emulated_device.h"

#include <cassert>
#include <utility>

#include "dataplane/worker.h"

namespace farport {

EmulatedDevice::EmulatedDevice(const EmulatedDeviceSettings& settings,
                               std::shared_ptr<DeviceLink> link)
    : settings_(settings),
      faults_(settings.faults, settings.fault_seed, link->orders),
      link_(std::move(link)) {
  info_.name = device_name(settings);
}

EmulatedDevice::~EmulatedDevice() { link_->released(); }

void EmulatedDevice::start(Worker& worker, DeviceEvents& events) { begin(worker, events, &worker); }

void EmulatedDevice::start_on(Scheduler& scheduler, DeviceEvents& events) {
  begin(scheduler, events, nullptr);
}

void EmulatedDevice::begin(Scheduler& scheduler, DeviceEvents& events, Worker* worker) {
  assert(state_ == State::idle);
  events_ = &events;
  state_ = State::running;
  power_on(scheduler);
  if (link_->started(*this, worker)) unplug_now("unplugged");
}

void EmulatedDevice::unplug_now(std::string_view reason) {
  if (state_ != State::running) return;
  state_ = State::ended;
  gone_ = true;
  complete_all(TransferStatus::unplugged);
  events_->unplugged(reason);  // may stop the device: nothing follows
}

void EmulatedDevice::unplug_self() {
  if (link_->on_self_unplug) link_->on_self_unplug();
  unplug_now("unplugged by an injected fault");
}

void EmulatedDevice::stop() {
  assert(state_ != State::idle);
  state_ = State::ended;
  complete_all(TransferStatus::cancelled);
  events_->device_stopped();
}

void EmulatedDevice::complete_all(TransferStatus status) {
  while (Transfer* transfer = take_any()) complete(*transfer, status, 0);
}

}  // namespace farport
