// The device end of a USB device of this host, through usbfs.
//
//   usb_device.cc      life: open, start, stop, unplug; the queue in front of the device
//   usb_transfers.cc   transfers to the bus and back
//   usb_operations.cc  what blocks: configuration, interface, halt, reset, cancel, closing
//
// Transfers go to usbfs from the worker. What blocks runs on the device's helper thread, and while
// it does, the device is paused: new transfers wait in order, nothing is submitted or reaped
// (usb_handle.h says why). So a driver finds the order it knows: what it submits after
// SET_INTERFACE reaches the device after it.
//
// SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE(ENDPOINT_HALT) and a reset of the port go through
// libusb's own calls, so that the host's kernel knows; before a configuration, an interface or the
// device changes, the transfers in flight on it complete as cancelled. SET_ADDRESS is answered with
// success: the address is the host's affair. Everything else on endpoint 0 passes through.
//
// stop() gives the device back as it was found: alternate settings, configuration, kernel drivers,
// after a reset if anything was submitted (interface_claims.h). A pulled device may end some
// transfers as `protocol` before the host notices the unplug: a real controller sees no more than
// silence.
//
// Limit of usbfs: all memory of all transfers of the host together by usbfs_memory_mb (past it:
// no_memory, and a hint in the log).
// Isochronous transfers always start as soon as possible. Bulk streams (UAS) are not offered:
// drivers fall back to plain bulk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/scheduler.h"
#include "dataplane/watch.h"
#include "devices/device.h"
#include "devices/usb/endpoint_table.h"
#include "devices/usb/helper_thread.h"
#include "devices/usb/interface_claims.h"
#include "devices/usb/requests.h"
#include "devices/usb/transfer_pool.h"
#include "devices/usb/usb_handle.h"

namespace farport {

class UsbDevice final : public Device {
 public:
  // Takes every interface of the active configuration from the kernel's drivers, or, when one
  // cannot be had (busy, ...), leaves everything as it was. `given_back` is called when all is as
  // it was, also when this fails; on the thread that did it. Blocks.
  static Result<std::unique_ptr<UsbDevice>> open(DeviceInfo info, std::unique_ptr<UsbHandle> handle,
                                                 std::function<void()> given_back = {});
  // A device that was never started is given back here, which blocks; else only after
  // device_stopped().
  ~UsbDevice() override;

  const DeviceInfo& info() const override { return info_; }
  void start(Worker& worker, DeviceEvents& events) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void stop() override;

  // For tests: transfers on the bus ever made.
  size_t pooled_transfers() const { return pool_.size(); }

 private:
  enum class State : uint8_t { opened, running, stopping, stopped };
  // Between two looks at a node whose device is being taken away.
  static constexpr uint64_t leaving_look_ns = 1'000'000;
  // Where a submitted transfer is; kept in Transfer::device_cookie.
  enum Where : uint64_t { waiting, in_flight, in_operation };

  UsbDevice(DeviceInfo info, std::unique_ptr<UsbHandle> handle, std::function<void()> given_back);

  // --- usb_device.cc ---
  void on_ready(uint32_t events);
  bool look_for_leaving() const;
  void gone(std::string_view reason);
  void advance();
  void wait(Transfer& transfer);
  Transfer* next_waiting();
  void remove_waiting(Transfer& transfer);
  void finish(Transfer& transfer, TransferStatus status);
  void give_back();

  // --- usb_transfers.cc ---
  void dispatch(Transfer& transfer);
  TransferStatus check(const Transfer& transfer) const;
  void submit_to_bus(Transfer& transfer);
  void fill(TransferSlot& slot, Transfer& transfer);
  void completed(TransferSlot& slot);
  void link(TransferSlot& slot);
  void unlink(TransferSlot& slot);

  // --- usb_operations.cc ---
  struct Operation {
    enum class Kind : uint8_t {
      none,
      cancel,
      set_configuration,
      set_interface,
      clear_halt,
      reset,
      close
    };
    Kind kind = Kind::none;
    Transfer* transfer = nullptr;       // to complete when it has ended
    uint8_t value = 0;                  // configuration value, or alternate setting
    uint8_t index = 0;                  // interface number, or endpoint address
    std::vector<uint8_t> interfaces;    // of the new configuration
    std::vector<BusTransfer*> cancels;  // to cancel first
    int result = 0;
  };
  static Operation::Kind kind_of(const usb::Request& request);
  void begin_request(Transfer& transfer, const usb::Request& request, Operation::Kind kind);
  void begin_cancels();
  void begin_close();
  void collect_cancels(bool (*choose)(const UsbDevice&, const TransferSlot&));
  void begin();
  void run_operation();  // on the helper thread
  void operation_done();
  bool paused() const { return operation_.kind != Operation::Kind::none; }

  DeviceInfo info_;
  std::unique_ptr<UsbHandle> handle_;
  std::function<void()> given_back_;
  InterfaceClaims claims_;  // the helper thread's while it runs an operation
  usb::EndpointTable endpoints_;
  TransferPool pool_;
  Worker* worker_ = nullptr;
  DeviceEvents* events_ = nullptr;
  Watch watch_;
  std::optional<Timer> leaving_timer_;
  State state_ = State::opened;
  bool leaving_ = false;  // being taken away by the kernel; what is submitted waits
  bool gone_ = false;
  bool used_ = false;       // something was submitted
  bool in_events_ = false;  // inside handle_events(): operations begin after it
  Transfer* waiting_head_ = nullptr;
  Transfer* waiting_tail_ = nullptr;
  TransferSlot* in_flight_ = nullptr;
  uint32_t cancels_wanted_ = 0;
  Operation operation_;
  HelperThread helper_;
};

}  // namespace farport
