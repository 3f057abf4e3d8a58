// Transfers of one device node by usbfs itself (linux/usbdevice_fs.h, the kernel's
// drivers/usb/core/devio.c): submitted, reaped and discarded by ioctl.
//
// Not by libusb, which is made for any number of devices, threads and operating systems: for every
// transfer that completes it polls, reaps, and reaps once more to find nothing, and it allocates
// when one is submitted. A worker's ring polls the node itself, and one completion costs one ioctl.
// Where a wake finds many, many are reaped: as many as the wakes before it found.
//
// What usbfs leaves to its caller:
// - A URB has at most 128 isochronous packets: longer transfers take several URBs.
// - Memory for a bulk URB is scattered where the host controller can gather it; where it cannot,
//   a long transfer is cut into URBs of 16 KiB, if the controller stops at a short one. They are
//   continuations of the first: the kernel ends them all when one ends short or fails, so that
//   nothing of the next transfer is read. Where neither holds, one URB takes memory in one piece.
// - A device that is gone keeps what it had completed: reaped before anything else is told.
#pragma once

#include <linux/usbdevice_fs.h>

#include <cstddef>
#include <cstdint>

#include "dataplane/transfer.h"
#include "devices/usb/bus_transfer.h"

namespace farport {

// The ioctls of a device node, as a seam: UsbfsNode in the daemon, a scripted kernel in tests. Each
// answers 0 or an errno.
class UsbfsIoctls {
 public:
  virtual ~UsbfsIoctls() = default;
  virtual int capabilities(uint32_t& capabilities) = 0;
  virtual int submit(usbdevfs_urb& urb) = 0;
  virtual int reap(usbdevfs_urb*& urb) = 0;  // EAGAIN: none has completed
  virtual int discard(usbdevfs_urb& urb) = 0;
};

class UsbfsTransfers {
 public:
  static constexpr uint32_t packets_per_urb = 128;
  static constexpr uint32_t piece_bytes = 16 * 1024;
  static constexpr uint32_t reaps_per_wake_max = 32;

  explicit UsbfsTransfers(UsbfsIoctls& ioctls);

  // ok: in flight, and `completed` will be called, inside handle_events(); where it is `broken`
  // after this, its caller cancels it. Else why not: unplugged, no_memory (past usbfs_memory_mb),
  // invalid, protocol.
  TransferStatus submit(BusTransfer& transfer);
  // After the node's poll has said POLLOUT (some have completed) or POLLERR (the device is gone,
  // all have completed). POLLHUP alone says nothing yet: the device is being taken away, and to
  // reap would wait until it is.
  void handle_events(uint32_t events);
  // POLLERR was said: what is in flight after that will never be told.
  bool disconnected() const { return disconnected_; }

  // Has the kernel end it; it completes as any other, as cancelled unless it was done before. May
  // block; on any thread, but nothing else of this object meanwhile.
  void cancel(BusTransfer& transfer);

 private:
  struct Cut {
    size_t urbs;
    uint32_t each;  // bytes, or packets
  };
  Cut cut(const BusTransfer& transfer) const;
  void fill(BusTransfer& transfer, const Cut& cut);
  void reaped(usbdevfs_urb& urb);
  void settle_packets(BusTransfer& transfer) const;
  void settle_bytes(BusTransfer& transfer) const;
  void count_wake(uint32_t taken, bool found_none);

  UsbfsIoctls& ioctls_;
  bool cuts_bulk_ = false;
  bool disconnected_ = false;
  size_t urbs_in_flight_ = 0;
  uint32_t reaps_per_wake_ = 1;
  uint32_t full_wakes_ = 0;  // in a row that found all that they looked for
};

}  // namespace farport
