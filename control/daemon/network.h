// TCP for sessions, on the control thread: listening, and connecting with a time limit. What comes
// out is a plain socket, prepared for SocketLink.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "control/config/units.h"
#include "control/daemon/control_loop.h"
#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"
#include "dataplane/tls.h"

namespace farport {

// A connected socket, and who is at its other end ("192.0.2.7:50514").
struct PeerConnection {
  FileDescriptor socket;
  std::string peer;
  UniqueSsl tls = nullptr;  // of a handshake that is done; null: plain
  bool loopback = false;    // both ends have a loopback address
};

class PeerListener {
 public:
  // Binds; name lookup may block, so before the loop runs or on the pool. usage: a bad address.
  // busy: the port is in use.
  static Result<std::unique_ptr<PeerListener>> bind(ControlLoop& loop, const HostPort& address);
  ~PeerListener();
  // Control thread from here on.
  void start(std::function<void(PeerConnection)> accepted);
  void stop();

  // With the port the system chose.
  const std::string& address() const;
  bool loopback() const;

 private:
  struct Parts;
  explicit PeerListener(std::shared_ptr<Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<Parts> parts_;
};

// Looks the name up and tries its addresses in turn. `done` comes once, on the control thread.
void connect(ControlLoop& loop, const HostPort& address, std::chrono::milliseconds limit,
             std::function<void(Result<PeerConnection>)> done);

}  // namespace farport
