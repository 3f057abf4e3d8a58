#include "drivers/serial/serial_client.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "devices/serial/termios_settings.h"

namespace farport::serial {

namespace {

// What a port's own kernel may hold besides what is in flight (a page, usually).
constexpr uint64_t port_buffer_bytes = 4096;
constexpr uint64_t settle_extra_ns = 500'000'000;
constexpr uint64_t retry_ns = 100'000'000;

}  // namespace

SerialClient::SerialClient(Worker& worker, DriverPort& port, Events& events)
    : port_(port),
      events_(events),
      settle_timer_(
          worker, [](void* self) { static_cast<SerialClient*>(self)->settled(); }, this),
      retry_timer_(worker, [](void* self) { static_cast<SerialClient*>(self)->retry(); }, this) {}

bool SerialClient::start() {
  for (uint32_t i = 0; i < in_transfers_max; ++i) {
    Transfer* transfer = port_.allocate(run_bytes);
    if (transfer == nullptr) return i > 0;
    submit_in(*transfer);
  }
  if (Transfer* notice = port_.allocate(sizeof(SerialNotice))) submit_notice(*notice);
  return true;
}

void SerialClient::submit_in(Transfer& transfer) {
  transfer.type = TransferType::serial;
  transfer.endpoint = endpoint_in;
  ++in_flight_;
  port_.submit(transfer);
}

void SerialClient::submit_notice(Transfer& transfer) {
  transfer.type = TransferType::interrupt;
  transfer.endpoint = endpoint_notice;
  ++in_flight_;
  port_.submit(transfer);
}

void SerialClient::completed(Transfer& transfer) {
  assert(in_flight_ > 0);
  --in_flight_;
  if (&transfer == asking_) {
    request_completed(transfer);
  } else if (transfer.endpoint == endpoint_in) {
    input_completed(transfer);
  } else if (transfer.endpoint == endpoint_out) {
    output_completed(transfer);
  } else {
    notice_completed(transfer);
  }
  tell_idle();
}

void SerialClient::tell_idle() {
  if (!stopping_ || in_flight_ != 0 || idle_told_) return;
  idle_told_ = true;
  events_.client_idle();
}

// No more of this kind: the channel is ending.
bool SerialClient::over(const Transfer& transfer) const {
  return stopping_ || transfer.status == TransferStatus::cancelled ||
         transfer.status == TransferStatus::unplugged ||
         transfer.status == TransferStatus::link_lost;
}

void SerialClient::input_completed(Transfer& transfer) {
  if (over(transfer)) return port_.release(transfer);
  if (input_purges_ > 0 && transfer.status == TransferStatus::ok) return submit_in(transfer);
  if (transfer.actual == 0) {
    if (transfer.status == TransferStatus::ok) return submit_in(transfer);
    return retire(transfer);
  }
  held_[held_count_++] = &transfer;
  if (held_count_ == 1) resume_input();
}

void SerialClient::notice_completed(Transfer& transfer) {
  if (over(transfer)) return port_.release(transfer);
  if (transfer.status != TransferStatus::ok || transfer.actual < sizeof(SerialNotice)) {
    return retire(transfer);
  }
  SerialNotice notice;
  std::memcpy(&notice, transfer.data().data(), sizeof notice);
  submit_notice(transfer);
  events_.noticed(notice);
}

// A failed read or notice is tried again, but not at once: the next may fail as fast.
void SerialClient::retire(Transfer& transfer) {
  failed_[failed_count_++] = &transfer;
  retry_later();
}

void SerialClient::retry_later() {
  if (!retry_timer_.armed()) retry_timer_.arm_after(retry_ns);
}

void SerialClient::retry() {
  for (uint32_t count = std::exchange(failed_count_, 0u), i = 0; i < count; ++i) {
    failed_[i]->endpoint == endpoint_in ? submit_in(*failed_[i]) : submit_notice(*failed_[i]);
  }
  advance();  // a request may lack memory
  if (can_output()) events_.output_possible();
}

void SerialClient::resume_input() {
  if (delivering_) return;
  delivering_ = true;
  while (held_count_ > 0 && !stopping_) {
    Transfer& transfer = *held_[0];
    const auto rest = std::span<const std::byte>(transfer.moved()).subspan(held_taken_);
    held_taken_ += events_.received(rest);
    if (held_taken_ < transfer.actual) break;
    held_taken_ = 0;
    std::shift_left(held_.begin(), held_.begin() + held_count_--, 1);
    submit_in(transfer);
  }
  delivering_ = false;
}

void SerialClient::drop_input() {
  if (delivering_) return;
  held_taken_ = 0;
  while (held_count_ > 0) submit_in(*held_[--held_count_]);
}

Transfer* SerialClient::begin_output() {
  assert(can_output());
  Transfer* transfer = port_.allocate(run_bytes);
  if (transfer == nullptr) retry_later();
  return transfer;
}

void SerialClient::end_output(Transfer& transfer, uint32_t bytes) {
  if (bytes == 0) return port_.release(transfer);
  transfer.type = TransferType::serial;
  transfer.endpoint = endpoint_out;
  transfer.length = bytes;
  *std::find(out_.begin(), out_.end(), nullptr) = &transfer;
  ++out_in_flight_;
  out_bytes_in_flight_ += bytes;
  out_dirty_ = true;
  ++in_flight_;
  port_.submit(transfer);
}

void SerialClient::output_completed(Transfer& transfer) {
  *std::find(out_.begin(), out_.end(), &transfer) = nullptr;
  --out_in_flight_;
  out_bytes_in_flight_ -= transfer.length;
  port_.release(transfer);
  if (stopping_) return;
  if (phase_ == Phase::waiting && out_in_flight_ == 0) advance();
  if (can_output()) events_.output_possible();
}

bool SerialClient::request(const ClientRequest& request) {
  if (request_count_ == requests_max || stopping_) return false;
  requests_[(request_first_ + request_count_++) % requests_max] = request;
  if (request.kind == SerialRequest::purge) {
    if (request.purge_input) {
      ++input_purges_;
      drop_input();
    }
    if (request.purge_output) {
      for (Transfer* transfer : out_) {
        if (transfer != nullptr) port_.cancel(*transfer);
      }
      out_dirty_ = false;
      // What an earlier request waits for will not leave any more.
      if (phase_ == Phase::waiting || phase_ == Phase::draining) settled();
    }
  }
  advance();
  return true;
}

void SerialClient::hurry() {
  hurried_ = request_count_;
  if (phase_ == Phase::waiting || phase_ == Phase::draining) settled();
}

bool SerialClient::needs_settling() const {
  const SerialRequest kind = requests_[request_first_].kind;
  return !settled_ && hurried_ == 0 && out_dirty_ &&
         (kind == SerialRequest::set_line || kind == SerialRequest::set_modem ||
          kind == SerialRequest::set_break);
}

void SerialClient::advance() {
  if (stopping_ || request_count_ == 0 || phase_ == Phase::draining || phase_ == Phase::asking) {
    return;
  }
  if (needs_settling()) return settle();
  settle_timer_.disarm();
  phase_ = Phase::asking;
  if (!submit_request(requests_[request_first_])) {
    phase_ = Phase::idle;
    retry_later();
  }
}

// First the transfers, then the port's own buffers.
void SerialClient::settle() {
  if (phase_ == Phase::idle) {
    settle_timer_.arm_after(transmission_ns(line_, out_bytes_in_flight_ + port_buffer_bytes) +
                            settle_extra_ns);
  }
  phase_ = Phase::waiting;
  if (out_in_flight_ > 0) return;
  ClientRequest drain;
  drain.kind = SerialRequest::drain;
  if (submit_request(drain)) {
    phase_ = Phase::draining;
  } else {
    retry_later();
  }
}

// The output has left, or will not.
void SerialClient::settled() {
  settle_timer_.disarm();
  settled_ = true;
  if (phase_ == Phase::draining) {
    port_.cancel(*asking_);
  } else if (phase_ == Phase::waiting) {
    advance();
  }
}

bool SerialClient::submit_request(const ClientRequest& request) {
  const bool get = request.kind == SerialRequest::get_line;
  uint16_t value = 0;
  std::array<std::byte, sizeof(LineSettings)> data{};
  uint16_t length = 0;
  switch (request.kind) {
    case SerialRequest::get_line:
      length = sizeof(LineSettings);
      break;
    case SerialRequest::set_line:
      std::memcpy(data.data(), &request.line, length = sizeof request.line);
      break;
    case SerialRequest::set_modem:
      std::memcpy(data.data(), &request.modem, length = sizeof request.modem);
      break;
    case SerialRequest::set_break:
      value = request.break_on ? 1 : 0;
      break;
    case SerialRequest::purge:
      value = static_cast<uint16_t>((request.purge_input ? 1 : 0) | (request.purge_output ? 2 : 0));
      break;
    case SerialRequest::drain:
      break;
  }
  Transfer* transfer = port_.allocate(length);
  if (transfer == nullptr) return false;
  transfer->type = TransferType::control;
  transfer->endpoint = get ? 0x80 : 0x00;
  // A class request to the interface (USB 2.0, 9.3), as CDC's are.
  transfer->setup = {static_cast<uint8_t>(get ? 0xa1 : 0x21),
                     static_cast<uint8_t>(request.kind),
                     static_cast<uint8_t>(value),
                     static_cast<uint8_t>(value >> 8),
                     0,
                     0,
                     static_cast<uint8_t>(length),
                     static_cast<uint8_t>(length >> 8)};
  if (!get && length > 0) std::memcpy(transfer->data().data(), data.data(), length);
  asking_ = transfer;
  ++in_flight_;
  port_.submit(*transfer);
  return true;
}

void SerialClient::request_completed(Transfer& transfer) {
  asking_ = nullptr;
  const TransferStatus status = transfer.status;
  if (stopping_) return port_.release(transfer);
  if (phase_ == Phase::draining) {
    port_.release(transfer);
    settle_timer_.disarm();
    settled_ = true;
    if (status == TransferStatus::ok && out_in_flight_ == 0) out_dirty_ = false;
    phase_ = Phase::idle;
    return advance();
  }
  ClientRequest& request = requests_[request_first_];
  if (request.kind == SerialRequest::get_line && status == TransferStatus::ok) {
    if (transfer.actual >= sizeof request.line) {
      std::memcpy(&request.line, transfer.data().data(), sizeof request.line);
    }
    if (valid(request.line)) line_ = request.line;
  }
  if (request.kind == SerialRequest::set_line && status == TransferStatus::ok) line_ = request.line;
  port_.release(transfer);
  finish_request(status);
}

void SerialClient::finish_request(TransferStatus status) {
  const ClientRequest done = requests_[request_first_];
  request_first_ = (request_first_ + 1) % requests_max;
  --request_count_;
  if (hurried_ > 0) --hurried_;
  phase_ = Phase::idle;
  settled_ = false;
  if (done.kind == SerialRequest::purge && done.purge_input) --input_purges_;
  events_.request_done(done, status);
  if (stopping_) return;
  advance();
  if (can_output()) events_.output_possible();
}

void SerialClient::stop() {
  if (stopping_) return;
  stopping_ = true;
  settle_timer_.disarm();
  retry_timer_.disarm();
  while (held_count_ > 0) port_.release(*held_[--held_count_]);
  while (failed_count_ > 0) port_.release(*failed_[--failed_count_]);
  tell_idle();
}

}  // namespace farport::serial
