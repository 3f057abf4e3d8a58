// A bulk IN endpoint of which stages are read ahead. What the device gave is a stream of packets;
// the consumer's transfers take from it, in order, exactly as they would have from the device:
// a transfer ends when it is full or by a packet shorter than the endpoint's largest (USB 2.0,
// 5.8.3), and a packet for which it has no room is an overflow.
//
// What was not read ahead is read for real: a consumer's transfer that finds no stage goes to the
// device, and one that a stage filled only in part is completed from there.
#pragma once

#include <array>

#include "drivers/ahead/ahead_queue.h"
#include "drivers/ahead/rule.h"

namespace farport {

class InStream {
 public:
  // `packet_bytes`: the endpoint's wMaxPacketSize, not 0.
  InStream(RulePort& port, Rule& rule, uint8_t endpoint, uint32_t packet_bytes)
      : port_(port), rule_(rule), endpoint_(endpoint), packet_bytes_(packet_bytes) {}

  // --- stages: transfers of the rule's own ---

  // One that follows what is before it in `chain`; nullptr when there is no memory.
  Transfer* make(uint32_t length, uint8_t chain);
  void begin(Transfer& stage);
  // None is in flight or has anything left to give.
  bool no_stages() const { return count_ == 0; }
  bool in_flight() const;
  // Asks the device to end those in flight, the last one first.
  void cancel_stages();
  // The endpoint's halt is being cleared: a stall that nobody has seen is over.
  void clear_halt();
  // The device begins anew: what it gave before is worth nothing.
  void forget();

  // --- the consumer's transfers ---

  void submitted(Transfer& transfer);
  void cancel(Transfer& transfer);
  // Nothing of the stream is under way, nor held.
  bool idle() const { return count_ == 0 && waiting_.empty() && real_ == 0; }
  // Transfers that went to the device for real and are not back.
  uint32_t real() const { return real_; }
  // While held, what finds no stage waits.
  void hold(bool on);
  // Whether the consumer has been told of what comes before the stages: only then does a transfer
  // that is answered from one save a round trip.
  void set_told(bool told) { told_ = told; }

  // Gives the consumer's first transfer that waits back with this status; false: none waits.
  bool fail_first(TransferStatus status);

  // One that was submitted here, of either kind, is back.
  void completed(Transfer& transfer);
  void stop(TransferStatus status);

  uint64_t round_trips_saved() const { return saved_; }
  // The consumer asked for a part of a packet: how a host controller ends that is its own affair.
  bool misfit() const { return misfit_; }

 private:
  // In Transfer::ahead_state.
  enum : uint32_t { cancel_requested = 1, saves = 2, is_waiting = 4, abandoned = 8 };
  struct Stage {
    Transfer* transfer = nullptr;
    bool back = false;
    uint32_t used = 0;  // bytes given to the consumer
  };

  void pump();
  void serve(Transfer& transfer, Stage& stage);
  static bool exchangeable(const Transfer& transfer, const Stage& stage);
  bool drop_cancelled();
  void read_for_real(Transfer& transfer);
  void done(TransferStatus status);
  void pop_stage();
  static bool not_begun(TransferStatus status);

  RulePort& port_;
  Rule& rule_;
  const uint8_t endpoint_;
  const uint32_t packet_bytes_;
  std::array<Stage, 3> stages_{};  // data and status, or the rest of a transfer
  size_t count_ = 0;
  AheadQueue waiting_;
  uint32_t real_ = 0;
  bool held_ = false;
  bool told_ = false;
  bool misfit_ = false;
  uint64_t saved_ = 0;
};

}  // namespace farport
