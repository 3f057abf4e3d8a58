// A fake of the rule seam: takes what the test says, and records what it is told.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "drivers/ahead/rules.h"

namespace farport {

class FakeRule final : public Rule {
 public:
  RulePort& port;
  const uint8_t interface_number;
  const uint8_t alternate;
  bool takes = true;            // submitted() takes transfers, or passes them
  bool settles_at_once = true;  // or when the test calls port.settled()
  std::vector<Transfer*> taken, back, cancelled;
  std::vector<uint8_t> requests;  // bRequest of those it was asked to settle for
  std::vector<TransferStatus> control_statuses;
  int overdue = 0;
  int stopped = 0;

  FakeRule(RulePort& rule_port, const usb::Interface& interface)
      : port(rule_port), interface_number(interface.number), alternate(interface.alternate) {
    made().push_back(this);
  }
  ~FakeRule() override { std::erase(made(), this); }

  // Those that exist, in the order of their making.
  static std::vector<FakeRule*>& made() {
    static std::vector<FakeRule*> all;
    return all;
  }
  // Fits every interface of class 0xff.
  static std::span<const RuleKind> kinds() {
    static constexpr RuleKind kind{
        .name = "fake",
        .on_by_default = true,
        .what = "records",
        .fits = [](const DeviceInfo&,
                   const usb::Interface& interface) { return interface.interface_class == 0xff; },
        .make = [](RulePort& port, const usb::Interface& interface) -> std::unique_ptr<Rule> {
          return std::make_unique<FakeRule>(port, interface);
        }};
    return {&kind, 1};
  }

  bool serves(uint8_t) const override { return true; }
  bool submitted(Transfer& transfer) override {
    if (takes) taken.push_back(&transfer);
    return takes;
  }
  void completed(Transfer& transfer) override { back.push_back(&transfer); }
  void cancel(Transfer& transfer) override { cancelled.push_back(&transfer); }
  bool settle(const usb::Request& request) override {
    requests.push_back(request.request);
    return settles_at_once;
  }
  void settle_overdue() override { ++overdue; }
  void control_done(const usb::Request&, TransferStatus status) override {
    control_statuses.push_back(status);
  }
  void stop(TransferStatus status) override {
    ++stopped;
    for (Transfer* transfer : std::exchange(taken, {})) {
      transfer->status = status;
      port.finish(*transfer);
    }
  }
  RuleFigures figures() const override {
    return {.rule = "fake", .on = true, .round_trips_saved = 3, .deviations = 1};
  }
};

}  // namespace farport
