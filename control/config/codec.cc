#include "control/config/codec.h"

#include <algorithm>

namespace farport::config {
namespace {

template <class... Cases>
struct Overload : Cases... {
  using Cases::operator()...;
};

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> items;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    std::string item = text.substr(begin, comma - begin);
    item.erase(0, std::min(item.find_first_not_of(' '), item.size()));
    item.erase(item.find_last_not_of(' ') + 1);
    if (!item.empty()) items.push_back(std::move(item));
    begin = comma + 1;
  }
  return items;
}

std::optional<uint64_t> to_number(std::string_view text, int base = 10) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// A whole number from a file or from text; nothing for anything else, negative ones included.
std::optional<uint64_t> number_of(const Value& value) {
  if (const auto* number = std::get_if<int64_t>(&value)) {
    if (*number < 0) return std::nullopt;
    return static_cast<uint64_t>(*number);
  }
  if (const auto* text = std::get_if<Text>(&value)) return to_number(text->text);
  return std::nullopt;
}

// A file's strings, or an override's list with commas.
std::optional<std::vector<std::string>> list_of(const Value& value) {
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) return *list;
  if (const auto* text = std::get_if<Text>(&value)) return split_commas(text->text);
  return std::nullopt;
}

template <class T, class Print>
std::string print_list(const std::vector<T>& items, Print print) {
  std::string text = "[";
  for (const T& item : items) {
    if (text.size() > 1) text += ", ";
    text += print(item);
  }
  return text + "]";
}

// What a parser of units.h answered, as words of what is expected.
template <class T>
Read<T> from_result(Result<T> result) {
  if (!result) return expected(result.error().message);
  return *result;
}

// A number as it is, text by `parse`.
template <class Parse>
Read<uint64_t> number_or(const Value& value, Parse parse, std::string_view words) {
  if (const auto number = number_of(value)) return *number;
  if (const std::string* text = text_of(value)) return from_result(parse(*text));
  return expected(std::string(words));
}

}  // namespace

std::string value_words(const Value& value) {
  return std::visit(
      Overload{
          [](bool v) { return fmt::format("{}", v); },
          [](int64_t v) { return fmt::format("the number {}", v); },
          [](double v) { return fmt::format("the number {}", v); },
          [](const std::string& v) { return "the text " + quoted(v); },
          [](const std::vector<std::string>&) { return std::string("a list of texts"); },
          [](const Text& v) { return quoted(v.text); },
          [](const Other& v) { return v.type; },
      },
      value);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

const std::string* text_of(const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return text;
  if (const auto* text = std::get_if<Text>(&value)) return &text->text;
  return nullptr;
}

Read<bool> Boolean::read(const Value& value) const {
  if (const auto* found = std::get_if<bool>(&value)) return *found;
  if (const auto* text = std::get_if<Text>(&value)) {
    if (text->text == "true" || text->text == "1" || text->text == "yes") return true;
    if (text->text == "false" || text->text == "0" || text->text == "no") return false;
  }
  return expected("true or false");
}

Read<std::string> String::read(const Value& value) const {
  if (const std::string* text = text_of(value)) return *text;
  return expected("a text in quotes");
}

Read<std::vector<std::string>> Strings::read(const Value& value) const {
  auto list = list_of(value);
  if (!list) return expected("a list of texts, as [\"a\", \"b\"]");
  if (std::ranges::any_of(*list, &std::string::empty)) return expected("texts that are not empty");
  return std::move(*list);
}
std::string Strings::print(const std::vector<std::string>& value) const {
  return print_list(value, [](const std::string& item) { return quoted(item); });
}

Read<uint64_t> Integer::read(const Value& value) const {
  const auto number = number_of(value);
  if (!number || *number < min || *number > max) {
    if (max == Integer{}.max) return expected(fmt::format("a whole number of {} or more", min));
    return expected(fmt::format("a whole number from {} to {}", min, max));
  }
  return *number;
}

Read<uint64_t> Size::read(const Value& value) const {
  auto size = number_or(value, parse_size, "a size: bytes as a number, or text like \"64MiB\"");
  if (size && *size < min) return expected("a size of at least " + print(min));
  return size;
}
std::string Size::print(uint64_t value) const {
  static constexpr std::string_view units[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (unit + 1 < std::size(units) && value != 0 && value % 1024 == 0) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return std::to_string(value);
  return fmt::format("\"{}{}\"", value, units[unit]);
}

Read<uint64_t> Rate::read(const Value& value) const {
  return number_or(
      value, parse_rate,
      "a rate: bytes per second as a number, or text like \"100Mbit/s\" or \"12.5MB/s\"");
}

Read<uint64_t> Seconds::read(const Value& value) const {
  const auto parse = [](std::string_view text) -> Result<uint64_t> {
    auto duration = parse_duration(text);
    if (!duration) return duration;
    if (*duration % 1'000'000'000 != 0) return fail("whole seconds");
    return *duration / 1'000'000'000;
  };
  auto seconds = number_or(value, parse, "seconds as a whole number, or text like \"5min\"");
  if (seconds && (*seconds < min || *seconds > max)) {
    return expected(fmt::format("{} to {} seconds", min, max));
  }
  return seconds;
}

Read<Percent> Percentage::read(const Value& value) const {
  const std::string words =
      fmt::format("a percentage from 0 to {}, with at most two digits after the point", max);
  Percent percent;
  if (const auto* found = std::get_if<double>(&value)) {
    const double hundredths = std::round(*found * 100);
    if (!(*found >= 0 && *found <= max) || std::abs(hundredths - *found * 100) > 1e-6) {
      return expected(words);
    }
    percent.hundredths = static_cast<uint32_t>(hundredths);
  } else if (const auto number = number_of(value)) {
    if (*number > max) return expected(words);
    percent = Percent::of(static_cast<uint32_t>(*number));
  } else if (const std::string* text = text_of(value)) {
    const auto parsed = parse_percent_hundredths(*text);
    if (!parsed) return expected(words);
    percent.hundredths = *parsed;
  } else {
    return expected(words);
  }
  if (percent.hundredths > max * 100) return expected(words);
  return percent;
}
std::string Percentage::print(Percent value) const {
  if (value.hundredths % 100 == 0) return std::to_string(value.hundredths / 100);
  return fmt::format("{}", value.hundredths / 100.0);
}

Read<double> Fraction::read(const Value& value) const {
  double fraction = -1;
  if (const auto* found = std::get_if<double>(&value)) fraction = *found;
  if (const auto* found = std::get_if<int64_t>(&value)) fraction = static_cast<double>(*found);
  if (!(fraction >= 0 && fraction <= 1)) return expected("a number from 0 to 1");
  return fraction;
}

Read<HostPort> Address::read(const Value& value) const {
  if (const std::string* text = text_of(value)) {
    return from_result(parse_host_port(*text, default_port));
  }
  return expected(fmt::format("an address, as \"host:{}\"", default_port));
}

Read<std::vector<HostPort>> Addresses::read(const Value& value) const {
  const auto list = list_of(value);
  if (!list) return expected("a list of addresses, as [\"127.0.0.1:7411\"]");
  std::vector<HostPort> addresses;
  for (const std::string& text : *list) {
    auto address = parse_host_port(text, default_port);
    if (!address) return expected(address.error().message);
    addresses.push_back(std::move(*address));
  }
  return addresses;
}
std::string Addresses::print(const std::vector<HostPort>& value) const {
  return print_list(value, [](const HostPort& item) { return quoted(format_host_port(item)); });
}

Read<uint32_t> Permissions::read(const Value& value) const {
  std::optional<uint64_t> bits;
  if (const auto* number = std::get_if<int64_t>(&value)) {
    if (*number >= 0) bits = static_cast<uint64_t>(*number);
  } else if (const std::string* text = text_of(value)) {
    bits = to_number(*text, 8);
  }
  if (!bits || *bits > 0777) return expected("permissions in octal, as \"0660\" or 0o660");
  return static_cast<uint32_t>(*bits);
}

Read<uint16_t> UsbNumber::read(const Value& value) const {
  std::optional<uint64_t> number;
  if (const auto* found = std::get_if<int64_t>(&value)) {
    if (*found >= 0) number = static_cast<uint64_t>(*found);
  } else if (const std::string* text = text_of(value)) {
    number = to_number(std::string_view(*text).substr(text->starts_with("0x") ? 2 : 0), 16);
  }
  if (!number || *number > 0xffff) return expected("a USB number, as \"1d6b\" or 0x1d6b");
  return static_cast<uint16_t>(*number);
}

}  // namespace farport::config
