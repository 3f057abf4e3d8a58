#include "devices/serial/termios_settings.h"

#include <asm/termbits.h>

#include <algorithm>

namespace farport::serial {

namespace {

constexpr tcflag_t line_flags = CSIZE | PARENB | PARODD | CMSPAR | CSTOPB | CRTSCTS;
constexpr tcflag_t software_flow_flags = IXON | IXOFF;

tcflag_t size_flag(uint8_t data_bits) {
  switch (data_bits) {
    case 5:
      return CS5;
    case 6:
      return CS6;
    case 7:
      return CS7;
    default:
      return CS8;
  }
}

tcflag_t parity_flags(Parity parity) {
  switch (parity) {
    case Parity::none:
      return 0;
    case Parity::odd:
      return PARENB | PARODD;
    case Parity::even:
      return PARENB;
    case Parity::mark:
      return PARENB | CMSPAR | PARODD;
    case Parity::space:
      return PARENB | CMSPAR;
  }
  return 0;
}

Parity parity_of(tcflag_t flags) {
  if ((flags & PARENB) == 0) return Parity::none;
  const bool odd = (flags & PARODD) != 0;
  if ((flags & CMSPAR) != 0) return odd ? Parity::mark : Parity::space;
  return odd ? Parity::odd : Parity::even;
}

}  // namespace

bool valid(const LineSettings& line) {
  return line.data_bits >= 5 && line.data_bits <= 8 && line.parity <= Parity::space &&
         line.stop_bits <= StopBits::two && line.flow_control <= FlowControl::xon_xoff;
}

void make_raw(termios2& settings) {
  settings.c_iflag = 0;
  settings.c_oflag = 0;
  settings.c_lflag = 0;
  settings.c_cflag |= CREAD | CLOCAL;
  settings.c_line = 0;  // N_TTY
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  settings.c_cc[VSTART] = 0x11;  // XON, DC1
  settings.c_cc[VSTOP] = 0x13;   // XOFF, DC3
}

bool apply_line(const LineSettings& line, termios2& settings) {
  if (!valid(line)) return false;
  if (line.stop_bits == StopBits::one_and_half && line.data_bits != 5) return false;
  settings.c_cflag &= ~(line_flags | CBAUD | (CBAUD << IBSHIFT));
  settings.c_cflag |= size_flag(line.data_bits) | parity_flags(line.parity);
  if (line.stop_bits != StopBits::one) settings.c_cflag |= CSTOPB;
  if (line.flow_control == FlowControl::rts_cts) settings.c_cflag |= CRTSCTS;
  settings.c_iflag &= ~software_flow_flags;
  if (line.flow_control == FlowControl::xon_xoff) settings.c_iflag |= software_flow_flags;
  if (line.baud != 0) settings.c_cflag |= BOTHER | (BOTHER << IBSHIFT);
  settings.c_ispeed = line.baud;
  settings.c_ospeed = line.baud;
  return true;
}

LineSettings line_of(const termios2& settings) {
  const tcflag_t flags = settings.c_cflag;
  LineSettings line;
  line.baud = (flags & CBAUD) == B0 ? 0 : settings.c_ospeed;
  switch (flags & CSIZE) {
    case CS5:
      line.data_bits = 5;
      break;
    case CS6:
      line.data_bits = 6;
      break;
    case CS7:
      line.data_bits = 7;
      break;
    default:
      line.data_bits = 8;
      break;
  }
  line.parity = parity_of(flags);
  if ((flags & CSTOPB) != 0) {
    line.stop_bits = line.data_bits == 5 ? StopBits::one_and_half : StopBits::two;
  }
  if ((flags & CRTSCTS) != 0) {
    line.flow_control = FlowControl::rts_cts;
  } else if ((settings.c_iflag & IXON) != 0) {
    line.flow_control = FlowControl::xon_xoff;
  }
  return line;
}

bool fulfils(const termios2& asked, const termios2& got) {
  // PARODD and CMSPAR mean nothing without PARENB.
  const auto parity_matters = [](tcflag_t flags) {
    return (flags & PARENB) != 0 ? flags : flags & ~tcflag_t{PARODD | CMSPAR};
  };
  if (((parity_matters(asked.c_cflag) ^ parity_matters(got.c_cflag)) & line_flags) != 0) {
    return false;
  }
  if (((asked.c_iflag ^ got.c_iflag) & software_flow_flags) != 0) return false;
  const LineSettings wanted = line_of(asked), present = line_of(got);
  const uint64_t difference =
      wanted.baud > present.baud ? wanted.baud - present.baud : present.baud - wanted.baud;
  return difference * 100 <= uint64_t{wanted.baud} * 3;
}

uint64_t transmission_ns(const LineSettings& line, uint64_t bytes) {
  constexpr uint64_t bits_per_character_max = 12;  // start, 8 data, parity, 2 stop
  return bytes * bits_per_character_max * 1'000'000'000 / std::max<uint64_t>(line.baud, 110);
}

}  // namespace farport::serial
