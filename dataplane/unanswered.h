// How long a connection has waited for any sign of the peer's machine, from what TCP says about
// itself (struct tcp_info, linux/tcp.h), looked at now and then.
//
// Thread rule: none of its own; its link's.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace farport {

// One look. The times are how long ago, in nanoseconds.
struct TcpSample {
  uint32_t unacknowledged = 0;      // segments sent and not acknowledged (tcpi_unacked)
  uint64_t bytes_acknowledged = 0;  // since the connection began (tcpi_bytes_acked)
  uint64_t sent_ns_ago = 0;         // the last segment with data, repetitions included
  uint64_t answered_ns_ago = 0;     // the last acknowledgement came
  uint64_t received_ns_ago = 0;     // the last data came
};

// An acknowledgement may be a minute old on a connection that was idle for a minute: the waiting
// begins with the sending. When the oldest unacknowledged segment was sent TCP does not say; it is
// taken to be the latest that it can have been as far as the looks tell, so that the answer is
// never too long, and too short by at most the time between two looks.
class UnansweredClock {
 public:
  // 0: nothing waits.
  uint64_t at(uint64_t now_ns, const TcpSample& sample) {
    const auto then = [now_ns](uint64_t ago_ns) { return ago_ns < now_ns ? now_ns - ago_ns : 0; };
    const bool progress = sample.bytes_acknowledged != bytes_acknowledged_;
    bytes_acknowledged_ = sample.bytes_acknowledged;
    if (sample.unacknowledged == 0) {
      waiting_ = false;
      return 0;
    }
    if (!waiting_ || progress) waiting_since_ns_ = then(sample.sent_ns_ago);
    waiting_ = true;
    uint64_t since_ns = waiting_since_ns_;
    for (const uint64_t ago_ns : {sample.answered_ns_ago, sample.received_ns_ago}) {
      if (then(ago_ns) > since_ns) since_ns = then(ago_ns);
    }
    return now_ns - since_ns;
  }

 private:
  bool waiting_ = false;
  uint64_t waiting_since_ns_ = 0;
  uint64_t bytes_acknowledged_ = 0;
};

}  // namespace farport
