// Keeps one bulk-IN or interrupt-IN endpoint polled at the device end: while the consumer keeps
// asking, a few IN transfers more than it has are in flight there, so that the next piece of data
// is on its way before the consumer asks for it. What they bring is handed out packet by packet,
// as the bus would have (USB 2.0, 5.3.2, 5.7.3 and 5.8.3): same bytes, same packet boundaries, each
// error once and in its place.
//
// A device may answer a poll with what is true just then, so a poll for a consumer that is not yet
// listening could bring it something old. Hence: polling begins only with a consumer that asks
// again at once, several times in a row, and ends as soon as it does not. Until then, and after any
// error, its own transfers go to the device as they are, which is exact by itself. What was taken
// from the device when polling ends is kept in order for the next transfer.
#pragma once

#include <cstdint>

#include "devices/usb/descriptors.h"
#include "drivers/ahead/ahead_queue.h"
#include "drivers/ahead/rule.h"

namespace farport {

struct PolledInSettings {
  // Polls beyond the consumer's own transfers: results waiting for it included. Enough for one
  // result each millisecond at a round trip of as many milliseconds.
  uint32_t extra_max = 16;
  // The same in bytes; an endpoint whose single transfer is larger is left alone.
  uint32_t bytes_max = 64u << 10;
  // A consumer that asks again within this time was listening all along: a kernel's driver does so
  // from its completion handler, in microseconds.
  uint64_t prompt_ns = 4'000'000;
  // FTDI's packets: see ftdi.h.
  bool status_packets = false;
};

class PolledIn {
 public:
  // So many prompt transfers in a row begin the polling.
  static constexpr uint32_t prompt_min = 4;
  // Polls ahead while a device with status packets has nothing but these to say: two keep one on
  // the way, more would only load the network.
  static constexpr uint32_t quiet_extra = 2;

  PolledIn(RulePort& port, Rule& rule, const usb::Endpoint& endpoint,
           const PolledInSettings& settings);
  PolledIn(const PolledIn&) = delete;
  PolledIn& operator=(const PolledIn&) = delete;

  uint8_t address() const { return address_; }

  // As Rule's, for this endpoint; every transfer is taken.
  void submitted(Transfer& transfer);
  void completed(Transfer& transfer);
  void cancel(Transfer& transfer);
  void stop(TransferStatus status);

  // The consumer talks to the device. When it is not listening meanwhile, it waits for an answer to
  // what it says, and must not get something older.
  void consumer_talks();

  // Ends polling until resume(): quiet() once no poll is in flight, and what the consumer has in
  // flight has gone to the device as it is.
  void quiesce();
  bool quiet() const { return !held_ || own_in_flight_ == 0; }
  // Does not wait for them any longer: what they bring is dropped.
  void abandon();
  // `drop`: the device has forgotten what it had to say, so it is forgotten here.
  void resume(bool drop);

  // Polling on or off for as long as the device is in some mode.
  void allow(bool polling);

  uint64_t saved() const { return saved_; }
  uint64_t deviations() const { return deviations_; }

  // --- for tests ---
  uint32_t polls_in_flight() const { return own_in_flight_; }
  uint32_t results_kept() const { return ready_count_; }
  bool steady() const { return steady_ >= prompt_min; }

 private:
  // In Transfer::ahead_state: the lower bits count polls.
  static constexpr uint32_t own_bit = 1u << 31;        // a poll of ours
  static constexpr uint32_t done_bit = 1u << 30;       // back, and waits for those before it
  static constexpr uint32_t cancelled_bit = 1u << 29;  // its early end was asked for
  static constexpr uint32_t abandoned_bit = 1u << 28;  // nobody waits for it
  static constexpr uint32_t number_mask = abandoned_bit - 1;

  // What follows the data of a poll's result.
  enum class End : uint8_t { open, short_packet, error };

  void take_result(Transfer& result);
  void take_own(Transfer& poll);
  bool repeats_status(const Transfer& poll) const;
  void drained();
  void deliver();
  void hand_on(Transfer& consumer, Transfer& result);
  void copy(Transfer& consumer, const Transfer& result, uint32_t bytes);
  void end_with(Transfer& consumer, TransferStatus status);
  void answered(Transfer& consumer);
  void pump();
  void begin_polls();
  bool poll(uint32_t length);
  void fetch_remainder();
  void submit_waiting();
  void drain();
  void retire_first();
  void put_aside(Transfer& poll);
  void release_spare();
  void went_silent();
  End end_of(const Transfer& result) const;
  TransferStatus end_of_short(const Transfer& consumer) const;
  void count_saved(const Transfer& consumer, const Transfer& result);
  uint32_t whole_packets(uint32_t bytes) const;
  uint32_t extra() const;
  uint32_t number() const { return polls_ & number_mask; }

  RulePort& port_;
  Rule& rule_;
  const uint8_t address_;
  const uint32_t packet_bytes_;  // wMaxPacketSize
  const PolledInSettings settings_;
  Timer silence_timer_;

  AheadQueue waiting_;    // the consumer's, held here; the first may be partly filled
  AheadQueue at_device_;  // in flight, in order of submission
  AheadQueue ready_;      // results of polls, in order; the first may be partly used
  AheadQueue spare_;      // polls not in flight
  uint32_t filled_ = 0;   // bytes in waiting_.head
  uint32_t used_ = 0;     // bytes of ready_.head
  uint32_t waiting_count_ = 0;
  uint32_t ready_count_ = 0;
  uint32_t own_in_flight_ = 0;
  uint32_t outstanding_ = 0;  // the consumer's, here or at the device
  uint32_t length_ = 0;       // of polls
  uint32_t interval_ = 0;     // as the consumer gave it
  TransferType type_;
  uint32_t polls_ = 0;

  uint32_t steady_ = 0;          // prompt transfers in a row
  bool answer_pending_ = false;  // the consumer got one, and has not asked again
  uint64_t answered_ns_ = 0;     // when, if it was its last
  bool draining_ = false;        // polls were cancelled and are awaited
  bool failed_ = false;          // the error of one is taken; the others only echo it
  bool held_ = false;
  bool allowed_ = true;
  bool stopping_ = false;
  bool only_status_ = false;  // the device has nothing else to say

  uint64_t saved_ = 0;
  uint64_t deviations_ = 0;
};

}  // namespace farport
