#include "devices/usb/libusb_handle.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include <cerrno>

namespace farport {

Result<std::unique_ptr<LibusbHandle>> LibusbHandle::open(const std::string& node) {
  std::unique_ptr<LibusbHandle> handle(new LibusbHandle);
  if (auto opened = handle->open_node(node); !opened) return std::unexpected(opened.error());
  return handle;
}

Result<void> LibusbHandle::open_node(const std::string& node) {
  node_.reset(::open(node.c_str(), O_RDWR | O_CLOEXEC));
  if (!node_) return fail_errno(errno, node);
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail_errno(errno, "epoll");
  // Applies to the contexts made after it.
  libusb_set_option(nullptr, LIBUSB_OPTION_NO_DEVICE_DISCOVERY);
  if (const int result = libusb_init(&context_); result != 0) {
    context_ = nullptr;
    return fail(std::string("libusb: ") + libusb_strerror(result));
  }
  libusb_set_pollfd_notifiers(
      context_,
      [](int fd, short events, void* self) { static_cast<LibusbHandle*>(self)->watch(fd, events); },
      [](int fd, void* self) { static_cast<LibusbHandle*>(self)->unwatch(fd); }, this);
  if (const libusb_pollfd** descriptors = libusb_get_pollfds(context_)) {
    for (size_t i = 0; descriptors[i]; ++i) watch(descriptors[i]->fd, descriptors[i]->events);
    libusb_free_pollfds(descriptors);
  }
  if (const int result = libusb_wrap_sys_device(context_, node_.get(), &handle_); result != 0) {
    handle_ = nullptr;
    const ErrorCode code =
        result == LIBUSB_ERROR_NO_DEVICE ? ErrorCode::not_found : ErrorCode::failed;
    return fail(code, node + ": " + libusb_strerror(result));
  }
  return {};
}

LibusbHandle::~LibusbHandle() {
  close();
  if (context_) libusb_exit(context_);
}

void LibusbHandle::watch(int fd, short events) {
  epoll_event event{};
  event.events = static_cast<uint32_t>(events);  // EPOLLIN and EPOLLOUT equal POLLIN and POLLOUT
  event.data.fd = fd;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void LibusbHandle::unwatch(int fd) {
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  // libusb drops the node by itself only when the kernel says that the device is gone.
  if (fd == node_.get() && !closing_) disconnected_ = true;
}

int LibusbHandle::submit(libusb_transfer* transfer) {
  transfer->dev_handle = handle_;
  return libusb_submit_transfer(transfer);
}

void LibusbHandle::handle_events() {
  timeval now{0, 0};
  libusb_handle_events_timeout_completed(context_, &now, nullptr);
}

int LibusbHandle::cancel(libusb_transfer* transfer) { return libusb_cancel_transfer(transfer); }
int LibusbHandle::set_configuration(int value) { return libusb_set_configuration(handle_, value); }
int LibusbHandle::claim_interface(uint8_t number) {
  return libusb_claim_interface(handle_, number);
}
int LibusbHandle::release_interface(uint8_t number) {
  return libusb_release_interface(handle_, number);
}
int LibusbHandle::set_alternate(uint8_t number, uint8_t alternate) {
  return libusb_set_interface_alt_setting(handle_, number, alternate);
}
int LibusbHandle::clear_halt(uint8_t endpoint) { return libusb_clear_halt(handle_, endpoint); }
int LibusbHandle::reset() { return libusb_reset_device(handle_); }
int LibusbHandle::kernel_driver_active(uint8_t number) {
  return libusb_kernel_driver_active(handle_, number);
}
int LibusbHandle::detach_kernel_driver(uint8_t number) {
  return libusb_detach_kernel_driver(handle_, number);
}
int LibusbHandle::attach_kernel_driver(uint8_t number) {
  return libusb_attach_kernel_driver(handle_, number);
}

void LibusbHandle::close() {
  closing_ = true;
  if (handle_) libusb_close(handle_);
  handle_ = nullptr;
  node_.reset();  // libusb leaves a wrapped descriptor to its owner
}

}  // namespace farport
