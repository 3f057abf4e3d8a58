#include "drivers/ahead/in_stream.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace farport {

Transfer* InStream::make(uint32_t length, uint8_t chain) {
  Transfer* const stage = port_.allocate(rule_, length);
  if (stage == nullptr) return nullptr;
  stage->type = TransferType::bulk;
  stage->endpoint = endpoint_;
  stage->chain = chain;
  stage->flags = chain != 0 ? transfer_flags::chained : uint8_t{0};
  return stage;
}

void InStream::begin(Transfer& stage) {
  assert(count_ < stages_.size());
  stages_[count_++] = {.transfer = &stage};
  port_.submit(rule_, stage);
}

bool InStream::in_flight() const {
  return std::any_of(stages_.begin(), stages_.begin() + count_,
                     [](const Stage& stage) { return !stage.back; });
}

void InStream::cancel_stages() {
  for (size_t i = count_; i-- > 0;) {
    if (!stages_[i].back) port_.cancel(rule_, *stages_[i].transfer);
  }
}

void InStream::clear_halt() {
  for (Stage& stage : std::span(stages_).first(count_)) {
    if (stage.back && stage.transfer->status == TransferStatus::stall) {
      stage.transfer->status = TransferStatus::cancelled;  // its bytes remain
    }
  }
  pump();
}

void InStream::forget() {
  while (count_ > 0) pop_stage();
  pump();
}

// The first one.
void InStream::pop_stage() {
  Transfer& stage = *stages_[0].transfer;
  if (stages_[0].back) {
    port_.release(rule_, stage);
  } else {
    stage.ahead_state |= abandoned;
  }
  std::move(stages_.begin() + 1, stages_.begin() + count_, stages_.begin());
  --count_;
}

void InStream::submitted(Transfer& transfer) {
  transfer.ahead_state = is_waiting;
  if (told_ && waiting_.empty() && real_ == 0) transfer.ahead_state |= saves;
  waiting_.push(transfer);
  pump();
}

void InStream::cancel(Transfer& transfer) {
  if ((transfer.ahead_state & is_waiting) == 0) return port_.cancel(rule_, transfer);
  if (in_flight()) {
    // What the device has given by then belongs to those that wait, this one maybe included; the
    // others go on for real.
    transfer.ahead_state |= cancel_requested;
    return cancel_stages();
  }
  waiting_.remove(transfer);
  transfer.status = TransferStatus::cancelled;
  port_.finish(transfer);
}

void InStream::hold(bool on) {
  held_ = on;
  pump();
}

bool InStream::fail_first(TransferStatus status) {
  if (waiting_.empty()) return false;
  done(status);
  return true;
}

void InStream::completed(Transfer& transfer) {
  if ((transfer.ahead_state & abandoned) != 0) return port_.release(rule_, transfer);
  for (Stage& stage : std::span(stages_).first(count_)) {
    if (stage.transfer != &transfer) continue;
    stage.back = true;
    return pump();
  }
  --real_;
  port_.finish(transfer);
}

void InStream::stop(TransferStatus status) {
  while (count_ > 0) pop_stage();
  while (!waiting_.empty()) done(status);
}

// Cancelled, by us or because the one before it in the chain failed, or never taken by the device's
// host: what the consumer asks for is to be had from the device.
bool InStream::not_begun(TransferStatus status) {
  return status == TransferStatus::cancelled || status == TransferStatus::no_memory ||
         status == TransferStatus::invalid;
}

void InStream::pump() {
  while (Transfer* const transfer = waiting_.head) {
    if (count_ == 0) {
      if (drop_cancelled()) continue;
      if (held_) return;
      read_for_real(*transfer);
    } else if (stages_[0].back) {
      serve(*transfer, stages_[0]);
    } else {
      return;
    }
  }
  while (count_ > 0 && stages_[0].back && not_begun(stages_[0].transfer->status) &&
         stages_[0].used == stages_[0].transfer->actual) {
    pop_stage();
  }
}

// Whether all that the stage gives can go to the transfer by an exchange of their memory, which is
// of one kind and which nothing else refers to: reads send no bytes.
bool InStream::exchangeable(const Transfer& transfer, const Stage& stage) {
  return stage.used == 0 && transfer.actual == 0 && transfer.packet_count == 0 &&
         stage.transfer->buffer.capacity() == transfer.buffer.capacity();
}

void InStream::serve(Transfer& transfer, Stage& stage) {
  const Transfer& from = *stage.transfer;
  const uint32_t left = from.actual - stage.used;
  const uint32_t count = std::min(left, transfer.length - transfer.actual);
  if (count == left && exchangeable(transfer, stage)) {
    std::swap(transfer.buffer, stage.transfer->buffer);
  } else if (count > 0) {
    std::memcpy(transfer.data().data() + transfer.actual, from.data().data() + stage.used, count);
  }
  stage.used += count;
  transfer.actual += count;
  if (count < left) {
    if (stage.used % packet_bytes_ == 0) return done(TransferStatus::ok);
    misfit_ = true;
    const uint32_t packet_end = (stage.used / packet_bytes_ + 1) * packet_bytes_;
    stage.used = std::min(from.actual, packet_end);
    if (stage.used == from.actual && from.status == TransferStatus::ok) pop_stage();
    return done(TransferStatus::overflow);
  }
  const bool full = transfer.actual == transfer.length;
  if (from.status == TransferStatus::ok) {
    const bool short_packet = from.actual % packet_bytes_ != 0;
    const bool empty_packet = !short_packet && from.actual < from.length;
    if (empty_packet && full) return done(TransferStatus::ok);  // the next one meets with it
    pop_stage();
    if (full || short_packet || empty_packet) done(TransferStatus::ok);
  } else if (not_begun(from.status)) {
    pop_stage();
    if (full) done(TransferStatus::ok);
  } else if (full) {
    done(TransferStatus::ok);  // the next one meets with the error
  } else {
    const TransferStatus status = from.status;
    pop_stage();
    done(status);
  }
}

// Those for which the device has given nothing, or not all, so far.
bool InStream::drop_cancelled() {
  AheadQueue kept;
  bool dropped = false;
  while (Transfer* transfer = waiting_.pop()) {
    if ((transfer->ahead_state & cancel_requested) == 0) {
      kept.push(*transfer);
      continue;
    }
    dropped = true;
    transfer->status = TransferStatus::cancelled;
    port_.finish(*transfer);
  }
  waiting_ = kept;
  return dropped;
}

void InStream::read_for_real(Transfer& transfer) {
  if (transfer.actual == 0) {
    waiting_.pop();
    transfer.ahead_state = 0;
    ++real_;
    return port_.submit(rule_, transfer);
  }
  Transfer* const rest = make(transfer.length - transfer.actual, 0);
  if (rest == nullptr) return done(TransferStatus::no_memory);
  begin(*rest);
}

// The first one that waits goes back to the consumer.
void InStream::done(TransferStatus status) {
  Transfer& transfer = *waiting_.pop();
  transfer.status = status;
  if (status == TransferStatus::ok) {
    if ((transfer.ahead_state & saves) != 0) ++saved_;
    if (transfer.actual < transfer.length && (transfer.flags & transfer_flags::short_not_ok) != 0) {
      transfer.status = TransferStatus::short_read;
    }
  }
  port_.finish(transfer);
}

}  // namespace farport
