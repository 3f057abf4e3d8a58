// The timing of an isochronous stream behind a network: how late its results come, by how much that
// varies, and when a packet is due at the consumer so that it keeps the device's pace. Pure; times
// are of one clock (CLOCK_MONOTONIC), packets are counted from the stream's start.
//
// A packet that ends the stream's n-th interval is due at offset + n x interval. Results come at
// base + n x interval + jitter, where base is the least of the last `window`: it follows the
// drift between the device's clock and ours (USB 2.0, 7.1.11: 500 ppm).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace farport {

class StreamClock {
 public:
  static constexpr size_t window = 128;
  static constexpr unsigned jitter_percent = 98;  // of the results of a window are that punctual
  static constexpr uint64_t steer_share = 64;     // the pace changes by one part in so many

  StreamClock() = default;
  explicit StreamClock(uint64_t interval_ns) : interval_ns_(interval_ns) {}

  // Packet 0 begins: the n-th ends n intervals from now. Forgets what was measured.
  void start(uint64_t now_ns) {
    offset_ns_ = static_cast<int64_t>(now_ns);
    forget();
  }
  void forget() { count_ = 0; }

  // The result that holds all packets up to `packets` came.
  void arrived(uint64_t packets, uint64_t now_ns);
  bool measured() const { return count_ != 0; }
  int64_t base_ns() const { return base_ns_; }
  uint64_t jitter_ns() const { return jitter_ns_; }

  uint64_t due_ns(uint64_t packets) const {
    return static_cast<uint64_t>(offset_ns_) + packets * interval_ns_;
  }
  int64_t offset_ns() const { return offset_ns_; }
  // Everything is due so much later (or earlier) from now on.
  void shift(int64_t by_ns) { offset_ns_ += by_ns; }
  // The same, no faster than the share above of the time that `packets` take.
  void steer(int64_t offset_ns, uint64_t packets);

 private:
  uint64_t interval_ns_ = 1;
  int64_t offset_ns_ = 0;
  int64_t base_ns_ = 0;
  uint64_t jitter_ns_ = 0;
  std::array<int64_t, window> delays_{};
  size_t count_ = 0;  // ever; the last `window` are kept
};

}  // namespace farport
