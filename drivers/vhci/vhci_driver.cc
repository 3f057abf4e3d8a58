#include "drivers/vhci/vhci_driver.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "devices/usbip/device_record.h"
#include "drivers/vhci/vhci_status.h"

namespace farport {

namespace {

// A request of a disk is up to 1 MiB; the default of 208 KiB would wake both ends five times for
// it.
constexpr int socket_buffer_bytes = 1 << 20;

Result<FileDescriptor> open_for_writing(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file) return file;
  const int error = errno;
  if (error == EACCES || error == EPERM) {
    return fail(ErrorCode::denied, "may not write " + path +
                                       ": attaching a USB device to this kernel needs root (or "
                                       "that file's group)");
  }
  return fail_errno(error, path);
}

Error no_free_port(bool super_speed) {
  return {ErrorCode::busy, std::string("no free virtual USB port for a ") +
                               (super_speed ? "super" : "high") +
                               "-speed device; detach another one (usbip port lists them)"};
}

void enlarge_buffers(int socket) {
  for (const int option : {SO_SNDBUFFORCE, SO_RCVBUFFORCE}) {
    if (setsockopt(socket, SOL_SOCKET, option, &socket_buffer_bytes, sizeof(int)) != 0) {
      const int unforced = option == SO_SNDBUFFORCE ? SO_SNDBUF : SO_RCVBUF;
      setsockopt(socket, SOL_SOCKET, unforced, &socket_buffer_bytes, sizeof(int));
    }
  }
}

}  // namespace

int VhciSettings::write_line(int file, const std::string& line) {
  return ::pwrite(file, line.data(), line.size(), 0) < 0 ? errno : 0;
}

VhciDriver::VhciDriver(const VhciSettings& settings, FileDescriptor attach, FileDescriptor detach)
    : settings_(settings), attach_file_(std::move(attach)), detach_file_(std::move(detach)) {}

Result<std::unique_ptr<VhciDriver>> VhciDriver::create(const VhciSettings& settings,
                                                       const DeviceInfo& info) {
  const auto ports = vhci::read_ports(settings.directory);
  if (!ports) return std::unexpected(ports.error());
  const bool super_speed = vhci::needs_super_speed(info.speed);
  if (!vhci::find_free_port(*ports, super_speed)) return std::unexpected(no_free_port(super_speed));
  auto attach = open_for_writing(settings.directory + "/attach");
  if (!attach) return std::unexpected(attach.error());
  auto detach = open_for_writing(settings.directory + "/detach");
  if (!detach) return std::unexpected(detach.error());
  return std::unique_ptr<VhciDriver>(
      new VhciDriver(settings, std::move(*attach), std::move(*detach)));
}

std::string VhciDriver::path() const {
  const int number = vhci_port_.load();
  return number < 0 ? "" : "vhci port " + std::to_string(number);
}

Result<void> VhciDriver::start(Worker& worker, DriverPort& port) {
  port_ = &port;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return fail_errno(errno, "cannot make a socket for the kernel's USB port");
  }
  FileDescriptor ours(sockets[0]);
  const FileDescriptor kernels(sockets[1]);  // the kernel takes its own reference
  enlarge_buffers(ours.get());
  enlarge_buffers(kernels.get());
  const auto number = attach(kernels.get(), port.info());
  if (!number) return std::unexpected(number.error());
  vhci_port_ = static_cast<int>(*number);
  stream_.reset(new usbip::UrbStream(worker, port, *this));
  stream_->start(std::move(ours));
  return {};
}

// Another process may take a port between our reading of the list and our writing: then the next.
// A device that comes back on the port it has just left is taken by the kernel for the same one,
// reset: it would go on in the middle. So the port used last comes last.
Result<uint32_t> VhciDriver::attach(int socket, const DeviceInfo& info) {
  const bool super_speed = vhci::needs_super_speed(info.speed);
  std::vector<uint32_t> taken;
  if (const int used = settings_.port_used_last->load(); used >= 0)
    taken.push_back(static_cast<uint32_t>(used));
  while (true) {
    const auto ports = vhci::read_ports(settings_.directory);
    if (!ports) return std::unexpected(ports.error());
    const auto number = vhci::find_free_port(*ports, super_speed, taken);
    if (!number && settings_.port_used_last->exchange(-1) >= 0) {
      taken.clear();
      continue;
    }
    if (!number) return std::unexpected(no_free_port(super_speed));
    const std::string line = std::to_string(*number) + " " + std::to_string(socket) + " " +
                             std::to_string(usbip::devid_of(info)) + " " +
                             std::to_string(usbip::speed_code(info.speed));
    const int error = settings_.write(attach_file_.get(), line);
    if (error == 0) {
      *settings_.port_used_last = static_cast<int>(*number);
      return *number;
    }
    if (error != EBUSY) {
      return fail_errno(error, "the kernel refused the device on its virtual USB port " +
                                   std::to_string(*number));
    }
    taken.push_back(*number);
  }
}

void VhciDriver::detach() {
  settings_.write(detach_file_.get(), std::to_string(vhci_port_.load()));
}

void VhciDriver::stream_ended(std::string_view reason) {
  port_->consumer_left("the kernel gave up " + path() +
                       " (detached there, or reset): " + std::string(reason));
}

// The kernel would also notice the closed socket; told, it takes it for what it is. Once the stream
// has ended, the port is no longer ours and may be somebody else's already.
void VhciDriver::stream_answered() {
  if (!stream_->ended()) detach();
  stream_->close();
}

}  // namespace farport
