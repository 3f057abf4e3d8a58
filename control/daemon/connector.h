// Reaches another host by one of its addresses: in order, each a little after the one before, so
// that a dead network costs a moment and not a timeout; over TLS where it is needed, to the right
// host only. The first that is through wins.
//
// Thread rule: the control thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control/config/units.h"
#include "control/daemon/control_loop.h"
#include "control/daemon/network.h"
#include "control/daemon/peer_stream.h"
#include "control/trust/trust.h"

namespace farport {

// Which connections are encrypted, and by whose trust. Without a Trust none can be.
struct Security {
  std::shared_ptr<Trust> trust;
  bool on_loopback = false;
  Refusals* refusals = nullptr;  // who was refused is counted there
  // Whether a host of this name may be at the other end of a plain connection; empty: any.
  std::function<Result<void>(const std::string& host)> plain{};

  bool needs_tls(const PeerStream& stream) const { return !stream.loopback() || on_loopback; }
  Result<void> may_be_plain(const std::string& host) const {
    return plain ? plain(host) : Result<void>();
  }
};

struct Reached {
  std::shared_ptr<PeerStream> stream;
  TrustedPeer who;  // host empty on a plain connection
  size_t path = 0;
};

class Connector : public std::enable_shared_from_this<Connector> {
 public:
  struct Path {
    size_t path = 0;
    HostPort address;
  };
  // `done` comes once, on the control thread, not from inside; not after the connector is
  // destroyed. Its error names each address that was tried.
  static std::shared_ptr<Connector> start(ControlLoop& loop, Security security, std::string host,
                                          std::vector<Path> paths, std::chrono::milliseconds limit,
                                          std::function<void(Result<Reached>)> done);

 private:
  Connector(ControlLoop& loop, Security security, std::string host, std::vector<Path> paths,
            std::chrono::milliseconds limit, std::function<void(Result<Reached>)> done);
  void next();
  void connected(const Path& path, Result<PeerConnection> connection);
  void secured(const Path& path, std::shared_ptr<PeerStream> stream,
               std::expected<void, TrustError> result);
  void failed(const Path& path, const Error& why);
  void finish(Result<Reached> result);

  ControlLoop& loop_;
  Security security_;
  std::string host_;
  std::vector<Path> paths_;
  size_t begun_ = 0;
  size_t failed_ = 0;
  std::chrono::milliseconds limit_;
  std::vector<Error> errors_;
  std::vector<std::shared_ptr<PeerStream>> securing_;
  ControlTimer stagger_;
  ControlTimer whole_;
  std::function<void(Result<Reached>)> done_;
};

}  // namespace farport
