// Keeps the clock of an isochronous OUT stream at the driver end: what the consumer submits goes to
// the device end at once, as a copy, and the consumer's transfer completes when the device should
// have played it, not when word of it is back. So the device is always ahead by what the consumer
// has in flight, whatever the round trip; when results show more jitter than that covers, transfers
// complete earlier by as much (lead), at once, and later again by a 64th of the time that passes.
//
// A result that is not ok is told with the next transfer that completes: its packets carry the
// status. Off by default for this: the consumer learns of an error later than on the bus, and of a
// transfer's end before the device has it.
#pragma once

#include <cstdint>

#include "devices/usb/descriptors.h"
#include "drivers/ahead/ahead_queue.h"
#include "drivers/ahead/rule.h"
#include "drivers/ahead/stream_clock.h"

namespace farport {

class IsoOut {
 public:
  // Of the lead: more of it is delay that a person hears.
  static constexpr uint64_t lead_ns_max = 200'000'000;
  // In flight at the device end; past it (the network is away) what the consumer submits is lost,
  // and told as late: its clock goes on.
  static constexpr uint32_t ahead_bytes_max = 4u << 20;
  static constexpr uint64_t ahead_ns_max = 1'000'000'000;

  IsoOut(RulePort& port, Rule& rule, const usb::Endpoint& endpoint, UsbSpeed speed);
  IsoOut(const IsoOut&) = delete;
  IsoOut& operator=(const IsoOut&) = delete;

  uint8_t address() const { return address_; }

  // As Rule's, for this endpoint; every transfer is taken.
  void submitted(Transfer& transfer);
  void completed(Transfer& transfer);
  void cancel(Transfer& transfer);
  void stop(TransferStatus status);
  // The endpoint goes away. What the consumer was told is played is played to its end.
  void end();
  bool quiet() const { return own_ == 0; }

  uint64_t saved() const { return saved_; }
  uint64_t deviations() const { return deviations_; }  // errors told late, transfers lost
  uint64_t lead_ns() const { return lead_ns_; }

 private:
  // In Transfer::ahead_state: the lower bits number the consumer's transfers, and their copies.
  static constexpr uint32_t own_bit = 1u << 31;
  static constexpr uint32_t lost_bit = 1u << 30;  // never sent
  static constexpr uint32_t number_mask = lost_bit - 1;

  bool send(Transfer& consumer);
  void serve();
  void give(Transfer& consumer);
  void take_result(const Transfer& result);
  void set_lead();
  void fail(TransferStatus status);
  void finish(Transfer& consumer, TransferStatus of_packets, TransferStatus status);
  void arm();

  RulePort& port_;
  Rule& rule_;
  const uint8_t address_;
  const uint64_t interval_ns_;  // of one packet
  StreamClock clock_;
  Timer timer_;

  AheadQueue waiting_;    // the consumer's: they complete at their time
  AheadQueue at_device_;  // their copies
  uint32_t own_ = 0, plain_count_ = 0;
  uint32_t numbers_ = 0;
  uint64_t own_bytes_ = 0, own_packets_ = 0;
  uint64_t submitted_ = 0;  // packets of the stream
  uint64_t given_ = 0;      // of which completed to the consumer
  uint64_t played_ = 0;     // of which results came
  uint64_t lead_ns_ = 0;
  int64_t ahead_ns_ = 0;  // of the first result: how long before it its transfer was due
  uint32_t frame_ = 0;
  uint32_t untold_ = 0;  // packets that failed
  TransferStatus untold_status_ = TransferStatus::ok;
  bool running_ = false;
  bool plain_ = false;  // the consumer's own transfers serve, until it begins anew
  bool stopping_ = false;

  uint64_t saved_ = 0;
  uint64_t deviations_ = 0;
};

}  // namespace farport
