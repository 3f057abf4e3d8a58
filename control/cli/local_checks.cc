#include "control/cli/local_checks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace farport {

namespace {

namespace fs = std::filesystem;

bool exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Check check_udev(const std::string& root) {
  if (exists(root + "/run/udev/control")) {
    return {"udev", true, "udevd runs: devices plugged in later are noticed", ""};
  }
  return {"udev", false, "udevd does not run: USB devices plugged in later are not noticed",
          "start systemd-udevd; in a container, share /run/udev of the host"};
}

Check check_usb_access(const std::string& root) {
  const std::string bus = root + "/dev/bus/usb";
  size_t nodes = 0, usable = 0;
  std::error_code fault;
  for (fs::recursive_directory_iterator entry(bus, fault), end; !fault && entry != end;
       entry.increment(fault)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) continue;
    ++nodes;
    if (eaccess(entry->path().c_str(), R_OK | W_OK) == 0) ++usable;
  }
  if (nodes == 0) {
    return {
        "usb", false, "there is no USB device node in /dev/bus/usb: no USB here to lend",
        "nothing, if this host only uses devices of others; in a container, pass /dev/bus/usb in"};
  }
  if (usable < nodes) {
    return {"usb", false,
            fmt::format("you may use {} of {} USB device nodes in /dev/bus/usb", usable, nodes),
            "run farportd as root, or give it the devices by an udev rule (GROUP=, MODE=\"0660\")"};
  }
  return {"usb", true, fmt::format("all {} USB device nodes in /dev/bus/usb can be used", nodes),
          ""};
}

// usbfs caps the memory of all transfers in flight, of all processes (Linux,
// Documentation/admin-guide/kernel-parameters.txt, usbcore.usbfs_memory_mb); 0 is no cap.
Check check_usbfs_memory(const std::string& root) {
  constexpr unsigned enough_mb = 64;
  std::ifstream file(root + "/sys/module/usbcore/parameters/usbfs_memory_mb");
  unsigned mb = 0;
  if (!(file >> mb)) {
    return {"usbfs memory", false, "the kernel has no USB (usbcore is not loaded)",
            "nothing, if this host only has serial ports, or presents no USB by vhci"};
  }
  if (mb != 0 && mb < enough_mb) {
    return {"usbfs memory", false,
            fmt::format("{} MB for the transfers in flight of all USB devices: several busy ones "
                        "may run out of it",
                        mb),
            "echo 256 > /sys/module/usbcore/parameters/usbfs_memory_mb"};
  }
  return {"usbfs memory", true,
          mb == 0 ? "no limit on the memory of transfers"
                  : fmt::format("{} MB for the transfers in flight", mb),
          ""};
}

Check check_vhci(const std::string& root) {
  if (exists(root + "/sys/devices/platform/vhci_hcd.0")) {
    return {"vhci", true, "vhci_hcd is loaded: USB devices can be attached to this kernel", ""};
  }
  return {"vhci", false, "vhci_hcd is not loaded: USB devices cannot be attached to this kernel",
          "modprobe vhci_hcd (Debian: not in the cloud kernel, it is in linux-image-amd64)"};
}

}  // namespace

std::vector<Check> local_checks(const std::string& root) {
  return {check_vhci(root), check_usb_access(root), check_usbfs_memory(root), check_udev(root)};
}

}  // namespace farport
