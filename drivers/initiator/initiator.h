// A USB host in this process: a driver end whose consumer is a program. It enumerates the device;
// programs then move transfers through it, by callbacks on the worker: a disk (mass_storage.h), a
// load on source/sink (source_sink_load.h), a serial line (serial_line.h), or their own. For a
// program on another thread, or one that drives the worker itself, blocking.h waits for them.
//
// On the worker only. Users are destroyed before the initiator, and so before its channel is.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/scheduler.h"
#include "drivers/driver.h"
#include "drivers/initiator/usb_layout.h"

namespace farport {

// Whoever submits transfers of an initiator.
class TransferUser {
 public:
  // A submitted transfer is back. It is the user's: to submit again, or to release.
  virtual void transfer_done(Transfer& transfer) = 0;
  // The channel is closing: release every transfer that is not in flight, now; those in flight
  // come back by transfer_done() and are to be released there. allocate() answers nullptr from
  // here on.
  virtual void initiator_stopping() = 0;

 protected:
  ~TransferUser() = default;
};

class Initiator final : public Driver {
 public:
  // Called once, on the worker: the device can be used, or why not. A serial port can be used at
  // once, but this is never called from inside start().
  using Ready = std::function<void(Result<void>)>;
  explicit Initiator(Ready ready = {});
  ~Initiator() override;
  // The same, before start().
  void on_ready(Ready ready) { ready_ = std::move(ready); }

  // Driver
  std::string_view name() const override { return "initiator"; }
  std::string path() const override { return {}; }
  Result<void> start(Worker& worker, DriverPort& port) override;
  // start() on any clock, for simulation.
  Result<void> start_on(Scheduler& scheduler, DriverPort& port);
  void completed(Transfer& transfer) override;
  void unplugged(std::string_view reason) override;
  void stop() override;

  bool ready() const { return state_ == State::ready && !unplugged_; }
  // Enumeration has failed, the device was unplugged, or the channel is closing: why. Empty: none
  // of these.
  const std::string& failure() const { return failure_; }
  const DeviceInfo& info() const { return port_->info(); }
  Scheduler& scheduler() { return *scheduler_; }
  // USB: as enumerated.
  const UsbLayout& layout() const { return layout_; }
  std::span<const uint8_t> device_descriptor() const { return device_descriptor_; }

  // --- for users ---

  void add(TransferUser& user);
  void remove(TransferUser& user);  // it has no transfers any more

  // A transfer of `user`; nullptr past a limit, or when the channel is closing.
  Transfer* allocate(TransferUser& user, uint32_t length, uint16_t packet_count = 0);
  void submit(Transfer& transfer) { port_->submit(transfer); }
  void cancel(Transfer& transfer) { port_->cancel(transfer); }
  void release(Transfer& transfer);
  // For a user's destructor: a transfer in flight is cancelled, and released when it comes back.
  void abandon(Transfer& transfer);

  // --- one transfer, for what happens seldom (each call allocates) ---

  // Called with the transfer as it came back; its data is valid inside only.
  using Done = std::function<void(const Transfer&)>;
  // `setup` says direction and length (USB 2.0, 9.3); `data` is sent if it says OUT. False (and no
  // call) when there is no memory for it, `data` is too short, or the channel is closing.
  bool control(const std::array<uint8_t, 8>& setup, std::span<const std::byte> data, Done done);
  // IN: `length` bytes at most. OUT: `data`.
  bool receive(TransferType type, uint8_t endpoint, uint32_t length, Done done);
  bool send(TransferType type, uint8_t endpoint, std::span<const std::byte> data, Done done);
  // CLEAR_FEATURE(ENDPOINT_HALT).
  bool clear_halt(uint8_t endpoint, Done done);

 private:
  struct Request;

  void enumerate();
  void got_device(const Transfer& transfer);
  void got_configuration_header(const Transfer& transfer);
  void got_configuration(const Transfer& transfer);
  void configured(const Transfer& transfer);
  void get_descriptor(uint8_t type, uint16_t length, void (Initiator::*next)(const Transfer&));
  void finish_enumeration(Result<void> outcome);
  Transfer* allocate_request(uint32_t length);
  bool request(Transfer& transfer, Done done);
  void check_stopped();

  enum class State : uint8_t { idle, enumerating, ready, failed, stopping, stopped };
  State state_ = State::idle;
  bool unplugged_ = false;
  Ready ready_;
  std::string failure_;
  Scheduler* scheduler_ = nullptr;
  DriverPort* port_ = nullptr;
  std::unique_ptr<Timer> soon_;  // a serial port becomes ready from the loop
  std::vector<TransferUser*> users_;
  std::vector<std::unique_ptr<Request>> requests_;
  uint32_t allocated_ = 0;
  std::vector<uint8_t> device_descriptor_;
  UsbLayout layout_;
};

// How a transfer that did not end well is told to a person; `what` was being done.
Error transfer_error(TransferStatus status, std::string_view what);

// The setup packet of a control request (USB 2.0, 9.3).
constexpr std::array<uint8_t, 8> make_setup(uint8_t request_type, uint8_t request, uint16_t value,
                                            uint16_t index, uint16_t length) {
  return {request_type,
          request,
          static_cast<uint8_t>(value),
          static_cast<uint8_t>(value >> 8),
          static_cast<uint8_t>(index),
          static_cast<uint8_t>(index >> 8),
          static_cast<uint8_t>(length),
          static_cast<uint8_t>(length >> 8)};
}

}  // namespace farport
