// The seam to a rule that hides the network's latency for one class of devices: it begins, at the
// device end, what the consumer is sure to ask for next, and answers from what came of it. It must
// not change what a device sees in a way that its driver could notice. The fake is
// tests/unit/drivers/ahead/fake_rule.h.
//
// A rule serves the endpoints of one alternate setting of one interface. It is made when the
// channel starts and lives as long as it; ahead_driver.h routes to it. Runs on the worker; nothing
// is allocated per transfer but by RulePort::allocate().
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/loop.h"
#include "dataplane/transfer.h"
#include "devices/usb/requests.h"
#include "drivers/driver.h"

namespace farport {

class Rule;

// What a rule uses. A transfer that the rule holds has ahead_next and ahead_state to itself.
class RulePort {
 public:
  virtual const DeviceInfo& info() const = 0;
  virtual Loop& loop() = 0;
  // A transfer of the rule's own; nullptr when there is no memory: do without.
  virtual Transfer* allocate(Rule& rule, uint32_t length, uint16_t packet_count = 0) = 0;
  // Sends one on its way, the rule's own or one that the consumer submitted. It comes back by
  // Rule::completed(), exactly once, never from inside here.
  virtual void submit(Rule& rule, Transfer& transfer) = 0;
  // Sends a consumer's transfer on its way, and the rule has no more to do with it.
  virtual void forward(Transfer& transfer) = 0;
  // Asks for an early end of one that was submitted; it still comes back.
  virtual void cancel(Rule& rule, Transfer& transfer) = 0;
  // Gives back one of the rule's own that is not in flight.
  virtual void release(Rule& rule, Transfer& transfer) = 0;
  // Gives a consumer's transfer back to it, with status, actual and error_count as they are; at the
  // end of the loop's iteration, in the order of these calls.
  virtual void finish(Transfer& transfer) = 0;
  // What settle() was asked for is done.
  virtual void settled(Rule& rule) = 0;

 protected:
  ~RulePort() = default;
};

class Rule {
 public:
  virtual ~Rule() = default;

  // Whether transfers of this endpoint are to come here.
  virtual bool serves(uint8_t endpoint) const = 0;

  // The consumer submits a transfer. True: the rule has taken it, and sees to it that it goes back
  // by finish() or goes on by forward(), once. False: it is forwarded.
  virtual bool submitted(Transfer& transfer) = 0;
  // One that the rule submitted is back with its result; it is the rule's again.
  virtual void completed(Transfer& transfer) = 0;
  // The consumer asks for the early end of a transfer that this rule has taken and not given back.
  virtual void cancel(Transfer& transfer) = 0;

  // A control request is about to go to the device. True: it may. False: the rule first cancels
  // what is in flight ahead and must not meet with it, awaits that, and says port.settled().
  virtual bool settle(const usb::Request& request) = 0;
  // It took too long: the request goes on. What comes back later of it is to be dropped.
  virtual void settle_overdue() = 0;
  // The control request is back. Every one is told to every rule.
  virtual void control_done(const usb::Request& request, TransferStatus status) = 0;
  // The channel closes: gives back each transfer of the consumer it holds, with this status, and
  // releases its own, those in flight when they come back.
  virtual void stop(TransferStatus status) = 0;

  virtual RuleFigures figures() const = 0;
};

}  // namespace farport
