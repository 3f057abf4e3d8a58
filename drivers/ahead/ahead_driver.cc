#include "drivers/ahead/ahead_driver.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "dataplane/worker.h"

namespace farport {

namespace {

size_t route_index(uint8_t endpoint) { return (endpoint & 0x0fu) | (endpoint & 0x80u) >> 3; }

}  // namespace

std::unique_ptr<Driver> AheadDriver::wrap(std::unique_ptr<Driver> driver, const DeviceInfo& info,
                                          RuleSwitches switches) {
  bool fits = false;
  for (const usb::Configuration& configuration : usb::parse_configurations(info)) {
    for (const usb::Interface& interface : configuration.interfaces) {
      for (const RuleKind& kind : rule_kinds()) fits |= kind.fits(info, interface);
    }
  }
  if (!fits) return driver;
  return std::make_unique<AheadDriver>(std::move(driver), std::move(switches));
}

AheadDriver::AheadDriver(std::unique_ptr<Driver> driver, RuleSwitches switches,
                         std::span<const RuleKind> kinds)
    : driver_(std::move(driver)), switches_(std::move(switches)), kinds_(kinds) {}

AheadDriver::~AheadDriver() {
  if (loop_ != nullptr) loop_->forget(*this);
}

Result<void> AheadDriver::start(Worker& worker, DriverPort& port) {
  begin(worker, port);
  return driver_->start(worker, *this);
}

void AheadDriver::begin(Loop& loop, DriverPort& port) {
  loop_ = &loop;
  port_ = &port;
  settle_timer_.emplace(
      loop, [](void* self) { static_cast<AheadDriver*>(self)->end_settling(); }, this);
  endpoints_ = usb::EndpointTable(port.info());
  make_rules();
  route();
}

// All that the device could ever need: nothing is made, or destroyed, while transfers move.
void AheadDriver::make_rules() {
  for (const usb::Configuration& configuration : usb::parse_configurations(port_->info())) {
    for (const usb::Interface& interface : configuration.interfaces) {
      place(configuration, interface);
    }
  }
}

void AheadDriver::place(const usb::Configuration& configuration, const usb::Interface& interface) {
  for (const RuleKind& kind : kinds_) {
    if (!kind.fits(port_->info(), interface)) continue;
    const RuleVerdict verdict = rule_verdict(kind, switches_);
    auto rule = verdict.on ? kind.make(*this, interface) : nullptr;
    if (rule != nullptr) {
      rules_.push_back({&kind, configuration.value, interface.number, interface.alternate,
                        verdict.why, std::move(rule)});
    } else {
      off_.push_back({&kind, verdict.on ? "on, but it cannot serve this device" : verdict.why});
    }
  }
}

// As the present configuration and alternate settings have it.
void AheadDriver::route() {
  routes_ = {};
  const usb::Configuration* configuration = endpoints_.configuration();
  if (configuration == nullptr) return;
  for (const Placed& placed : rules_) {
    if (placed.configuration != configuration->value ||
        placed.alternate != endpoints_.alternate_of(placed.interface)) {
      continue;
    }
    const auto* interface = configuration->find(placed.interface, placed.alternate);
    for (const usb::Endpoint& endpoint : interface->endpoints) {
      Rule*& to = routes_[route_index(endpoint.address)];
      if (to == nullptr && placed.rule->serves(endpoint.address)) to = placed.rule.get();
    }
  }
}

// --- what the driver asks ---

Transfer* AheadDriver::allocate(uint32_t length, uint16_t packet_count) {
  return port_->allocate(length, packet_count);
}

void AheadDriver::submit(Transfer& transfer) {
  if (stopping_) return port_->submit(transfer);
  if (transfer.type == TransferType::control) {
    transfer.ahead_context = &controls_;
    controls_.push(transfer);
    if (controls_.head == &transfer) begin_controls();
    return;
  }
  Rule* const rule = routes_[route_index(transfer.endpoint)];
  if (rule == nullptr) return port_->submit(transfer);
  transfer.ahead_context = rule;
  transfer.status = TransferStatus::ok;
  transfer.actual = 0;
  transfer.error_count = 0;
  if (!rule->submitted(transfer)) forward(transfer);
}

void AheadDriver::cancel(Transfer& transfer) {
  if (transfer.ahead_context == nullptr) return port_->cancel(transfer);
  if (transfer.ahead_context == &finished_) return;
  if (transfer.ahead_context != &controls_) {
    return static_cast<Rule*>(transfer.ahead_context)->cancel(transfer);
  }
  const bool first = controls_.head == &transfer;
  controls_.remove(transfer);
  transfer.status = TransferStatus::cancelled;
  transfer.actual = 0;
  finish(transfer);
  if (!first) return;
  // Rules that have let go for it must hear that it never went out.
  const usb::Request request(transfer.setup);
  for (Placed& placed : rules_) placed.rule->control_done(request, TransferStatus::cancelled);
  begin_controls();
}

void AheadDriver::driver_stopped() {
  inner_stopped_ = true;
  check_stopped();
}

// --- what rules ask ---

Transfer* AheadDriver::allocate(Rule& rule, uint32_t length, uint16_t packet_count) {
  Transfer* transfer = stopping_ ? nullptr : port_->allocate(length, packet_count);
  if (transfer == nullptr) return nullptr;
  transfer->ahead_context = &rule;
  ++own_in_use_;
  return transfer;
}

void AheadDriver::submit(Rule& rule, Transfer& transfer) {
  assert(transfer.ahead_context == &rule);
  (void)rule;
  port_->submit(transfer);
}

void AheadDriver::forward(Transfer& transfer) {
  transfer.ahead_context = nullptr;
  port_->submit(transfer);
}

void AheadDriver::cancel(Rule&, Transfer& transfer) { port_->cancel(transfer); }

void AheadDriver::release(Rule&, Transfer& transfer) {
  port_->release(transfer);
  --own_in_use_;
  check_stopped();
}

void AheadDriver::finish(Transfer& transfer) {
  transfer.ahead_context = &finished_;
  transfer.chain = 0;
  transfer.flags &= static_cast<uint8_t>(~(transfer_flags::chained | transfer_flags::alongside));
  finished_.push(transfer);
  loop_->flush_later(*this);
}

void AheadDriver::flush() {
  AheadQueue batch = std::exchange(finished_, {});
  while (Transfer* transfer = batch.pop()) {
    transfer->ahead_context = nullptr;
    driver_->completed(*transfer);
  }
}

// --- control requests ---

// Each goes to the device once every rule says that it may; in order.
void AheadDriver::begin_controls() {
  while (controls_.head != nullptr && !stopping_) {
    const usb::Request request(controls_.head->setup);
    settling_ = 0;
    asking_ = true;
    for (Placed& placed : rules_) {
      placed.settling = true;
      ++settling_;
      if (placed.rule->settle(request)) settled(*placed.rule);
    }
    asking_ = false;
    if (settling_ != 0) return settle_timer_->arm_after(settle_ns_max);
    forward(*controls_.pop());
  }
}

void AheadDriver::settled(Rule& rule) {
  for (Placed& placed : rules_) {
    if (placed.rule.get() != &rule || !placed.settling) continue;
    placed.settling = false;
    --settling_;
  }
  if (settling_ != 0 || asking_ || stopping_) return;
  settle_timer_->disarm();
  if (Transfer* first = controls_.pop(); first != nullptr) forward(*first);
  begin_controls();
}

void AheadDriver::end_settling() {
  asking_ = true;
  for (Placed& placed : rules_) {
    if (!placed.settling) continue;
    placed.rule->settle_overdue();
    placed.settling = false;
  }
  asking_ = false;
  settling_ = 0;
  if (Transfer* first = controls_.pop(); first != nullptr) forward(*first);
  begin_controls();
}

void AheadDriver::control_back(const Transfer& transfer) {
  if (transfer.status == TransferStatus::ok) {
    endpoints_.observe(transfer.setup);
    route();
  }
  const usb::Request request(transfer.setup);
  for (Placed& placed : rules_) placed.rule->control_done(request, transfer.status);
}

// --- what the channel says ---

void AheadDriver::completed(Transfer& transfer) {
  if (transfer.ahead_context != nullptr) {
    return static_cast<Rule*>(transfer.ahead_context)->completed(transfer);
  }
  if (transfer.type == TransferType::control) control_back(transfer);
  driver_->completed(transfer);
}

void AheadDriver::unplugged(std::string_view reason) {
  end_status_ = TransferStatus::unplugged;
  driver_->unplugged(reason);
}

void AheadDriver::stop() {
  stopping_ = true;
  settle_timer_->disarm();
  while (Transfer* control = controls_.pop()) {
    control->status = end_status_;
    control->actual = 0;
    finish(*control);
  }
  for (Placed& placed : rules_) placed.rule->stop(end_status_);
  driver_->stop();
}

void AheadDriver::check_stopped() {
  if (!inner_stopped_ || own_in_use_ != 0 || std::exchange(stopped_, true)) return;
  port_->driver_stopped();
}

std::vector<RuleFigures> AheadDriver::rule_figures() const {
  std::vector<RuleFigures> all;
  const auto figures_of = [&all](const RuleKind& kind) -> RuleFigures& {
    const auto found = std::ranges::find(all, kind.name, &RuleFigures::rule);
    return found != all.end() ? *found : all.emplace_back(RuleFigures{.rule = kind.name});
  };
  for (const Placed& placed : rules_) {
    const RuleFigures one = placed.rule->figures();
    RuleFigures& sum = figures_of(*placed.kind);
    sum.on |= one.on;
    sum.why = one.why.empty() ? placed.why : one.why;
    sum.round_trips_saved += one.round_trips_saved;
    sum.deviations += one.deviations;
  }
  for (const Off& off : off_) {
    RuleFigures& sum = figures_of(*off.kind);
    if (sum.why.empty()) sum.why = off.why;
  }
  return all;
}

}  // namespace farport
