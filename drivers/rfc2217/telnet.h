// Telnet's framing (RFC 854, 855) as far as a serial port server needs it: pure, no I/O.
//
//   IAC IAC                         one data byte 255
//   IAC WILL|WONT|DO|DONT option    negotiation
//   IAC SB option bytes.. IAC SE    subnegotiation; 255 in bytes is doubled
//   IAC command                     anything else: BREAK, AYT, NOP, ...
//
// All other bytes are data, unchanged: both directions are taken as BINARY (RFC 856) from the
// start, as a serial line needs and as RFC 2217 clients assume.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace farport::telnet {

inline constexpr uint8_t se = 240;
inline constexpr uint8_t nop = 241;
inline constexpr uint8_t brk = 243;
inline constexpr uint8_t are_you_there = 246;
inline constexpr uint8_t sb = 250;
inline constexpr uint8_t will = 251;
inline constexpr uint8_t wont = 252;
inline constexpr uint8_t do_ = 253;
inline constexpr uint8_t dont = 254;
inline constexpr uint8_t iac = 255;

inline constexpr uint8_t option_binary = 0;             // RFC 856
inline constexpr uint8_t option_echo = 1;               // RFC 857
inline constexpr uint8_t option_suppress_go_ahead = 3;  // RFC 858
inline constexpr uint8_t option_com_port = 44;          // RFC 2217

// Bytes of one subnegotiation; RFC 2217's are at most 5, but for a signature's text.
inline constexpr size_t subnegotiation_bytes_max = 256;

struct Event {
  enum class Kind : uint8_t { data, command, negotiation, subnegotiation, error };
  Kind kind = Kind::data;
  std::span<const uint8_t> bytes;  // data: of the input; subnegotiation: until the next call
  uint8_t command = 0;             // command; negotiation: will, wont, do_, dont
  uint8_t option = 0;              // negotiation, subnegotiation
  std::string_view message;        // error: why; the parser takes nothing more
};

class Parser {
 public:
  // Takes the next event off the front of `input`; empty when the input is used up (what it ends
  // within goes on with the next input).
  std::optional<Event> next(std::span<const uint8_t>& input);

 private:
  enum class State : uint8_t { data, command, option, sb_option, sb_bytes, sb_command, failed };
  std::optional<Event> data_run(std::span<const uint8_t>& input);
  std::optional<Event> command(uint8_t byte, std::span<const uint8_t> position);
  std::optional<Event> sb_byte(uint8_t byte);
  Event fail(std::string_view message);

  State state_ = State::data;
  uint8_t command_ = 0;
  uint8_t option_ = 0;
  size_t length_ = 0;
  std::array<uint8_t, subnegotiation_bytes_max> bytes_{};
};

// Each appends to `out`.
void append_data(std::vector<uint8_t>& out, std::span<const uint8_t> bytes);
void append_negotiation(std::vector<uint8_t>& out, uint8_t command, uint8_t option);
void append_subnegotiation(std::vector<uint8_t>& out, uint8_t option,
                           std::span<const uint8_t> bytes);

// The options of one connection, by the rule that keeps two sides from answering each other for
// ever (RFC 1143): only a change of state is answered.
class Options {
 public:
  // Whether `option` may be on at our side (we WILL) or theirs (we DO).
  static bool wanted(uint8_t option, bool ours);
  // Our opening requests.
  void offer(std::vector<uint8_t>& out);
  // Theirs, or their answer to ours; appends the answer, if any.
  void negotiate(uint8_t command, uint8_t option, std::vector<uint8_t>& out);
  bool on(uint8_t option, bool ours) const { return state_[index(option, ours)] == yes; }

 private:
  enum State : uint8_t { no, asked, yes };
  static size_t index(uint8_t option, bool ours) { return size_t{option} * 2 + (ours ? 1 : 0); }
  std::array<State, 512> state_{};
};

}  // namespace farport::telnet
