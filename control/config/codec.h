// How each type of key is read from a Value, and written as TOML. A codec has
//   type     its name for people
//   read     Value -> T, or the words of what is expected
//   print    T -> TOML
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "control/config/schema.h"

namespace farport::config {

template <class T>
using Read = std::expected<T, std::string>;
inline std::unexpected<std::string> expected(std::string words) {
  return std::unexpected(std::move(words));
}

std::string quoted(std::string_view text);  // as a TOML basic string
// The text of a string or of an override; nullptr for anything else.
const std::string* text_of(const Value& value);

struct Boolean {
  static constexpr std::string_view type = "boolean";
  Read<bool> read(const Value& value) const;
  std::string print(bool value) const { return value ? "true" : "false"; }
};

struct String {
  static constexpr std::string_view type = "text";
  Read<std::string> read(const Value& value) const;
  std::string print(const std::string& value) const { return quoted(value); }
};

struct Strings {
  static constexpr std::string_view type = "list of texts";
  Read<std::vector<std::string>> read(const Value& value) const;
  std::string print(const std::vector<std::string>& value) const;
};

struct Integer {
  uint64_t min = 0;
  uint64_t max = std::numeric_limits<int64_t>::max();  // TOML's integers are signed
  static constexpr std::string_view type = "number";
  Read<uint64_t> read(const Value& value) const;
  std::string print(uint64_t value) const { return std::to_string(value); }
};

// A number of bytes, or text with a unit.
struct Size {
  uint64_t min = 0;
  static constexpr std::string_view type = "size";
  Read<uint64_t> read(const Value& value) const;
  std::string print(uint64_t value) const;
};

struct Rate {
  static constexpr std::string_view type = "rate";
  Read<uint64_t> read(const Value& value) const;
  std::string print(uint64_t value) const { return fmt::format("\"{}B/s\"", value); }
};

// Seconds as a number, or text with a unit.
struct Seconds {
  uint64_t min = 0;
  uint64_t max = std::numeric_limits<uint32_t>::max();
  static constexpr std::string_view type = "seconds";
  Read<uint64_t> read(const Value& value) const;
  std::string print(uint64_t value) const { return std::to_string(value); }
};

struct Percentage {
  uint32_t max = 1000;  // whole percent
  static constexpr std::string_view type = "percentage";
  Read<Percent> read(const Value& value) const;
  std::string print(Percent value) const;
};

struct Fraction {  // 0..1
  static constexpr std::string_view type = "fraction";
  Read<double> read(const Value& value) const;
  std::string print(double value) const { return fmt::format("{}", value); }
};

struct Address {
  uint16_t default_port = session_port;
  static constexpr std::string_view type = "address";
  Read<HostPort> read(const Value& value) const;
  std::string print(const HostPort& value) const { return quoted(format_host_port(value)); }
};

struct Addresses {
  uint16_t default_port = session_port;
  static constexpr std::string_view type = "list of addresses";
  Read<std::vector<HostPort>> read(const Value& value) const;
  std::string print(const std::vector<HostPort>& value) const;
};

// File permissions: "0660", or TOML's 0o660.
struct Permissions {
  static constexpr std::string_view type = "permissions";
  Read<uint32_t> read(const Value& value) const;
  std::string print(uint32_t value) const { return fmt::format("\"{:04o}\"", value); }
};

// A USB vendor or product number: "1d6b", "0x1d6b", or TOML's 0x1d6b.
struct UsbNumber {
  static constexpr std::string_view type = "USB number";
  Read<uint16_t> read(const Value& value) const;
  std::string print(uint16_t value) const { return fmt::format("\"{:04x}\"", value); }
};

// One of a few words.
template <class T>
struct Choice {
  std::vector<std::pair<std::string_view, T>> choices;
  static constexpr std::string_view type = "choice";
  std::string words() const {
    std::string words = "one of";
    for (const auto& [name, value] : choices) words += fmt::format(" \"{}\"", name);
    return words;
  }
  Read<T> read(const Value& value) const {
    if (const std::string* text = text_of(value)) {
      for (const auto& [name, choice] : choices) {
        if (name == *text) return choice;
      }
    }
    return expected(words());
  }
  std::string print(const T& value) const {
    for (const auto& [name, choice] : choices) {
      if (choice == value) return quoted(name);
    }
    return quoted("");
  }
};

}  // namespace farport::config
