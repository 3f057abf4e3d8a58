#pragma once

#include <memory>

#include "drivers/ahead/rules.h"

namespace farport {

class MassStorageRule final : public Rule {
 public:
  static bool fits(const DeviceInfo& info, const usb::Interface& interface);
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface);

  bool serves(uint8_t) const override { return false; }
  bool submitted(Transfer&) override { return false; }
  void completed(Transfer&) override {}
  void cancel(Transfer&) override {}
  bool settle(const usb::Request&) override { return true; }
  void settle_overdue() override {}
  void control_done(const usb::Request&, TransferStatus) override {}
  void stop(TransferStatus) override {}
  RuleFigures figures() const override { return {.on = true}; }
};

}  // namespace farport
