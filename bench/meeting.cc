#include "bench/meeting.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace farport::bench {

namespace {

sockaddr_in address_of(const Stage& stage, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, stage.device_address.c_str(), &address.sin_addr);
  return address;
}

}  // namespace

Result<FileDescriptor> Meeting::accept(const Stage& stage) {
  FileDescriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = address_of(stage, 0);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  // So that a driver end that cannot connect does not leave this one waiting.
  const timeval limit{5, 0};
  if (!listener || bind(listener.get(), generic, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), generic, &length) != 0 ||
      setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) {
    const int error = errno;
    port_.set_value(0);
    return fail_errno(error, "cannot listen on " + stage.device_address);
  }
  port_.set_value(ntohs(address.sin_port));
  FileDescriptor connection(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return fail_errno(errno, "no connection from the driver end");
  return connection;
}

Result<FileDescriptor> Meeting::connect(const Stage& stage) {
  const uint16_t port = port_.get_future().get();
  if (port == 0) return fail("the device end could not listen");
  FileDescriptor connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = address_of(stage, port);
  if (!connection || ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address),
                               sizeof address) != 0) {
    return fail_errno(errno, "cannot connect to " + stage.device_address);
  }
  return connection;
}

}  // namespace farport::bench
