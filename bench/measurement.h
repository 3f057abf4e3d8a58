// What is measured, and what comes out: one load, carried once by us and once by bare sockets.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/transfer.h"

namespace farport::bench {

// The two ends share a core's caches and a loopback device, or sit in two network namespaces joined
// by a veth pair, as containers do.
enum class LinkKind : uint8_t { loopback, netns };
// How an end waits for what comes next.
enum class Wait : uint8_t { sleep, spin };

struct Load {
  LinkKind link = LinkKind::loopback;
  TransferType kind = TransferType::bulk;  // or interrupt
  bool in = true;                          // device to consumer
  uint32_t size = 64;                      // data bytes of a transfer
  uint32_t depth = 1;                      // transfers in flight
  Wait wait = Wait::sleep;
  bool tls = false;        // ours only: the floor is plain
  double warm_up_s = 0.2;  // pools fill, buffers grow, nothing is counted
  double seconds = 0.3;
};

// Of one run, after its warm-up. Plain data: it crosses a pipe.
struct Measurement {
  double seconds = 0;
  uint64_t transfers = 0;
  uint64_t rtt_ns_p50 = 0;  // submit to completion at the driver end
  uint64_t rtt_ns_p99 = 0;
  uint64_t rtt_ns_p999 = 0;
  uint64_t cpu_ns = 0;       // of both ends
  uint64_t allocations = 0;  // calls of malloc and its kin in the whole process
  uint64_t rss_bytes = 0;    // peak, of the process that holds both ends
};

std::string_view name(LinkKind link);
std::string_view name(Wait wait);
std::string_view name(TransferType kind);

}  // namespace farport::bench
