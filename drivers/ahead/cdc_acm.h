// Rule `cdc-acm`: serial ports of the communications class, abstract control model (USB CDC 1.2 and
// PSTN 1.2): bulk-IN of the data interface, and the notifications (interrupt-IN) of the control
// interface.
//
// On by default: bulk-IN is a stream of bytes whose end, and whose packet boundaries, are kept; a
// device buffers it for as long as nobody listens, and so does polled_in.h. SERIAL_STATE
// notifications are told in order. No request of the class empties the device's buffers.
//
// Linux's cdc_acm has 16 transfers in flight by itself, so there the gain is small until the round
// trip is long (`./dev lab ahead_cdc_acm`); other consumers may have one.
#pragma once

#include <memory>

#include "drivers/ahead/polled_rule.h"

namespace farport {

class CdcAcmRule final : public PolledRule {
 public:
  // The control interface, and the data interface that follows it.
  static bool fits(const DeviceInfo& info, const usb::Interface& interface);
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface);

 private:
  using PolledRule::PolledRule;
};

}  // namespace farport
