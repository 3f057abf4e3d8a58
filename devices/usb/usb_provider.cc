#include "devices/usb/usb_provider.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "devices/usb/usb_device.h"
#include "devices/usb/usbfs_handle.h"

namespace farport {

namespace {

Result<std::unique_ptr<UsbHandle>> open_node(const std::string& node) {
  auto handle = UsbfsHandle::open(node);
  if (!handle) return std::unexpected(handle.error());
  return std::unique_ptr<UsbHandle>(std::move(*handle));
}

// Who has the device, when that can be seen without touching it; empty when nobody does.
std::string present_user(const usb::SysfsDevice& device) {
  if (device.driver == "usbip-host") {
    return "the kernel's USB/IP server exports it: free it with `usbip unbind -b " +
           device.info.port_path + "`";
  }
  for (const usb::SysfsInterface& interface : device.interfaces) {
    if (interface.driver != "usbfs") continue;
    return "interface " + std::to_string(interface.number) +
           " is in use by another program (or another attachment): see `fuser -v`, or end it";
  }
  return {};
}

Error denied_error(const std::string& node, const DeviceInfo& info) {
  char rule[160];
  std::snprintf(rule, sizeof rule,
                "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"%04x\", ATTR{idProduct}==\"%04x\", "
                "GROUP=\"farport\", MODE=\"0660\"",
                info.vendor, info.product);
  return {ErrorCode::denied,
          info.name + ": no permission to open " + node +
              ": run the daemon as root, or put its user into a group \"farport\" and add the udev "
              "rule `" +
              rule +
              "` as /etc/udev/rules.d/70-farport.rules; in a container, allow the device too"};
}

Error missing_error(const std::string& node, const DeviceInfo& info) {
  return {ErrorCode::not_found,
          info.name + ": there is no " + node +
              ": the device was just unplugged, or this container was not given /dev/bus/usb"};
}

}  // namespace

UsbProvider::UsbProvider(UsbProviderSettings settings)
    : settings_(std::move(settings)), record_(settings_.record) {
  give_back_leftovers();
}

UsbProvider::~UsbProvider() = default;

std::vector<usb::SysfsDevice> UsbProvider::read() const {
  auto devices = usb::read_devices(settings_.sys);
  usb::assign_names(devices);
  return devices;
}

Result<std::vector<DeviceInfo>> UsbProvider::list() {
  std::vector<DeviceInfo> infos;
  for (usb::SysfsDevice& device : read()) infos.push_back(std::move(device.info));
  return infos;
}

Result<std::unique_ptr<Device>> UsbProvider::open(const std::string& name) {
  const auto devices = read();
  const auto found = std::ranges::find_if(devices, [&](const usb::SysfsDevice& device) {
    return device.info.name == name ||
           std::ranges::find(device.info.aliases, name) != device.info.aliases.end();
  });
  if (found == devices.end()) {
    return fail(ErrorCode::not_found,
                name + ": no such USB device here; see `farport devices` for what there is");
  }
  if (const std::string user = present_user(*found); !user.empty()) {
    return fail(ErrorCode::busy, found->info.name + ": " + user);
  }
  auto handle = open_handle(*found);
  if (!handle) return std::unexpected(handle.error());
  record_.note(*found);
  auto device =
      UsbDevice::open(found->info, std::move(*handle),
                      [record = record_, port = found->info.port_path] { record.forget(port); });
  if (!device) return std::unexpected(device.error());
  return std::unique_ptr<Device>(std::move(*device));
}

Result<std::unique_ptr<UsbHandle>> UsbProvider::open_handle(const usb::SysfsDevice& device) const {
  const std::string node = node_of(device.info);
  auto handle = settings_.open_node ? settings_.open_node(node) : open_node(node);
  if (handle) return handle;
  switch (handle.error().code) {
    case ErrorCode::denied:
      return std::unexpected(denied_error(node, device.info));
    case ErrorCode::not_found:
      return std::unexpected(missing_error(node, device.info));
    default:
      return handle;
  }
}

std::string UsbProvider::node_of(const DeviceInfo& info) const {
  char tail[16];
  std::snprintf(tail, sizeof tail, "/%03u/%03u", unsigned{info.bus}, unsigned{info.address});
  return settings_.nodes + tail;
}

void UsbProvider::on_change(std::function<void()> changed) {
  const std::lock_guard lock(hotplug_mutex_);
  hotplug_.reset();  // ends the callback before
  if (!changed) return;
  hotplug_ = std::make_unique<usb::Hotplug>(settings_.sys, std::move(changed), settings_.uevents,
                                            settings_.poll_ms);
}

void UsbProvider::give_back_leftovers() {
  const auto devices = usb::read_devices(settings_.sys);
  for (const auto& entry : record_.entries()) {
    const auto found = std::ranges::find_if(devices, [&](const usb::SysfsDevice& device) {
      return device.info.port_path == entry.port_path && device.info.bus == entry.bus &&
             device.info.address == entry.address;
    });
    if (found != devices.end() && present_user(*found).empty()) {
      if (auto handle = open_handle(*found)) {
        (*handle)->reset();  // it may be in the middle of a command
        // Those that have a driver again answer busy, which is fine.
        for (const uint8_t number : entry.interfaces) (*handle)->attach_kernel_driver(number);
        (*handle)->close();
      }
    }
    record_.forget(entry.port_path);
  }
}

}  // namespace farport
