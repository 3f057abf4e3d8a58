// What a host may be called, wherever its name is written: known_hosts, certificates, commands, the
// configuration.
#pragma once

#include <algorithm>
#include <string_view>

namespace farport {

inline constexpr size_t host_name_bytes_max = 253;  // as of a domain name (RFC 1035 2.3.4)
// For messages.
inline constexpr std::string_view host_name_words =
    "1 to 253 visible ASCII characters without spaces and \"/\", not beginning with \"-\" or \"#\"";

// What known_hosts, certificates and commands can carry.
constexpr bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= host_name_bytes_max && text.front() != '-' &&
         text.front() != '#' &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

// Of these, what a shell takes as it is: for commands that people copy from messages.
constexpr bool is_plain_name(std::string_view text) {
  return is_host_name(text) && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
         });
}

}  // namespace farport
