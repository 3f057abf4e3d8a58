// Transfers to the bus and back.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "devices/usb/usb_device.h"

namespace farport {

namespace {

void hint_at_memory_limit(const DeviceInfo& info, uint32_t bytes) {
  static std::atomic_flag said;
  if (said.test_and_set()) return;
  spdlog::warn(
      "{}: the kernel has no memory for a transfer of {} bytes. All transfers in flight of all USB "
      "devices together may take usbfs_memory_mb megabytes; raise it with `echo 256 > "
      "/sys/module/usbcore/parameters/usbfs_memory_mb`. This is said once",
      info.name, bytes);
}

// usbfs leaves each packet's data where its place was asked for; transfer.h wants IN data packed.
void pack(Transfer& transfer) {
  size_t place = 0, packed = 0;
  uint32_t errors = 0;
  std::byte* data = transfer.data().data();
  for (const IsoPacket& packet : transfer.packets()) {
    if (packet.status != static_cast<uint32_t>(TransferStatus::ok)) ++errors;
    if (transfer.in() && place != packed) {
      std::memmove(data + packed, data + place, packet.actual);
    }
    place += packet.length;
    packed += packet.actual;
  }
  transfer.actual = static_cast<uint32_t>(packed);
  transfer.error_count = errors;
}

}  // namespace

void UsbDevice::dispatch(Transfer& transfer) {
  if (gone_) return finish(transfer, TransferStatus::unplugged);
  if (const TransferStatus status = check(transfer); status != TransferStatus::ok) {
    return finish(transfer, status);
  }
  if (transfer.type == TransferType::control) {
    const usb::Request request(transfer.setup);
    if (request.is_set_address()) return finish(transfer, TransferStatus::ok);
    if (const auto kind = kind_of(request); kind != Operation::Kind::none) {
      if (in_events_) return wait(transfer);
      return begin_request(transfer, request, kind);
    }
  }
  submit_to_bus(transfer);
}

TransferStatus UsbDevice::check(const Transfer& transfer) const {
  if (transfer.length > limits::transfer_bytes_max ||
      transfer.packet_count > limits::iso_packets_max) {
    return TransferStatus::invalid;
  }
  if (transfer.type == TransferType::control) {
    const bool whole = usb::Request(transfer.setup).length <= transfer.length;
    return whole && (transfer.endpoint & 0x0f) == 0 && transfer.packet_count == 0
               ? TransferStatus::ok
               : TransferStatus::invalid;
  }
  const usb::Endpoint* endpoint = endpoints_.find(transfer.endpoint);
  if (!endpoint || endpoint->type == TransferType::control) return TransferStatus::invalid;
  const bool isochronous = endpoint->type == TransferType::isochronous;
  if (isochronous != (transfer.type == TransferType::isochronous) ||
      isochronous != (transfer.packet_count > 0)) {
    return TransferStatus::invalid;
  }
  uint64_t asked = 0;
  if (isochronous) {
    for (const IsoPacket& packet : transfer.packets()) asked += packet.length;
  }
  return asked <= transfer.length ? TransferStatus::ok : TransferStatus::invalid;
}

void UsbDevice::submit_to_bus(Transfer& transfer) {
  TransferSlot& slot = pool_.take(transfer.packet_count);
  fill(slot, transfer);
  const TransferStatus status = handle_->submit(slot.transfer);
  const bool broken = status == TransferStatus::ok && slot.transfer.broken;
  if ((broken ? slot.transfer.status : status) == TransferStatus::no_memory) {
    hint_at_memory_limit(info_, transfer.length);
  }
  if (status == TransferStatus::ok) {
    link(slot);
    return broken ? cancel(transfer) : void();
  }
  pool_.give_back(slot);
  // An unplug is told when the events say so, right after.
  finish(transfer, status);
}

void UsbDevice::fill(TransferSlot& slot, Transfer& transfer) {
  slot.request = &transfer;
  slot.owner = this;
  transfer.device_context = &slot;
  transfer.device_cookie = in_flight;
  BusTransfer& to = slot.transfer;
  to.completed = [](BusTransfer& done) {
    auto& slot = *static_cast<TransferSlot*>(done.owner);
    slot.owner->completed(slot);
  };
  to.owner = &slot;
  to.type = transfer.type;
  to.endpoint = transfer.endpoint;
  to.zero_packet = false;
  to.data = transfer.data().data();
  to.length = transfer.length;
  to.packets = transfer.packets();
  switch (transfer.type) {
    case TransferType::control:
      std::memcpy(transfer.setup_space(), transfer.setup.data(), transfer.setup.size());
      to.endpoint = 0;
      to.data = transfer.setup_space();
      to.length =
          static_cast<uint32_t>(transfer.setup.size()) + usb::Request(transfer.setup).length;
      break;
    case TransferType::isochronous:
      break;
    default:
      // Bulk or interrupt by the descriptor: a driver that sees only numbers may not know.
      to.type = endpoints_.type_of(transfer.endpoint);
      to.zero_packet = !transfer.in() && (transfer.flags & transfer_flags::zero_packet);
  }
}

void UsbDevice::completed(TransferSlot& slot) {
  Transfer& transfer = *slot.request;
  if (slot.cancel == TransferSlot::Cancel::wanted && cancels_wanted_ > 0) --cancels_wanted_;
  TransferStatus status = slot.transfer.status;
  if (transfer.type == TransferType::isochronous) {
    pack(transfer);
  } else {
    transfer.actual = std::min(slot.transfer.actual, transfer.length);
    const uint32_t asked = transfer.type == TransferType::control
                               ? usb::Request(transfer.setup).length
                               : transfer.length;
    const bool short_read = transfer.in() && transfer.actual < asked;
    if (status == TransferStatus::ok && short_read &&
        (transfer.flags & transfer_flags::short_not_ok)) {
      status = TransferStatus::short_read;
    }
  }
  unlink(slot);
  pool_.give_back(slot);
  finish(transfer, status);
}

void UsbDevice::link(TransferSlot& slot) {
  slot.previous = nullptr;
  slot.next = in_flight_;
  if (in_flight_) in_flight_->previous = &slot;
  in_flight_ = &slot;
}

void UsbDevice::unlink(TransferSlot& slot) {
  (slot.previous ? slot.previous->next : in_flight_) = slot.next;
  if (slot.next) slot.next->previous = slot.previous;
}

}  // namespace farport
