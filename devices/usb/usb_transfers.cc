// Transfers to the bus and back.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "devices/usb/usb_device.h"

namespace farport {

namespace {

TransferStatus status_of(libusb_transfer_status status) {
  switch (status) {
    case LIBUSB_TRANSFER_COMPLETED:
      return TransferStatus::ok;
    case LIBUSB_TRANSFER_TIMED_OUT:
      return TransferStatus::timed_out;
    case LIBUSB_TRANSFER_CANCELLED:
      return TransferStatus::cancelled;
    case LIBUSB_TRANSFER_STALL:
      return TransferStatus::stall;
    case LIBUSB_TRANSFER_NO_DEVICE:
      return TransferStatus::unplugged;
    case LIBUSB_TRANSFER_OVERFLOW:
      return TransferStatus::overflow;
    case LIBUSB_TRANSFER_ERROR:
      break;
  }
  return TransferStatus::protocol;
}

// libusb_submit_transfer's answers.
TransferStatus refusal(int result) {
  switch (result) {
    case LIBUSB_ERROR_NO_DEVICE:
      return TransferStatus::unplugged;
    case LIBUSB_ERROR_NO_MEM:
      return TransferStatus::no_memory;
    case LIBUSB_ERROR_INVALID_PARAM:
    case LIBUSB_ERROR_NOT_SUPPORTED:
    case LIBUSB_ERROR_NOT_FOUND:
      return TransferStatus::invalid;
    default:
      return TransferStatus::protocol;
  }
}

void hint_at_memory_limit(const DeviceInfo& info, uint32_t bytes) {
  static std::atomic_flag said;
  if (said.test_and_set()) return;
  spdlog::warn(
      "{}: the kernel has no memory for a transfer of {} bytes. All transfers in flight of all USB "
      "devices together may take usbfs_memory_mb megabytes; raise it with `echo 256 > "
      "/sys/module/usbcore/parameters/usbfs_memory_mb`. This is said once",
      info.name, bytes);
}

libusb_transfer_type libusb_type(TransferType type) {
  return type == TransferType::interrupt ? LIBUSB_TRANSFER_TYPE_INTERRUPT
                                         : LIBUSB_TRANSFER_TYPE_BULK;
}

// libusb leaves each packet's data where its place was asked for; transfer.h wants IN data packed.
void take_packets(const libusb_transfer& from, Transfer& to) {
  size_t place = 0, packed = 0;
  uint32_t errors = 0;
  std::byte* data = to.data().data();
  const auto packets = to.packets();
  for (size_t i = 0; i < packets.size(); ++i) {
    const libusb_iso_packet_descriptor& result = from.iso_packet_desc[i];
    const size_t moved = std::min(result.actual_length, result.length);
    packets[i].actual = static_cast<uint32_t>(moved);
    packets[i].status = static_cast<uint32_t>(status_of(result.status));
    if (result.status != LIBUSB_TRANSFER_COMPLETED) ++errors;
    if (to.in() && place != packed) std::memmove(data + packed, data + place, moved);
    place += result.length;
    packed += moved;
  }
  to.actual = static_cast<uint32_t>(packed);
  to.error_count = errors;
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
  TransferSlot* slot = pool_.take(transfer.packet_count);
  if (!slot) return finish(transfer, TransferStatus::no_memory);
  fill(*slot, transfer);
  const int result = handle_->submit(slot->transfer);
  if (result == 0) return link(*slot);
  pool_.give_back(*slot);
  if (result == LIBUSB_ERROR_NO_MEM) hint_at_memory_limit(info_, transfer.length);
  // An unplug is told when the events say so, right after.
  finish(transfer, refusal(result));
}

void UsbDevice::fill(TransferSlot& slot, Transfer& transfer) {
  libusb_transfer& to = *slot.transfer;
  slot.request = &transfer;
  transfer.device_context = &slot;
  transfer.device_cookie = in_flight;
  to.flags = 0;
  to.endpoint = transfer.endpoint;
  to.timeout = 0;  // the driver cancels
  slot.owner = this;
  to.user_data = &slot;
  to.num_iso_packets = transfer.packet_count;
  to.callback = [](libusb_transfer* done) {
    auto& slot = *static_cast<TransferSlot*>(done->user_data);
    static_cast<UsbDevice*>(slot.owner)->completed(slot);
  };
  to.buffer = reinterpret_cast<unsigned char*>(transfer.data().data());
  to.length = static_cast<int>(transfer.length);
  if (transfer.type == TransferType::control) {
    const usb::Request request(transfer.setup);
    std::memcpy(transfer.setup_space(), transfer.setup.data(), transfer.setup.size());
    to.type = LIBUSB_TRANSFER_TYPE_CONTROL;
    to.endpoint = 0;
    to.buffer = reinterpret_cast<unsigned char*>(transfer.setup_space());
    to.length = LIBUSB_CONTROL_SETUP_SIZE + request.length;
    return;
  }
  if (transfer.type == TransferType::isochronous) {
    to.type = LIBUSB_TRANSFER_TYPE_ISOCHRONOUS;
    for (size_t i = 0; i < transfer.packet_count; ++i) {
      to.iso_packet_desc[i].length = transfer.packets()[i].length;
    }
    return;
  }
  // Bulk or interrupt by the descriptor: a driver that sees only numbers may not know.
  to.type = static_cast<unsigned char>(libusb_type(endpoints_.type_of(transfer.endpoint)));
  if (!transfer.in() && (transfer.flags & transfer_flags::zero_packet)) {
    to.flags = LIBUSB_TRANSFER_ADD_ZERO_PACKET;
  }
}

void UsbDevice::completed(TransferSlot& slot) {
  Transfer& transfer = *slot.request;
  const libusb_transfer& from = *slot.transfer;
  if (slot.cancel == TransferSlot::Cancel::wanted && cancels_wanted_ > 0) --cancels_wanted_;
  TransferStatus status = status_of(from.status);
  if (transfer.type == TransferType::isochronous) {
    take_packets(from, transfer);
  } else {
    transfer.actual =
        std::min(static_cast<uint32_t>(std::max(from.actual_length, 0)), transfer.length);
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
