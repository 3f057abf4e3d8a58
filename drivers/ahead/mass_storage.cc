#include "drivers/ahead/mass_storage.h"

namespace farport {

bool MassStorageRule::fits(const DeviceInfo&, const usb::Interface& interface) {
  return interface.interface_class == 0x08 && interface.interface_protocol == 0x50;
}

std::unique_ptr<Rule> MassStorageRule::make(RulePort&, const usb::Interface&) {
  return std::make_unique<MassStorageRule>();
}

}  // namespace farport
