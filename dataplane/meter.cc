#include "dataplane/meter.h"

#include <algorithm>

namespace farport {
namespace {

constexpr std::array<uint64_t, 3> windows_ns = {1'000'000'000, 10'000'000'000, 60'000'000'000};
constexpr double ns_per_s = 1e9;
// Less than this of a window busy, and less than this moved, is no work (see the header). Polling a
// disk takes some 100 us and 44 bytes every second or two.
constexpr double work_busy_share = 0.01;
constexpr double work_bytes_s = 4096;

double per_second(uint64_t amount, uint64_t span_ns) {
  return static_cast<double>(amount) * ns_per_s / static_cast<double>(span_ns);
}

// Interrupt and isochronous transfers, and serial runs, wait for the device's data: see the header.
bool waits_for_data(TransferType type) {
  return type != TransferType::bulk && type != TransferType::control;
}

// Whether the device itself ended the transfer, so that its latency says something about it.
bool ended_by_device(TransferStatus status) {
  return status != TransferStatus::cancelled && status != TransferStatus::unplugged &&
         status != TransferStatus::link_lost;
}

}  // namespace

Meter::Meter(uint64_t nominal_bytes_s, uint64_t now_ns, DeviceKind kind)
    : nominal_bytes_s_(nominal_bytes_s),
      kind_(kind),
      opened_ns_(now_ns),
      latest_ns_(now_ns),
      busy_seen_at_ns_(now_ns) {}

Meter::Slice& Meter::slice_at(uint64_t now_ns) {
  const uint64_t number = now_ns / slice_ns;
  Slice& slice = slices_[number % slice_count];
  if (slice.number != number) slice = Slice{.number = number};
  return slice;
}

// What the device's busy time grew by. A smaller figure than the last one seen is one of two
// things. After a restart of the device end it counts from 0 again, and cannot be longer than the
// time since we last heard. A longer one is an old report that was overtaken: its time has been
// counted.
uint64_t Meter::busy_since_last(const MeterSample& sample) {
  const uint64_t silence_ns = latest_ns_ - busy_seen_at_ns_;
  uint64_t grown_ns = 0;
  if (sample.busy_ns >= busy_seen_ns_) {
    grown_ns = sample.busy_ns - busy_seen_ns_;
  } else if (sample.busy_ns <= silence_ns) {
    grown_ns = sample.busy_ns;
  } else {
    return 0;
  }
  busy_seen_ns_ = sample.busy_ns;
  busy_seen_at_ns_ = latest_ns_;
  // The figure comes from a peer: more than the longest window would only overflow the sums.
  return std::min(grown_ns, windows_ns.back());
}

void Meter::count_status(TransferStatus status) {
  switch (status) {
    case TransferStatus::ok:
      break;
    case TransferStatus::stall:
      ++stalls_;
      break;
    case TransferStatus::cancelled:
      ++cancellations_;
      break;
    default:
      ++errors_;
  }
}

void Meter::completed(const MeterSample& sample) {
  latest_ns_ = std::max(latest_ns_, sample.now_ns);
  if (in_flight_ > 0) --in_flight_;
  ++transfers_;
  bytes_ += sample.bytes;
  count_status(sample.status);

  Slice& slice = slice_at(latest_ns_);
  ++slice.transfers;
  const bool periodic = kind_ == DeviceKind::serial || waits_for_data(sample.type);
  (periodic ? slice.periodic_bytes : slice.other_bytes) += sample.bytes;
  slice.busy_ns += busy_since_last(sample);

  if (!ended_by_device(sample.status)) return;
  total_.record(sample.round_trip_ns);
  service_.record(sample.service_ns);
  channel_.record(sample.round_trip_ns - std::min(sample.service_ns, sample.round_trip_ns));
}

MeterWindow Meter::window_at(uint64_t now_ns, uint64_t window_ns) const {
  const uint64_t last = now_ns / slice_ns;
  const uint64_t full_slices = window_ns / slice_ns;
  const uint64_t first = last > full_slices ? last - full_slices : 0;
  uint64_t periodic_bytes = 0, other_bytes = 0, busy_ns = 0, transfers = 0;
  for (uint64_t number = first; number <= last; ++number) {
    const Slice& slice = slices_[number % slice_count];
    if (slice.number != number) continue;
    periodic_bytes += slice.periodic_bytes;
    other_bytes += slice.other_bytes;
    busy_ns += slice.busy_ns;
    transfers += slice.transfers;
  }

  const uint64_t span_ns = std::max(now_ns - std::max(first * slice_ns, opened_ns_), slice_ns);
  MeterWindow window{.window_ns = window_ns, .full = now_ns - opened_ns_ >= window_ns};
  window.transfers_s = per_second(transfers, span_ns);
  window.achieved_bytes_s = per_second(periodic_bytes + other_bytes, span_ns);

  const double nominal = static_cast<double>(nominal_bytes_s_);
  double demand = window.achieved_bytes_s;
  if (other_bytes > 0 && busy_ns > 0) {
    demand = per_second(periodic_bytes, span_ns) + per_second(other_bytes, busy_ns);
  } else if (other_bytes > 0) {
    demand = nominal;
  }
  if (nominal_bytes_s_ > 0) demand = std::min(demand, nominal);
  window.demand_bytes_s = std::max(demand, window.achieved_bytes_s);
  const bool worked = periodic_bytes > 0 ||
                      (other_bytes > 0 && (static_cast<double>(busy_ns) >=
                                               work_busy_share * static_cast<double>(span_ns) ||
                                           window.achieved_bytes_s >= work_bytes_s));
  window.measured = window.full && worked;
  return window;
}

void Meter::keep_measured(MeterSnapshot& fresh, const MeterSnapshot& earlier) {
  for (size_t i = 0; i < windows_ns.size(); ++i) {
    MeterWindow& window = fresh.windows[i];
    const MeterWindow& before = earlier.windows[i];
    if (window.measured || !before.measured) continue;
    window.demand_bytes_s = std::max(before.demand_bytes_s, window.achieved_bytes_s);
    window.measured = true;
  }
}

MeterSnapshot Meter::snapshot(uint64_t now_ns) const {
  const uint64_t end_ns = std::max(now_ns, latest_ns_);
  MeterSnapshot snapshot;
  for (size_t i = 0; i < windows_ns.size(); ++i) {
    snapshot.windows[i] = window_at(end_ns, windows_ns[i]);
  }
  snapshot.nominal_bytes_s = nominal_bytes_s_;
  snapshot.bytes = bytes_;
  snapshot.transfers = transfers_;
  snapshot.in_flight = in_flight_;
  snapshot.errors = errors_;
  snapshot.cancellations = cancellations_;
  snapshot.stalls = stalls_;
  return snapshot;
}

}  // namespace farport
