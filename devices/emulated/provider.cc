#include "devices/emulated/provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "devices/emulated/disk.h"
#include "devices/emulated/serial.h"
#include "devices/emulated/source_sink.h"

namespace farport {

namespace {

std::unexpected<Error> not_found(const std::string& name) {
  return fail(ErrorCode::not_found, fmt::format("no emulated device \"{}\"", name));
}

Result<std::shared_ptr<DiskStorage>> open_storage(const EmulatedDeviceSettings& settings) {
  auto storage = settings.file.empty()
                     ? DiskStorage::in_memory(settings.size_bytes)
                     : DiskStorage::in_file(settings.file, settings.size_bytes, settings.read_only);
  if (!storage) return std::unexpected(storage.error());
  return std::shared_ptr<DiskStorage>(std::move(*storage));
}

}  // namespace

Result<std::unique_ptr<EmulatedProvider>> EmulatedProvider::create(
    std::span<const EmulatedDeviceSettings> settings) {
  auto shared = std::make_shared<Shared>();
  for (const EmulatedDeviceSettings& device : settings) {
    if (auto ok = check(device); !ok) return std::unexpected(ok.error());
    Entry entry{.settings = device};
    if (device.kind == EmulatedKind::disk) {
      auto storage = open_storage(device);
      if (!storage) return std::unexpected(storage.error());
      entry.storage = std::move(*storage);
    }
    entry.info = make(entry)->info();
    if (find(*shared, entry.info.name) != nullptr) {
      return fail(ErrorCode::usage,
                  fmt::format("two emulated devices are called {}", entry.info.name));
    }
    entry.link->on_self_unplug = [weak = std::weak_ptr(shared), name = entry.info.name] {
      self_unplugged(weak, name);
    };
    shared->entries.push_back(std::move(entry));
  }
  return std::unique_ptr<EmulatedProvider>(new EmulatedProvider(std::move(shared)));
}

EmulatedProvider::~EmulatedProvider() { on_change({}); }

std::unique_ptr<Device> EmulatedProvider::make(const Entry& entry) {
  switch (entry.settings.kind) {
    case EmulatedKind::disk:
      return std::make_unique<EmulatedDisk>(entry.settings, entry.storage, entry.link);
    case EmulatedKind::source_sink:
      return std::make_unique<EmulatedSourceSink>(entry.settings, entry.link);
    case EmulatedKind::serial:
      return std::make_unique<EmulatedSerial>(entry.settings, entry.link);
  }
  assert(false && "a kind without a device");
  return nullptr;
}

EmulatedProvider::Entry* EmulatedProvider::find(Shared& shared, const std::string& name) {
  const auto by_name =
      std::ranges::find(shared.entries, name, [](const Entry& entry) { return entry.info.name; });
  if (by_name != shared.entries.end()) return &*by_name;
  const auto named = [&name](const Entry& entry) { return entry.settings.name == name; };
  // The short name only when it names one device.
  if (std::ranges::count_if(shared.entries, named) != 1) return nullptr;
  return &*std::ranges::find_if(shared.entries, named);
}

Result<std::vector<DeviceInfo>> EmulatedProvider::list() {
  std::lock_guard lock(shared_->mutex);
  std::vector<DeviceInfo> infos;
  for (const Entry& entry : shared_->entries) {
    if (entry.plugged) infos.push_back(entry.info);
  }
  return infos;
}

Result<std::unique_ptr<Device>> EmulatedProvider::open(const std::string& name) {
  std::lock_guard lock(shared_->mutex);
  Entry* entry = find(*shared_, name);
  if (entry == nullptr || !entry->plugged) return not_found(name);
  if (!entry->link->claim()) {
    return fail(ErrorCode::busy, fmt::format("{} is in use; detach it first", entry->info.name));
  }
  return make(*entry);
}

void EmulatedProvider::on_change(std::function<void()> changed) {
  std::lock_guard lock(shared_->change_mutex);
  shared_->changed = std::move(changed);
}

void EmulatedProvider::tell_changed(Shared& shared) {
  std::lock_guard lock(shared.change_mutex);
  if (shared.changed) shared.changed();
}

void EmulatedProvider::self_unplugged(const std::weak_ptr<Shared>& weak, const std::string& name) {
  const auto shared = weak.lock();
  if (!shared) return;
  {
    std::lock_guard lock(shared->mutex);
    if (Entry* entry = find(*shared, name)) entry->plugged = false;
  }
  tell_changed(*shared);
}

Result<void> EmulatedProvider::plug(const std::string& name) { return set_plugged(name, true); }
Result<void> EmulatedProvider::unplug(const std::string& name) { return set_plugged(name, false); }

Result<void> EmulatedProvider::set_plugged(const std::string& name, bool plugged) {
  std::shared_ptr<DeviceLink> link;
  {
    std::lock_guard lock(shared_->mutex);
    Entry* entry = find(*shared_, name);
    if (entry == nullptr) return not_found(name);
    if (entry->plugged == plugged) return {};
    entry->plugged = plugged;
    link = entry->link;
  }
  if (!plugged) link->unplug("unplugged");
  tell_changed(*shared_);
  return {};
}

Result<void> EmulatedProvider::inject(const std::string& name, FaultKind kind, uint32_t times) {
  std::lock_guard lock(shared_->mutex);
  Entry* entry = find(*shared_, name);
  if (entry == nullptr) return not_found(name);
  entry->link->orders.add(kind, times);
  return {};
}

}  // namespace farport
