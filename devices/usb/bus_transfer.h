// One transfer on the bus, as it crosses the seam usb_handle.h, and the URBs that carry it.
#pragma once

#include <linux/usbdevice_fs.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "dataplane/transfer.h"

namespace farport {

// The URBs of one transfer, as usbfs reads and writes them in our memory: they stay where they are
// until all are reaped. Memory only grows, so a transfer that is used again allocates nothing.
class UrbList {
 public:
  // Makes room for `count` zeroed URBs of up to `packets` isochronous packets each. Not while one
  // is in flight.
  void assign(size_t count, size_t packets) {
    stride_ = sizeof(usbdevfs_urb) + packets * sizeof(usbdevfs_iso_packet_desc);
    stride_ = (stride_ + alignof(usbdevfs_urb) - 1) / alignof(usbdevfs_urb);
    stride_ *= alignof(usbdevfs_urb);
    count_ = count;
    memory_.assign(count * stride_, std::byte{});
  }
  // Of those made, only the first `count` are wanted.
  void shrink(size_t count) { count_ = count; }

  size_t size() const { return count_; }
  usbdevfs_urb& operator[](size_t i) {
    return *std::launder(reinterpret_cast<usbdevfs_urb*>(memory_.data() + i * stride_));
  }

 private:
  std::vector<std::byte> memory_;  // from operator new: aligned for any URB
  size_t stride_ = 0;
  size_t count_ = 0;
};

struct BusTransfer {
  // --- the request ---
  TransferType type = TransferType::bulk;
  uint8_t endpoint = 0;          // bEndpointAddress; control: 0
  bool zero_packet = false;      // OUT: end with a zero-length packet where the last one is full
  std::byte* data = nullptr;     // control: the setup packet, the data right behind it
  uint32_t length = 0;           // bytes from `data` on
  std::span<IsoPacket> packets;  // isochronous: `length` of each is asked, the rest the result
  void (*completed)(BusTransfer&) = nullptr;
  void* owner = nullptr;  // for `completed`

  // --- the result ---
  TransferStatus status = TransferStatus::ok;
  // It cannot succeed, but part of it is in flight: to be cancelled, and it completes as `status`.
  bool broken = false;
  uint32_t actual = 0;  // bytes moved, the setup packet not counted; isochronous: see the packets

  // --- of whoever carries it out ---
  UrbList urbs;
  size_t urbs_in_flight = 0;
};

}  // namespace farport
