#include "bench/load_driver.h"

#include <fmt/format.h>

#include <cstring>

namespace farport::bench {

LoadDriver::LoadDriver(const Load& load, const Stage& stage, uint8_t endpoint, Done done)
    : load_(load), endpoint_(endpoint), done_(std::move(done)), window_(stage) {}

Result<void> LoadDriver::start(Worker&, DriverPort& port) {
  port_ = &port;
  const uint64_t now = now_ns();
  begin_ns_ = now + static_cast<uint64_t>(load_.warm_up_s * 1e9);
  for (uint32_t i = 0; i < load_.depth; ++i) {
    Transfer* transfer = port.allocate(load_.size);
    if (transfer == nullptr) return fail("the channel has no memory for so many transfers");
    ++held_;
    transfer->type = load_.kind;
    transfer->endpoint = endpoint_;
    // Memory that was written once, as a consumer's is: not the kernel's shared page of zeros.
    std::memset(transfer->data().data(), 0x5a, load_.size);
    submit(*transfer, now);
  }
  return {};
}

void LoadDriver::submit(Transfer& transfer, uint64_t now) {
  transfer.driver_cookie = now;
  port_->submit(transfer);
}

void LoadDriver::completed(Transfer& transfer) {
  if (stopping_) {
    port_->release(transfer);
    if (--held_ == 0) port_->driver_stopped();
    return;
  }
  const uint64_t now = now_ns();
  if (!finished_ && (transfer.status != TransferStatus::ok || transfer.actual != load_.size)) {
    finish(fail(fmt::format("a transfer ended as {} with {} of {} bytes",
                            transfer_status_name(transfer.status), transfer.actual, load_.size)));
  }
  if (end_ns_ != 0) {
    round_trips_.record(now - transfer.driver_cookie);
    if (!finished_ && now >= end_ns_) finish(window_.end(round_trips_.count(), round_trips_));
  } else if (now >= begin_ns_) {
    end_ns_ = window_.begin() + static_cast<uint64_t>(load_.seconds * 1e9);
  }
  submit(transfer, now);
}

void LoadDriver::finish(Result<Measurement> result) {
  finished_ = true;
  done_(std::move(result));
}

void LoadDriver::unplugged(std::string_view reason) {
  if (!finished_) finish(fail(fmt::format("the device is gone: {}", reason)));
}

void LoadDriver::stop() {
  stopping_ = true;
  if (held_ == 0) port_->driver_stopped();
}

}  // namespace farport::bench
