// Two ends of a TCP connection on this machine, for tests of links.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "dataplane/file_descriptor.h"

namespace farport {

// On the loopback address of `family`, blocking; empty where there is none.
inline std::array<FileDescriptor, 2> connected_pair(int family) {
  FileDescriptor listener(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage address{};
  socklen_t length = 0;
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    length = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_addr = in6addr_loopback;
    length = sizeof v6;
  }
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return {};
  listen(listener.get(), 1);
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length);
  FileDescriptor client(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(client.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return {};
  return {std::move(client),
          FileDescriptor(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC))};
}

}  // namespace farport
