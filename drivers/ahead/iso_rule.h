// Rules `isochronous-in` and `isochronous-out`: the isochronous endpoints of one direction, each a
// stream of its own (iso_in.h, iso_out.h).
//
// isochronous-in is on by default: an isochronous transfer promises a rate and no more (USB 2.0,
// 5.6), every packet is handed on once, in order, and what cannot be is marked as on the bus.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "drivers/ahead/iso_in.h"
#include "drivers/ahead/iso_out.h"

namespace farport {

template <class Stream, bool in>
class IsoRule final : public Rule {
 public:
  static bool fits(const DeviceInfo&, const usb::Interface& interface) {
    return std::ranges::any_of(interface.endpoints, &IsoRule::wants);
  }
  static std::unique_ptr<Rule> make(RulePort& port, const usb::Interface& interface) {
    auto rule = std::make_unique<IsoRule>(port, interface.number);
    for (const usb::Endpoint& endpoint : interface.endpoints) {
      if (!wants(endpoint)) continue;
      rule->streams_.push_back(std::make_unique<Stream>(port, *rule, endpoint, port.info().speed));
    }
    return rule;
  }
  IsoRule(RulePort& port, uint8_t interface_number) : port_(port), interface_(interface_number) {}

  bool serves(uint8_t endpoint) const override { return find(endpoint) != nullptr; }
  bool submitted(Transfer& transfer) override {
    if (transfer.packet_count == 0) return false;
    find(transfer.endpoint)->submitted(transfer);
    return true;
  }
  void completed(Transfer& transfer) override {
    find(transfer.endpoint)->completed(transfer);
    if (!settling_ || !quiet()) return;
    settling_ = false;
    port_.settled(*this);
  }
  void cancel(Transfer& transfer) override { find(transfer.endpoint)->cancel(transfer); }

  // Alternate setting 0 ends the stream, and so does whatever else takes the endpoint away.
  bool settle(const usb::Request& request) override {
    if (!ends(request)) return true;
    for (const auto& stream : streams_) stream->end();
    settling_ = !quiet();
    return !settling_;
  }
  void settle_overdue() override { settling_ = false; }
  void control_done(const usb::Request&, TransferStatus) override {}
  void stop(TransferStatus status) override {
    settling_ = false;
    for (const auto& stream : streams_) stream->stop(status);
  }

  RuleFigures figures() const override {
    RuleFigures figures{.on = true};
    for (const auto& stream : streams_) {
      figures.round_trips_saved += stream->saved();
      figures.deviations += stream->deviations();
    }
    return figures;
  }

 private:
  static bool wants(const usb::Endpoint& endpoint) {
    return endpoint.type == TransferType::isochronous && endpoint.in() == in;
  }
  bool ends(const usb::Request& request) const {
    return request.is_set_configuration() || request.is_port_reset() ||
           (request.is_set_interface() && request.index == interface_);
  }
  bool quiet() const {
    return std::ranges::all_of(streams_, [](const auto& stream) { return stream->quiet(); });
  }
  Stream* find(uint8_t endpoint) const {
    for (const auto& stream : streams_) {
      if (stream->address() == endpoint) return stream.get();
    }
    return nullptr;
  }

  RulePort& port_;
  const uint8_t interface_;
  std::vector<std::unique_ptr<Stream>> streams_;
  bool settling_ = false;
};

using IsochronousInRule = IsoRule<IsoIn, true>;
using IsochronousOutRule = IsoRule<IsoOut, false>;

}  // namespace farport
