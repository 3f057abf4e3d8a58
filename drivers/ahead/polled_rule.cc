#include "drivers/ahead/polled_rule.h"

#include <algorithm>
#include <utility>

namespace farport {

PolledRule::PolledRule(RulePort& port, const usb::Interface& interface,
                       const PolledInSettings& settings, bool bulk, bool interrupt)
    : port_(port), interface_(interface.number) {
  for (const usb::Endpoint& endpoint : interface.endpoints) {
    if (!endpoint.in()) {
      outs_.push_back(endpoint.address);
      continue;
    }
    const bool wanted = (bulk && endpoint.type == TransferType::bulk) ||
                        (interrupt && endpoint.type == TransferType::interrupt);
    if (!wanted || endpoint.max_packet_bytes() == 0) continue;
    polled_.push_back(std::make_unique<PolledIn>(port, *this, endpoint, settings));
  }
}

PolledIn* PolledRule::find(uint8_t endpoint) const {
  for (const auto& polled : polled_) {
    if (polled->address() == endpoint) return polled.get();
  }
  return nullptr;
}

bool PolledRule::serves(uint8_t endpoint) const {
  return find(endpoint) != nullptr || std::ranges::find(outs_, endpoint) != outs_.end();
}

bool PolledRule::submitted(Transfer& transfer) {
  PolledIn* const polled = find(transfer.endpoint);
  if (polled == nullptr) {
    for (const auto& one : polled_) one->consumer_talks();
    return false;
  }
  polled->submitted(transfer);
  return true;
}

void PolledRule::completed(Transfer& transfer) {
  find(transfer.endpoint)->completed(transfer);
  if (!settling_ || !all_quiet()) return;
  settling_ = false;
  port_.settled(*this);
}

void PolledRule::cancel(Transfer& transfer) { find(transfer.endpoint)->cancel(transfer); }

bool PolledRule::all_quiet() const {
  return std::ranges::all_of(polled_, [](const auto& polled) { return polled->quiet(); });
}

// USB 2.0, 9.1.1.5 (SetConfiguration), 9.4.10 (SetInterface), 9.4.5 (ClearFeature(HALT): toggles,
// and with them what was buffered), 7.1.7.5 (reset).
bool PolledRule::forgets(const usb::Request& request, uint8_t endpoint) const {
  if (request.is_set_configuration() || request.is_port_reset()) return true;
  if (request.is_set_interface()) return request.index == interface_;
  if (request.is_clear_halt()) return (request.index & 0xff) == endpoint;
  return purges(request);
}

bool PolledRule::settle(const usb::Request& request) {
  const bool standard = (request.type & 0x60) == 0;
  bool waits = false;
  for (const auto& polled : polled_) {
    if (forgets(request, polled->address())) {
      polled->quiesce();
      waits |= !polled->quiet();
    } else if (!standard) {
      polled->consumer_talks();
    }
  }
  settling_ |= waits;
  return !waits;
}

void PolledRule::settle_overdue() {
  settling_ = false;
  for (const auto& polled : polled_) {
    polled->abandon();
  }
}

void PolledRule::control_done(const usb::Request& request, TransferStatus status) {
  for (const auto& polled : polled_) {
    if (forgets(request, polled->address())) polled->resume(status == TransferStatus::ok);
  }
  if (status == TransferStatus::ok) observe(request);
}

void PolledRule::allow(bool polling) {
  for (const auto& polled : polled_) polled->allow(polling);
}

void PolledRule::stop(TransferStatus status) {
  settling_ = false;
  for (const auto& polled : polled_) polled->stop(status);
}

RuleFigures PolledRule::figures() const {
  RuleFigures figures{.on = true};
  for (const auto& polled : polled_) {
    figures.round_trips_saved += polled->saved();
    figures.deviations += polled->deviations();
  }
  return figures;
}

}  // namespace farport
