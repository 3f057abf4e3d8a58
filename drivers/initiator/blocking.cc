#include "drivers/initiator/blocking.h"

#include <algorithm>
#include <deque>

namespace farport {

namespace {

using Bytes = std::vector<std::byte>;

std::shared_ptr<Bytes> copy_of(std::span<const std::byte> data) {
  return std::make_shared<Bytes>(data.begin(), data.end());
}

Result<Bytes> bytes_of(const Transfer& transfer, std::string_view what) {
  if (transfer.status != TransferStatus::ok) {
    return std::unexpected(transfer_error(transfer.status, what));
  }
  if (!transfer.in()) return Bytes();
  const auto moved = transfer.moved();
  return Bytes(moved.begin(), moved.end());
}

Error no_memory() { return {ErrorCode::failed, "no memory for a transfer, or the device is gone"}; }

}  // namespace

// --- BlockingInitiator ---

Result<Bytes> BlockingInitiator::control(const std::array<uint8_t, 8>& setup,
                                         std::span<const std::byte> data) {
  return waiter_.wait_for<Bytes>([this, setup, data = copy_of(data)](auto done) {
    const bool sent = initiator_.control(setup, *data, [done](const Transfer& transfer) {
      done(bytes_of(transfer, "control request"));
    });
    if (!sent) done(std::unexpected(no_memory()));
  });
}

Result<Bytes> BlockingInitiator::bulk_in(uint8_t endpoint, uint32_t length) {
  return waiter_.wait_for<Bytes>([this, endpoint, length](auto done) {
    const bool sent = initiator_.receive(
        TransferType::bulk, endpoint, length,
        [done](const Transfer& transfer) { done(bytes_of(transfer, "bulk IN")); });
    if (!sent) done(std::unexpected(no_memory()));
  });
}

Result<uint32_t> BlockingInitiator::bulk_out(uint8_t endpoint, std::span<const std::byte> data) {
  return waiter_.wait_for<uint32_t>([this, endpoint, data = copy_of(data)](auto done) {
    const bool sent =
        initiator_.send(TransferType::bulk, endpoint, *data, [done](const Transfer& transfer) {
          if (transfer.status == TransferStatus::ok) return done(transfer.actual);
          done(std::unexpected(transfer_error(transfer.status, "bulk OUT")));
        });
    if (!sent) done(std::unexpected(no_memory()));
  });
}

Result<void> BlockingInitiator::clear_halt(uint8_t endpoint) {
  return waiter_.wait_for<void>([this, endpoint](auto done) {
    const bool sent = initiator_.clear_halt(endpoint, [done](const Transfer& transfer) {
      if (transfer.status == TransferStatus::ok) return done({});
      done(std::unexpected(transfer_error(transfer.status, "clearing a halt")));
    });
    if (!sent) done(std::unexpected(no_memory()));
  });
}

// --- BlockingDisk ---

BlockingDisk::BlockingDisk(Initiator& initiator, Waiter waiter, uint32_t command_bytes)
    : waiter_(std::move(waiter)) {
  auto made =
      waiter_.wait_for<std::shared_ptr<MassStorage>>([&initiator, command_bytes](auto done) {
        done(std::make_shared<MassStorage>(initiator, command_bytes));
      });
  if (made) disk_ = std::move(*made);
}

BlockingDisk::~BlockingDisk() {
  if (!disk_) return;
  auto destroyed = waiter_.wait_for<void>([disk = std::move(disk_)](auto done) mutable {
    disk.reset();
    done({});
  });
  (void)destroyed;
}

Result<MassStorage::Identity> BlockingDisk::inquiry() {
  if (!disk_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<MassStorage::Identity>(
      [disk = disk_](auto done) { disk->inquiry(std::move(done)); });
}

Result<MassStorage::Capacity> BlockingDisk::capacity() {
  if (!disk_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<MassStorage::Capacity>(
      [disk = disk_](auto done) { disk->capacity(std::move(done)); });
}

Result<void> BlockingDisk::read(uint64_t block, std::span<std::byte> into) {
  if (!disk_) return fail(ErrorCode::timed_out, "the worker does not run");
  auto data = std::make_shared<Bytes>(into.size());
  auto outcome = waiter_.wait_for<void>([disk = disk_, block, data](auto done) {
    disk->read(block, *data, [data, done](Result<void> result) { done(std::move(result)); });
  });
  if (outcome) std::ranges::copy(*data, into.begin());
  return outcome;
}

Result<void> BlockingDisk::write(uint64_t block, std::span<const std::byte> from) {
  if (!disk_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>([disk = disk_, block, data = copy_of(from)](auto done) {
    disk->write(block, *data, [data, done](Result<void> result) { done(std::move(result)); });
  });
}

Result<void> BlockingDisk::synchronize() {
  if (!disk_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>([disk = disk_](auto done) { disk->synchronize(std::move(done)); });
}

// --- BlockingSerial ---

// On the worker: the line, what it has received, and who waits for it.
struct BlockingSerial::OnWorker {
  explicit OnWorker(Initiator& initiator)
      : line(initiator,
             {.received = [this](std::span<const std::byte> data) { received_more(data); },
              .noticed = [this](const serial::SerialNotice&) { noticed(); }}) {}

  void received_more(std::span<const std::byte> data) {
    received.insert(received.end(), data.begin(), data.end());
    give();
  }
  void give() {
    if (!reader || received.size() < bytes_min) return;
    const auto count = static_cast<ptrdiff_t>(std::min(received.size(), bytes_max));
    Bytes bytes(received.begin(), received.begin() + count);
    received.erase(received.begin(), received.begin() + count);
    std::exchange(reader, {})(std::move(bytes));
  }
  void noticed() {
    if (line.lines() && lines_reader) std::exchange(lines_reader, {})(*line.lines());
  }

  std::deque<std::byte> received;
  size_t bytes_min = 0, bytes_max = 0;
  std::function<void(Result<Bytes>)> reader;
  std::function<void(Result<uint8_t>)> lines_reader;
  SerialLine line;  // last: its callbacks use the others
};

BlockingSerial::BlockingSerial(Initiator& initiator, Waiter waiter) : waiter_(std::move(waiter)) {
  auto made = waiter_.wait_for<std::shared_ptr<OnWorker>>(
      [&initiator](auto done) { done(std::make_shared<OnWorker>(initiator)); });
  if (made) port_ = std::move(*made);
}

BlockingSerial::~BlockingSerial() {
  if (!port_) return;
  auto destroyed = waiter_.wait_for<void>([port = std::move(port_)](auto done) mutable {
    port.reset();
    done({});
  });
  (void)destroyed;
}

Result<void> BlockingSerial::write(std::span<const std::byte> data) {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>([port = port_, data = copy_of(data)](auto done) {
    port->line.write(*data, std::move(done));
  });
}

Result<Bytes> BlockingSerial::read(size_t bytes_max) { return read_between(1, bytes_max); }
Result<Bytes> BlockingSerial::read_exactly(size_t bytes) { return read_between(bytes, bytes); }

Result<Bytes> BlockingSerial::read_between(size_t bytes_min, size_t bytes_max) {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<Bytes>([port = port_, bytes_min, bytes_max](auto done) {
    port->bytes_min = bytes_min;
    port->bytes_max = bytes_max;
    port->reader = std::move(done);
    port->give();
  });
}

Result<void> BlockingSerial::set_line(const serial::LineSettings& line) {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>(
      [port = port_, line](auto done) { port->line.set_line(line, std::move(done)); });
}

Result<void> BlockingSerial::set_modem(serial::ModemControl control) {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>(
      [port = port_, control](auto done) { port->line.set_modem(control, std::move(done)); });
}

Result<void> BlockingSerial::set_break(bool on) {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>(
      [port = port_, on](auto done) { port->line.set_break(on, std::move(done)); });
}

Result<void> BlockingSerial::drain() {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<void>([port = port_](auto done) { port->line.drain(std::move(done)); });
}

Result<uint8_t> BlockingSerial::lines() {
  if (!port_) return fail(ErrorCode::timed_out, "the worker does not run");
  return waiter_.wait_for<uint8_t>([port = port_](auto done) {
    port->lines_reader = std::move(done);
    port->noticed();
  });
}

}  // namespace farport
