// The rule for disks: USB Mass Storage Class, Bulk-Only Transport 1.0 ("BOT"). Its host waits for
// each of a command's three stages before it asks for the next; here
//
//   read, or no data  the wrapper (CBW) leaves with the data and status (CSW) stages chained behind
//                     it; the device end gives the device all three at once, as the bus gives
//                     them to it one after the other, and what they gave waits here for the
//                     consumer to ask: one round trip, not three
//   write             the consumer is told at once that its wrapper was taken, and sends its data;
//                     the status is chained behind the last byte. Were the wrapper refused, the
//                     consumer's first data transfer would say so: the one thing foretold
//
// Nothing is begun that the present wrapper does not imply, and no stage moves data after a stall
// (a halted endpoint answers nothing, USB 2.0, 8.4.5; what waits behind it is given up): it is met
// by the consumer's own transfer, and CLEAR_FEATURE(ENDPOINT_HALT) and the next read of the status
// go to the device. What a stage got behind another failure (an overflow) is kept, and comes first.
// What the status says (failed, phase error, another command's tag) is the consumer's business: its
// bytes are handed on. A reset first ends what is under way.
//
// A device that leaves a status unanswered because it was asked for before the data had ended is
// asked for it after the data: one that is known for it always, another from the first command on
// that its consumer gives up (Linux's does after 30 s).
//
// A consumer that does what the rule did not expect gets what the device would have given: what was
// read ahead is kept in order and comes first (in_stream.h). If that cannot be exact, or happens
// too often, the rule retires for this device.
//
// UAS (protocol 0x62) needs no rule and gets none. Linux's uas never runs at SuperSpeed over a
// controller without streams, such as vhci: it leaves the device to usb-storage and this rule. At
// high speed it has up to 30 commands in flight, each two round trips (command to READ READY or
// WRITE READY; data to status) that overlap those of the others; and it is the device that chooses
// whose data moves next, so no stage follows from a wrapper alone as it does here.
// (drivers/usb/storage/uas.c and uas-detect.h.)
#pragma once

#include <memory>
#include <optional>

#include "drivers/ahead/in_stream.h"
#include "drivers/ahead/rules.h"

namespace farport {

class MassStorageRule final : public Rule, private Flushable {
 public:
  // Longer data stages are not read ahead. Linux asks for 1 MiB at most unless told otherwise.
  static constexpr uint32_t data_bytes_max = 4u << 20;
  // So many, and the rule is of no use to this consumer.
  static constexpr uint64_t deviations_max = 64;

  static bool fits(const DeviceInfo& info, const usb::Interface& interface);
  // nullptr when the interface lacks an endpoint.
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface);
  ~MassStorageRule() override;

  bool serves(uint8_t endpoint) const override { return endpoint == in_ || endpoint == out_; }
  bool submitted(Transfer& transfer) override;
  void completed(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  bool settle(const usb::Request& request) override;
  void settle_overdue() override;
  void control_done(const usb::Request& request, TransferStatus status) override;
  void stop(TransferStatus status) override;
  RuleFigures figures() const override;

 private:
  enum class Settling : uint8_t { no, reset, in_halt, out_halt };

  MassStorageRule(RulePort& port, const usb::Interface& interface, const usb::Endpoint& in,
                  const usb::Endpoint& out);

  void flush() override;
  void read(Transfer& transfer);
  void take_out(Transfer& transfer);
  bool is_wrapper(const Transfer& transfer) const;
  void command(Transfer& wrapper);
  void begin_write(Transfer& wrapper, uint32_t data_bytes);
  bool begin_early(Transfer& wrapper);
  void data_out(Transfer& transfer);
  void send(Transfer& transfer, bool chained);
  void send_plain(Transfer& transfer);
  void out_back(Transfer& transfer);
  void early_back();
  void send_held();
  bool is_reset(const usb::Request& request) const;
  bool quiet(Settling what) const;
  void check_settled();
  void forget();
  void deviation();

  RulePort& port_;
  const uint8_t interface_;
  const uint8_t chain_;
  const uint8_t in_;
  const uint8_t out_;
  const uint32_t out_packet_bytes_;

  InStream stream_;
  uint32_t out_in_flight_ = 0;  // of the consumer's, on the OUT endpoint
  Transfer* early_ = nullptr;   // our copy of a wrapper that the consumer believes taken
  std::optional<TransferStatus> early_failed_;  // it was not; the consumer is still to be told
  bool status_after_data_;                      // not at the device together with it
  bool status_early_ = false;                   // of the present command, it is
  bool writing_ = false;                        // the consumer's data stage is under way
  uint32_t out_left_ = 0;                       // its bytes still to come
  AheadQueue held_;  // OUT transfers that wait until nothing is in flight ahead
  Settling settling_ = Settling::no;
  bool resetting_ = false;  // a reset is on its way: nothing is begun ahead of it
  bool stopped_ = false;

  std::string_view retired_;  // why; empty: it is not
  uint64_t writes_ = 0;       // whose wrapper saved a round trip; of reads the stages count
  uint64_t deviations_ = 0;
};

}  // namespace farport
