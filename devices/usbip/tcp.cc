#include "devices/usbip/tcp.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <charconv>

namespace farport::usbip {

Result<Address> parse_address(std::string_view text, uint16_t default_port) {
  const auto bad = [&](std::string_view why) {
    return fail(ErrorCode::usage, "address \"" + std::string(text) + "\": " + std::string(why) +
                                      "; write HOST:PORT or [IPV6]:PORT");
  };
  Address address;
  address.port = default_port;
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return bad("the bracket is not closed");
    address.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
  } else {
    const size_t colon = text.find(':');
    if (colon != text.rfind(':')) return bad("an IPv6 address needs brackets");
    address.host = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
  }
  if (address.host.empty()) return bad("there is no host");
  if (rest.empty()) return address;
  if (!rest.starts_with(':')) return bad("after the bracket there is something else than :PORT");
  rest.remove_prefix(1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), address.port);
  if (error != std::errc{} || end != rest.data() + rest.size()) {
    return bad("the port is not a number from 0 to 65535");
  }
  return address;
}

std::string address_text(const sockaddr& address, uint32_t length) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(&address, length, host, sizeof host, port, sizeof port,
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  if (address.sa_family == AF_INET6) return fmt::format("[{}]:{}", host, port);
  return fmt::format("{}:{}", host, port);
}

void set_tcp_options(int socket) {
  const auto set = [socket](int level, int option, int value) {
    setsockopt(socket, level, option, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 25'000);
}

}  // namespace farport::usbip
