#include "devices/usb/hotplug.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "devices/usb/sysfs.h"

namespace farport::usb {

Hotplug::Hotplug(std::string sys, std::function<void()> changed, bool uevents, int poll_ms)
    : sys_(std::move(sys)),
      changed_(std::move(changed)),
      poll_ms_(poll_ms),
      quit_(eventfd(0, EFD_CLOEXEC)) {
  if (uevents) open_uevents();  // before looking: nothing falls between the two
  seen_ = fingerprint(sys_);
  thread_ = std::thread([this] { loop(); });
}

Hotplug::~Hotplug() {
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = write(quit_.get(), &one, sizeof one);
  thread_.join();
}

void Hotplug::open_uevents() {
  FileDescriptor socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's; udevd's own group is 2
  if (!socket ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return;
  }
  uevents_ = std::move(socket);
  poll_ms_ = poll_with_uevents_ms;
}

// True when something among them concerns USB, or some were lost.
bool Hotplug::drain_uevents() {
  std::array<char, 8192> message;
  bool usb = false;
  while (true) {
    const ssize_t size = recv(uevents_.get(), message.data(), message.size(), 0);
    if (size > 0) {
      usb = concerns_usb(message.data(), static_cast<size_t>(size)) || usb;
    } else if (size < 0 && errno == ENOBUFS) {
      usb = true;
    } else if (size < 0 && errno == EINTR) {
      continue;
    } else {
      return usb;
    }
  }
}

void Hotplug::loop() {
  while (true) {
    std::array<pollfd, 2> ready{{{quit_.get(), POLLIN, 0}, {uevents_.get(), POLLIN, 0}}};
    const int count = poll(ready.data(), ready.size(), poll_ms_);
    if (ready[0].revents != 0) return;
    if (count < 0 && errno != EINTR) return;
    if (ready[1].revents != 0 && !drain_uevents()) continue;
    std::string now = fingerprint(sys_);
    if (now == seen_) continue;
    seen_ = std::move(now);
    changed_();
  }
}

bool concerns_usb(const char* message, size_t size) {
  std::string_view rest(message, size);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\0'));
    if (line == "SUBSYSTEM=usb") return true;
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  return false;
}

}  // namespace farport::usb
