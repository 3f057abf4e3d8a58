// Whether what a connection sends stands in a queue of the network, and how fast it leaves that: a
// sender that is asked for little at a time never fills its socket, however slow the link is.
//
// TCP tells (linux/tcp.h, tcp_info): a round trip far longer than the shortest one is a queue
// (RFC 6817, 2.2 measures it so). For so long as anything was unacknowledged meanwhile, the link
// was the limit; what was acknowledged in that time is its rate. A distant host alone makes all
// round trips long, and none longer than the others.
#pragma once

#include <cstdint>

namespace farport {

class StandingQueue {
 public:
  // Round trips longer than twice the shortest and this: a burst on a LAN queues for less.
  static constexpr uint64_t queue_us_min = 20'000;

  // As TCP_INFO gives it; the first two count from the connection's beginning.
  struct Sample {
    uint64_t busy_us = 0;  // something was unacknowledged
    uint64_t bytes_acknowledged = 0;
    uint32_t round_trip_us = 0;  // smoothed
    uint32_t round_trip_min_us = 0;
  };
  struct Stood {
    uint64_t bytes = 0;  // that left the queue
    uint64_t ns = 0;     // in which there was one
  };

  // What stood since the look before.
  Stood look(const Sample& sample) {
    const Stood moved{.bytes = sample.bytes_acknowledged - last_.bytes_acknowledged,
                      .ns = (sample.busy_us - last_.busy_us) * 1'000};
    const bool first = last_.busy_us == 0;
    last_ = sample;
    const bool queue = sample.round_trip_min_us != 0 &&
                       sample.round_trip_us > 2 * uint64_t{sample.round_trip_min_us} + queue_us_min;
    return first || !queue ? Stood{} : moved;
  }

 private:
  Sample last_;
};

}  // namespace farport
