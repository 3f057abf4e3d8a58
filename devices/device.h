// The seam to a device: usbfs, a stock usbipd, a tty, an emulation. The fake is
// tests/unit/fake_device.h.
//
// Thread rule: a Device is opened by its DeviceProvider off the worker (opening may block); from
// start() on, it lives on one worker, and everything here is called there. The destructor runs on
// the worker too, after device_stopped().
//
// Life: start() -> submit()/cancel() ... -> stop() -> device_stopped(). Unplugging is reported
// once, by unplugged(), after which submit() completes every transfer with
// TransferStatus::unplugged; stop() is still called and answered.
#pragma once

#include <string_view>

#include "dataplane/error.h"
#include "dataplane/transfer.h"
#include "devices/device_info.h"

namespace farport {

class Worker;

// What a device reports to whoever uses it.
class DeviceEvents {
 public:
  // The transfer is done: status, actual, error_count (and the packet table) are set. Called
  // exactly once for each submit(), also for cancelled ones; it may be called from inside submit()
  // or cancel(). The transfer and its memory no longer belong to the device.
  virtual void completed(Transfer& transfer) = 0;
  // The device is gone. Transfers in flight are completed (as unplugged) before or after.
  virtual void unplugged(std::string_view reason) = 0;
  // stop() has finished: nothing more will be called, the device may be destroyed.
  virtual void device_stopped() = 0;

 protected:
  ~DeviceEvents() = default;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;

  // Takes the device into service on this worker. `events` outlives the device.
  virtual void start(Worker& worker, DeviceEvents& events) = 0;

  // Carries out a transfer. Its memory belongs to the device until completed(). Transfers to one
  // endpoint are carried out in the order of their submission; any number may be in flight. What
  // the consumer may not or cannot do (an unknown endpoint) completes as invalid or stall.
  virtual void submit(Transfer& transfer) = 0;

  // Asks for an early end of a submitted transfer. It still completes once: as cancelled, with
  // whatever had moved in `actual`, or as it ended if it was faster.
  virtual void cancel(Transfer& transfer) = 0;

  // Ends everything in flight (as cancelled), gives the hardware back as it was found (interfaces
  // released, kernel driver reattached, line settings restored), then reports device_stopped().
  virtual void stop() = 0;
};

}  // namespace farport
