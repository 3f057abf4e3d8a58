#include "drivers/rfc2217/com_port.h"

#include <array>

#include "drivers/rfc2217/telnet.h"

namespace farport::com_port {

using serial::FlowControl;
using serial::LineSettings;
using serial::ModemControl;
using serial::Parity;
using serial::StopBits;

namespace {

uint8_t stop_size(StopBits stop) {
  switch (stop) {
    case StopBits::one:
      return 1;
    case StopBits::two:
      return 2;
    case StopBits::one_and_half:
      return 3;
  }
  return 1;
}

uint8_t flow(FlowControl flow_control) {
  switch (flow_control) {
    case FlowControl::none:
      return control::no_flow;
    case FlowControl::xon_xoff:
      return control::xon_xoff;
    case FlowControl::rts_cts:
      return control::hardware;
  }
  return control::no_flow;
}

// The answer to SET-CONTROL, by the kind of thing that was asked or set.
uint8_t control_state(uint32_t value, const PortState& state) {
  if (value >= control::request_break && value <= control::break_off) {
    return state.break_on ? control::break_on : control::break_off;
  }
  if (value >= control::request_dtr && value <= control::dtr_off) {
    return (state.lines & serial::line::dtr) != 0 ? control::dtr_on : control::dtr_off;
  }
  if (value >= control::request_rts && value <= control::rts_off) {
    return (state.lines & serial::line::rts) != 0 ? control::rts_on : control::rts_off;
  }
  // One flow control for both directions: inbound is told as the RFC numbers it.
  const bool inbound = (value >= control::request_flow_in && value <= control::hardware_in) ||
                       value == control::dtr_flow_in;
  const uint8_t both = flow(state.line.flow_control);
  return inbound ? static_cast<uint8_t>(both + control::request_flow_in) : both;
}

void append(std::vector<uint8_t>& out, Command command, std::span<const uint8_t> value) {
  std::vector<uint8_t> bytes{static_cast<uint8_t>(static_cast<uint8_t>(command) + server_offset)};
  bytes.insert(bytes.end(), value.begin(), value.end());
  telnet::append_subnegotiation(out, telnet::option_com_port, bytes);
}

}  // namespace

std::expected<Request, std::string_view> decode(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return std::unexpected("a COM-PORT-OPTION without a command");
  if (bytes[0] > static_cast<uint8_t>(Command::purge_data)) {
    return std::unexpected("an unknown COM-PORT-OPTION command");
  }
  Request request;
  request.command = static_cast<Command>(bytes[0]);
  const auto value = bytes.subspan(1);
  switch (request.command) {
    case Command::signature:
      request.text = value;
      return request;
    case Command::set_baud_rate:
      if (value.size() < 4) return std::unexpected("a baud rate of fewer than 4 bytes");
      for (const uint8_t byte : value.first(4)) request.value = request.value << 8 | byte;
      return request;
    case Command::notify_line_state:
    case Command::notify_modem_state:
    case Command::flow_control_suspend:
    case Command::flow_control_resume:
      break;
    default:
      if (value.empty()) return std::unexpected("a COM-PORT-OPTION command without its value");
  }
  if (!value.empty()) request.value = value[0];
  return request;
}

Change change_of(const Request& request) {
  const uint32_t value = request.value;
  switch (request.command) {
    case Command::set_baud_rate:
    case Command::set_data_size:
    case Command::set_parity:
    case Command::set_stop_size:
      return value == 0 ? Change::none : Change::line;
    case Command::set_control:
      break;
    default:
      return Change::none;
  }
  if (value >= control::no_flow && value <= control::hardware) return Change::line;
  if (value == control::break_on || value == control::break_off) return Change::brk;
  if (value == control::dtr_on || value == control::dtr_off || value == control::rts_on ||
      value == control::rts_off) {
    return Change::modem;
  }
  // Inbound flow control apart from outbound is more than termios can say.
  return Change::none;
}

bool apply(const Request& request, LineSettings& line) {
  const uint32_t value = request.value;
  switch (request.command) {
    case Command::set_baud_rate:
      line.baud = value;
      return true;
    case Command::set_data_size:
      if (value < 5 || value > 8) return false;
      line.data_bits = static_cast<uint8_t>(value);
      return true;
    case Command::set_parity:
      if (value < 1 || value > 5) return false;
      line.parity = static_cast<Parity>(value - 1);
      return true;
    case Command::set_stop_size:
      if (value < 1 || value > 3) return false;
      line.stop_bits = value == 1   ? StopBits::one
                       : value == 2 ? StopBits::two
                                    : StopBits::one_and_half;
      return true;
    case Command::set_control:
      line.flow_control = value == control::xon_xoff   ? FlowControl::xon_xoff
                          : value == control::hardware ? FlowControl::rts_cts
                                                       : FlowControl::none;
      return true;
    default:
      return false;
  }
}

void apply(const Request& request, ModemControl& modem) {
  const bool dtr = request.value == control::dtr_on || request.value == control::dtr_off;
  const bool on = request.value == control::dtr_on || request.value == control::rts_on;
  const uint8_t bit = dtr ? serial::line::dtr : serial::line::rts;
  modem.mask |= bit;
  modem.lines = static_cast<uint8_t>(on ? modem.lines | bit : modem.lines & ~bit);
}

void append_setting(std::vector<uint8_t>& out, const Request& request, const PortState& state) {
  const LineSettings& line = state.line;
  switch (request.command) {
    case Command::set_baud_rate:
      append(
          out, request.command,
          std::array{static_cast<uint8_t>(line.baud >> 24), static_cast<uint8_t>(line.baud >> 16),
                     static_cast<uint8_t>(line.baud >> 8), static_cast<uint8_t>(line.baud)});
      return;
    case Command::set_data_size:
      return append_value(out, request.command, line.data_bits);
    case Command::set_parity:
      return append_value(out, request.command,
                          static_cast<uint8_t>(static_cast<uint8_t>(line.parity) + 1));
    case Command::set_stop_size:
      return append_value(out, request.command, stop_size(line.stop_bits));
    default:
      return append_value(out, request.command, control_state(request.value, state));
  }
}

void append_value(std::vector<uint8_t>& out, Command command, uint8_t value) {
  append(out, command, std::array{value});
}

void append_signature(std::vector<uint8_t>& out, std::string_view text) {
  append(out, Command::signature,
         std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

uint8_t modem_state(uint8_t lines, uint8_t changed) {
  using namespace serial;
  uint8_t state = 0;
  if ((lines & line::dcd) != 0) state |= 128;
  if ((lines & line::ring) != 0) state |= 64;
  if ((lines & line::dsr) != 0) state |= 32;
  if ((lines & line::cts) != 0) state |= 16;
  if ((changed & line::dcd) != 0) state |= 8;
  if ((changed & line::ring) != 0 && (lines & line::ring) == 0) state |= 4;
  if ((changed & line::dsr) != 0) state |= 2;
  if ((changed & line::cts) != 0) state |= 1;
  return state;
}

uint8_t line_state(uint8_t conditions) {
  using namespace serial;
  uint8_t state = 0;
  if ((conditions & condition::break_received) != 0) state |= 16;
  if ((conditions & condition::framing_error) != 0) state |= 8;
  if ((conditions & condition::parity_error) != 0) state |= 4;
  if ((conditions & condition::overrun) != 0) state |= 2;
  return state;
}

}  // namespace farport::com_port
