// The kernel as the consumer: a port of its virtual USB host controller (module vhci_hcd). The
// kernel speaks USB/IP into one end of a socketpair; we serve the other.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "drivers/driver.h"
#include "drivers/usbip/urb_stream.h"

namespace farport {

struct VhciSettings {
  // Of controller 0, which stands for all of them; another folder in tests.
  std::string directory = "/sys/devices/platform/vhci_hcd.0";
  // Writes a line to one of its opened files: 0, or an errno value. Tests put a kernel of their own
  // here.
  std::function<int(int file, const std::string& line)> write = write_line;

  static int write_line(int file, const std::string& line);
  // The port that this process used last; a process-wide one, or a test's own.
  std::atomic<int>* port_used_last = &process_port_used_last;
  static inline std::atomic<int> process_port_used_last{-1};
};

class VhciDriver final : public Driver, private usbip::UrbStream::Events {
 public:
  // Off the worker: checks that a device like `info` can be attached now, and opens what is needed.
  // Errors: the module is not loaded (not_found), no permission (denied), no free port of the right
  // speed (busy).
  static Result<std::unique_ptr<VhciDriver>> create(const VhciSettings& settings,
                                                    const DeviceInfo& info);

  std::string_view name() const override { return "vhci"; }
  // "vhci port 3" once started. Any thread.
  std::string path() const override;

  // Attaches to the first free port. Reading sysfs' status and writing its attach file happen here,
  // on the worker: they wait for nothing but the kernel itself (short locks, and two threads it
  // makes: drivers/usb/usbip/vhci_sysfs.c, attach_store), and from then on the kernel enumerates,
  // which somebody must serve.
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override { stream_->completed(transfer); }
  void unplugged(std::string_view) override { stream_->unplugged(); }
  void stop() override { stream_->finish(); }

 private:
  VhciDriver(const VhciSettings& settings, FileDescriptor attach, FileDescriptor detach);

  Result<uint32_t> attach(int socket, const DeviceInfo& info);
  void detach();

  // UrbStream::Events
  void stream_ended(std::string_view reason) override;
  void stream_answered() override;
  void stream_closed() override { port_->driver_stopped(); }

  VhciSettings settings_;
  FileDescriptor attach_file_;
  FileDescriptor detach_file_;
  DriverPort* port_ = nullptr;
  std::unique_ptr<usbip::UrbStream> stream_;
  std::atomic<int> vhci_port_{-1};
};

}  // namespace farport
