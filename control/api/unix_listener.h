// The Unix socket that the API listens on: made, taken over from a dead daemon, or inherited from
// systemd.
#pragma once

#include <sys/types.h>

#include <string>

#include "control/daemon/service.h"
#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

struct UnixListenerSettings {
  std::string path;   // at most 107 bytes (sun_path)
  std::string group;  // who may connect besides the owner; empty: the daemon's own group
  mode_t mode = 0660;
};

struct UnixListener {
  FileDescriptor socket;   // listening, non-blocking
  bool inherited = false;  // by socket activation: systemd owns the path
};

// A socket file that nobody listens on any more is replaced. `busy` when someone does; `failed`
// when the path is something else than a socket (it is left alone).
Result<UnixListener> listen_unix(const UnixListenerSettings& settings);

// Who is at the other end of a connected Unix socket (SO_PEERCRED, SO_PEERGROUPS), with names.
Result<Caller> peer_of(int socket);

}  // namespace farport
