#include "devices/serial/serial_provider.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "devices/serial/serial_port.h"

namespace farport::serial {

namespace {

bool answers_to(const DeviceInfo& info, const std::string& name) {
  return info.name == name || info.path == name ||
         std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end();
}

// What of a list makes it another one.
std::vector<std::string> names_of(const std::vector<DeviceInfo>& ports) {
  std::vector<std::string> names;
  for (const DeviceInfo& port : ports) {
    names.push_back(port.name);
    names.insert(names.end(), port.aliases.begin(), port.aliases.end());
  }
  return names;
}

}  // namespace

SerialProvider::SerialProvider(std::vector<std::string> extra_paths, SerialFolders folders)
    : extra_paths_(std::move(extra_paths)), folders_(std::move(folders)) {}

SerialProvider::~SerialProvider() { stop_watching(); }

Result<std::vector<DeviceInfo>> SerialProvider::list() {
  return list_ports(folders_, extra_paths_);
}

Result<std::unique_ptr<Device>> SerialProvider::open(const std::string& name) {
  for (DeviceInfo& info : list_ports(folders_, extra_paths_)) {
    if (!answers_to(info, name)) continue;
    auto tty = open_tty(info.path, folders_.lock);
    if (!tty) return std::unexpected(tty.error());
    return std::make_unique<SerialPort>(std::move(info), std::move(*tty));
  }
  return fail(
      ErrorCode::not_found,
      fmt::format("no serial port {} on this host; `farport devices` lists those there are", name));
}

void SerialProvider::on_change(std::function<void()> changed) {
  std::lock_guard lock(mutex_);
  stop_watching();
  if (!changed) return;
  inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  stop_event_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!inotify_ || !stop_event_) return;  // out of descriptors: plugs are then seen by list() only
  add_watches();
  thread_ = std::thread(&SerialProvider::watch, this, std::move(changed),
                        names_of(list_ports(folders_, extra_paths_)));
}

void SerialProvider::stop_watching() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!::write(stop_event_.get(), &one, sizeof one);
  thread_.join();
}

// Adding a folder twice changes nothing; by-id comes and goes with the first and last of its links.
void SerialProvider::add_watches() {
  std::vector<std::string> folders = {folders_.dev, folders_.dev + "/serial",
                                      folders_.dev + "/serial/by-id"};
  for (const std::string& path : extra_paths_) {
    folders.push_back(std::filesystem::path(path).parent_path().string());
  }
  for (const std::string& folder : folders) {
    ::inotify_add_watch(inotify_.get(), folder.c_str(),
                        IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR);
  }
}

// False when it is time to end; otherwise something happened or the time is over.
bool SerialProvider::wait(int timeout_ms) {
  pollfd waited[2] = {{inotify_.get(), POLLIN, 0}, {stop_event_.get(), POLLIN, 0}};
  ::poll(waited, 2, timeout_ms);
  return (waited[1].revents & POLLIN) == 0;
}

void SerialProvider::watch(std::function<void()> changed, std::vector<std::string> known) {
  while (wait(-1)) {
    alignas(inotify_event) char events[4096];
    while (::read(inotify_.get(), events, sizeof events) > 0) {
    }
    pollfd stop{stop_event_.get(), POLLIN, 0};
    if (::poll(&stop, 1, settle_ms) > 0) return;
    add_watches();  // before listing, so that what comes later is another event
    std::vector<std::string> now = names_of(list_ports(folders_, extra_paths_));
    if (now == known) continue;
    known = std::move(now);
    changed();
  }
}

}  // namespace farport::serial
