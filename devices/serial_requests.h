// How a serial port speaks in transfers: the contract between devices/serial (and the emulated
// serial port) and the drivers pty and rfc2217. Modelled on CDC PSTN 1.2 (section 6.3), widened to
// what termios can say.
//
//   endpoint 0x81  serial IN   received bytes. Completes with what has come, at least one byte;
//   rests
//                              until then. Keep a few submitted.
//   endpoint 0x01  serial OUT  bytes to send. Completes when the port has taken them all.
//   endpoint 0x82  interrupt IN  one SerialNotice, when something changed; the first one completes
//                              at once with the present state.
//   endpoint 0x00  control     setup[1] is a SerialRequest. With data: little-endian structs below.
//
// A completion with TransferStatus::invalid names a setting the port cannot do; nothing was
// changed.
#pragma once

#include <cstdint>

namespace farport::serial {

inline constexpr uint8_t endpoint_in = 0x81;
inline constexpr uint8_t endpoint_out = 0x01;
inline constexpr uint8_t endpoint_notice = 0x82;

enum class SerialRequest : uint8_t {
  set_line = 0x20,   // OUT, LineSettings
  get_line = 0x21,   // IN, LineSettings
  set_modem = 0x22,  // OUT, ModemControl: the lines in the mask change together
  set_break = 0x23,  // OUT, no data; setup[2..3] = 1 on, 0 off (little-endian)
  purge = 0x24,      // OUT, no data; setup[2] = bit 0: drop input, bit 1: drop output
  drain = 0x25,      // OUT, no data; completes when all output has left the port
};

enum class Parity : uint8_t { none = 0, odd = 1, even = 2, mark = 3, space = 4 };
enum class StopBits : uint8_t { one = 0, one_and_half = 1, two = 2 };  // as CDC's bCharFormat
enum class FlowControl : uint8_t { none = 0, rts_cts = 1, xon_xoff = 2 };

struct LineSettings {
  uint32_t baud = 9600;   // any rate (BOTHER); 0 hangs up (drops DTR)
  uint8_t data_bits = 8;  // 5..8
  Parity parity = Parity::none;
  StopBits stop_bits = StopBits::one;
  FlowControl flow_control = FlowControl::none;
  bool operator==(const LineSettings&) const = default;
};
static_assert(sizeof(LineSettings) == 8);

// Modem lines, as bits.
namespace line {
inline constexpr uint8_t dtr = 1;  // ours: out of the port
inline constexpr uint8_t rts = 2;
inline constexpr uint8_t cts = 4;  // theirs: into the port
inline constexpr uint8_t dsr = 8;
inline constexpr uint8_t dcd = 16;
inline constexpr uint8_t ring = 32;
}  // namespace line

struct ModemControl {
  uint8_t mask = 0;   // line::dtr, line::rts: which ones to set
  uint8_t lines = 0;  // to what
};
static_assert(sizeof(ModemControl) == 2);

// Conditions since the last notice, as bits.
namespace condition {
inline constexpr uint8_t break_received = 1;
inline constexpr uint8_t framing_error = 2;
inline constexpr uint8_t parity_error = 4;
inline constexpr uint8_t overrun = 8;
inline constexpr uint8_t hangup = 16;
}  // namespace condition

struct SerialNotice {
  uint8_t lines = 0;    // present state of all lines
  uint8_t changed = 0;  // lines that changed since the last notice (0 in the first)
  uint8_t conditions = 0;
  uint8_t reserved = 0;
};
static_assert(sizeof(SerialNotice) == 4);

}  // namespace farport::serial
