// What a channel moved, and what its device would move if the channel were no limit.
//
//   achieved   payload bytes completed, both directions, over 1 s, 10 s and 60 s
//   service    how long the device held a transfer: measured and reported by the device end
//   channel    round trip minus service: what the network and we cost
//   demand     bytes / time in which the device had at least one transfer in service, capped by the
//              bus's nominal rate (DESIGN.md, Measuring)
//
// Interrupt, isochronous and resting serial transfers wait for data that the device has not made
// yet: for them the device is the limit, and their demand is what they achieve. So the device's
// busy time counts control and bulk transfers only, and demand is
//
//   periodic bytes / window  +  other bytes / busy time in the window,
//
// A serial port's settings are control requests of a few bytes that its driver answers at once:
// what they moved in no time says nothing of the port. All of a serial port's bytes count as
// periodic.
//
// never less than achieved. When bytes moved in no measurable busy time, it is the nominal rate, or
// what was achieved if none is known. It is always a finite number.
//
// A window is cut into slices of 100 ms. One that ends now is the slice being filled, as far as it
// has come, and the full slices before it: the 1 s window covers 1.0 to 1.1 s, and its sums are
// divided by exactly that. Until the meter has run so long, they are divided by the time it has
// run, but by no less than one slice, so that the first transfer is no burst of gigabytes per
// second.
//
// A window without work says nothing of what the device needs: its demand is not a measurement, and
// whoever decides by it keeps the last one that was. A few bytes in hardly any busy time are no
// work either: a disk that nobody uses is asked now and then whether its medium is still there.
//
// Only durations are compared: the two ends need no common clock. Not thread-safe: one worker.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/histogram.h"
#include "dataplane/transfer.h"
#include "devices/device_info.h"

namespace farport {

// One completed transfer, as the near end of a channel saw it.
//
// `busy_ns` comes from the device end. It may fall back to 0 when that end restarts, and a report
// that was overtaken by another may be older than what was seen; the meter tells the two apart.
struct MeterSample {
  uint64_t now_ns = 0;
  uint64_t bytes = 0;  // payload moved, either direction
  TransferType type = TransferType::bulk;
  TransferStatus status = TransferStatus::ok;
  uint64_t round_trip_ns = 0;  // submit to completion at the driver end
  uint64_t service_ns = 0;     // of which at the device
  uint64_t busy_ns = 0;  // cumulative: time the device had a control or bulk transfer in service
};

struct MeterWindow {
  uint64_t window_ns = 0;  // the nominal length: 1, 10 or 60 s
  bool full = false;       // the meter has run for at least that long
  bool measured = false;   // full, and the device had work in it: demand_bytes_s says something
  double achieved_bytes_s = 0;
  double demand_bytes_s = 0;
  double transfers_s = 0;
};

struct MeterSnapshot {
  std::array<MeterWindow, 3> windows;  // 1 s, 10 s, 60 s
  uint64_t nominal_bytes_s = 0;        // 0: unknown
  uint64_t bytes = 0, transfers = 0;   // since the channel opened
  uint64_t in_flight = 0;
  // Each transfer that did not end well counts in one of the three.
  uint64_t errors = 0, cancellations = 0, stalls = 0;
  uint64_t retransmissions = 0, resumes = 0;  // filled by whoever has a session
};

class Meter {
 public:
  // `nominal_bytes_s`: cap of demand; 0 means none is known. `now_ns`: when the channel opened.
  Meter(uint64_t nominal_bytes_s, uint64_t now_ns, DeviceKind kind = DeviceKind::usb);

  void submitted() { ++in_flight_; }
  void completed(const MeterSample& sample);
  // The windows end at `now_ns`.
  MeterSnapshot snapshot(uint64_t now_ns) const;
  // Fills the demand of windows that measured nothing with what an earlier snapshot of the same
  // device had measured.
  static void keep_measured(MeterSnapshot& fresh, const MeterSnapshot& earlier);

  // Latencies in nanoseconds: round trip, at the device, and the difference. Of transfers that the
  // device ended; how long a cancelled one waited was the consumer's choice.
  const Histogram& total() const { return total_; }
  const Histogram& service() const { return service_; }
  const Histogram& channel() const { return channel_; }

 private:
  // Sums per slice of time, in a ring that covers the longest window.
  struct Slice {
    uint64_t number =
        ~uint64_t{0};  // slice index since the clock's zero; stale when not the one asked for
    uint64_t periodic_bytes = 0;
    uint64_t other_bytes = 0;
    uint64_t busy_ns = 0;
    uint64_t transfers = 0;
  };
  static constexpr uint64_t slice_ns = 100'000'000;  // 100 ms
  static constexpr uint32_t slice_count = 601;       // 60 s and the one being filled
  Slice& slice_at(uint64_t now_ns);
  uint64_t busy_since_last(const MeterSample& sample);
  void count_status(TransferStatus status);
  MeterWindow window_at(uint64_t now_ns, uint64_t window_ns) const;

  uint64_t nominal_bytes_s_;
  DeviceKind kind_;
  uint64_t opened_ns_;
  uint64_t latest_ns_;  // of the samples: time does not run backwards here
  uint64_t busy_seen_ns_ = 0;
  uint64_t busy_seen_at_ns_;
  uint64_t bytes_ = 0, transfers_ = 0, in_flight_ = 0, errors_ = 0, cancellations_ = 0, stalls_ = 0;
  std::array<Slice, slice_count> slices_{};
  Histogram total_, service_, channel_;
};

}  // namespace farport
