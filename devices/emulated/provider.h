// The emulated devices of one configuration, as a DeviceProvider. The blocks of a disk live here,
// so that they survive detach, attach and replug; a file is opened (and locked) at create().
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "devices/emulated/device_link.h"
#include "devices/emulated/disk_storage.h"
#include "devices/emulated/settings.h"
#include "devices/provider.h"

namespace farport {

class EmulatedProvider final : public DeviceProvider {
 public:
  // All devices begin plugged in. Fails when a setting is wrong (usage), two devices have the same
  // name, or a disk's file cannot be used; the message says which.
  static Result<std::unique_ptr<EmulatedProvider>> create(
      std::span<const EmulatedDeviceSettings> settings);
  // Devices that were opened may outlive the provider.
  ~EmulatedProvider() override;

  // DeviceProvider
  std::string_view name() const override { return "emulated"; }
  Result<std::vector<DeviceInfo>> list() override;
  // Also by alias: the name in the settings. A device is busy until the one handed out is
  // destroyed.
  Result<std::unique_ptr<Device>> open(const std::string& name) override;
  // `changed` must not call on_change() itself.
  void on_change(std::function<void()> changed) override;

  // For tests and demonstrations, from any thread, by DeviceInfo::name or alias. Each calls the
  // on_change callback if that changed anything. An open device is told that it is gone. A device
  // that a fault has unplugged comes back by plug().
  Result<void> plug(const std::string& name);
  Result<void> unplug(const std::string& name);
  // The next transfers that carry data meet with this fault.
  Result<void> inject(const std::string& name, FaultKind kind, uint32_t times = 1);

 private:
  struct Entry {
    EmulatedDeviceSettings settings{};
    std::shared_ptr<DiskStorage> storage{};  // of a disk
    std::shared_ptr<DeviceLink> link = std::make_shared<DeviceLink>();
    DeviceInfo info{};
    bool plugged = true;
  };
  // What outlives the provider as long as a device may report to it.
  struct Shared {
    std::mutex mutex;  // of `entries`
    std::vector<Entry> entries;
    std::mutex change_mutex;  // of `changed`, also while it is called
    std::function<void()> changed;
  };

  explicit EmulatedProvider(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static std::unique_ptr<Device> make(const Entry& entry);
  static Entry* find(Shared& shared, const std::string& name);
  static void tell_changed(Shared& shared);
  static void self_unplugged(const std::weak_ptr<Shared>& weak, const std::string& name);
  Result<void> set_plugged(const std::string& name, bool plugged);

  std::shared_ptr<Shared> shared_;
};

}  // namespace farport
