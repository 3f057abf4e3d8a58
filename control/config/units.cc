#include "control/config/units.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace farport {
namespace {

__extension__ typedef unsigned __int128 uint128;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// A decimal number and what follows it: value = digits / scale.
struct Quantity {
  uint64_t digits = 0;
  uint64_t scale = 1;
  std::string_view unit;
};

// No more digits than a 64-bit number holds, of which no more than nine after the point.
std::optional<Quantity> split(std::string_view text) {
  text = trim(text);
  Quantity quantity;
  bool any = false, fraction = false;
  while (!text.empty() && (is_digit(text.front()) || (text.front() == '.' && !fraction))) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '.') {
      if (!any || text.empty() || !is_digit(text.front())) return std::nullopt;
      fraction = true;
      continue;
    }
    any = true;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (quantity.digits > (std::numeric_limits<uint64_t>::max() - digit) / 10) return std::nullopt;
    quantity.digits = quantity.digits * 10 + digit;
    if (fraction && (quantity.scale *= 10) > 1'000'000'000) return std::nullopt;
  }
  if (!any) return std::nullopt;
  quantity.unit = trim(text);
  return quantity;
}

// digits x factor / (scale x divisor); `exact` when nothing was rounded away.
struct Product {
  uint64_t value = 0;
  bool exact = true;
};
std::optional<Product> multiply(const Quantity& quantity, uint64_t factor, uint64_t divisor = 1) {
  const uint128 product = uint128{quantity.digits} * factor;
  const uint128 scale = uint128{quantity.scale} * divisor;
  if (product / scale > std::numeric_limits<uint64_t>::max()) return std::nullopt;
  return Product{static_cast<uint64_t>(product / scale), product % scale == 0};
}

struct Unit {
  std::string_view name;
  uint64_t factor;
};

template <size_t N>
std::optional<uint64_t> factor_of(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

constexpr auto prefixes = std::to_array<Unit>({
    {"", 1},
    {"k", 1'000},
    {"m", 1'000'000},
    {"g", 1'000'000'000},
    {"t", 1'000'000'000'000},
    {"p", 1'000'000'000'000'000},
    {"ki", uint64_t{1} << 10},
    {"mi", uint64_t{1} << 20},
    {"gi", uint64_t{1} << 30},
    {"ti", uint64_t{1} << 40},
    {"pi", uint64_t{1} << 50},
});

std::unexpected<Error> refuse(std::string_view text, std::string_view expected) {
  return fail(ErrorCode::usage, fmt::format("\"{}\" is not {}", text, expected));
}

constexpr std::string_view size_words = "a size: write 4096, 64KiB, 1.5GB or 1GiB";
constexpr std::string_view rate_words =
    "a rate: write 12.5MB/s, 10MiB/s, 100Mbit/s, or bytes per second as a number";
constexpr std::string_view duration_words = "a duration: write 50us, 10ms, 5s, 2min or 1h";

std::optional<uint64_t> size_factor(std::string_view unit) {
  const std::string name = lower(unit);
  // K, M, G alone are 1024, as for QEMU and systemd.
  static constexpr std::string_view letters = "kmgtp";
  if (name.size() == 1 && letters.find(name[0]) != std::string_view::npos) {
    return factor_of(prefixes, name + "i");
  }
  if (name.empty()) return 1;
  if (name.back() != 'b' || unit.back() != 'B') return std::nullopt;
  return factor_of(prefixes, std::string_view(name).substr(0, name.size() - 1));
}

struct RateUnit {
  uint64_t factor = 1;
  bool bits = false;
};

std::optional<RateUnit> rate_unit(std::string_view unit) {
  if (unit.empty()) return RateUnit{};
  const std::string name = lower(unit);
  for (const std::string_view suffix : {"bit/s", "bps"}) {
    if (!name.ends_with(suffix)) continue;
    if (suffix == "bps" && unit[unit.size() - 3] == 'B') return std::nullopt;  // MBps: which?
    const auto factor =
        factor_of(prefixes, std::string_view(name).substr(0, name.size() - suffix.size()));
    if (!factor) return std::nullopt;
    return RateUnit{*factor, true};
  }
  if (!unit.ends_with("B/s")) return std::nullopt;
  const auto factor = factor_of(prefixes, std::string_view(name).substr(0, name.size() - 3));
  if (!factor) return std::nullopt;
  return RateUnit{*factor, false};
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  const auto quantity = split(text);
  const auto factor = quantity ? size_factor(quantity->unit) : std::nullopt;
  const auto product = factor ? multiply(*quantity, *factor) : std::nullopt;
  if (!product || !product->exact) return refuse(text, size_words);
  return product->value;
}

Result<uint64_t> parse_rate(std::string_view text) {
  const auto quantity = split(text);
  const auto unit = quantity ? rate_unit(quantity->unit) : std::nullopt;
  const auto product = unit ? multiply(*quantity, unit->factor, unit->bits ? 8 : 1) : std::nullopt;
  if (!product || (!product->exact && !unit->bits)) return refuse(text, rate_words);
  return product->value;
}

Result<uint64_t> parse_duration(std::string_view text) {
  static constexpr auto units = std::to_array<Unit>({{"ns", 1},
                                                     {"us", 1'000},
                                                     {"ms", 1'000'000},
                                                     {"s", 1'000'000'000},
                                                     {"min", 60'000'000'000},
                                                     {"h", 3'600'000'000'000},
                                                     {"d", 86'400'000'000'000}});
  const auto quantity = split(text);
  const auto factor = quantity ? factor_of(units, lower(quantity->unit)) : std::nullopt;
  const auto product = factor ? multiply(*quantity, *factor) : std::nullopt;
  if (!product || !product->exact) return refuse(text, duration_words);
  return product->value;
}

Result<uint32_t> parse_percent_hundredths(std::string_view text) {
  const auto quantity = split(text);
  const bool unit_fits = quantity && (quantity->unit.empty() || quantity->unit == "%");
  const auto product = unit_fits ? multiply(*quantity, 100) : std::nullopt;
  if (!product || !product->exact || product->value > std::numeric_limits<uint32_t>::max()) {
    return refuse(text, "a percentage: write 50 or 12.5, with at most two digits after the point");
  }
  return static_cast<uint32_t>(product->value);
}

Result<HostPort> parse_host_port(std::string_view text, uint16_t default_port) {
  constexpr std::string_view words = "an address: write 127.0.0.1:7411, [::1]:7411 or host:7411";
  std::string_view host = text;
  std::optional<std::string_view> port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return refuse(text, words);
    host = text.substr(1, end - 1);
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return refuse(text, words);
    if (!rest.empty()) port = rest.substr(1);
    in6_addr address{};
    // A scope ("%eth0") is for the resolver.
    const std::string literal(host.substr(0, host.find('%')));
    if (::inet_pton(AF_INET6, literal.c_str(), &address) != 1) return refuse(text, words);
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) != std::string_view::npos) {
      return refuse(text, "an address: put an IPv6 address in brackets, as [::1]:7411");
    }
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  const bool printable =
      std::ranges::all_of(host, [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
  if (host.empty() || !printable) return refuse(text, words);

  HostPort address{std::string(host), default_port};
  if (port) {
    const auto [end, error] =
        std::from_chars(port->data(), port->data() + port->size(), address.port);
    if (error != std::errc() || end != port->data() + port->size()) {
      return refuse(text, "an address: the port is a number from 0 to 65535");
    }
  }
  return address;
}

std::string format_host_port(const HostPort& address) {
  const bool brackets = address.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", brackets ? "[" : "", address.host, brackets ? "]" : "",
                     address.port);
}

bool is_loopback(const HostPort& address) {
  if (lower(address.host) == "localhost") return true;
  in_addr v4{};
  if (::inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, address.host.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

}  // namespace farport
