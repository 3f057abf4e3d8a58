// HTTP/1.1 on the Unix socket (Boost.Beast): accepts, asks SO_PEERCRED who calls, hands each
// request to routes.h, streams events. Runs on the control thread; a slow or hostile caller costs
// one connection and nothing else.
#pragma once

#include <memory>

#include "control/api/unix_listener.h"
#include "control/daemon/service.h"

namespace boost::asio {
class io_context;
}

namespace farport {

class ApiServer {
 public:
  static constexpr size_t connections_max = 128;
  static constexpr size_t body_bytes_max = 64 << 10;
  static constexpr size_t header_bytes_max = 16 << 10;
  static constexpr int request_seconds_max = 30;  // for a request to arrive
  static constexpr size_t unsent_bytes_max =
      1 << 20;  // of events, before a reader that sleeps is cut

  // `service` outlives the server.
  ApiServer(boost::asio::io_context& context, Service& service, UnixListener listener,
            std::string path);
  ~ApiServer();  // on the control thread, or when it has ended; closes all, removes its socket

  size_t connections() const;

  class Shared;

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace farport
