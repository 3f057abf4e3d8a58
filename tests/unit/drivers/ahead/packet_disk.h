// A bulk-only disk that does what a script says, packet by packet, as the bus sees it: IN data is a
// queue of packets of up to 512 bytes from which transfers take, a halted endpoint stays halted
// until it is cleared, and what the device does not want yet waits. It does nothing on its own, so
// what it gives depends only on what it is asked, never on when.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "devices/device.h"
#include "devices/usb/requests.h"
#include "tests/unit/devices/usb/descriptor_builder.h"

namespace farport {

class PacketDisk final : public Device {
 public:
  static constexpr uint32_t packet_bytes = 512;
  static constexpr uint8_t in = 0x81, out = 0x02;
  static constexpr uint32_t all = ~0u;

  // What it does with a command; by default it moves all the data and says that it passed.
  struct Script {
    uint32_t moves = all;      // bytes of data
    bool stalls_data = false;  // after those
    bool stalls_command = false;
    bool rests_before_command = false;  // does not take it until a reset, or wake()
    bool stalls_status = false;         // once
    uint32_t rests_after = all;         // bytes of IN data, and then nothing until a reset
    bool rests_before_status = false;
    bool forgets_early_status = false;  // one asked for before the data has ended: until given up
    uint8_t status = 0;
    uint32_t tag_error = 0;
  };
  std::deque<Script> scripts;      // of the next commands
  std::vector<std::string> seen;   // what came on OUT, and resets, in order
  std::vector<std::byte> written;  // data of writes

  explicit PacketDisk(uint16_t vendor = 0, uint16_t product = 0) {
    info_.vendor = vendor;
    info_.product = product;
    info_.name = "usb:0000:0000:PACKETS";
    info_.speed = UsbSpeed::high;
    info_.configurations = {test::ConfigurationBuilder()
                                .interface(0, 0, 0x08, 0x06, 0x50)
                                .endpoint(in, 2, packet_bytes)
                                .endpoint(out, 2, packet_bytes)
                                .build()};
    info_.configuration_value = 1;
  }

  static std::byte data_at(uint32_t tag, uint32_t offset) {
    return static_cast<std::byte>((tag * 131 + offset * 7 + offset / 512) & 0xff);
  }
  // IN transfers it has: those that wait for it to give something.
  size_t waiting_in() const { return waiting_in_.size(); }

  // Device
  const DeviceInfo& info() const override { return info_; }
  void start(Worker&, DeviceEvents& events) override { events_ = &events; }
  void submit(Transfer& transfer) override {
    transfer.actual = 0;
    if (transfer.type == TransferType::control) return control(transfer);
    if (halted(transfer.endpoint)) return end(transfer, TransferStatus::stall);
    (transfer.in() ? waiting_in_ : waiting_out_).push_back(&transfer);
    pump();
  }
  void cancel(Transfer& transfer) override {
    for (auto* waiting : {&waiting_in_, &waiting_out_}) {
      if (std::erase(*waiting, &transfer) == 0) continue;
      if (std::exchange(forgot_, nullptr) == &transfer) packets_.pop_front();
      return end(transfer, TransferStatus::cancelled);
    }
  }
  void stop() override {
    end_all(TransferStatus::cancelled);
    events_->device_stopped();
  }
  // It takes the command before which it rests.
  void wake() {
    scripts.front().rests_before_command = false;
    pump();
  }
  void unplug() {
    end_all(TransferStatus::unplugged);
    events_->unplugged("pulled by the test");
  }

 private:
  struct Packet {
    std::vector<std::byte> bytes{};
    bool halt = false;  // no packet: the endpoint halts, once it has come to this
    bool rest = false;  // no packet: nothing comes any more
  };
  enum class Stage : uint8_t { command, data_out, status };

  bool& halted(uint8_t endpoint) { return endpoint == in ? halted_in_ : halted_out_; }
  void end(Transfer& transfer, TransferStatus status) {
    transfer.status = status;
    events_->completed(transfer);
  }
  void end_all(TransferStatus status) {
    for (auto* waiting : {&waiting_in_, &waiting_out_}) {
      for (Transfer* transfer : std::exchange(*waiting, {})) end(*transfer, status);
    }
  }

  void control(Transfer& transfer) {
    const usb::Request request(transfer.setup);
    if (request.is_clear_halt()) {
      seen.push_back("clear " + std::to_string(request.index));
      halted(static_cast<uint8_t>(request.index)) = false;
    } else if (request.type == 0x21 && request.request == 0xff) {
      begin_anew("reset");
    } else if (request.is_port_reset() || request.is_set_configuration()) {
      begin_anew("port reset");
      halted_in_ = halted_out_ = false;
      end_all(TransferStatus::cancelled);
    }
    end(transfer, TransferStatus::ok);
    pump();
  }
  bool rests() const { return !scripts.empty() && scripts.front().rests_before_command; }
  void begin_anew(const char* why) {
    seen.push_back(why);
    if (rests()) scripts.pop_front();
    packets_.clear();
    forgot_ = nullptr;
    stage_ = Stage::command;
  }

  void pump() {
    while (step_in() || step_out()) {
    }
  }
  bool step_in() {
    if (halted_in_ || packets_.empty() || packets_.front().rest) return false;
    if (packets_.front().halt) {  // whether anyone asks or not
      packets_.pop_front();
      halted_in_ = true;
      for (Transfer* waiting : std::exchange(waiting_in_, {})) {
        end(*waiting, TransferStatus::stall);
      }
      return true;
    }
    if (waiting_in_.empty()) return false;
    Transfer& transfer = *waiting_in_.front();
    const Packet packet = std::move(packets_.front());
    packets_.pop_front();
    if (packets_.empty()) stage_ = Stage::command;
    const bool fits = packet.bytes.size() <= transfer.length - transfer.actual;
    if (fits && !packet.bytes.empty()) {
      std::memcpy(transfer.data().data() + transfer.actual, packet.bytes.data(),
                  packet.bytes.size());
      transfer.actual += static_cast<uint32_t>(packet.bytes.size());
    }
    if (!fits || packet.bytes.size() < packet_bytes || transfer.actual == transfer.length) {
      waiting_in_.pop_front();
      if (script_.forgets_early_status && !packets_.empty() && !waiting_in_.empty()) {
        forgot_ = waiting_in_.front();
        packets_.push_front({.bytes = {}, .halt = false, .rest = true});
      }
      end(transfer, fits ? TransferStatus::ok : TransferStatus::overflow);
    }
    return true;
  }
  bool step_out() {
    if (waiting_out_.empty() || stage_ == Stage::status) return false;
    if (stage_ == Stage::command && rests()) return false;
    Transfer& transfer = *waiting_out_.front();
    waiting_out_.pop_front();
    if (stage_ == Stage::command) {
      take_command(transfer);
    } else {
      take_data(transfer);
    }
    return true;
  }

  void take_command(Transfer& transfer) {
    script_ = {};
    if (!scripts.empty()) {
      script_ = scripts.front();
      scripts.pop_front();
    }
    const bool valid = transfer.length == 31 && get32(transfer, 0) == 0x43425355;
    seen.push_back(valid ? "command " + std::to_string(get32(transfer, 4)) : "garbage");
    if (!valid || script_.stalls_command) {
      halted_in_ = halted_out_ = true;
      end(transfer, TransferStatus::stall);
      for (Transfer* waiting : std::exchange(waiting_in_, {})) end(*waiting, TransferStatus::stall);
      return;
    }
    tag_ = get32(transfer, 4);
    expected_ = get32(transfer, 8);
    moved_ = 0;
    const bool host_in = (static_cast<uint8_t>(transfer.data()[12]) & 0x80) != 0;
    transfer.actual = 31;
    stage_ = expected_ != 0 && !host_in ? Stage::data_out : Stage::status;
    if (stage_ == Stage::status) {
      if (expected_ != 0) give_data();
      give_status();
    }
    end(transfer, TransferStatus::ok);
  }
  void give_data() {
    const uint32_t bytes = std::min(script_.moves, expected_);
    for (; moved_ < bytes && moved_ < script_.rests_after;) {
      Packet packet;
      for (uint32_t i = 0; i < packet_bytes && moved_ < bytes; ++i, ++moved_) {
        packet.bytes.push_back(data_at(tag_, moved_));
      }
      packets_.push_back(std::move(packet));
    }
    if (moved_ < bytes) packets_.push_back({.bytes = {}, .halt = false, .rest = true});
    if (script_.stalls_data) {
      packets_.push_back({.bytes = {}, .halt = true, .rest = false});
    } else if (bytes < expected_ && bytes % packet_bytes == 0) {
      packets_.push_back({});  // ends the data
    }
  }
  void take_data(Transfer& transfer) {
    const uint32_t wanted = std::min(script_.moves, expected_) - moved_;
    const uint32_t taken = std::min(transfer.length, wanted);
    const auto bytes = transfer.data().first(taken);
    written.insert(written.end(), bytes.begin(), bytes.end());
    moved_ += taken;
    transfer.actual = taken;
    seen.push_back("data " + std::to_string(taken));
    const bool enough = taken == wanted;
    const bool ends = enough || transfer.length % packet_bytes != 0;
    if (ends) {
      stage_ = Stage::status;
      give_status();
    }
    if (enough && (script_.stalls_data || taken < transfer.length)) {
      halted_out_ = true;
      end(transfer, TransferStatus::stall);
      for (Transfer* waiting : std::exchange(waiting_out_, {})) {
        waiting->actual = 0;
        end(*waiting, TransferStatus::stall);
      }
    } else {
      end(transfer, TransferStatus::ok);
    }
  }
  void give_status() {
    if (script_.stalls_status) packets_.push_back({.bytes = {}, .halt = true, .rest = false});
    if (script_.rests_before_status) packets_.push_back({.bytes = {}, .halt = false, .rest = true});
    const uint32_t words[] = {0x53425355, tag_ + script_.tag_error, expected_ - moved_};
    Packet packet;
    packet.bytes.resize(13);
    std::memcpy(packet.bytes.data(), words, sizeof words);
    packet.bytes[12] = static_cast<std::byte>(script_.status);
    packets_.push_back(std::move(packet));
  }
  static uint32_t get32(const Transfer& transfer, size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, transfer.data().data() + at, sizeof value);
    return value;
  }

  DeviceInfo info_;
  DeviceEvents* events_ = nullptr;
  std::deque<Packet> packets_;
  std::deque<Transfer*> waiting_in_, waiting_out_;
  const Transfer* forgot_ = nullptr;  // behind it, the first packet rests
  bool halted_in_ = false, halted_out_ = false;
  Stage stage_ = Stage::command;
  Script script_;
  uint32_t tag_ = 0, expected_ = 0, moved_ = 0;
};

}  // namespace farport
