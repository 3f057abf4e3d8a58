#include "control/daemon/network.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include "dataplane/socket_link.h"

namespace farport {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

std::string text_of(const tcp::endpoint& endpoint) {
  return format_host_port({endpoint.address().to_string(), endpoint.port()});
}

// A socket that is bound to loopback reaches this machine's other addresses too: so both ends
// count.
bool loopback_at_both_ends(const tcp::socket& socket) {
  error_code unknown;
  const auto local = socket.local_endpoint(unknown);
  if (unknown) return false;
  const auto remote = socket.remote_endpoint(unknown);
  return !unknown && local.address().is_loopback() && remote.address().is_loopback();
}

// Out of asio's hands. The ring waits by itself; a non-blocking socket would make it give up.
Result<FileDescriptor> take_over(tcp::socket& socket) {
  error_code error;
  FileDescriptor taken(socket.release(error));
  if (error) return fail_errno(error.value(), "cannot take over a socket");
  const int flags = fcntl(taken.get(), F_GETFL);
  if (flags < 0 || fcntl(taken.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return fail_errno(errno, "cannot set a socket to block");
  }
  if (auto prepared = prepare_link_socket(taken.get()); !prepared) {
    return std::unexpected(prepared.error());
  }
  return taken;
}

}  // namespace

struct PeerListener::Parts {
  explicit Parts(asio::io_context& context) : acceptor(context), pause(context) {}
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::string address;
  bool loopback = false;
  std::function<void(PeerConnection)> accepted;

  static void accept(const std::shared_ptr<Parts>& parts) {
    parts->acceptor.async_accept([parts](error_code error, tcp::socket socket) {
      if (!parts->acceptor.is_open()) return;
      if (error) return wait(parts);
      error_code unknown;
      const auto endpoint = socket.remote_endpoint(unknown);
      const bool loopback = loopback_at_both_ends(socket);
      auto taken = take_over(socket);
      if (taken && !unknown) parts->accepted({std::move(*taken), text_of(endpoint), {}, loopback});
      if (parts->acceptor.is_open()) accept(parts);
    });
  }
  // Out of descriptors, say: trying at once would only burn the processor.
  static void wait(const std::shared_ptr<Parts>& parts) {
    parts->pause.expires_after(std::chrono::milliseconds(100));
    parts->pause.async_wait([parts](error_code error) {
      if (!error && parts->acceptor.is_open()) accept(parts);
    });
  }
};

Result<std::unique_ptr<PeerListener>> PeerListener::bind(ControlLoop& loop,
                                                         const HostPort& address) {
  auto parts = std::make_shared<Parts>(loop.context());
  const std::string text = format_host_port(address);
  error_code error;
  tcp::resolver resolver(loop.context());
  const auto found =
      resolver.resolve(address.host, std::to_string(address.port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty()) {
    return fail(ErrorCode::usage, fmt::format("cannot listen on {}: {}", text, error.message()));
  }
  const tcp::endpoint endpoint = found.begin()->endpoint();
  parts->acceptor.open(endpoint.protocol(), error);
  if (!error) parts->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  // [::] beside 0.0.0.0 is a second listener of its own.
  if (!error && endpoint.address().is_v6()) {
    parts->acceptor.set_option(asio::ip::v6_only(true), error);
  }
  if (!error) parts->acceptor.bind(endpoint, error);
  if (!error) parts->acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    return fail(ErrorCode::busy,
                fmt::format("cannot listen on {}: the port is in use (`ss -ltnp` says by whom); "
                            "stop that, or change host.listen in the configuration",
                            text));
  }
  if (error) return fail_errno(error.value(), fmt::format("cannot listen on {}", text));
  parts->address = text_of(parts->acceptor.local_endpoint(error));
  parts->loopback = endpoint.address().is_loopback();
  return std::unique_ptr<PeerListener>(new PeerListener(std::move(parts)));
}

PeerListener::~PeerListener() { stop(); }

void PeerListener::start(std::function<void(PeerConnection)> accepted) {
  parts_->accepted = std::move(accepted);
  Parts::accept(parts_);
}

void PeerListener::stop() {
  error_code ignored;
  parts_->acceptor.close(ignored);
  parts_->pause.cancel();
}

const std::string& PeerListener::address() const { return parts_->address; }
bool PeerListener::loopback() const { return parts_->loopback; }

namespace {

struct Attempt {
  Attempt(ControlLoop& loop, std::function<void(Result<PeerConnection>)> done)
      : resolver(loop.context()), socket(loop.context()), timer(loop), done(std::move(done)) {}
  tcp::resolver resolver;
  tcp::socket socket;
  ControlTimer timer;
  std::function<void(Result<PeerConnection>)> done;

  void finish(Result<PeerConnection> result) {
    if (!done) return;
    timer.cancel();
    resolver.cancel();
    error_code ignored;
    socket.close(ignored);
    const auto call = std::exchange(done, nullptr);
    call(std::move(result));
  }
};

}  // namespace

void connect(ControlLoop& loop, const HostPort& address, std::chrono::milliseconds limit,
             std::function<void(Result<PeerConnection>)> done) {
  const auto attempt = std::make_shared<Attempt>(loop, std::move(done));
  const std::string text = format_host_port(address);
  attempt->timer.after(limit, [attempt, text, limit] {
    attempt->finish(fail(ErrorCode::timed_out,
                         fmt::format("{} did not answer within {} s", text, limit.count() / 1000)));
  });
  const auto connected = [attempt, text](error_code error, const tcp::endpoint& endpoint) {
    if (!attempt->done) return;
    if (error) {
      return attempt->finish(fail(ErrorCode::unreachable,
                                  fmt::format("cannot connect to {}: {}", text, error.message())));
    }
    const bool loopback = loopback_at_both_ends(attempt->socket);
    auto taken = take_over(attempt->socket);
    if (!taken) return attempt->finish(std::unexpected(taken.error()));
    attempt->finish(PeerConnection{std::move(*taken), text_of(endpoint), {}, loopback});
  };
  attempt->resolver.async_resolve(
      address.host, std::to_string(address.port), tcp::resolver::numeric_service,
      [attempt, text, connected](error_code error, const tcp::resolver::results_type& found) {
        if (!attempt->done) return;
        if (error) {
          return attempt->finish(fail(ErrorCode::unreachable,
                                      fmt::format("cannot look up {}: {}", text, error.message())));
        }
        asio::async_connect(attempt->socket, found, connected);
      });
}

}  // namespace farport
