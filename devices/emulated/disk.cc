#include "devices/emulated/disk.h"

namespace farport {

namespace {

UsbDescription describe(const EmulatedDeviceSettings& settings) {
  const UsbIdentity identity = usb_identity(settings);
  constexpr std::array<uint16_t, 3> bulk_packet_bytes{64, 512, 1024};
  AlternateDescription mass_storage{
      .interface_class = 0x08,     // mass storage
      .interface_subclass = 0x06,  // SCSI transparent command set
      .interface_protocol = 0x50,  // bulk-only transport
      .endpoints = {{EmulatedDisk::endpoint_in, TransferType::bulk, bulk_packet_bytes, {}},
                    {EmulatedDisk::endpoint_out, TransferType::bulk, bulk_packet_bytes, {}}}};
  return {.vendor = identity.vendor,
          .product = identity.product,
          .speed = settings.speed,
          .manufacturer = "Farport",
          .product_name = "Emulated disk",
          .serial_number = settings.name,
          .alternates = {std::move(mass_storage)}};
}

}  // namespace

EmulatedDisk::EmulatedDisk(const EmulatedDeviceSettings& settings,
                           std::shared_ptr<DiskStorage> storage, std::shared_ptr<DeviceLink> link)
    : EmulatedUsbDevice(settings, std::move(link), describe(settings)),
      storage_(std::move(storage)),
      scsi_(*storage_, settings.read_only, settings.name),
      transport_(scsi_) {}

void EmulatedDisk::interface_set() {
  scsi_.reset();
  transport_.reset();
}

EmulatedUsbDevice::Answer EmulatedDisk::request(const SetupPacket& setup,
                                                std::span<std::byte> data) {
  if (setup.index != 0 || setup.value != 0 || endpoints_.find(endpoint_in) == nullptr) return {};
  if (setup.request_type == 0x21 && setup.request == bot::request_reset && setup.length == 0) {
    transport_.reset();
    return 0;
  }
  if (setup.request_type == 0xa1 && setup.request == bot::request_get_max_lun &&
      setup.length == 1 && !data.empty()) {
    data[0] = std::byte{0};
    return 1;
  }
  return {};
}

UsbEndpoint* EmulatedDisk::next_ready() {
  const uint8_t address = transport_.wants_in()    ? endpoint_in
                          : transport_.wants_out() ? endpoint_out
                                                   : uint8_t{0};
  UsbEndpoint* endpoint = endpoints_.find(address);
  return endpoint == nullptr || endpoint->waiting.empty() ? nullptr : endpoint;
}

std::optional<uint64_t> EmulatedDisk::service_bytes(const UsbEndpoint&, const Transfer& transfer) {
  if (!transport_.in_data_stage()) return {};
  return transport_.data_bytes(transfer.length);
}

void EmulatedDisk::carry_out(UsbEndpoint& endpoint, Transfer& transfer, bool half) {
  if (half) transport_.fault_half(transfer.length);
  if (transfer.in()) {
    return finish(endpoint, transfer, transport_.give(transfer.data(), endpoint.max_packet_bytes));
  }
  const bool ends_short = transfer.length % endpoint.max_packet_bytes != 0 ||
                          transfer.length == 0 ||
                          (transfer.flags & transfer_flags::zero_packet) != 0;
  finish(endpoint, transfer,
         transport_.take(transfer.data(), ends_short, endpoint.max_packet_bytes));
}

void EmulatedDisk::carry_out_stall(UsbEndpoint& endpoint, Transfer& transfer) {
  finish(endpoint, transfer, transport_.fault_stall());
}

// The wedge after an invalid CBW holds until the reset (BOT 6.6.1).
bool EmulatedDisk::may_clear_halt(const UsbEndpoint&) {
  return transport_.stage() != BulkOnly::Stage::reset_needed;
}

void EmulatedDisk::finish(UsbEndpoint& endpoint, Transfer& transfer, const BulkOnly::Step& step) {
  const uint8_t halted[] = {step.halt_in ? endpoint_in : uint8_t{0},
                            step.halt_out ? endpoint_out : uint8_t{0}};
  const bool halts_itself = endpoint.address == halted[0] || endpoint.address == halted[1];
  if (halts_itself) {
    complete_and_halt(endpoint, transfer, step.status, step.actual);
  } else if (transfer.in() && step.status == TransferStatus::ok) {
    complete_in(transfer, step.actual);
  } else {
    complete(transfer, step.status, step.actual);
  }
  for (const uint8_t address : halted) {
    if (address == 0 || address == endpoint.address) continue;
    if (UsbEndpoint* other = endpoints_.find(address)) halt(*other);
  }
}

}  // namespace farport
