// A channel whose device and consumer are on the same host and worker: no session, no link, no
// copy. The usbip server, a local attachment, a VM that has moved to its device, and tests use it.
#pragma once

#include <memory>

#include "dataplane/busy_clock.h"
#include "dataplane/meter.h"
#include "dataplane/transfer_table.h"
#include "dataplane/worker.h"
#include "devices/device.h"
#include "drivers/driver.h"

namespace farport {

class LocalChannel final : public DriverPort, private DeviceEvents {
 public:
  // Told once, when both ends have stopped and the channel may be destroyed (not from inside).
  // `error.code`: not_found when the device was unplugged, failed when the consumer left or the
  // driver could not start; no error (empty message) after close().
  struct Events {
    virtual void channel_closed(LocalChannel& channel, Error why) = 0;

   protected:
    ~Events() = default;
  };

  LocalChannel(Worker& worker, std::unique_ptr<Device> device, std::unique_ptr<Driver> driver,
               uint64_t nominal_bytes_s, Events& events);
  ~LocalChannel();  // only before start() or after channel_closed()

  // Starts the device, then the driver. When the driver cannot start, the device is stopped and
  // channel_closed() follows with the error.
  void start();
  // Takes the device away from the consumer. channel_closed() follows.
  void close();

  // Whether start() went well and the channel is in use.
  bool open() const { return state_ == State::open; }
  Driver& driver() { return *driver_; }
  const Meter& meter() const { return meter_; }

  // DriverPort
  const DeviceInfo& info() const override { return device_->info(); }
  Transfer* allocate(uint32_t length, uint16_t packet_count) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void release(Transfer& transfer) override;
  void consumer_left(std::string_view reason) override;
  void driver_stopped() override;

 private:
  // DeviceEvents
  void completed(Transfer& transfer) override;
  void unplugged(std::string_view reason) override;
  void device_stopped() override;

  // Hands completions to the driver at the end of the iteration: a device may complete from inside
  // submit(), a driver is never called back from inside it.
  struct Deliver final : Flushable {
    explicit Deliver(LocalChannel& channel) : channel(channel) {}
    void flush() override { channel.deliver(); }
    LocalChannel& channel;
  };
  void deliver();
  void begin_stop(Error why);

  enum class State : uint8_t { idle, open, stopping_driver, stopping_device, stopped, closed };

  Worker& worker_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Driver> driver_;
  Meter meter_;
  Events& events_;
  Deliver deliver_{*this};
  State state_ = State::idle;
  Error why_;
  TransferTable transfers_;
  Transfer* completed_head_ = nullptr;
  Transfer* completed_tail_ = nullptr;
  BusyClock busy_;
  bool device_gone_ = false;
};

}  // namespace farport
