// A serial port in memory behind a LocalChannel, for the tests of the drivers that present one:
// what reaches the port is logged in order, what it answers is up to the test.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/local_channel.h"
#include "devices/serial_requests.h"
#include "tests/unit/fake_device.h"

namespace farport::serial {

class SerialRig : private LocalChannel::Events {
 public:
  static constexpr uint64_t patience_ns = 20'000'000'000;

  explicit SerialRig(bool has_modem_lines = true) : has_modem_lines(has_modem_lines) {
    worker = *Worker::create({});
  }
  ~SerialRig() {
    if (channel != nullptr) close();
  }

  // Puts `driver` in front of the port, and waits until it has read the port's settings.
  void start(std::unique_ptr<Driver> driver) {
    auto owned = std::make_unique<FakeDevice>();
    device = owned.get();
    device->on_submit = [this](Transfer& transfer) { return submitted(transfer); };
    channel = std::make_unique<LocalChannel>(*worker, std::move(owned), std::move(driver), 0,
                                             *static_cast<LocalChannel::Events*>(this));
    channel->start();
    wait([&] { return asked_line; });
  }
  void close() {
    hold_output = hold_drain = false;
    if (!closed) channel->close();
    wait([&] { return closed.has_value(); });
    channel.reset();
  }
  // In slices: much of what is waited for happens outside the worker and does not wake it.
  void wait(const std::function<bool()>& done) {
    const uint64_t until_ns = worker->now_ns() + patience_ns;
    while (!worker->run_until(done, 2'000'000)) {
      if (worker->now_ns() < until_ns) continue;
      std::string all;
      for (const std::string& line : log) all += line + "; ";
      FAIL() << "waited in vain; the port saw: " << all;
    }
  }
  void wait_log(const std::string& line) {
    wait([&] { return std::find(log.begin(), log.end(), line) != log.end(); });
  }
  size_t log_index(const std::string& line) const {
    return static_cast<size_t>(std::find(log.begin(), log.end(), line) - log.begin());
  }

  // The other side of the wire.
  void receive(std::string_view text) {
    while (!text.empty()) {
      wait([&] { return find(endpoint_in) != nullptr; });
      if (find(endpoint_in) == nullptr) return;
      const auto run = text.substr(0, find(endpoint_in)->length);
      device->complete_next(endpoint_in, std::as_bytes(std::span(run.data(), run.size())));
      text.remove_prefix(run.size());
    }
  }
  void notice(SerialNotice notice) {
    wait([&] { return find(endpoint_notice) != nullptr; });
    device->complete_next(endpoint_notice, std::as_bytes(std::span(&notice, 1)));
  }
  // Lets go of output and drains that were held.
  void release_output() {
    hold_output = false;
    while (Transfer* transfer = find(endpoint_out)) {
      take(*transfer);
      device->complete_next(endpoint_out);
    }
  }
  Transfer* find(uint8_t endpoint) const {
    for (Transfer* transfer : device->in_flight) {
      if (transfer->endpoint == endpoint) return transfer;
    }
    return nullptr;
  }

  bool has_modem_lines;
  bool hold_output = false;  // output transfers are not taken
  bool hold_drain = false;   // drains do not end
  std::function<bool(const LineSettings&)> accepts = [](const LineSettings&) { return true; };

  std::unique_ptr<Worker> worker;
  FakeDevice* device = nullptr;
  std::unique_ptr<LocalChannel> channel;
  std::optional<Error> closed;
  std::vector<std::string> log;
  std::string written;
  LineSettings line;
  uint8_t lines = line::dtr | line::rts;
  bool break_on = false;
  bool asked_line = false;

  static std::string text(const LineSettings& line) {
    return "line " + std::to_string(line.baud) + " " + std::to_string(line.data_bits) +
           "NOEMS"[int(line.parity)] + std::to_string(int(line.stop_bits)) + " flow " +
           std::to_string(int(line.flow_control));
  }

 private:
  void channel_closed(LocalChannel&, Error why) override { closed = std::move(why); }

  void take(Transfer& transfer) {
    const auto data = transfer.data();
    const std::string text(reinterpret_cast<const char*>(data.data()), data.size());
    written += text;
    log.push_back("out " + text);
  }

  bool finish(Transfer& transfer, TransferStatus status) {
    transfer.status = status;
    transfer.actual = status == TransferStatus::ok ? transfer.length : 0;
    return true;
  }

  // True when the transfer is done at once.
  bool submitted(Transfer& transfer) {
    if (transfer.type == TransferType::serial && !transfer.in()) {
      if (hold_output) return false;
      take(transfer);
      return finish(transfer, TransferStatus::ok);
    }
    if (transfer.type != TransferType::control) return false;
    return answer(transfer);
  }

  bool answer(Transfer& transfer) {
    const auto data = transfer.data();
    switch (static_cast<SerialRequest>(transfer.setup[1])) {
      case SerialRequest::get_line:
        std::memcpy(data.data(), &line, sizeof line);
        asked_line = true;
        break;
      case SerialRequest::set_line: {
        LineSettings wanted;
        std::memcpy(&wanted, data.data(), sizeof wanted);
        asked_line = true;
        if (!accepts(wanted)) {
          log.push_back("refused " + text(wanted));
          return finish(transfer, TransferStatus::invalid);
        }
        line = wanted;
        log.push_back(text(wanted));
        break;
      }
      case SerialRequest::set_modem: {
        ModemControl wanted;
        std::memcpy(&wanted, data.data(), sizeof wanted);
        if (!has_modem_lines) return finish(transfer, TransferStatus::invalid);
        lines = static_cast<uint8_t>((lines & ~wanted.mask) | (wanted.lines & wanted.mask));
        log.push_back("modem " + std::to_string(wanted.mask) + "=" + std::to_string(wanted.lines));
        break;
      }
      case SerialRequest::set_break:
        break_on = transfer.setup[2] != 0;
        log.push_back(break_on ? "break on" : "break off");
        break;
      case SerialRequest::purge:
        log.push_back("purge " + std::to_string(transfer.setup[2]));
        break;
      case SerialRequest::drain:
        log.push_back("drain");
        if (hold_drain) return false;
        break;
    }
    return finish(transfer, TransferStatus::ok);
  }
};

}  // namespace farport::serial
