// One opened device node: its transfers by usbfs itself (usbfs_transfers.h), what blocks by libusb,
// which knows the order of ioctls that a claim, a reset or a configuration takes.
//
// Both use the same descriptor. That works because libusb reaps only when it is asked to handle
// events, which nobody does here: no transfer is ever libusb's. It has a context per device, for
// its locks; discovery is off (LIBUSB_OPTION_NO_DEVICE_DISCOVERY: no udev, no thread), and the node
// is opened here and wrapped.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "devices/usb/usb_handle.h"
#include "devices/usb/usbfs_transfers.h"

namespace farport {

// An open device node.
class UsbfsNode final : public UsbfsIoctls {
 public:
  bool open(const std::string& node);
  void close() { node_.reset(); }
  int fd() const { return node_.get(); }

  int capabilities(uint32_t& capabilities) override;
  int submit(usbdevfs_urb& urb) override;
  int reap(usbdevfs_urb*& urb) override;
  int discard(usbdevfs_urb& urb) override;

 private:
  FileDescriptor node_;
};

class UsbfsHandle final : public UsbHandle {
 public:
  // Opens a device node, "/dev/bus/usb/001/004". Blocks. denied, not_found, failed.
  static Result<std::unique_ptr<UsbfsHandle>> open(const std::string& node);
  ~UsbfsHandle() override;

  TransferStatus submit(BusTransfer& transfer) override { return transfers_->submit(transfer); }
  int events_fd() const override { return node_.fd(); }
  uint32_t ready_events() const override;
  void handle_events(uint32_t events) override { transfers_->handle_events(events); }
  bool disconnected() const override { return transfers_->disconnected(); }

  void cancel(BusTransfer& transfer) override { transfers_->cancel(transfer); }
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
  UsbfsHandle() = default;
  Result<void> open_node(const std::string& node);

  UsbfsNode node_;
  libusb_context* context_ = nullptr;
  libusb_device_handle* handle_ = nullptr;
  std::optional<UsbfsTransfers> transfers_;
};

}  // namespace farport
