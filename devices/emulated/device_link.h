// What an EmulatedProvider and the device it has handed out share: the provider may unplug the
// device, or order faults, from any thread, while the device lives on a worker.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "devices/emulated/fault_source.h"

namespace farport {

class EmulatedDevice;
class Worker;

class DeviceLink : public std::enable_shared_from_this<DeviceLink> {
 public:
  // --- the provider's side, any thread ---

  // Takes the link for a device about to be made; false when one exists already.
  bool claim();
  bool claimed();
  // Tells the device, if there is one, that it is gone. Without a worker (a device started by
  // start_on()) it is told there and then, on this thread.
  void unplug(const std::string& reason);
  // Called, on the worker, when the device unplugs itself (a fault). Set before the device starts.
  std::function<void()> on_self_unplug;

  FaultOrders orders;  // of faults

  // --- the device's side ---

  // The device begins its life on `worker` (nullptr under simulation). True when it has been
  // unplugged already.
  bool started(EmulatedDevice& device, Worker* worker);
  // The device is being destroyed.
  void released();

 private:
  std::mutex mutex_;  // taken when a device opens, starts, ends or is unplugged; never per transfer
  bool claimed_ = false;
  bool unplugged_ = false;
  uint64_t generation_ = 0;  // of the claim: a message to an earlier device must not reach a later
  EmulatedDevice* device_ = nullptr;
  Worker* worker_ = nullptr;
};

}  // namespace farport
