// Compression of bulk payload on slow links: when it pays, and LZ4 blocks in frames (wire.h).
//
// Thread rule: a link's worker. CompressionPolicy is pure: it is told the time and what happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace farport {

// Decides by measuring, continually. Sending a raw byte takes 1/rate seconds on the link;
// compressed it takes 1/speed on this core and ratio/rate on the link. The two overlap in part, but
// the core has other work, so their sum is what is compared:
//
//     cost = rate / speed + ratio      (1: as fast as without)
//
// On below cost_on, off above cost_off; between them it stays as it is. Only a backlogged link
// counts: one that takes everything at once would gain nothing. While it is on, the backlog may be
// gone because of it: after `patience` it tries without; a backlog that comes back turns it on
// again and doubles the patience, so that it does not flap.
class CompressionPolicy {
 public:
  static constexpr double cost_on = 0.85;
  static constexpr double cost_off = 0.95;
  // Backlogged: sends waited for the socket for this share of a window, the time spent compressing
  // left out of it; and for this share at least with that time.
  static constexpr uint64_t window_ns = 250'000'000;
  static constexpr double backlogged_share = 0.5;
  static constexpr double waited_share_min = 0.1;
  // While off and backlogged, this much of a frame is tried this often: LZ4 takes about 30 us for
  // it, 0.1 % of a core. A link that is not backlogged pays for nothing.
  static constexpr size_t sample_bytes = 16 << 10;
  static constexpr uint64_t sample_interval_ns = 30'000'000;
  static constexpr unsigned samples_min = 3;
  static constexpr uint64_t dwell_ns = 1'000'000'000;  // at least, on or off
  static constexpr uint64_t patience_min_ns = 2'000'000'000;
  static constexpr uint64_t patience_max_ns = 64'000'000'000;
  // Frames with less data are left alone: little to gain, and they may be urgent.
  static constexpr size_t frame_data_bytes_min = 1 << 10;

  enum class Next : uint8_t { plain, sample, compress };
  // What to do with the frame that is to be sent now.
  Next next(uint64_t now_ns);
  // A try took so long; `packed_bytes`: at least `bytes` when it did not shrink.
  void tried(uint64_t now_ns, size_t bytes, size_t packed_bytes, uint64_t took_ns);
  // A send that had to wait for the socket has ended: so many bytes left in that time.
  void waited(uint64_t now_ns, uint64_t bytes, uint64_t waited_ns);

  bool on() const { return on_; }
  // Of the last estimates; 0: none yet.
  double rate_bytes_s() const { return rate_; }
  double speed_bytes_s() const { return speed_; }
  double ratio() const { return ratio_; }

 private:
  void roll(uint64_t now_ns);
  void decide(uint64_t now_ns);
  void turn(bool on, uint64_t now_ns);
  double cost() const { return rate_ / speed_ + ratio_; }

  bool on_ = false;
  bool begun_ = false;
  bool backlogged_ = false;  // in the last whole window
  uint64_t window_began_ns_ = 0;
  uint64_t window_waited_ns_ = 0;
  uint64_t window_packing_ns_ = 0;
  uint64_t window_bytes_ = 0;
  uint64_t backlogged_at_ns_ = 0;
  uint64_t turned_at_ns_ = 0;
  uint64_t sampled_at_ns_ = 0;
  uint64_t patience_ns_ = patience_min_ns;
  bool impatient_ = false;  // it was last turned off for want of a backlog
  double rate_ = 0;         // bytes/s that leave
  double speed_ = 0;        // bytes/s that are compressed
  double ratio_ = 0;        // compressed / before
  unsigned samples_ = 0;    // since it was last turned off
};

struct CompressionCounters {
  uint64_t frames = 0;        // sent compressed
  uint64_t bytes_before = 0;  // of their data
  uint64_t bytes_after = 0;
  uint64_t samples = 0;  // tried, not sent
  uint64_t frames_received = 0;
  bool on = false;

  // What both did, one link after the other; `on` as of the later one.
  CompressionCounters followed_by(const CompressionCounters& later) const {
    return {.frames = frames + later.frames,
            .bytes_before = bytes_before + later.bytes_before,
            .bytes_after = bytes_after + later.bytes_after,
            .samples = samples + later.samples,
            .frames_received = frames_received + later.frames_received,
            .on = later.on};
  }
};

// Packs the data of frames into LZ4 blocks with their length before them. Allocates only when made.
class Packer {
 public:
  Packer();
  // To the front of `to`; how many bytes that took, 0 when it does not get into `to`.
  size_t pack(std::span<const std::byte> data, std::span<std::byte> to);

 private:
  std::vector<uint64_t> state_;
};

// What the length before the block says; `packed` is at least wire::compressed_prefix_bytes.
uint32_t unpacked_bytes(std::span<const std::byte> packed);
// Whether the block gives exactly `to`. Reads and writes nothing outside the two, whatever comes.
bool unpack(std::span<const std::byte> packed, std::span<std::byte> to);

}  // namespace farport
