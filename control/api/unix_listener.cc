#include "control/api/unix_listener.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "control/daemon/users.h"

namespace farport {

namespace {

constexpr int kBacklog = 64;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::usage, "the socket path '" + path + "' must have 1 to " +
                                      std::to_string(sizeof address.sun_path - 1) +
                                      " characters: set host.socket to a shorter one");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// Clears the way: only what is certainly a dead daemon's socket is removed.
Result<void> clear_path(const std::string& path, const sockaddr_un& address) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, "cannot look at the socket path " + path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return fail(path +
                " exists and is not a socket: remove it, or set host.socket to another path");
  }
  FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return fail_errno(errno, "cannot make a Unix socket");
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN) {
    return fail(ErrorCode::busy, "another daemon listens on " + path +
                                     ": stop it, or set host.socket to another path");
  }
  if (errno != ECONNREFUSED) return fail_errno(errno, "cannot try the socket path " + path);
  if (unlink(path.c_str()) != 0) return fail_errno(errno, "cannot remove the stale socket " + path);
  return {};
}

Result<void> set_owner(const UnixListenerSettings& settings) {
  if (!settings.group.empty()) {
    const group* found = getgrnam(settings.group.c_str());
    if (found == nullptr) {
      return fail(ErrorCode::not_found, "there is no group '" + settings.group +
                                            "' (host.socket_group): create it with groupadd");
    }
    if (chown(settings.path.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
      return fail_errno(errno, "cannot give " + settings.path + " to group " + settings.group);
    }
  }
  if (chmod(settings.path.c_str(), settings.mode) != 0) {
    return fail_errno(errno, "cannot set the mode of " + settings.path);
  }
  return {};
}

}  // namespace

Result<UnixListener> listen_unix(const UnixListenerSettings& settings) {
  if (sd_listen_fds(0) >= 1 &&
      sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, nullptr, 0) > 0) {
    return UnixListener{FileDescriptor(SD_LISTEN_FDS_START), true};
  }
  const auto address = address_of(settings.path);
  if (!address) return std::unexpected(address.error());
  if (auto cleared = clear_path(settings.path, *address); !cleared) {
    return std::unexpected(cleared.error());
  }
  FileDescriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail_errno(errno, "cannot make a Unix socket");
  // Nobody may connect between bind() and chmod().
  const mode_t before = umask(0177);
  const int bound =
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
  const int bind_errno = errno;
  umask(before);
  if (bound != 0) {
    return fail_errno(bind_errno, "cannot make the socket " + settings.path +
                                      " (does its folder exist, and may you write there?)");
  }
  if (auto owned = set_owner(settings); !owned) {
    unlink(settings.path.c_str());
    return std::unexpected(owned.error());
  }
  if (listen(listener.get(), kBacklog) != 0) {
    return fail_errno(errno, "cannot listen on " + settings.path);
  }
  return UnixListener{std::move(listener), false};
}

Result<Caller> peer_of(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return fail_errno(errno, "cannot tell who is calling");
  }
  Caller requester{.uid = credentials.uid,
                   .gid = credentials.gid,
                   .pid = credentials.pid,
                   .user = user_name(credentials.uid),
                   .groups = {group_name(credentials.gid)}};
  std::vector<gid_t> groups(256);
  length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0) {
    groups.resize(length / sizeof(gid_t));
    for (const gid_t gid : groups) {
      if (gid != credentials.gid) requester.groups.push_back(group_name(gid));
    }
  }
  return requester;
}

}  // namespace farport
