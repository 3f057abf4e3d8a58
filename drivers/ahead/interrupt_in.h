// Rule `interrupt-in`: the interrupt-IN endpoints of classes whose drivers listen at all times, and
// whose devices speak only when they have news: HID (keyboards, mice, tablets), still image, audio
// and video control, smart card readers, Bluetooth.
//
// On by default: on the bus such an endpoint is polled every bInterval anyway, whatever the host's
// driver does with the result, so the device sees what it would see there; and polled_in.h begins
// only with a driver that does listen at all times.
//
// Tried with Linux's usbhid, which has one transfer in flight, on the kernel's HID gadget and on
// QEMU's keyboard (`./dev lab ahead_interrupt_in ahead_keyboard`).
//
// Not served: hubs (a hub is not carried, its devices are), mass storage (the interrupt of
// control/bulk/interrupt ends a command), vendor classes (a device may well answer each poll with
// something, and expect one poll to a command).
#pragma once

#include <memory>

#include "drivers/ahead/polled_rule.h"

namespace farport {

class InterruptInRule final : public PolledRule {
 public:
  static bool fits(const DeviceInfo& info, const usb::Interface& interface);
  // nullptr when the interface has no such endpoint.
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface);

 private:
  using PolledRule::PolledRule;
};

}  // namespace farport
