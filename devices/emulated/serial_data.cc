// The data path of the emulated serial port: bytes leave at the baud rate, a piece at a time, and
// come back in loopback; lines come of themselves in chatter.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "devices/emulated/serial.h"

namespace farport {

namespace {

using namespace serial;

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr uint64_t kNsPerMicrosecond = 1'000;
// Output moves in pieces of this duration: fine enough to look like a flow of characters, coarse
// enough to cost nothing.
constexpr uint64_t kPieceNs = 4'000'000;
constexpr uint32_t kPieceBytesMax = 4096;

// Bits of one character on the line, in halves: start, data, parity, stop.
uint64_t half_bits(const LineSettings& line) {
  const uint64_t stop = line.stop_bits == StopBits::one   ? 2
                        : line.stop_bits == StopBits::two ? 4
                                                          : 3;
  return 2 + 2 * uint64_t{line.data_bits} + (line.parity == Parity::none ? 0 : 2) + stop;
}

}  // namespace

// How long `count` characters take, at the baud rate, but no faster than the service rate.
uint64_t EmulatedSerial::bytes_ns(uint64_t count) const {
  const uint64_t baud_ns = count * half_bits(line_) * kNsPerSecond / (2 * uint64_t{line_.baud});
  if (settings_.rate_bytes_s == 0) return baud_ns;
  return std::max(baud_ns, count * kNsPerSecond / settings_.rate_bytes_s);
}

bool EmulatedSerial::output_held() const {
  if (break_ || line_.baud == 0) return true;
  if (line_.flow_control == FlowControl::rts_cts && (lines_ & line::cts) == 0) return true;
  return !chatter() && line_.flow_control != FlowControl::none && received_.room() == 0;
}

// Puts the next piece of output on the line, which is free since `from_ns`.
void EmulatedSerial::begin_output(uint64_t from_ns) {
  if (!running() || output_timer_->armed() || writing_.empty() || output_held()) return;
  const Transfer& transfer = *writing_.front();
  const bool begins = transfer.device_cookie == 0;
  const uint64_t left = transfer.length - transfer.device_cookie;
  uint64_t count =
      std::clamp<uint64_t>(kPieceNs / std::max<uint64_t>(bytes_ns(1), 1), 1, kPieceBytesMax);
  count = std::min(count, left);
  if (!chatter() && line_.flow_control != FlowControl::none) {
    count = std::min<uint64_t>(count, received_.room());
  }
  uint64_t duration_ns = bytes_ns(count);
  if (begins) {
    if (!chatter()) fault_ = faults_.next();
    duration_ns += settings_.delay_us * kNsPerMicrosecond;
    if (!chatter() && fault_ == FaultKind::late)
      duration_ns += settings_.late_us * kNsPerMicrosecond;
  }
  output_bytes_ = static_cast<uint32_t>(count);
  output_end_ns_ = std::max(from_ns, output_end_ns_) + duration_ns;
  output_timer_->arm_at(output_end_ns_);
}

void EmulatedSerial::output_moved() {
  if (fault_ == FaultKind::unplug) return unplug_self();
  Transfer& transfer = *writing_.front();
  const auto piece = transfer.data().subspan(transfer.device_cookie, output_bytes_);
  transfer.device_cookie += output_bytes_;
  const bool whole = transfer.device_cookie == transfer.length;
  if (whole) writing_.pop();
  if (!chatter()) take_in(piece);
  // Only now the callbacks, each of which may submit, cancel or stop.
  if (whole) complete(transfer, TransferStatus::ok, transfer.length);
  give_notices();
  give_received();
  finish_drains();
  begin_output(output_end_ns_);
}

void EmulatedSerial::finish_drains() {
  while (writing_.empty() && !draining_.empty()) {
    complete(*draining_.pop(), TransferStatus::ok, 0);
  }
}

// What comes out of the line's other end.
void EmulatedSerial::take_in(std::span<const std::byte> data) {
  if (fault_ == FaultKind::stall) conditions_ |= condition::framing_error;
  if (fault_ == FaultKind::short_data) {
    data = data.first(data.size() / 2);
    conditions_ |= condition::overrun;
  }
  const auto mask = static_cast<std::byte>((1u << line_.data_bits) - 1);
  std::array<std::byte, kPieceBytesMax> masked;
  std::ranges::transform(data, masked.begin(), [mask](std::byte b) { return b & mask; });
  if (received_.push(std::span(masked).first(data.size())) < data.size()) {
    conditions_ |= condition::overrun;
  }
}

void EmulatedSerial::give_received() {
  while (!reading_.empty() && !received_.empty()) {
    Transfer& transfer = *reading_.pop();
    complete(transfer, TransferStatus::ok, static_cast<uint32_t>(received_.pop(transfer.data())));
  }
}

// Chatter: the next line begins at the next beat, or when the line before it has left.
void EmulatedSerial::begin_line(uint64_t from_ns) {
  const bool silenced = line_.flow_control == FlowControl::rts_cts && (lines_ & line::rts) == 0;
  if (!running() || line_.baud == 0 || silenced) return;
  const uint64_t line_bytes = settings_.name.size() + 11;
  const uint64_t beat_ns = kNsPerSecond / settings_.lines_s;
  line_end_ns_ = std::max(from_ns, line_end_ns_) + std::max(beat_ns, bytes_ns(line_bytes));
  line_timer_->arm_at(line_end_ns_);
}

void EmulatedSerial::line_sent() {
  fault_ = faults_.next();
  if (fault_ == FaultKind::unplug) return unplug_self();
  std::array<char, 96> text;
  const auto end = fmt::format_to_n(text.begin(), text.size(), "{} {:08}\r\n", settings_.name,
                                    line_number_++ % 100'000'000);
  const auto line = std::as_bytes(std::span(text).first(end.size));
  if (fault_ == FaultKind::late) line_end_ns_ += settings_.late_us * kNsPerMicrosecond;
  if (received_.room() >= line.size()) {
    take_in(line);
  } else {
    conditions_ |= condition::overrun;
  }
  give_notices();
  give_received();
  begin_line(line_end_ns_);
}

}  // namespace farport
