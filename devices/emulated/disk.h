// An emulated USB disk: mass-storage class, SCSI transparent command set, bulk-only transport
// (interface 08/06/50), over a DiskStorage. Good enough for Linux's usb-storage, which the lab
// proves.
//
//   endpoint 0x81 bulk IN, 0x02 bulk OUT; one logical unit; 512-byte blocks.
//
// The serial number is the device's configured name, which need not be the 12 hexadecimal digits of
// BOT 4.1.1; hosts do not check.
#pragma once

#include <memory>

#include "devices/emulated/bulk_only.h"
#include "devices/emulated/disk_storage.h"
#include "devices/emulated/emulated_usb_device.h"
#include "devices/emulated/scsi_disk.h"

namespace farport {

class EmulatedDisk final : public EmulatedUsbDevice {
 public:
  static constexpr uint8_t endpoint_in = 0x81;
  static constexpr uint8_t endpoint_out = 0x02;

  // Without a link the device stands alone, without a provider.
  EmulatedDisk(const EmulatedDeviceSettings& settings, std::shared_ptr<DiskStorage> storage,
               std::shared_ptr<DeviceLink> link = std::make_shared<DeviceLink>());

 private:
  void interface_set() override;
  Answer request(const SetupPacket& setup, std::span<std::byte> data) override;
  UsbEndpoint* next_ready() override;
  std::optional<uint64_t> service_bytes(const UsbEndpoint& endpoint,
                                        const Transfer& transfer) override;
  void carry_out(UsbEndpoint& endpoint, Transfer& transfer, bool half) override;
  void carry_out_stall(UsbEndpoint& endpoint, Transfer& transfer) override;
  bool may_clear_halt(const UsbEndpoint& endpoint) override;
  void finish(UsbEndpoint& endpoint, Transfer& transfer, const BulkOnly::Step& step);

  std::shared_ptr<DiskStorage> storage_;
  ScsiDisk scsi_;
  BulkOnly transport_;
};

}  // namespace farport
