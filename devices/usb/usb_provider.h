// The USB devices of this host: listed from sysfs, opened through usbfs and libusb.
//
// A host without sysfs has no list (libusb, too, reads it there). Every open device has a libusb
// context of its own (usbfs_handle.h), so nothing is shared between this object's threads and the
// workers that drive its devices.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "devices/provider.h"
#include "devices/usb/detach_record.h"
#include "devices/usb/hotplug.h"
#include "devices/usb/usb_handle.h"

namespace farport {

struct UsbProviderSettings {
  std::string sys = "/sys";
  std::string nodes = "/dev/bus/usb";
  // Where to note detached kernel drivers (a file per device), so that a daemon started after a
  // kill gives them back: "/run/farport/usb". Empty: nowhere.
  std::string record = {};
  // How a node is opened; tests put their fake here. Empty: UsbfsHandle::open.
  std::function<Result<std::unique_ptr<UsbHandle>>(const std::string& node)> open_node = nullptr;
  bool uevents = true;                        // hear the kernel's uevents; false for tests
  int poll_ms = usb::Hotplug::poll_alone_ms;  // without uevents
};

class UsbProvider final : public DeviceProvider {
 public:
  // Gives back what a killed daemon has left detached. Blocks.
  explicit UsbProvider(UsbProviderSettings settings = {});
  ~UsbProvider() override;

  std::string_view name() const override { return "usb"; }
  Result<std::vector<DeviceInfo>> list() override;
  // By name or alias.
  Result<std::unique_ptr<Device>> open(const std::string& name) override;
  void on_change(std::function<void()> changed) override;

 private:
  std::vector<usb::SysfsDevice> read() const;
  Result<std::unique_ptr<UsbHandle>> open_handle(const usb::SysfsDevice& device) const;
  std::string node_of(const DeviceInfo& info) const;
  void give_back_leftovers();

  const UsbProviderSettings settings_;
  const usb::DetachRecord record_;
  std::mutex hotplug_mutex_;
  std::unique_ptr<usb::Hotplug> hotplug_;
};

}  // namespace farport
