// A listening TCP socket, for use on a worker: non-blocking.
#pragma once

#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

struct Listener {
  FileDescriptor socket;
  std::string address;  // "127.0.0.1:4000", "[::1]:4000": the real one

  // `address`: "HOST:PORT" or "[IPV6]:PORT"; port 0 takes a free one. May block on a name lookup.
  // usage: not such an address; busy: in use.
  static Result<Listener> create(const std::string& address);

  struct Accepted {
    FileDescriptor socket;  // non-blocking, without Nagle's delay, probed when idle
    std::string peer;
  };
  // An empty socket and 0 when nobody is waiting; otherwise an errno value.
  int accept(Accepted& accepted);
};

}  // namespace farport
