#include "drivers/rfc2217/listener.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <utility>

namespace farport {

namespace {

std::string text_of(const sockaddr_storage& address, socklen_t length) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                       : fmt::format("{}:{}", host, port);
}

// Splits at the last colon; an IPv6 address is in brackets.
bool split(const std::string& address, std::string& host, std::string& port) {
  const size_t colon = address.rfind(':');
  if (colon == address.npos || colon == 0 || colon + 1 == address.size()) return false;
  host = address.substr(0, colon);
  port = address.substr(colon + 1);
  if (host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != host.npos) {
    return false;
  }
  return !host.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == port.npos &&
         std::stoul(port) <= 65535;
}

void set(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

}  // namespace

Result<Listener> Listener::create(const std::string& address) {
  std::string host, port;
  if (!split(address, host, port)) {
    return fail(ErrorCode::usage,
                fmt::format("\"{}\" is not an address to listen on; it must be ADDRESS:PORT, such "
                            "as 127.0.0.1:4000 or [::1]:0",
                            address));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return fail(ErrorCode::not_found, fmt::format("{}: {}", address, ::gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  Listener listener;
  listener.socket.reset(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int socket = listener.socket.get();
  if (socket < 0) return fail_errno(errno, "a socket for " + address);
  set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket, found->ai_addr, found->ai_addrlen) < 0 || ::listen(socket, 8) < 0) {
    if (errno == EADDRINUSE) {
      return fail(ErrorCode::busy,
                  fmt::format("{} is in use by another program; choose another port,"
                              " or 0 for a free one",
                              address));
    }
    return fail_errno(errno, "listening on " + address);
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &length);
  listener.address = text_of(bound, length);
  return listener;
}

int Listener::accept(Accepted& accepted) {
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  const int client = ::accept4(socket.get(), reinterpret_cast<sockaddr*>(&from), &length,
                               SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return errno == EAGAIN ? 0 : errno;
  accepted = {FileDescriptor(client), text_of(from, length)};
  set(client, IPPROTO_TCP, TCP_NODELAY, 1);
  // A client that died without a word is noticed after 25 s, or it would hold the port for ever.
  set(client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(client, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(client, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(client, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(client, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
  return 0;
}

}  // namespace farport
