// Keeps an isochronous IN stream running at the device end, ahead of the consumer's asking, and
// answers the consumer's transfers from it at the stream's own pace.
//
// Results wait in a jitter buffer. It is as deep as results are late (StreamClock's percentile)
// plus a margin; when a packet is not there at its time the depth grows by that packet at once, and
// the consumer's packet stays empty (no data, no error: as when the device had nothing to send);
// the depth shrinks by a 64th of the time that passes. At depth_ns_max a packet that is not there
// is lost: it is given as late (-EXDEV), and dropped when it comes. A consumer's transfer never
// waits for the network.
//
// The device sees what it sees of a consumer on its own bus: an IN token in every interval from the
// first transfer on. Without this it sees gaps as soon as the round trip is longer than what the
// consumer has in flight.
#pragma once

#include <cstdint>

#include "devices/usb/descriptors.h"
#include "drivers/ahead/ahead_queue.h"
#include "drivers/ahead/rule.h"
#include "drivers/ahead/stream_clock.h"

namespace farport {

class IsoIn {
 public:
  // Of the jitter buffer: what a person still takes for live.
  static constexpr uint64_t depth_ns_max = 200'000'000;
  // Beyond the jitter: a worker's loop may be late by that much.
  static constexpr uint64_t margin_ns = 1'000'000;
  // In flight at the device end: bytes (a high-speed camera's 24 MB/s for 170 ms), and time.
  static constexpr uint32_t ahead_bytes_max = 4u << 20;
  static constexpr uint64_t ahead_ns_max = 500'000'000;
  // Before the round trip is known.
  static constexpr uint64_t ahead_ns_first = 20'000'000;
  // A consumer that submits nothing for that long has stopped.
  static constexpr uint64_t silence_ns = 250'000'000;

  IsoIn(RulePort& port, Rule& rule, const usb::Endpoint& endpoint, UsbSpeed speed);
  IsoIn(const IsoIn&) = delete;
  IsoIn& operator=(const IsoIn&) = delete;

  uint8_t address() const { return address_; }

  // As Rule's, for this endpoint; every transfer is taken.
  void submitted(Transfer& transfer);
  void completed(Transfer& transfer);
  void cancel(Transfer& transfer);
  void stop(TransferStatus status);
  // The endpoint goes away: the stream ends, the consumer's transfers come back as cancelled.
  void end();
  bool quiet() const { return own_ == 0; }

  uint64_t saved() const { return saved_; }
  uint64_t deviations() const { return deviations_; }  // packets late or dropped
  uint64_t depth_ns() const;
  uint32_t in_flight() const { return in_flight_; }

 private:
  // In Transfer::ahead_state.
  static constexpr uint32_t own_bit = 1u << 31;
  static constexpr uint32_t done_bit = 1u << 30;
  static constexpr uint32_t ended_bit = 1u << 29;  // of a stream that has ended

  bool start(const Transfer& first);
  void keep_running();
  bool ask();
  uint32_t wanted_in_flight() const;
  void take_result(Transfer& result);
  void take_packets(Transfer& result);
  void set_depth(uint64_t packets);
  void serve();
  void give(Transfer& consumer);
  bool give_packet(Transfer& consumer, IsoPacket& to);
  void miss(Transfer& consumer, uint32_t missing);
  void drop_packets(uint64_t packets);
  void drop_first_result();
  void fail();
  void finish(Transfer& consumer, TransferStatus status);
  void end_stream();
  void arm();

  RulePort& port_;
  Rule& rule_;
  const uint8_t address_;
  const uint64_t interval_ns_;  // of one packet
  StreamClock clock_;
  Timer timer_;

  AheadQueue waiting_;    // the consumer's
  AheadQueue at_device_;  // in flight, in order
  AheadQueue ready_;      // results, in order; of the first, some packets may be used
  uint32_t own_ = 0;      // ours, wherever
  uint32_t in_flight_ = 0;
  uint32_t outstanding_ = 0;  // the consumer's
  uint32_t waiting_count_ = 0;
  uint32_t used_packets_ = 0, used_bytes_ = 0;  // of ready_.head
  uint64_t ready_packets_ = 0;
  uint64_t received_ = 0;  // packets of the stream that came
  uint64_t given_ = 0;     // packets of the stream that are behind the consumer
  uint64_t first_asked_ns_ = 0;
  uint64_t round_trip_ns_ = 0;  // of the stream's first transfer, its own duration included
  uint64_t last_submit_ns_ = 0;

  bool running_ = false;
  bool plain_ = false;  // the consumer's own transfers serve, until it begins anew
  bool stopping_ = false;
  uint32_t packet_bytes_ = 0;  // asked for in each packet
  uint16_t packets_ = 0;       // of each of our transfers
  uint32_t interval_ = 0;      // as the consumer gave it
  uint32_t frame_ = 0;         // where the consumer's next packet is on the bus
  bool frame_known_ = false;

  uint64_t saved_ = 0;
  uint64_t deviations_ = 0;
};

}  // namespace farport
