// One device opened through libusb, with a libusb_context of its own.
//
// Why a context per device: a context has one event lock, and reaping blocks while a device of the
// context is being reset. With its own context, a device's pause is its own, its events are handled
// on the worker that drives it, and nothing needs to be shared between the control thread that
// opens and the worker. Discovery is off (LIBUSB_OPTION_NO_DEVICE_DISCOVERY: no udev, no thread),
// so a context is an eventfd and a timerfd; the device node is opened here and wrapped.
//
// libusb's descriptors are gathered in one epoll descriptor: libusb may add or remove one from any
// thread, which epoll allows, while the worker watches the same descriptor throughout.
#pragma once

#include <memory>
#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "devices/usb/usb_handle.h"

namespace farport {

class LibusbHandle final : public UsbHandle {
 public:
  // Opens a device node, "/dev/bus/usb/001/004". Blocks. denied, not_found, failed.
  static Result<std::unique_ptr<LibusbHandle>> open(const std::string& node);
  ~LibusbHandle() override;

  int submit(libusb_transfer* transfer) override;
  int events_fd() const override { return epoll_.get(); }
  void handle_events() override;
  bool disconnected() const override { return disconnected_; }

  int cancel(libusb_transfer* transfer) override;
  int set_configuration(int value) override;
  int claim_interface(uint8_t number) override;
  int release_interface(uint8_t number) override;
  int set_alternate(uint8_t number, uint8_t alternate) override;
  int clear_halt(uint8_t endpoint) override;
  int reset() override;
  int kernel_driver_active(uint8_t number) override;
  int detach_kernel_driver(uint8_t number) override;
  int attach_kernel_driver(uint8_t number) override;
  void close() override;

 private:
  LibusbHandle() = default;
  Result<void> open_node(const std::string& node);
  void watch(int fd, short events);
  void unwatch(int fd);

  FileDescriptor node_;
  FileDescriptor epoll_;
  libusb_context* context_ = nullptr;
  libusb_device_handle* handle_ = nullptr;
  bool disconnected_ = false;
  bool closing_ = false;
};

}  // namespace farport
