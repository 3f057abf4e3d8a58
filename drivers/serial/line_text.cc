#include "drivers/serial/line_text.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>

namespace farport::serial {

namespace {

bool parse_frame(std::string_view frame, LineSettings& settings) {
  if (frame.size() < 3 || frame[0] < '5' || frame[0] > '8') return false;
  settings.data_bits = static_cast<uint8_t>(frame[0] - '0');
  constexpr std::string_view parities = "NOEMS";
  const auto parity = parities.find(static_cast<char>(std::toupper(frame[1])));
  if (parity == std::string_view::npos) return false;
  settings.parity = static_cast<Parity>(parity);
  const std::string_view stop = frame.substr(2);
  if (stop == "1") {
    settings.stop_bits = StopBits::one;
  } else if (stop == "1.5") {
    settings.stop_bits = StopBits::one_and_half;
  } else if (stop == "2") {
    settings.stop_bits = StopBits::two;
  } else {
    return false;
  }
  return true;
}

}  // namespace

Result<LineSettings> parse_line_settings(std::string_view text) {
  LineSettings settings;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), settings.baud);
  const auto rest = text.substr(static_cast<size_t>(end - text.data()));
  const bool separated = !rest.empty() && (rest.front() == ' ' || rest.front() == ',');
  const bool right = fault == std::errc() && settings.baud != 0 &&
                     (rest.empty() || (separated && parse_frame(rest.substr(1), settings)));
  if (!right) {
    return fail(
        ErrorCode::usage,
        fmt::format("'{}' is not a line setting: write the baud rate, and the frame if it is "
                    "not 8N1, as in \"2400 7E2\"",
                    text));
  }
  return settings;
}

}  // namespace farport::serial
