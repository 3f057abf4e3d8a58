#include "devices/usb/usbfs_transfers.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

namespace farport {

namespace {

// Of a URB or an isochronous packet (the kernel's Documentation/driver-api/usb/error-codes.rst).
TransferStatus status_of(int status) {
  switch (-status) {
    case 0:
    case EREMOTEIO:  // short, where we asked to be told; a transfer may be short
      return TransferStatus::ok;
    case ENOENT:
    case ECONNRESET:
      return TransferStatus::cancelled;
    case ENODEV:
    case ESHUTDOWN:
      return TransferStatus::unplugged;
    case EPIPE:
      return TransferStatus::stall;
    case EOVERFLOW:
      return TransferStatus::overflow;
    case ETIMEDOUT:
      return TransferStatus::timed_out;
    case EXDEV:
      return TransferStatus::late;
    default:
      return TransferStatus::protocol;
  }
}

// Of a submission that was refused.
TransferStatus refusal(int error) {
  switch (error) {
    case ENODEV:
    case ESHUTDOWN:
      return TransferStatus::unplugged;
    case ENOMEM:
      return TransferStatus::no_memory;
    case EINVAL:
    case EMSGSIZE:  // a packet is longer than the endpoint takes
    case ENOENT:    // no such endpoint now
      return TransferStatus::invalid;
    default:
      return TransferStatus::protocol;
  }
}

uint8_t urb_type(TransferType type) {
  switch (type) {
    case TransferType::control:
      return USBDEVFS_URB_TYPE_CONTROL;
    case TransferType::isochronous:
      return USBDEVFS_URB_TYPE_ISO;
    case TransferType::interrupt:
      return USBDEVFS_URB_TYPE_INTERRUPT;
    default:
      return USBDEVFS_URB_TYPE_BULK;
  }
}

}  // namespace

UsbfsTransfers::UsbfsTransfers(UsbfsIoctls& ioctls) : ioctls_(ioctls) {
  uint32_t capabilities = 0;
  if (ioctls_.capabilities(capabilities) != 0) return;
  cuts_bulk_ = !(capabilities & USBDEVFS_CAP_BULK_SCATTER_GATHER) &&
               (capabilities & USBDEVFS_CAP_BULK_CONTINUATION);
}

UsbfsTransfers::Cut UsbfsTransfers::cut(const BusTransfer& transfer) const {
  const auto pieces = [](size_t whole, uint32_t each) { return (whole + each - 1) / each; };
  if (transfer.type == TransferType::isochronous) {
    return {pieces(transfer.packets.size(), packets_per_urb), packets_per_urb};
  }
  if (transfer.type == TransferType::bulk && cuts_bulk_ && transfer.length > piece_bytes) {
    return {pieces(transfer.length, piece_bytes), piece_bytes};
  }
  return {1, transfer.length};
}

void UsbfsTransfers::fill(BusTransfer& transfer, const Cut& cut) {
  const bool isochronous = transfer.type == TransferType::isochronous;
  const bool in = (transfer.endpoint & 0x80) != 0;
  transfer.urbs.assign(cut.urbs,
                       isochronous ? std::min<size_t>(cut.each, transfer.packets.size()) : 0);
  size_t at = 0;  // bytes
  for (size_t i = 0; i < cut.urbs; ++i) {
    usbdevfs_urb& urb = transfer.urbs[i];
    urb.type = urb_type(transfer.type);
    urb.endpoint = transfer.endpoint;
    urb.usercontext = &transfer;
    urb.buffer = transfer.data + at;
    const bool last = i + 1 == cut.urbs;
    size_t bytes = std::min<size_t>(transfer.length - at, cut.each);
    if (isochronous) {
      bytes = 0;
      urb.flags = USBDEVFS_URB_ISO_ASAP;
      const auto packets = transfer.packets.subspan(
          i * cut.each, std::min<size_t>(cut.each, transfer.packets.size() - i * cut.each));
      urb.number_of_packets = static_cast<int>(packets.size());
      for (size_t p = 0; p < packets.size(); ++p) {
        urb.iso_frame_desc[p].length = packets[p].length;
        bytes += packets[p].length;
      }
    } else {
      if (i > 0) urb.flags |= USBDEVFS_URB_BULK_CONTINUATION;
      if (in && !last) urb.flags |= USBDEVFS_URB_SHORT_NOT_OK;
      if (!in && last && transfer.zero_packet) urb.flags |= USBDEVFS_URB_ZERO_PACKET;
    }
    urb.buffer_length = static_cast<int>(bytes);
    at += bytes;
  }
}

TransferStatus UsbfsTransfers::submit(BusTransfer& transfer) {
  const Cut cut = this->cut(transfer);
  fill(transfer, cut);
  transfer.status = TransferStatus::ok;
  transfer.actual = 0;
  transfer.broken = false;
  for (IsoPacket& packet : transfer.packets) {
    packet.actual = 0;
    packet.status = static_cast<uint32_t>(TransferStatus::cancelled);
  }
  transfer.urbs_in_flight = 0;
  for (size_t i = 0; i < cut.urbs; ++i) {
    const int error = ioctls_.submit(transfer.urbs[i]);
    if (error == 0) {
      ++transfer.urbs_in_flight;
      continue;
    }
    if (i == 0) return refusal(error);
    transfer.urbs.shrink(i);
    // EREMOTEIO: one of those before it has ended short already, and that is the transfer's end.
    transfer.broken = error != EREMOTEIO;
    if (transfer.broken) transfer.status = refusal(error);
    break;
  }
  urbs_in_flight_ += transfer.urbs_in_flight;
  return TransferStatus::ok;
}

// The newest first: were an older one ended first, the next could start and move data.
void UsbfsTransfers::cancel(BusTransfer& transfer) {
  for (size_t i = transfer.urbs.size(); i-- > 0;) ioctls_.discard(transfer.urbs[i]);
}

void UsbfsTransfers::handle_events(uint32_t events) {
  if (disconnected_) return;
  disconnected_ = (events & POLLERR) != 0;
  // What is submitted by those that complete is for the next wake.
  const size_t looked_for =
      disconnected_ ? urbs_in_flight_ : std::min<size_t>(urbs_in_flight_, reaps_per_wake_);
  size_t taken = 0;
  int error = 0;
  while (taken < looked_for) {
    usbdevfs_urb* urb = nullptr;
    error = ioctls_.reap(urb);
    if (error != 0) break;
    ++taken;
    reaped(*urb);
  }
  count_wake(static_cast<uint32_t>(taken), error != 0);
}

// One more reap that finds nothing is what it costs to learn that a wake could take more: tried now
// and then.
void UsbfsTransfers::count_wake(uint32_t taken, bool found_none) {
  constexpr uint32_t wakes_before_more = 8;
  if (found_none) {
    reaps_per_wake_ = std::max(taken, 1u);
    full_wakes_ = 0;
  } else if (taken == reaps_per_wake_ && ++full_wakes_ == wakes_before_more) {
    reaps_per_wake_ = std::min(reaps_per_wake_ * 2, reaps_per_wake_max);
    full_wakes_ = 0;
  }
}

void UsbfsTransfers::reaped(usbdevfs_urb& urb) {
  auto& transfer = *static_cast<BusTransfer*>(urb.usercontext);
  --urbs_in_flight_;
  if (--transfer.urbs_in_flight > 0) return;
  if (transfer.type == TransferType::isochronous) {
    settle_packets(transfer);
  } else {
    settle_bytes(transfer);
  }
  // The kernel discards what a device has in flight when it goes.
  if (disconnected_ && transfer.status == TransferStatus::cancelled) {
    transfer.status = TransferStatus::unplugged;
  }
  transfer.completed(transfer);
}

void UsbfsTransfers::settle_packets(BusTransfer& transfer) const {
  size_t done = 0;
  for (size_t i = 0; i < transfer.urbs.size(); ++i) {
    const usbdevfs_urb& urb = transfer.urbs[i];
    if (transfer.status == TransferStatus::ok) transfer.status = status_of(urb.status);
    for (int p = 0; p < urb.number_of_packets; ++p) {
      const usbdevfs_iso_packet_desc& from = urb.iso_frame_desc[p];
      IsoPacket& to = transfer.packets[done++];
      to.actual = std::min(from.actual_length, from.length);
      to.status = static_cast<uint32_t>(status_of(static_cast<int>(from.status)));
    }
  }
}

// Up to the first URB that is short or failed: those behind it were ended by the kernel.
void UsbfsTransfers::settle_bytes(BusTransfer& transfer) const {
  transfer.actual = 0;
  for (size_t i = 0; i < transfer.urbs.size(); ++i) {
    const usbdevfs_urb& urb = transfer.urbs[i];
    const int moved = std::clamp(urb.actual_length, 0, urb.buffer_length);
    transfer.actual += static_cast<uint32_t>(moved);
    if (urb.status == 0 && moved == urb.buffer_length) continue;
    if (transfer.status == TransferStatus::ok) transfer.status = status_of(urb.status);
    break;
  }
}

}  // namespace farport
