// Line settings as the kernel's termios2 says them, and back. Pure; shared by the serial port
// (device end) and the pty (driver end).
//
// termios2 (asm/termbits.h) rather than POSIX termios, because only BOTHER takes any baud rate. It
// cannot be included together with <termios.h>, so it is only named here.
#pragma once

#include <cstdint>

#include "devices/serial_requests.h"

struct termios2;

namespace farport::serial {

// Every field holds a value of its enumeration or range: to be asked of whatever came from a peer.
bool valid(const LineSettings& line);

// Bytes pass unchanged, received ones are there at once (VMIN 1, VTIME 0), a lost carrier does not
// hang up (CLOCAL; it is reported by a notice instead), breaks and errors do not alter the data
// except that a break reads as one 0 byte. Baud rate, size, parity, stop bits and RTS/CTS stay;
// XON/XOFF, which every tty starts with and which would swallow two byte values, is off until asked
// for.
void make_raw(termios2& settings);

// False, with `settings` untouched, for what termios cannot say: 1.5 stop bits with more than 5
// data bits (with 5, a 16550 makes 1.5 out of CSTOPB). Baud 0 is B0: hang up.
bool apply_line(const LineSettings& line, termios2& settings);

LineSettings line_of(const termios2& settings);

// Whether a port that was asked for `asked` and now says `got` does what was asked. Its divisor may
// miss the baud rate by up to 3 %: at 10 bits a character the last bit is then still sampled
// within its own half.
bool fulfils(const termios2& asked, const termios2& got);

// Time that `bytes` characters take at these settings; at least 110 baud is assumed.
uint64_t transmission_ns(const LineSettings& line, uint64_t bytes);

}  // namespace farport::serial
