// Emulated source/sink, modelled on Linux's f_sourcesink: a vendor-class interface whose OUT
// endpoints take any data and whose IN endpoints give as much as is asked. The devices that
// benchmarks run against, and that usbtest drives.
//
//   alternate setting 0:  0x01 bulk OUT, 0x81 bulk IN, 0x02 interrupt OUT, 0x82 interrupt IN
//   alternate setting 1:  and 0x03 isochronous OUT, 0x83 isochronous IN
//
// Data is that of the pattern (pattern.h). An OUT transfer that does not match it halts its
// endpoint and completes as a stall; clearing the halt begins the endpoint's stream anew. With
// pattern `none`, data is neither written nor read.
//
// Isochronous transfers take the bus's time: each packet its interval, from when the transfer
// before it has ended. start_frame of the request is taken as `as soon as possible`.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "devices/emulated/emulated_usb_device.h"

namespace farport {

class EmulatedSourceSink final : public EmulatedUsbDevice {
 public:
  static constexpr uint8_t bulk_out = 0x01;
  static constexpr uint8_t bulk_in = 0x81;
  static constexpr uint8_t interrupt_out = 0x02;
  static constexpr uint8_t interrupt_in = 0x82;
  static constexpr uint8_t isochronous_out = 0x03;
  static constexpr uint8_t isochronous_in = 0x83;

  // Without a link the device stands alone, without a provider.
  explicit EmulatedSourceSink(const EmulatedDeviceSettings& settings,
                              std::shared_ptr<DeviceLink> link = std::make_shared<DeviceLink>());

  // OUT data (transfers, or isochronous packets) that did not match the pattern.
  uint64_t mismatches() const { return mismatches_; }

 private:
  // One isochronous endpoint's place on the bus. The first transfer waiting there is under way
  // whenever the timer is armed.
  struct Isochronous {
    EmulatedSourceSink* device = nullptr;
    uint8_t address = 0;
    std::optional<Timer> timer;
    uint64_t free_ns = 0;   // when the transfer before ended
    uint64_t start_ns = 0;  // of the transfer under way
    uint64_t end_ns = 0;
    std::optional<FaultKind> fault;
  };

  void power_on(Scheduler& scheduler) override;
  Transfer* take_any() override;
  void interface_set() override;
  Answer request(const SetupPacket& setup, std::span<std::byte> data) override;
  UsbEndpoint* next_ready() override;
  std::optional<uint64_t> service_bytes(const UsbEndpoint& endpoint,
                                        const Transfer& transfer) override;
  void carry_out(UsbEndpoint& endpoint, Transfer& transfer, bool half) override;
  void carry_out_stall(UsbEndpoint& endpoint, Transfer& transfer) override;

  void submit_isochronous(UsbEndpoint& endpoint, Transfer& transfer) override;
  void cancelled_isochronous(UsbEndpoint& endpoint, bool first) override;
  void begin_isochronous(Isochronous& state);
  void isochronous_ended(Isochronous& state);
  uint32_t carry_packets(UsbEndpoint& endpoint, Transfer& transfer, std::optional<FaultKind> fault);
  uint64_t packet_ns(const UsbEndpoint& endpoint) const;

  std::array<Isochronous, 2> isochronous_;  // OUT, IN
  size_t served_last_ = 0;
  uint64_t mismatches_ = 0;
  std::vector<std::byte> control_data_;  // written and read back by vendor requests
};

}  // namespace farport
