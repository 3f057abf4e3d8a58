#include "devices/emulated/device_link.h"

#include "dataplane/worker.h"
#include "devices/emulated/emulated_device.h"

namespace farport {

bool DeviceLink::claim() {
  std::lock_guard lock(mutex_);
  if (claimed_) return false;
  claimed_ = true;
  unplugged_ = false;
  ++generation_;
  return true;
}

bool DeviceLink::claimed() {
  std::lock_guard lock(mutex_);
  return claimed_;
}

void DeviceLink::unplug(const std::string& reason) {
  EmulatedDevice* here = nullptr;
  {
    std::lock_guard lock(mutex_);
    unplugged_ = true;
    if (device_ == nullptr) return;
    if (worker_ == nullptr) {
      here = device_;
    } else {
      // Under the lock: while the device lives, so does its worker. By the time the message runs,
      // the device may be gone, but then it has gone on the same thread.
      worker_->post([self = shared_from_this(), generation = generation_, reason] {
        EmulatedDevice* device = nullptr;
        {
          std::lock_guard lock(self->mutex_);
          if (self->generation_ == generation) device = self->device_;
        }
        if (device != nullptr) device->unplug_now(reason);
      });
    }
  }
  if (here != nullptr) here->unplug_now(reason);
}

bool DeviceLink::started(EmulatedDevice& device, Worker* worker) {
  std::lock_guard lock(mutex_);
  device_ = &device;
  worker_ = worker;
  return unplugged_;
}

void DeviceLink::released() {
  std::lock_guard lock(mutex_);
  device_ = nullptr;
  worker_ = nullptr;
  claimed_ = false;
}

}  // namespace farport
