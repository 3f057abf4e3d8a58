#include "drivers/ahead/cdc_acm.h"

namespace farport {

namespace {

constexpr uint8_t kAbstractControlModel = 0x02;  // USB CDC 1.2, table 4

bool is_control(const usb::Interface& interface) {
  return interface.interface_class == usb::class_code::communications &&
         interface.interface_subclass == kAbstractControlModel;
}

// Networks (ECM, NCM) have data interfaces too: what comes before decides.
bool follows_control(const usb::Configuration& configuration, const usb::Interface& data) {
  const usb::Interface* nearest = nullptr;
  for (const usb::Interface& interface : configuration.interfaces) {
    if (interface.interface_class != usb::class_code::communications ||
        interface.number >= data.number) {
      continue;
    }
    if (nearest == nullptr || interface.number > nearest->number) nearest = &interface;
  }
  return nearest != nullptr && is_control(*nearest);
}

bool has(const usb::Configuration& configuration, const usb::Interface& interface) {
  const usb::Interface* found = configuration.find(interface.number, interface.alternate);
  return found != nullptr && found->interface_class == interface.interface_class;
}

}  // namespace

bool CdcAcmRule::fits(const DeviceInfo& info, const usb::Interface& interface) {
  if (is_control(interface)) return true;
  if (interface.interface_class != usb::class_code::communications_data) return false;
  for (const usb::Configuration& configuration : usb::parse_configurations(info)) {
    if (has(configuration, interface)) return follows_control(configuration, interface);
  }
  return false;
}

std::unique_ptr<Rule> CdcAcmRule::make(RulePort& port, const usb::Interface& interface) {
  const PolledInSettings settings{.extra_max = 8, .prompt_ns = 20'000'000};
  std::unique_ptr<CdcAcmRule> rule(new CdcAcmRule(port, interface, settings, true, true));
  return rule->polls_any() ? std::move(rule) : nullptr;
}

}  // namespace farport
