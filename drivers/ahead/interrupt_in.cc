#include "drivers/ahead/interrupt_in.h"

#include <algorithm>
#include <array>

namespace farport {

namespace {

// USB-IF defined class codes.
constexpr std::array<uint8_t, 6> kClasses{
    0x01,  // audio
    0x03,  // HID
    0x06,  // still image
    0x0b,  // smart card
    0x0e,  // video
    0xe0,  // wireless controller
};

}  // namespace

bool InterruptInRule::fits(const DeviceInfo&, const usb::Interface& interface) {
  return std::ranges::find(kClasses, interface.interface_class) != kClasses.end() &&
         std::ranges::any_of(interface.endpoints, [](const usb::Endpoint& endpoint) {
           return endpoint.in() && endpoint.type == TransferType::interrupt;
         });
}

std::unique_ptr<Rule> InterruptInRule::make(RulePort& port, const usb::Interface& interface) {
  std::unique_ptr<InterruptInRule> rule(
      new InterruptInRule(port, interface, PolledInSettings{}, false, true));
  return rule->polls_any() ? std::move(rule) : nullptr;
}

}  // namespace farport
