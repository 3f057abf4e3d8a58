#include "devices/usb/usbfs_handle.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>

namespace farport {

bool UsbfsNode::open(const std::string& node) {
  node_.reset(::open(node.c_str(), O_RDWR | O_CLOEXEC));
  return static_cast<bool>(node_);
}
int UsbfsNode::capabilities(uint32_t& capabilities) {
  return ioctl(node_.get(), USBDEVFS_GET_CAPABILITIES, &capabilities) < 0 ? errno : 0;
}
int UsbfsNode::submit(usbdevfs_urb& urb) {
  return ioctl(node_.get(), USBDEVFS_SUBMITURB, &urb) < 0 ? errno : 0;
}
int UsbfsNode::reap(usbdevfs_urb*& urb) {
  return ioctl(node_.get(), USBDEVFS_REAPURBNDELAY, &urb) < 0 ? errno : 0;
}
int UsbfsNode::discard(usbdevfs_urb& urb) {
  return ioctl(node_.get(), USBDEVFS_DISCARDURB, &urb) < 0 ? errno : 0;
}

Result<std::unique_ptr<UsbfsHandle>> UsbfsHandle::open(const std::string& node) {
  std::unique_ptr<UsbfsHandle> handle(new UsbfsHandle);
  if (auto opened = handle->open_node(node); !opened) return std::unexpected(opened.error());
  return handle;
}

Result<void> UsbfsHandle::open_node(const std::string& node) {
  if (!node_.open(node)) return fail_errno(errno, node);
  // Applies to the contexts made after it.
  libusb_set_option(nullptr, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
  if (const int result = libusb_init(&context_); result != 0) {
    context_ = nullptr;
    return fail(std::string("libusb: ") + libusb_strerror(result));
  }
  if (const int result = libusb_wrap_sys_device(context_, node_.fd(), &handle_); result != 0) {
    handle_ = nullptr;
    const ErrorCode code =
        result == LIBUSB_ERROR_NO_DEVICE ? ErrorCode::not_found : ErrorCode::failed;
    return fail(code, node + ": " + libusb_strerror(result));
  }
  transfers_.emplace(node_);
  return {};
}

UsbfsHandle::~UsbfsHandle() {
  close();
  if (context_) libusb_exit(context_);
}

uint32_t UsbfsHandle::ready_events() const { return POLLOUT; }

int UsbfsHandle::set_configuration(int value) { return libusb_set_configuration(handle_, value); }
int UsbfsHandle::claim_interface(uint8_t number) { return libusb_claim_interface(handle_, number); }
int UsbfsHandle::release_interface(uint8_t number) {
  return libusb_release_interface(handle_, number);
}
int UsbfsHandle::set_alternate(uint8_t number, uint8_t alternate) {
  return libusb_set_interface_alt_setting(handle_, number, alternate);
}
int UsbfsHandle::clear_halt(uint8_t endpoint) { return libusb_clear_halt(handle_, endpoint); }
int UsbfsHandle::reset() { return libusb_reset_device(handle_); }
int UsbfsHandle::kernel_driver_active(uint8_t number) {
  return libusb_kernel_driver_active(handle_, number);
}
int UsbfsHandle::detach_kernel_driver(uint8_t number) {
  return libusb_detach_kernel_driver(handle_, number);
}
int UsbfsHandle::attach_kernel_driver(uint8_t number) {
  return libusb_attach_kernel_driver(handle_, number);
}

void UsbfsHandle::close() {
  if (handle_) libusb_close(handle_);
  handle_ = nullptr;
  node_.close();  // libusb leaves a wrapped descriptor to its owner
}

}  // namespace farport
