// Stands between a channel and any driver of a USB device, and lets rules (rule.h) hide the
// network's latency: to the channel it is the driver, to the driver it is the channel. A transfer
// that no rule serves passes straight through.
//
// Only for a channel of a session: rules use chains (transfer.h).
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/loop.h"
#include "devices/usb/endpoint_table.h"
#include "drivers/ahead/ahead_queue.h"
#include "drivers/ahead/rule.h"
#include "drivers/ahead/rules.h"
#include "drivers/driver.h"

namespace farport {

class AheadDriver final : public Driver, private DriverPort, private RulePort, private Flushable {
 public:
  // How long a control request waits for what rules have in flight. A device end ends cancelled
  // transfers at once, so this is met only when the network is away; and there the cancels stay
  // ahead of the request.
  static constexpr uint64_t settle_ns_max = 2'000'000'000;

  // `driver` as it is when no rule could ever fit the device: serial ports, none known.
  static std::unique_ptr<Driver> wrap(std::unique_ptr<Driver> driver, const DeviceInfo& info,
                                      RuleSwitches switches);
  explicit AheadDriver(std::unique_ptr<Driver> driver, RuleSwitches switches = {},
                       std::span<const RuleKind> kinds = rule_kinds());
  ~AheadDriver() override;

  // Driver
  std::string_view name() const override { return driver_->name(); }
  std::string path() const override { return driver_->path(); }
  Result<void> start(Worker& worker, DriverPort& port) override;
  void completed(Transfer& transfer) override;
  void unplugged(std::string_view reason) override;
  void stop() override;
  std::vector<RuleFigures> rule_figures() const override;

  // start() on any loop, for simulation; `start_inner` starts the driver on the port it is given.
  template <class StartInner>
  Result<void> start_on(Loop& loop, DriverPort& port, StartInner start_inner) {
    begin(loop, port);
    return start_inner(*driver_, static_cast<DriverPort&>(*this));
  }

 private:
  // A rule with its place in the device.
  struct Placed {
    const RuleKind* kind;
    uint8_t configuration, interface, alternate;
    std::string_view why;
    std::unique_ptr<Rule> rule;
    bool settling = false;
  };
  struct Off {
    const RuleKind* kind;
    std::string_view why;
  };

  // DriverPort and RulePort
  const DeviceInfo& info() const override { return port_->info(); }
  // DriverPort, for the driver
  Transfer* allocate(uint32_t length, uint16_t packet_count) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void release(Transfer& transfer) override { port_->release(transfer); }
  void consumer_left(std::string_view reason) override { port_->consumer_left(reason); }
  void driver_stopped() override;

  // RulePort
  Loop& loop() override { return *loop_; }
  Transfer* allocate(Rule& rule, uint32_t length, uint16_t packet_count) override;
  void submit(Rule& rule, Transfer& transfer) override;
  void forward(Transfer& transfer) override;
  void settled(Rule& rule) override;
  void cancel(Rule& rule, Transfer& transfer) override;
  void release(Rule& rule, Transfer& transfer) override;
  void finish(Transfer& transfer) override;

  void flush() override;  // gives finished transfers to the driver
  void begin(Loop& loop, DriverPort& port);
  void make_rules();
  void place(const usb::Configuration& configuration, const usb::Interface& interface);
  void route();
  void begin_controls();
  void control_back(const Transfer& transfer);
  void end_settling();
  void check_stopped();

  std::unique_ptr<Driver> driver_;
  const RuleSwitches switches_;
  const std::span<const RuleKind> kinds_;
  DriverPort* port_ = nullptr;
  Loop* loop_ = nullptr;
  usb::EndpointTable endpoints_;
  std::vector<Placed> rules_;
  std::vector<Off> off_;
  std::array<Rule*, 32> routes_{};  // by endpoint number and direction

  AheadQueue controls_;  // in order; the first waits for rules to settle
  size_t settling_ = 0;  // rules that it waits for
  bool asking_ = false;  // they are being asked
  std::optional<Timer> settle_timer_;
  AheadQueue finished_;  // on their way back to the driver
  TransferStatus end_status_ = TransferStatus::cancelled;
  uint32_t own_in_use_ = 0;  // transfers of rules
  bool stopping_ = false;
  bool inner_stopped_ = false;
  bool stopped_ = false;
};

}  // namespace farport
