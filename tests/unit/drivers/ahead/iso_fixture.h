// An isochronous endpoint of a device with a clock of its own, behind a network with delay and
// jitter, in front of AheadDriver. Packets carry their number, so that any loss, doubling or change
// of order shows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "drivers/ahead/ahead_driver.h"
#include "drivers/ahead/iso_rule.h"
#include "tests/unit/dataplane/simulated_loop.h"
#include "tests/unit/devices/usb/descriptor_builder.h"
#include "tests/unit/fake_driver.h"

namespace farport {

inline DeviceInfo iso_device() {
  DeviceInfo info;
  info.kind = DeviceKind::usb;
  info.speed = UsbSpeed::full;
  info.device_descriptor = test::device_descriptor(0x046d, 0x0825);
  info.configurations = {test::ConfigurationBuilder()
                             .interface(0, 0, 0x01, 2)
                             .interface(0, 1, 0x01, 2)
                             .endpoint(0x83, 1, 64, 1)
                             .endpoint(0x03, 1, 64, 1)
                             .build()};
  info.configuration_value = 1;
  return info;
}

class IsoBench {
 public:
  static constexpr uint64_t ms = 1'000'000;
  static constexpr uint64_t tick = ms / 4;
  static constexpr uint16_t packets = 8;  // of each of the consumer's transfers
  static constexpr uint32_t packet_bytes = 64;

  IsoBench(uint8_t endpoint, RuleSwitches switches, uint32_t seed = 1)
      : port(iso_device()), random(seed), endpoint_(endpoint) {
    auto fake = std::make_unique<FakeDriver>();
    consumer = fake.get();
    consumer->on_completed = [this](Transfer& transfer) { consumer_completed(transfer); };
    ahead = std::make_unique<AheadDriver>(std::move(fake), std::move(switches));
    port.driver = ahead.get();
    EXPECT_TRUE(ahead->start_on(loop, port, [](Driver& driver, DriverPort& inner) {
      static_cast<FakeDriver&>(driver).port = &inner;
      return Result<void>{};
    }));
    set_interface(1);
    run(20);
  }
  ~IsoBench() {
    if (!stopped_) stop();
  }

  SimulatedLoop loop;
  FakePort port;
  FakeDriver* consumer = nullptr;
  std::unique_ptr<AheadDriver> ahead;
  std::mt19937 random;

  // The network, one way.
  uint64_t delay_ns = 5 * ms;
  uint64_t jitter_ns = 0;
  bool paused = false;

  struct Given {
    uint64_t at_ns;
    TransferStatus status;
    uint32_t error_count;
    uint32_t actual;
    std::vector<IsoPacket> packets;
    std::vector<uint32_t> numbers;  // of the packets with data, in order
  };
  std::vector<Given> given;                  // the consumer's transfers that ended
  uint8_t flags = transfer_flags::iso_asap;  // of the consumer's transfers
  std::vector<Transfer*> asked;
  bool auto_ask = true;
  uint32_t fail_packet = ~0u;  // the device fails the packet with this number

  std::vector<uint32_t> played;  // OUT: numbers of packets, as the device got them
  uint32_t gaps = 0;             // intervals in which the device was not asked, while it streamed
  uint32_t numbered = 0;         // packets the device has sent, or the consumer has

  // --- the consumer ---

  Transfer& ask() {
    Transfer* transfer = consumer->port->allocate(packets * packet_bytes, packets);
    transfer->type = TransferType::isochronous;
    transfer->endpoint = endpoint_;
    transfer->flags = flags;
    transfer->interval = 1;
    uint32_t place = 0;
    for (IsoPacket& packet : transfer->packets()) {
      packet.length = packet_bytes;
      if (!transfer->in()) {
        std::memcpy(transfer->data().data() + place, &numbered, 4);
        ++numbered;
      }
      place += packet_bytes;
    }
    asked.push_back(transfer);
    consumer->port->submit(*transfer);
    return *transfer;
  }
  void cancel_all() {
    auto_ask = false;
    for (Transfer* transfer : std::vector(asked)) consumer->port->cancel(*transfer);
    loop.flush();
  }
  void set_interface(uint8_t alternate) {
    Transfer* control = consumer->port->allocate(0);
    control->setup = {0x01, 11, alternate, 0, 0, 0, 0, 0};
    consumer->port->submit(*control);
  }
  void stop() {
    stopped_ = true;
    auto_ask = false;
    ahead->stop();
    while (!port.submitted.empty()) {
      port.complete(*port.submitted.back(), TransferStatus::cancelled, 0);
    }
    consumer->port->driver_stopped();
    loop.flush();
  }

  // --- time ---

  void run(uint64_t milliseconds) {
    const uint64_t until = loop.now_ns() + milliseconds * ms;
    while (loop.now_ns() < until) {
      loop.advance(tick);
      loop.flush();
      take_submitted();
      run_bus();
      if (!paused) deliver();
      loop.flush();
    }
  }
  size_t at_device() const { return port.submitted.size(); }
  // All of ours and of the consumer's, at the device or on the way.
  void fail_all(TransferStatus status) {
    while (!port.submitted.empty()) end(*port.submitted.front(), status);
    loop.flush();
  }
  RuleFigures figures(std::string_view rule) const {
    for (const RuleFigures& one : ahead->rule_figures()) {
      if (one.rule == rule) return one;
    }
    return {};
  }

 private:
  struct There {
    uint64_t arrives_ns = 0;
    uint16_t done = 0;  // packets
    uint64_t back_ns = 0;
    bool started = false;
    bool cancelled = false;
    bool ready = false;
  };

  uint64_t travel() { return delay_ns + (jitter_ns == 0 ? 0 : random() % jitter_ns); }
  void take_submitted() {
    if (paused) return;
    for (Transfer* transfer : port.submitted) {
      if (there_.contains(transfer)) continue;
      // Frames do not overtake each other.
      out_ns_ = std::max(out_ns_, loop.now_ns() + travel());
      there_[transfer] = {.arrives_ns = out_ns_};
      order_.push_back(transfer);
    }
    for (Transfer* transfer : std::exchange(port.cancelled, {})) {
      const auto found = there_.find(transfer);
      if (found == there_.end() || found->second.ready) continue;
      found->second.cancelled = true;
      make_ready(*transfer, TransferStatus::cancelled);
    }
  }
  // One packet each millisecond of the bus.
  void run_bus() {
    for (Transfer* transfer : order_) {
      There& there = there_[transfer];
      if (transfer->type == TransferType::control && !there.ready &&
          there.arrives_ns <= loop.now_ns()) {
        transfer->actual = 0;
        make_ready(*transfer, TransferStatus::ok);
        break;
      }
    }
    if (loop.now_ns() % ms != 0) return;
    for (Transfer* transfer : order_) {
      There& there = there_[transfer];
      if (there.ready || there.arrives_ns > loop.now_ns()) continue;
      streaming_ = true;
      carry(*transfer, there);
      return;
    }
    if (streaming_) {
      ++gaps;
      if (endpoint_ & 0x80) ++numbered;  // the device's data of that time is gone
    }
  }
  void carry(Transfer& transfer, There& there) {
    IsoPacket& packet = transfer.packets()[there.done];
    uint32_t number = numbered;
    if (transfer.in()) {
      std::memcpy(transfer.data().data() + there.done * 4, &number, 4);
      packet.actual = 4;
      ++numbered;
    } else {
      std::memcpy(&number, transfer.data().data() + there.done * packet_bytes, 4);
      played.push_back(number);
      packet.actual = packet.length;
    }
    packet.status = 0;
    if (number == fail_packet) packet.status = uint32_t(TransferStatus::protocol);
    if (++there.done == transfer.packet_count) make_ready(transfer, TransferStatus::ok);
  }
  void make_ready(Transfer& transfer, TransferStatus status) {
    There& there = there_[&transfer];
    there.ready = true;
    transfer.status = status;
    back_ns_ = std::max(back_ns_, loop.now_ns() + travel());
    there.back_ns = back_ns_;
    ready_.push_back(&transfer);
  }
  void deliver() {
    while (!ready_.empty() && there_[ready_.front()].back_ns <= loop.now_ns()) {
      Transfer& transfer = *ready_.front();
      end(transfer, transfer.status);
    }
  }
  void end(Transfer& transfer, TransferStatus status) {
    const uint16_t done = there_[&transfer].done;
    std::erase(ready_, &transfer);
    std::erase(order_, &transfer);
    there_.erase(&transfer);
    std::erase(port.cancelled, &transfer);
    port.complete(transfer, status, transfer.in() ? done * 4u : done * packet_bytes);
  }
  void consumer_completed(Transfer& transfer) {
    if (transfer.endpoint == endpoint_) {
      std::erase(asked, &transfer);
      Given one{.at_ns = loop.now_ns(),
                .status = transfer.status,
                .error_count = transfer.error_count,
                .actual = transfer.actual,
                .packets = {transfer.packets().begin(), transfer.packets().end()},
                .numbers = {}};
      uint32_t place = 0;
      for (const IsoPacket& packet : transfer.packets()) {
        if (packet.actual != 0 && transfer.in()) {
          uint32_t number = 0;
          std::memcpy(&number, transfer.data().data() + place, 4);
          one.numbers.push_back(number);
        }
        place += packet.actual;
      }
      given.push_back(std::move(one));
    }
    const bool again =
        auto_ask && transfer.endpoint == endpoint_ && transfer.status == TransferStatus::ok;
    consumer->port->release(transfer);
    if (again) ask();
  }

  uint8_t endpoint_;
  std::map<Transfer*, There> there_;
  std::vector<Transfer*> order_;
  std::vector<Transfer*> ready_;
  uint64_t out_ns_ = 0, back_ns_ = 0;
  bool streaming_ = false;
  bool stopped_ = false;
};

}  // namespace farport
