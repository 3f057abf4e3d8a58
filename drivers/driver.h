// The seam to a consumer: the kernel's vhci, stock USB/IP clients, a pty, an RFC 2217 socket, an
// in-process USB host. The fake is tests/unit/fake_driver.h.
//
// Thread rule: made by control (what blocks, such as finding a vhci port or creating a socket, is
// done in the maker, off the worker); from start() on, everything here runs on one worker, the
// destructor too.
//
// Life: start() -> transfers ... -> stop() -> driver_stopped(). When the consumer leaves by itself
// (kernel port detached, client closed for good), the driver says port.consumer_left(), and is then
// stopped. When the device goes, it is told unplugged() and then stopped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/error.h"
#include "dataplane/transfer.h"
#include "devices/device_info.h"

namespace farport {

class Worker;

// What a driver end uses: one channel, seen from its near end. The fake is in fake_driver.h too.
class DriverPort {
 public:
  virtual const DeviceInfo& info() const = 0;

  // A transfer with room for `length` bytes and `packet_count` isochronous packets; its request
  // fields are reset. nullptr past a limit (limits.h) or when the pool is exhausted: fail that one
  // request as no_memory (or stop reading from the consumer until one is released).
  virtual Transfer* allocate(uint32_t length, uint16_t packet_count = 0) = 0;
  // Sends it on its way. It comes back by Driver::completed(), exactly once, never from inside
  // here.
  virtual void submit(Transfer& transfer) = 0;
  // Asks for an early end; the transfer still comes back once.
  virtual void cancel(Transfer& transfer) = 0;
  // Gives back a transfer that is not in flight (completed, or never submitted).
  virtual void release(Transfer& transfer) = 0;
  // The consumer is gone or has failed beyond use; `reason` is for people.
  virtual void consumer_left(std::string_view reason) = 0;
  // stop() has finished: every transfer was released, nothing more will be called.
  virtual void driver_stopped() = 0;

 protected:
  ~DriverPort() = default;
};

// What one of the rules that hide latency (drivers/ahead) did for a device.
struct RuleFigures {
  std::string_view rule{};  // "mass-storage"
  bool on = false;
  std::string_view why{};  // it is on, or off: for people
  uint64_t round_trips_saved = 0;
  uint64_t deviations = 0;  // the consumer did what the rule did not expect, and got it exactly
};

class Driver {
 public:
  virtual ~Driver() = default;

  // "vhci", "usbip", "pty", "rfc2217", "initiator".
  virtual std::string_view name() const = 0;
  // Where the consumer finds the device, once started: a device node, "127.0.0.1:4000", "vhci port
  // 3"; empty when there is no such thing.
  virtual std::string path() const = 0;

  // Presents the device to the consumer. `port` outlives the driver.
  virtual Result<void> start(Worker& worker, DriverPort& port) = 0;
  // A submitted transfer is back, with its result. The driver releases it, or submits it again.
  virtual void completed(Transfer& transfer) = 0;
  // The device is gone (all transfers come back, as unplugged or link_lost): show the consumer an
  // unplug, not an error it would retry for ever.
  virtual void unplugged(std::string_view reason) = 0;
  // Takes the device away from the consumer cleanly. Transfers in flight have been, or will be,
  // cancelled by the channel and come back by completed() first; then the driver calls
  // port.driver_stopped() (from inside here if nothing is left).
  virtual void stop() = 0;
  // Of each rule that fits the device. Called on the worker, about once a second.
  virtual std::vector<RuleFigures> rule_figures() const { return {}; }
};

}  // namespace farport
