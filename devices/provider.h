// The seam to a source of devices on this host: usbfs, serial ports, a stock usbipd elsewhere, the
// emulated ones of the configuration.
//
// Thread rule: control's threads only; every call may block. open() hands out a device that then
// moves to a worker.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "devices/device.h"
#include "devices/device_info.h"

namespace farport {

class DeviceProvider {
 public:
  virtual ~DeviceProvider() = default;

  // "usb", "serial", "usbip", "emulated": for messages.
  virtual std::string_view name() const = 0;

  // All devices there are now, those in use included. A device that cannot be read (permission,
  // say) is listed with what is known of it.
  virtual Result<std::vector<DeviceInfo>> list() = 0;

  // Opens by DeviceInfo::name. not_found, busy (held by someone else), denied (says which
  // permission is missing). Does not disturb the device's present user until it succeeds.
  virtual Result<std::unique_ptr<Device>> open(const std::string& name) = 0;

  // `changed` is called, from any thread, whenever list() would answer differently: a plug or an
  // unplug. At most one callback; an empty one turns it off, after which none comes.
  virtual void on_change(std::function<void()> changed) = 0;
};

}  // namespace farport
