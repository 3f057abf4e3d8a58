#include "drivers/rfc2217/telnet.h"

#include <algorithm>

namespace farport::telnet {

std::optional<Event> Parser::next(std::span<const uint8_t>& input) {
  while (!input.empty() && state_ != State::failed) {
    if (state_ == State::data) {
      if (auto event = data_run(input)) return event;
      continue;
    }
    const auto position = input.first(1);
    const uint8_t byte = input.front();
    input = input.subspan(1);
    std::optional<Event> event;
    switch (state_) {
      case State::command:
        event = command(byte, position);
        break;
      case State::option:
        state_ = State::data;
        event = Event{Event::Kind::negotiation, {}, command_, byte, {}};
        break;
      case State::sb_option:
        option_ = byte;
        length_ = 0;
        state_ = State::sb_bytes;
        break;
      default:
        event = sb_byte(byte);
        break;
    }
    if (event) return event;
  }
  if (state_ == State::failed) input = {};
  return std::nullopt;
}

// Data up to the next IAC.
std::optional<Event> Parser::data_run(std::span<const uint8_t>& input) {
  const auto end = std::find(input.begin(), input.end(), iac);
  const auto length = static_cast<size_t>(end - input.begin());
  const auto run = input.first(length);
  if (end == input.end()) {
    input = {};
  } else {
    state_ = State::command;
    input = input.subspan(length + 1);
  }
  if (run.empty()) return std::nullopt;
  return Event{Event::Kind::data, run, 0, 0, {}};
}

std::optional<Event> Parser::command(uint8_t byte, std::span<const uint8_t> position) {
  switch (byte) {
    case iac:
      state_ = State::data;
      return Event{Event::Kind::data, position, 0, 0, {}};
    case will:
    case wont:
    case do_:
    case dont:
      command_ = byte;
      state_ = State::option;
      return std::nullopt;
    case sb:
      state_ = State::sb_option;
      return std::nullopt;
    default:
      if (byte < se) return fail("an unknown Telnet command");
      state_ = State::data;
      if (byte == se) return std::nullopt;  // without a beginning: as good as nothing
      return Event{Event::Kind::command, {}, byte, 0, {}};
  }
}

std::optional<Event> Parser::sb_byte(uint8_t byte) {
  if (state_ == State::sb_bytes && byte == iac) {
    state_ = State::sb_command;
    return std::nullopt;
  }
  if (state_ == State::sb_command) {
    if (byte == se) {
      state_ = State::data;
      return Event{Event::Kind::subnegotiation, std::span(bytes_).first(length_), 0, option_, {}};
    }
    if (byte != iac) return fail("a Telnet subnegotiation that is broken off");
    state_ = State::sb_bytes;
  }
  if (length_ == bytes_.size()) return fail("a Telnet subnegotiation that does not end");
  bytes_[length_++] = byte;
  return std::nullopt;
}

Event Parser::fail(std::string_view message) {
  state_ = State::failed;
  return Event{Event::Kind::error, {}, 0, 0, message};
}

void append_data(std::vector<uint8_t>& out, std::span<const uint8_t> bytes) {
  for (const uint8_t byte : bytes) {
    out.push_back(byte);
    if (byte == iac) out.push_back(iac);
  }
}

void append_negotiation(std::vector<uint8_t>& out, uint8_t command, uint8_t option) {
  out.insert(out.end(), {iac, command, option});
}

void append_subnegotiation(std::vector<uint8_t>& out, uint8_t option,
                           std::span<const uint8_t> bytes) {
  out.insert(out.end(), {iac, sb, option});
  append_data(out, bytes);
  out.insert(out.end(), {iac, se});
}

bool Options::wanted(uint8_t option, bool ours) {
  switch (option) {
    case option_binary:
    case option_suppress_go_ahead:
    case option_com_port:
      return true;
    // The device behind the port echoes, or does not: the client's terminal must not.
    case option_echo:
      return ours;
    default:
      return false;
  }
}

void Options::offer(std::vector<uint8_t>& out) {
  for (const uint8_t option : {option_binary, option_suppress_go_ahead, option_echo}) {
    append_negotiation(out, will, option);
    state_[index(option, true)] = asked;
  }
  for (const uint8_t option : {option_binary, option_suppress_go_ahead, option_com_port}) {
    append_negotiation(out, do_, option);
    state_[index(option, false)] = asked;
  }
}

void Options::negotiate(uint8_t command, uint8_t option, std::vector<uint8_t>& out) {
  const bool ours = command == do_ || command == dont;
  const bool on = command == do_ || command == will;
  State& state = state_[index(option, ours)];
  const State before = state;
  if (on && !wanted(option, ours)) {
    append_negotiation(out, ours ? wont : dont, option);
    return;
  }
  state = on ? yes : no;
  if (before == asked || before == state) return;  // an answer, or nothing new
  append_negotiation(out, ours ? (on ? will : wont) : (on ? do_ : dont), option);
}

}  // namespace farport::telnet
