// Tells when USB devices come and go.
//
// Two sources. The kernel's own uevents (NETLINK_KOBJECT_UEVENT, group 1) come at once and need no
// udevd; libusb's hotplug, with Debian's libudev, listens to group 2, which is silent where no
// udevd runs (containers, small guests). But a network namespace of an unprivileged container hears
// neither. So sysfs is looked at as well: every 10 s where uevents can be heard, every 2 s where
// not. Either way the callback comes only when something has changed.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "dataplane/file_descriptor.h"

namespace farport::usb {

class Hotplug {
 public:
  static constexpr int poll_with_uevents_ms = 10'000;
  static constexpr int poll_alone_ms = 2'000;

  // From the return of this on, `changed` is called for every change, on a thread of this object's
  // own. `uevents` false: only look (for tests).
  Hotplug(std::string sys, std::function<void()> changed, bool uevents = true,
          int poll_ms = poll_alone_ms);
  // No callback runs or comes after it. Not from inside the callback.
  ~Hotplug();
  Hotplug(const Hotplug&) = delete;
  Hotplug& operator=(const Hotplug&) = delete;

 private:
  void loop();
  void open_uevents();
  bool drain_uevents();

  const std::string sys_;
  const std::function<void()> changed_;
  int poll_ms_;
  std::string seen_;  // the thread's, once it runs
  FileDescriptor uevents_;
  FileDescriptor quit_;
  std::thread thread_;
};

// A uevent (its lines separated by NUL) that concerns USB devices.
bool concerns_usb(const char* message, size_t size);

}  // namespace farport::usb
