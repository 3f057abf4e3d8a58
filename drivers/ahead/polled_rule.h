// What the rules that keep IN endpoints polled have in common: which requests end the polling, and
// which make the device forget.
#pragma once

#include <memory>
#include <vector>

#include "drivers/ahead/polled_in.h"
#include "drivers/ahead/rule.h"

namespace farport {

class PolledRule : public Rule {
 public:
  // Polls the bulk-IN endpoints of the interface, its interrupt-IN endpoints, or both.
  PolledRule(RulePort& port, const usb::Interface& interface, const PolledInSettings& settings,
             bool bulk, bool interrupt);

  bool serves(uint8_t endpoint) const final;
  bool submitted(Transfer& transfer) final;
  void completed(Transfer& transfer) final;
  void cancel(Transfer& transfer) final;
  bool settle(const usb::Request& request) final;
  void settle_overdue() final;
  void control_done(const usb::Request& request, TransferStatus status) final;
  void stop(TransferStatus status) final;
  RuleFigures figures() const final;

  bool polls_any() const { return !polled_.empty(); }

 protected:
  // A class or vendor request that empties the device's buffers towards the host.
  virtual bool purges(const usb::Request&) const { return false; }
  // One that succeeded.
  virtual void observe(const usb::Request&) {}

  uint8_t interface_number() const { return interface_; }
  void allow(bool polling);

 private:
  bool forgets(const usb::Request& request, uint8_t endpoint) const;
  PolledIn* find(uint8_t endpoint) const;
  bool all_quiet() const;

  RulePort& port_;
  const uint8_t interface_;
  std::vector<uint8_t> outs_;  // endpoints on which the consumer talks
  std::vector<std::unique_ptr<PolledIn>> polled_;
  bool settling_ = false;
};

}  // namespace farport
