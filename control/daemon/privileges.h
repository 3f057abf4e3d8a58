// What a daemon that starts as root gives up. Called before any thread starts: capabilities are a
// thread's own (capabilities(7)), and those made later inherit them.
#pragma once

#include <string>
#include <vector>

#include "dataplane/error.h"

namespace farport {

struct PrivilegeNeeds {
  bool low_ports = false;  // a port below 1024 is configured: CAP_NET_BIND_SERVICE
  // Folders in which the daemon works. One that belongs to another user needs CAP_DAC_OVERRIDE.
  std::vector<std::string> folders;
};

// Reduces the permitted, effective, inheritable, ambient and bounding sets to what the work needs:
//
//   CAP_CHOWN   a pty is given to the user who attached it; the API's socket to its group
//   CAP_FOWNER  and its mode is set after that; stale lock files of others in /run/lock (sticky)
//
// None is needed for USB devices and serial ports (root owns the nodes; usbfs asks for nothing to
// claim, reset or detach a kernel driver), for vhci's attach file and /dev/farport (root's, too),
// for udev's netlink group (open to all) and for io_uring.
//
// Also: no new privileges by execve(2), and neither core dumps nor ptrace(2) by others, because the
// memory holds keys. A daemon that is not root has nothing to give up but these.
// What was kept, in one line for the log.
Result<std::string> drop_privileges(const PrivilegeNeeds& needs);

}  // namespace farport
