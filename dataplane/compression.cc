#include "dataplane/compression.h"

#include <lz4.h>

#include <algorithm>
#include <cstring>

#include "dataplane/wire.h"

namespace farport {

namespace {

// A new measurement counts for so much; the ones before it for the rest.
constexpr double kRateWeight = 0.5;    // of a window
constexpr double kTriedWeight = 0.25;  // of a frame or sample

void blend(double& estimate, double measured, double weight) {
  estimate = estimate == 0 ? measured : estimate + weight * (measured - estimate);
}

}  // namespace

CompressionPolicy::Next CompressionPolicy::next(uint64_t now_ns) {
  roll(now_ns);
  if (on_) return Next::compress;
  if (!backlogged_ || now_ns - sampled_at_ns_ < sample_interval_ns) return Next::plain;
  sampled_at_ns_ = now_ns;
  return Next::sample;
}

void CompressionPolicy::tried(uint64_t now_ns, size_t bytes, size_t packed_bytes,
                              uint64_t took_ns) {
  const auto size = static_cast<double>(bytes);
  blend(speed_, size * 1e9 / static_cast<double>(std::max<uint64_t>(took_ns, 1)), kTriedWeight);
  blend(ratio_, std::min(1.0, static_cast<double>(packed_bytes) / size), kTriedWeight);
  ++samples_;
  window_packing_ns_ += took_ns;
  decide(now_ns);
}

void CompressionPolicy::waited(uint64_t now_ns, uint64_t bytes, uint64_t waited_ns) {
  roll(now_ns);
  window_bytes_ += bytes;
  window_waited_ns_ += waited_ns;
  roll(now_ns);
}

// Ends the window when it is over: whether the link was backlogged in it, and how fast it was then.
void CompressionPolicy::roll(uint64_t now_ns) {
  if (!begun_) {
    begun_ = true;
    window_began_ns_ = backlogged_at_ns_ = now_ns;
    return;
  }
  const uint64_t elapsed_ns = now_ns - window_began_ns_;
  // A wait that is longer than a window is told at its end.
  if (elapsed_ns < window_ns) return;
  const uint64_t free_ns = elapsed_ns - std::min(elapsed_ns, window_packing_ns_);
  const auto waited_ns = static_cast<double>(window_waited_ns_);
  backlogged_ = waited_ns >= backlogged_share * static_cast<double>(free_ns) &&
                waited_ns >= waited_share_min * static_cast<double>(elapsed_ns);
  if (backlogged_) {
    backlogged_at_ns_ = now_ns;
    blend(rate_, static_cast<double>(window_bytes_) * 1e9 / waited_ns, kRateWeight);
  }
  window_began_ns_ = now_ns;
  window_bytes_ = window_waited_ns_ = window_packing_ns_ = 0;
  decide(now_ns);
}

void CompressionPolicy::decide(uint64_t now_ns) {
  const bool settled = turned_at_ns_ == 0 || now_ns - turned_at_ns_ >= dwell_ns;
  if (on_) {
    if (settled && cost() > cost_off) {
      impatient_ = false;
      turn(false, now_ns);
    } else if (now_ns - backlogged_at_ns_ > patience_ns_) {
      impatient_ = true;
      turn(false, now_ns);
    }
    return;
  }
  // Without a backlog right after a try without: that was needed no more.
  if (impatient_ && now_ns - turned_at_ns_ > patience_ns_) {
    impatient_ = false;
    patience_ns_ = patience_min_ns;
  }
  if (!backlogged_ || samples_ < samples_min || rate_ == 0 || cost() >= cost_on) return;
  if (impatient_) {
    patience_ns_ = std::min(patience_ns_ * 2, patience_max_ns);
    turn(true, now_ns);
  } else if (settled) {
    turn(true, now_ns);
  }
}

void CompressionPolicy::turn(bool on, uint64_t now_ns) {
  on_ = on;
  turned_at_ns_ = now_ns;
  backlogged_at_ns_ = now_ns;
  samples_ = 0;
}

Packer::Packer()
    : state_((static_cast<size_t>(LZ4_sizeofState()) + sizeof(uint64_t) - 1) / sizeof(uint64_t)) {}

size_t Packer::pack(std::span<const std::byte> data, std::span<std::byte> to) {
  if (to.size() <= wire::compressed_prefix_bytes) return 0;
  const auto block = to.subspan(wire::compressed_prefix_bytes);
  const int bytes =
      LZ4_compress_fast_extState(state_.data(), reinterpret_cast<const char*>(data.data()),
                                 reinterpret_cast<char*>(block.data()),
                                 static_cast<int>(data.size()), static_cast<int>(block.size()), 1);
  if (bytes <= 0) return 0;
  wire::encode(to.data(), static_cast<uint32_t>(data.size()));
  return wire::compressed_prefix_bytes + static_cast<size_t>(bytes);
}

uint32_t unpacked_bytes(std::span<const std::byte> packed) {
  return wire::decode<uint32_t>(packed.first(wire::compressed_prefix_bytes));
}

bool unpack(std::span<const std::byte> packed, std::span<std::byte> to) {
  const auto block = packed.subspan(wire::compressed_prefix_bytes);
  return LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()),
                             reinterpret_cast<char*>(to.data()), static_cast<int>(block.size()),
                             static_cast<int>(to.size())) == static_cast<int>(to.size());
}

}  // namespace farport
