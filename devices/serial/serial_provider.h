// The serial ports of this host as a DeviceProvider. What is listed, and under which names:
// port_list.h.
//
// Plugs and unplugs are seen by inotify on /dev, /dev/serial and /dev/serial/by-id (and the folders
// of the extra paths), which works in containers too, where the kernel's uevents do not arrive.
// udev makes the node first and its link later; the list is compared after things have settled for
// settle_ms, so that one plug is one callback.
#pragma once

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/file_descriptor.h"
#include "devices/provider.h"
#include "devices/serial/port_list.h"

namespace farport::serial {

class SerialProvider final : public DeviceProvider {
 public:
  static constexpr int settle_ms = 100;

  // `extra_paths`: further ports to offer, as paths or glob patterns ("/dev/rfcomm*", a pty).
  explicit SerialProvider(std::vector<std::string> extra_paths = {}, SerialFolders folders = {});
  ~SerialProvider() override;

  std::string_view name() const override { return "serial"; }
  Result<std::vector<DeviceInfo>> list() override;
  // By name, alias, or path.
  Result<std::unique_ptr<Device>> open(const std::string& name) override;
  // Not to be called from inside the callback.
  void on_change(std::function<void()> changed) override;

 private:
  // `known`: the names there were when watching began.
  void watch(std::function<void()> changed, std::vector<std::string> known);
  void add_watches();
  bool wait(int timeout_ms);
  void stop_watching();

  const std::vector<std::string> extra_paths_;
  const SerialFolders folders_;
  std::mutex mutex_;  // of on_change()
  FileDescriptor inotify_;
  FileDescriptor stop_event_;
  std::thread thread_;
};

}  // namespace farport::serial
