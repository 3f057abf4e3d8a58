// The COM-PORT-OPTION's subnegotiations (RFC 2217, section 3): pure, no I/O.
//
//   client to server: IAC SB 44 command value.. IAC SE
//   server to client: the same with command + 100; for a setting, with the value now in force
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string_view>
#include <vector>

#include "devices/serial_requests.h"

namespace farport::com_port {

enum class Command : uint8_t {
  signature = 0,
  set_baud_rate = 1,
  set_data_size = 2,
  set_parity = 3,
  set_stop_size = 4,
  set_control = 5,
  notify_line_state = 6,
  notify_modem_state = 7,
  flow_control_suspend = 8,
  flow_control_resume = 9,
  set_line_state_mask = 10,
  set_modem_state_mask = 11,
  purge_data = 12,
};
inline constexpr uint8_t server_offset = 100;

// Values of set_control.
namespace control {
inline constexpr uint8_t request_flow = 0, no_flow = 1, xon_xoff = 2, hardware = 3;
inline constexpr uint8_t request_break = 4, break_on = 5, break_off = 6;
inline constexpr uint8_t request_dtr = 7, dtr_on = 8, dtr_off = 9;
inline constexpr uint8_t request_rts = 10, rts_on = 11, rts_off = 12;
inline constexpr uint8_t request_flow_in = 13, no_flow_in = 14, xon_xoff_in = 15, hardware_in = 16;
inline constexpr uint8_t dcd_flow = 17, dtr_flow_in = 18, dsr_flow = 19;
}  // namespace control

struct Request {
  Command command = Command::signature;
  uint32_t value = 0;             // of all but signature; 0 of a setting asks for the present one
  std::span<const uint8_t> text;  // signature: empty asks for ours
};

// A request of a client; an error says what is wrong with it. Longer values than a command needs
// are cut (some clients pad); shorter ones are errors, except the notifications' and the flow
// control's, which carry none.
std::expected<Request, std::string_view> decode(std::span<const uint8_t> bytes);

// What the request asks for, as a change.
enum class Change : uint8_t {
  none,   // asks for the present state, or for what the port cannot do: answer with what is
  line,   // of the line settings
  modem,  // of DTR or RTS
  brk,    // of the break
};
Change change_of(const Request& request);
// Change::line: applies it to `line`. False when the value is none the RFC has.
bool apply(const Request& request, serial::LineSettings& line);
// Change::modem: adds it to `modem`.
void apply(const Request& request, serial::ModemControl& modem);

// What a server's answer to a setting depends on.
struct PortState {
  serial::LineSettings line;
  uint8_t lines = 0;  // serial::line, DTR and RTS as last set
  bool break_on = false;
};
// Each appends a whole subnegotiation, IAC SB to IAC SE. The answer to a setting (commands 1 to 5).
void append_setting(std::vector<uint8_t>& out, const Request& request, const PortState& state);
void append_value(std::vector<uint8_t>& out, Command command, uint8_t value);
void append_signature(std::vector<uint8_t>& out, std::string_view text);

// NOTIFY-MODEMSTATE's byte of serial::line bits: DCD 128, RI 64, DSR 32, CTS 16, and what changed:
// 8, 4 (RI's end only), 2, 1.
uint8_t modem_state(uint8_t lines, uint8_t changed);
// NOTIFY-LINESTATE's byte of serial::condition bits: break 16, framing 8, parity 4, overrun 2.
uint8_t line_state(uint8_t conditions);

}  // namespace farport::com_port
