#include "drivers/ahead/rules.h"

#include <algorithm>
#include <array>

#include "dataplane/limits.h"
#include "drivers/ahead/cdc_acm.h"
#include "drivers/ahead/ftdi.h"
#include "drivers/ahead/interrupt_in.h"
#include "drivers/ahead/iso_rule.h"
#include "drivers/ahead/mass_storage.h"

namespace farport {

namespace {

constexpr std::array kKinds{
    RuleKind{.name = "mass-storage",
             .on_by_default = true,
             .what = "runs the data and status stages of a disk's command (bulk-only) at once",
             .fits = &MassStorageRule::fits,
             .make = &MassStorageRule::make},
    RuleKind{.name = "cdc-acm",
             .on_by_default = true,
             .what = "keeps a modem's or a serial port's (CDC ACM) data and notifications coming",
             .fits = &CdcAcmRule::fits,
             .make = &CdcAcmRule::make},
    RuleKind{.name = "ftdi",
             .on_by_default = true,
             .what = "keeps the data of an FTDI serial converter coming",
             .fits = &FtdiRule::fits,
             .make = &FtdiRule::make},
    RuleKind{.name = "interrupt-in",
             .on_by_default = true,
             .what = "keeps the events of keyboards, mice, card readers and the like coming",
             .fits = &InterruptInRule::fits,
             .make = &InterruptInRule::make},
    RuleKind{.name = "isochronous-in",
             .on_by_default = true,
             .what = "keeps a camera's or a microphone's stream running, through a jitter buffer",
             .fits = &IsochronousInRule::fits,
             .make = &IsochronousInRule::make},
    // It tells errors late, and the end of a transfer early.
    RuleKind{.name = "isochronous-out",
             .on_by_default = false,
             .what = "keeps the clock of what is played (loudspeakers) near the consumer",
             .fits = &IsochronousOutRule::fits,
             .make = &IsochronousOutRule::make},
};

bool names(const std::vector<std::string>& list, std::string_view name) {
  return std::ranges::find(list, name) != list.end();
}

}  // namespace

std::span<const RuleKind> rule_kinds() { return kKinds; }

const RuleKind* find_rule_kind(std::string_view name) {
  const auto found = std::ranges::find(kKinds, name, &RuleKind::name);
  return found == kKinds.end() ? nullptr : &*found;
}

RuleVerdict rule_verdict(const RuleKind& kind, const RuleSwitches& switches) {
  if (names(switches.off, kind.name)) return {false, "switched off for this device"};
  if (names(switches.on, kind.name)) return {true, "switched on for this device"};
  if (kind.on_by_default) return {true, "on by default: it is exact"};
  return {false, "off by default: switch it on for a device that it suits"};
}

uint8_t chain_of(const usb::Interface& interface) {
  return interface.number < limits::chains_per_channel_max
             ? static_cast<uint8_t>(interface.number + 1)
             : uint8_t{0};
}

}  // namespace farport
