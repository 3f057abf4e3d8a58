// An IN endpoint of a device behind a network, in front of AheadDriver: the test says what the
// device sends, packet by packet, and when anything reaches its other end.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "drivers/ahead/ahead_driver.h"
#include "tests/unit/dataplane/simulated_loop.h"
#include "tests/unit/devices/usb/descriptor_builder.h"
#include "tests/unit/fake_driver.h"

namespace farport {

using Packet = std::vector<uint8_t>;

// What the device does on its next IN token: a packet, or an error.
struct Item {
  Packet packet{};
  TransferStatus error = TransferStatus::ok;
};

// What the consumer saw of one of its transfers.
struct Seen {
  uint8_t endpoint = 0;
  uint32_t length = 0;
  TransferStatus status = TransferStatus::ok;
  std::vector<uint8_t> data{};
};

// What a host controller makes of a device's packets: the reference.
class Bus {
 public:
  explicit Bus(uint32_t packet_bytes) : packet_bytes_(packet_bytes) {}
  void take(Seen& to, std::deque<Item>& items) const {
    while (!done(to, items)) {
    }
  }
  // One step; true when the transfer has ended. False with no items left: it waits.
  bool step(Seen& to, std::deque<Item>& items) const {
    const Item item = items.front();
    items.pop_front();
    if (item.error != TransferStatus::ok) {
      to.status = item.error;
      return true;
    }
    const size_t room = to.length - to.data.size();
    const size_t taken = std::min(room, item.packet.size());
    to.data.insert(to.data.end(), item.packet.begin(), item.packet.begin() + long(taken));
    if (item.packet.size() > room) {
      to.status = TransferStatus::overflow;
      return true;
    }
    return item.packet.size() < packet_bytes_ || to.data.size() == to.length;
  }

 private:
  bool done(Seen& to, std::deque<Item>& items) const { return items.empty() || step(to, items); }
  uint32_t packet_bytes_;
};

class PolledBench {
 public:
  PolledBench(DeviceInfo info, uint8_t endpoint, TransferType type, uint32_t packet_bytes,
              RuleSwitches switches = {})
      : port(std::move(info)), endpoint_(endpoint), type_(type), bus_(packet_bytes) {
    auto fake = std::make_unique<FakeDriver>();
    consumer = fake.get();
    consumer->hold_stop = false;
    consumer->on_completed = [this](Transfer& transfer) { consumer_completed(transfer); };
    ahead = std::make_unique<AheadDriver>(std::move(fake), std::move(switches));
    port.driver = ahead.get();
    const auto started = ahead->start_on(loop, port, [](Driver& driver, DriverPort& inner) {
      static_cast<FakeDriver&>(driver).port = &inner;
      return Result<void>{};
    });
    EXPECT_TRUE(started);
  }
  ~PolledBench() {
    if (!stopped_) stop();
    loop.flush();
  }

  SimulatedLoop loop;
  FakePort port;
  FakeDriver* consumer = nullptr;
  std::unique_ptr<AheadDriver> ahead;

  std::deque<Item> items;       // what the device has to say
  std::vector<Seen> seen;       // the consumer's transfers on the endpoint that ended, in order
  std::deque<Transfer*> asked;  // those that did not
  std::vector<Seen> controls;   // its control requests that ended
  bool auto_ask = false;        // asks again from its completion, as a kernel's driver does
  bool halted = false;          // the device stalls the endpoint

  // --- the consumer ---

  Transfer& ask(uint32_t length, uint8_t flags = 0) {
    Transfer* transfer = consumer->port->allocate(length);
    transfer->type = type_;
    transfer->endpoint = endpoint_;
    transfer->flags = flags;
    asked.push_back(transfer);
    consumer->port->submit(*transfer);
    return *transfer;
  }
  void send_out(uint8_t endpoint) {
    Transfer* transfer = consumer->port->allocate(4);
    transfer->type = TransferType::bulk;
    transfer->endpoint = endpoint;
    consumer->port->submit(*transfer);
  }
  void control(uint8_t type, uint8_t request, uint16_t value, uint16_t index) {
    Transfer* transfer = consumer->port->allocate(0);
    transfer->setup = {type,
                       request,
                       static_cast<uint8_t>(value),
                       static_cast<uint8_t>(value >> 8),
                       static_cast<uint8_t>(index),
                       static_cast<uint8_t>(index >> 8),
                       0,
                       0};
    consumer->port->submit(*transfer);
  }
  void stop() {
    stopped_ = true;
    ahead->stop();
    while (!port.submitted.empty()) {
      port.complete(*port.submitted.back(), TransferStatus::cancelled, 0);
    }
    consumer->port->driver_stopped();
    loop.flush();
  }

  // --- the device ---

  // The oldest IN transfer there; nullptr when there is none.
  Transfer* at_device() const { return port.find(endpoint_); }
  size_t polls() const {
    size_t count = 0;
    for (const Transfer* one : port.submitted) count += one->endpoint == endpoint_ ? 1 : 0;
    return count;
  }
  // The device answers tokens for as long as it has anything to say; results come at once.
  void run_device() {
    while (device_step()) {
    }
  }
  // One token. False: nothing to say, or nobody asks.
  bool device_step() {
    Transfer* transfer = at_device();
    if (transfer == nullptr) return false;
    if (halted) return finish(*transfer, TransferStatus::stall);
    if (items.empty()) return false;
    Seen& partial = partial_[transfer];
    partial.length = transfer->length;
    if (bus_.step(partial, items)) finish(*transfer, partial.status);
    return true;
  }
  // Cancels that were asked for reach the device.
  void run_cancels() {
    for (Transfer* transfer : std::exchange(port.cancelled, {})) {
      const auto there = std::find(port.submitted.begin(), port.submitted.end(), transfer);
      if (there != port.submitted.end()) finish(*transfer, TransferStatus::cancelled);
    }
  }
  void finish_control(TransferStatus status = TransferStatus::ok) {
    Transfer* control = port.find(0);
    ASSERT_NE(control, nullptr);
    port.complete(*control, status, 0);
    loop.flush();
  }
  bool finish(Transfer& transfer, TransferStatus status) {
    const Seen partial = std::exchange(partial_[&transfer], {});
    if (!partial.data.empty()) {
      std::memcpy(transfer.data().data(), partial.data.data(), partial.data.size());
    }
    std::erase(port.cancelled, &transfer);
    port.complete(transfer, status, static_cast<uint32_t>(partial.data.size()));
    loop.flush();
    return true;
  }

  void say(Packet packet) { items.push_back({.packet = std::move(packet)}); }

  // A consumer that listens at all times has been seen to: polling has begun.
  void settle_in(uint32_t length, Packet packet) {
    auto_ask = true;
    ask(length);
    for (uint32_t i = 0; i <= PolledIn::prompt_min; ++i) {
      say(packet);
      run_device();
    }
    seen.clear();
  }

  RuleFigures figures(std::string_view rule) const {
    for (const RuleFigures& one : ahead->rule_figures()) {
      if (one.rule == rule) return one;
    }
    return {};
  }

 private:
  void consumer_completed(Transfer& transfer) {
    Seen one{.endpoint = transfer.endpoint, .length = transfer.length, .status = transfer.status};
    const auto* data = reinterpret_cast<const uint8_t*>(transfer.data().data());
    one.data.assign(data, data + transfer.actual);
    const uint32_t length = transfer.length;
    const bool ours = transfer.endpoint == endpoint_;
    if (ours) std::erase(asked, &transfer);
    consumer->port->release(transfer);
    if (!ours) {
      if (one.endpoint == 0) controls.push_back(std::move(one));
      return;
    }
    const bool again = auto_ask && one.status == TransferStatus::ok;
    seen.push_back(std::move(one));
    if (again) ask(length);
  }

  uint8_t endpoint_;
  TransferType type_;
  Bus bus_;
  std::map<Transfer*, Seen> partial_;
  bool stopped_ = false;
};

inline DeviceInfo hid_device(uint16_t packet_bytes = 8) {
  DeviceInfo info;
  info.kind = DeviceKind::usb;
  info.speed = UsbSpeed::full;
  info.device_descriptor = test::device_descriptor(0x046d, 0xc31c);
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0x03, 1, 1)
                             .endpoint(0x81, 3, packet_bytes, 1)
                             .endpoint(0x02, 3, packet_bytes, 1)
                             .build()};
  info.configuration_value = 1;
  return info;
}

inline DeviceInfo acm_device() {
  DeviceInfo info = hid_device();
  info.speed = UsbSpeed::high;
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0x02, 2, 1)
                             .endpoint(0x82, 3, 16, 9)
                             .interface(1, 0, 0x0a)
                             .endpoint(0x81, 2, 64)
                             .endpoint(0x01, 2, 64)
                             .build()};
  return info;
}

inline DeviceInfo ftdi_device() {
  DeviceInfo info = hid_device();
  info.vendor = 0x0403;
  info.product = 0x6001;
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0xff, 0xff, 0xff)
                             .endpoint(0x81, 2, 64)
                             .endpoint(0x02, 2, 64)
                             .build()};
  return info;
}

}  // namespace farport
