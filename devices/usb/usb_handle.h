// What the device end asks of one opened device, as a seam: UsbfsHandle in the daemon, a scripted
// fake (tests/unit/devices/usb/fake_usb_handle.h) in tests. Where not said otherwise, results are
// libusb's codes: 0 or LIBUSB_ERROR_*.
//
// Thread rule. usbfs holds the device's lock during every blocking call (and during a cancel, which
// waits for the host controller), and submitting or reaping would wait for that lock. So the device
// end never does both at once: while a blocking call runs on the helper thread, the worker neither
// submits nor handles events; and the other way round. Nothing else may be assumed to be safe.
#pragma once

#include <libusb-1.0/libusb.h>

#include <cstdint>

#include "devices/usb/bus_transfer.h"

namespace farport {

class UsbHandle {
 public:
  virtual ~UsbHandle() = default;

  // --- never block: the worker ---
  // ok: in flight, until its `completed` is called inside handle_events(); to be cancelled where it
  // is `broken` after this. Else why it is not in flight.
  virtual TransferStatus submit(BusTransfer& transfer) = 0;
  // Polled, it says ready_events() while handle_events() has something to do; POLLHUP alone while
  // the kernel takes the device away, when every other call may wait for it; and POLLERR, from then
  // on, when the device is gone and all that was in flight has ended.
  virtual int events_fd() const = 0;
  virtual uint32_t ready_events() const = 0;
  virtual void handle_events(uint32_t events) = 0;
  // The device has left the bus, as handle_events() saw it.
  virtual bool disconnected() const = 0;

  // --- block: a control thread before the device is in service, then the helper thread ---
  virtual void cancel(BusTransfer& transfer) = 0;
  virtual int set_configuration(int value) = 0;  // -1: unconfigured
  virtual int claim_interface(uint8_t number) = 0;
  virtual int release_interface(uint8_t number) = 0;
  virtual int set_alternate(uint8_t number, uint8_t alternate) = 0;
  virtual int clear_halt(uint8_t endpoint) = 0;
  // Claims what was claimed again. LIBUSB_ERROR_NOT_FOUND: it came back as another device, or not.
  virtual int reset() = 0;
  virtual int kernel_driver_active(uint8_t number) = 0;  // 1, 0 or an error
  virtual int detach_kernel_driver(uint8_t number) = 0;
  virtual int attach_kernel_driver(uint8_t number) = 0;
  // No transfer is in flight. Nothing but the destructor follows.
  virtual void close() = 0;
};

}  // namespace farport
