#include "drivers/ahead/ftdi.h"

#include <algorithm>

namespace farport {

namespace {

constexpr uint16_t kVendor = 0x0403;
constexpr uint8_t kVendorOut = 0x40;  // bmRequestType: vendor, device, OUT

constexpr uint8_t kReset = 0x00;
// Of kReset, in wValue. libftdi 1.5 found that the two flushes had been named the wrong way round
// (SIO_RESET_PURGE_RX is 1, but 1 empties what the host has sent): 2 empties what the chip has for
// the host.
constexpr uint16_t kResetAll = 0;
constexpr uint16_t kFlushInput = 2;

constexpr uint8_t kSetBitmode = 0x0b;  // the mode is the upper byte of wValue
constexpr uint8_t kModeReset = 0x00;
constexpr uint8_t kModeMpsse = 0x02;

}  // namespace

bool FtdiRule::fits(const DeviceInfo& info, const usb::Interface& interface) {
  return info.vendor == kVendor && interface.interface_class == 0xff &&
         std::ranges::any_of(interface.endpoints, [](const usb::Endpoint& endpoint) {
           return endpoint.in() && endpoint.type == TransferType::bulk;
         });
}

std::unique_ptr<Rule> FtdiRule::make(RulePort& port, const usb::Interface& interface) {
  const PolledInSettings settings{.extra_max = 8, .prompt_ns = 20'000'000, .status_packets = true};
  std::unique_ptr<FtdiRule> rule(new FtdiRule(port, interface, settings, true, false));
  return rule->polls_any() ? std::move(rule) : nullptr;
}

// The lower byte of wIndex is the port, from 1; chips with one port take 0 as well.
bool FtdiRule::is_ours(const usb::Request& request) const {
  const uint8_t port = static_cast<uint8_t>(request.index);
  return request.type == kVendorOut &&
         (port == interface_number() + 1 || (port == 0 && interface_number() == 0));
}

bool FtdiRule::purges(const usb::Request& request) const {
  return is_ours(request) && request.request == kReset &&
         (request.value == kResetAll || request.value == kFlushInput);
}

void FtdiRule::observe(const usb::Request& request) {
  if (!is_ours(request) || request.request != kSetBitmode) return;
  const auto mode = static_cast<uint8_t>(request.value >> 8);
  allow(mode == kModeReset || mode == kModeMpsse);
}

}  // namespace farport
