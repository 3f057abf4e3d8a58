// The USB half of an emulated device: endpoint zero with the standard requests, endpoints that
// halt, and the service of one transfer after the other at the rate, with the delay and the faults
// of its settings. What the device does with a transfer is its kind's business (disk.h,
// source_sink.h).
//
// With no rate, delay or fault set, a transfer that can be carried out completes from inside
// submit(). A completion that submits again is queued, not nested.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "devices/emulated/emulated_device.h"
#include "devices/emulated/usb_descriptors.h"
#include "devices/emulated/usb_endpoints.h"

namespace farport {

// The setup packet (USB 2.0, table 9-2).
struct SetupPacket {
  explicit SetupPacket(const std::array<uint8_t, 8>& bytes)
      : request_type(bytes[0]),
        request(bytes[1]),
        value(static_cast<uint16_t>(bytes[2] | bytes[3] << 8)),
        index(static_cast<uint16_t>(bytes[4] | bytes[5] << 8)),
        length(static_cast<uint16_t>(bytes[6] | bytes[7] << 8)) {}
  bool in() const { return (request_type & 0x80) != 0; }
  bool standard() const { return (request_type & 0x60) == 0; }
  uint8_t recipient() const { return request_type & 0x1f; }  // 0 device, 1 interface, 2 endpoint

  uint8_t request_type;
  uint8_t request;
  uint16_t value;
  uint16_t index;
  uint16_t length;
};

class EmulatedUsbDevice : public EmulatedDevice {
 public:
  void submit(Transfer& transfer) final;
  void cancel(Transfer& transfer) final;

 protected:
  EmulatedUsbDevice(const EmulatedDeviceSettings& settings, std::shared_ptr<DeviceLink> link,
                    const UsbDescription& description);

  // Answers a request at endpoint zero: the bytes of `data` that were filled (IN) or used (OUT);
  // nothing: refused, which stalls.
  using Answer = std::optional<uint32_t>;

  // --- what a kind of device does ---

  // Configuration or alternate setting were set, or the device was reset: begin anew.
  virtual void interface_set() = 0;
  // A class or vendor request.
  virtual Answer request(const SetupPacket& setup, std::span<std::byte> data) = 0;
  // The waiting transfer to be carried out now; nullptr when the device wants none of them yet.
  virtual UsbEndpoint* next_ready() = 0;
  // What the transfer costs, if it carries data: its bytes. Nothing: it costs nothing, and meets
  // with no fault.
  virtual std::optional<uint64_t> service_bytes(const UsbEndpoint& endpoint,
                                                const Transfer& transfer) = 0;
  // Does it, and completes it: in full, or only half of it.
  virtual void carry_out(UsbEndpoint& endpoint, Transfer& transfer, bool half) = 0;
  // A fault: halt the endpoint instead. `transfer` is to be completed by complete_and_halt().
  virtual void carry_out_stall(UsbEndpoint& endpoint, Transfer& transfer) = 0;
  // The host clears a halt; false keeps the endpoint halted (the request itself succeeds).
  virtual bool may_clear_halt(const UsbEndpoint&) { return true; }
  virtual void submit_isochronous(UsbEndpoint& endpoint, Transfer& transfer);
  // A waiting transfer was taken out; `first`: the one under way.
  virtual void cancelled_isochronous(UsbEndpoint&, bool /*first*/) {}

  // --- what it uses ---

  // Completes an IN transfer; less than asked is an error if the host has said so.
  void complete_in(Transfer& transfer, uint32_t actual);
  // Halts the endpoint, completes `transfer`, and stalls what waits behind it.
  void complete_and_halt(UsbEndpoint& endpoint, Transfer& transfer, TransferStatus status,
                         uint32_t actual);
  void halt(UsbEndpoint& endpoint);
  // Something that next_ready() looks at has changed.
  void pump() { pump(last_service_end_ns_); }

  void power_on(Scheduler& scheduler) override;
  Transfer* take_any() override;

  Scheduler* scheduler_ = nullptr;
  UsbEndpoints endpoints_;
  UsbSpeed speed() const { return description_.speed; }

 private:
  // emulated_usb_device.cc: service
  void pump(uint64_t now_ns);
  void serve(UsbEndpoint& endpoint);
  void service_ended();
  uint64_t service_ns(uint64_t bytes) const;
  void stall_waiting(UsbEndpoint& endpoint);
  void set_interface(uint8_t alternate);

  // usb_control.cc: endpoint zero
  void control(Transfer& transfer);
  Answer standard_request(const SetupPacket& setup, std::span<std::byte> data);
  Answer device_request(const SetupPacket& setup, std::span<std::byte> data);
  Answer interface_request(const SetupPacket& setup, std::span<std::byte> data);
  Answer endpoint_request(const SetupPacket& setup, std::span<std::byte> data);
  Answer get_descriptor(const SetupPacket& setup, std::span<std::byte> data) const;
  Answer set_configuration(uint8_t value);
  UsbEndpoint* find_endpoint(uint16_t index);

  const UsbDescription description_;
  const UsbDescriptors descriptors_;
  const bool paced_;
  uint8_t configuration_ = 0;
  uint8_t alternate_ = 0;

  std::optional<Timer> timer_;
  bool pumping_ = false;
  UsbEndpoint* in_service_ = nullptr;  // its first waiting transfer is being carried out
  std::optional<FaultKind> fault_;     // which that transfer meets with
  uint64_t service_end_ns_ = 0;
  uint64_t last_service_end_ns_ = 0;
};

}  // namespace farport
