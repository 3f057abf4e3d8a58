#include "drivers/ahead/polled_in.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace farport {

PolledIn::PolledIn(RulePort& port, Rule& rule, const usb::Endpoint& endpoint,
                   const PolledInSettings& settings)
    : port_(port),
      rule_(rule),
      address_(endpoint.address),
      packet_bytes_(endpoint.max_packet_bytes()),
      settings_(settings),
      silence_timer_(
          port.loop(), [](void* self) { static_cast<PolledIn*>(self)->went_silent(); }, this),
      type_(endpoint.type) {
  assert(packet_bytes_ > 0);
}

uint32_t PolledIn::whole_packets(uint32_t bytes) const {
  const uint32_t packets = bytes == 0 ? 1 : (bytes - 1) / packet_bytes_ + 1;
  return packets * packet_bytes_;
}

uint32_t PolledIn::extra() const {
  const uint32_t most =
      only_status_ ? std::min(quiet_extra, settings_.extra_max) : settings_.extra_max;
  return std::min(most, settings_.bytes_max / length_);
}

// --- the consumer ---

void PolledIn::submitted(Transfer& transfer) {
  silence_timer_.disarm();
  const bool listened =
      outstanding_ != 0 || port_.loop().now_ns() - answered_ns_ <= settings_.prompt_ns;
  if (std::exchange(answer_pending_, false)) {
    if (listened) {
      steady_ = std::min(steady_ + 1, prompt_min);
    } else if (steady_ != 0) {
      ++deviations_;
      drain();
    }
  }
  // Whole packets: a poll must never overflow where the consumer's next transfer would not.
  if (const uint32_t length = whole_packets(transfer.length); length != length_) {
    if (own_in_flight_ != 0) ++deviations_;
    drain();
    release_spare();
    length_ = length;
  }
  interval_ = transfer.interval;
  type_ = transfer.type;
  ++outstanding_;
  ++waiting_count_;
  transfer.ahead_state = number();
  waiting_.push(transfer);
  pump();
}

void PolledIn::cancel(Transfer& transfer) {
  const bool first = waiting_.head == &transfer;
  if (!waiting_.remove(transfer)) return port_.cancel(rule_, transfer);
  --waiting_count_;
  transfer.status = TransferStatus::cancelled;
  transfer.actual = first ? std::exchange(filled_, 0) : 0;
  --outstanding_;
  port_.finish(transfer);
  // Its remainder was being fetched, which suits no other; or nobody listens any more.
  if (transfer.actual != 0 || outstanding_ == 0) drain();
  if (outstanding_ == 0) answer_pending_ = false;
  pump();
}

void PolledIn::consumer_talks() {
  if (outstanding_ != 0) return;
  if (own_in_flight_ != 0) ++deviations_;
  answer_pending_ = false;
  drain();
}

void PolledIn::went_silent() {
  if (own_in_flight_ != 0) ++deviations_;
  drain();
}

// A consumer's transfer is done, and told so.
void PolledIn::answered(Transfer& consumer) {
  --outstanding_;
  answer_pending_ = true;
  port_.finish(consumer);
  if (outstanding_ != 0 || stopping_) return;
  answered_ns_ = port_.loop().now_ns();
  if (steady_ != 0) silence_timer_.arm_after(settings_.prompt_ns);
}

// --- results ---

void PolledIn::completed(Transfer& transfer) {
  if ((transfer.ahead_state & abandoned_bit) != 0) {
    port_.release(rule_, transfer);
    return;
  }
  transfer.ahead_state |= done_bit;
  // Small results may overtake large ones on the way; the bus carried them out in this order.
  while (at_device_.head != nullptr && (at_device_.head->ahead_state & done_bit) != 0) {
    take_result(*at_device_.pop());
    deliver();
  }
  pump();
}

void PolledIn::take_result(Transfer& result) {
  if ((result.ahead_state & own_bit) == 0) return answered(result);
  --own_in_flight_;
  take_own(result);
  if (own_in_flight_ == 0) drained();
}

void PolledIn::take_own(Transfer& poll) {
  if (stopping_) return port_.release(rule_, poll);
  switch (poll.status) {
    case TransferStatus::ok:
      break;
    case TransferStatus::no_memory:  // of what we asked for beyond the consumer's own
    case TransferStatus::invalid:
      drain();
      [[fallthrough]];
    case TransferStatus::cancelled:
      poll.status = TransferStatus::cancelled;
      if (poll.actual == 0) return put_aside(poll);
      break;
    default:
      drain();
      // The first tells the consumer. Those behind it, which it never asked for, do not.
      if (std::exchange(failed_, true)) {
        if (poll.actual == 0) return put_aside(poll);
        poll.status = TransferStatus::cancelled;
      }
  }
  if (settings_.status_packets) {
    const bool repeats = repeats_status(poll);
    only_status_ = poll.status == TransferStatus::ok && poll.actual <= 2;
    if (repeats) return put_aside(poll);
  }
  ready_.push(poll);
  ++ready_count_;
}

// A device that speaks every few milliseconds must not fill the queue of a consumer that does not
// listen with what it said before.
bool PolledIn::repeats_status(const Transfer& poll) const {
  const Transfer* before = ready_.tail;
  return waiting_.empty() && before != nullptr && before->status == TransferStatus::ok &&
         poll.status == TransferStatus::ok && before->actual == 2 && poll.actual == 2 &&
         std::memcmp(before->data().data(), poll.data().data(), 2) == 0;
}

void PolledIn::drained() {
  draining_ = false;
  failed_ = false;
  if (steady_ < prompt_min || stopping_) release_spare();
}

PolledIn::End PolledIn::end_of(const Transfer& result) const {
  if (result.status != TransferStatus::ok && result.status != TransferStatus::cancelled) {
    return End::error;
  }
  if (result.actual % packet_bytes_ != 0) return End::short_packet;
  const bool cut = result.status == TransferStatus::cancelled || result.actual == result.length;
  return cut ? End::open : End::short_packet;  // of no bytes
}

void PolledIn::deliver() {
  while (!waiting_.empty() && !ready_.empty()) hand_on(*waiting_.head, *ready_.head);
}

// One step of what the bus would have done: a run of full packets, a last short one, or the end.
void PolledIn::hand_on(Transfer& consumer, Transfer& result) {
  const End end = end_of(result);
  const uint32_t left = result.actual - used_;
  const uint32_t room = consumer.length - filled_;
  if (left == 0) {
    const TransferStatus status = result.status;
    if (end != End::open) count_saved(consumer, result);
    retire_first();
    if (end == End::short_packet) end_with(consumer, end_of_short(consumer));
    if (end == End::error) end_with(consumer, status);
    return;
  }
  const uint32_t run = std::min(left, room) / packet_bytes_ * packet_bytes_;
  const uint32_t bytes = run != 0 ? run : std::min(left, packet_bytes_);
  const bool fits = bytes <= room;
  copy(consumer, result, fits ? bytes : room);
  used_ += bytes;
  const bool full = filled_ == consumer.length;
  const bool is_short = bytes % packet_bytes_ != 0;
  // A short packet that fits ends its transfer in the next step, together with its result.
  if (fits && (!full || is_short)) return;
  count_saved(consumer, result);
  if (used_ == result.actual && (end == End::open || is_short)) retire_first();
  end_with(consumer, fits ? TransferStatus::ok : TransferStatus::overflow);
}

TransferStatus PolledIn::end_of_short(const Transfer& consumer) const {
  const bool strict = (consumer.flags & transfer_flags::short_not_ok) != 0;
  return strict && filled_ < consumer.length ? TransferStatus::short_read : TransferStatus::ok;
}

// When the poll was on its way before the consumer asked.
void PolledIn::count_saved(const Transfer& consumer, const Transfer& result) {
  const uint32_t after = (consumer.ahead_state - result.ahead_state) & number_mask;
  if (after != 0 && after <= number_mask / 2) ++saved_;
}

void PolledIn::copy(Transfer& consumer, const Transfer& result, uint32_t bytes) {
  if (bytes != 0) {
    std::memcpy(consumer.data().data() + filled_, result.data().data() + used_, bytes);
  }
  filled_ += bytes;
}

void PolledIn::end_with(Transfer& consumer, TransferStatus status) {
  waiting_.pop();
  --waiting_count_;
  consumer.status = status;
  consumer.actual = std::exchange(filled_, 0);
  answered(consumer);
}

void PolledIn::retire_first() {
  Transfer& result = *ready_.pop();
  --ready_count_;
  used_ = 0;
  put_aside(result);
}

void PolledIn::put_aside(Transfer& poll) {
  if (stopping_ || poll.length != length_ || steady_ < prompt_min) {
    return port_.release(rule_, poll);
  }
  spare_.push(poll);
}

void PolledIn::release_spare() {
  while (Transfer* poll = spare_.pop()) port_.release(rule_, *poll);
}

// --- polling ---

void PolledIn::pump() {
  if (stopping_) return;
  deliver();
  if (waiting_.empty()) return;
  if (filled_ != 0) {
    // The polls in flight end elsewhere than this transfer does: it could wait for data that is
    // in one of them.
    if (own_in_flight_ == 0) return fetch_remainder();
    if ((at_device_.head->ahead_state & own_bit) == 0 ||
        at_device_.head->length != whole_packets(waiting_.head->length - filled_)) {
      drain();
    }
    return;
  }
  if (draining_) return;
  if (steady_ >= prompt_min && allowed_ && !held_) begin_polls();
  if (own_in_flight_ == 0) submit_waiting();
}

void PolledIn::begin_polls() {
  const uint32_t more = extra();
  if (more == 0) return;
  while (own_in_flight_ + ready_count_ < waiting_count_ + more) {
    if (!poll(length_)) return;
  }
}

bool PolledIn::poll(uint32_t length) {
  Transfer* transfer = length == length_ ? spare_.pop() : nullptr;
  if (transfer == nullptr) transfer = port_.allocate(rule_, length);
  if (transfer == nullptr) return false;
  transfer->type = type_;
  transfer->endpoint = address_;
  transfer->interval = interval_;
  transfer->status = TransferStatus::ok;
  transfer->actual = 0;
  transfer->ahead_state = own_bit | number();
  ++polls_;
  ++own_in_flight_;
  at_device_.push(*transfer);
  port_.submit(rule_, *transfer);
  return true;
}

// The first waiting transfer is partly filled, and the device has to fill the rest; unless it is
// about to forget it.
void PolledIn::fetch_remainder() {
  Transfer& consumer = *waiting_.head;
  if (!held_ && poll(whole_packets(consumer.length - filled_))) return;
  end_with(consumer, held_ ? TransferStatus::cancelled : TransferStatus::no_memory);
  if (!waiting_.empty()) submit_waiting();
}

// The consumer's own go to the device as they are.
void PolledIn::submit_waiting() {
  while (Transfer* transfer = waiting_.pop()) {
    --waiting_count_;
    at_device_.push(*transfer);
    port_.submit(rule_, *transfer);
  }
}

void PolledIn::drain() {
  steady_ = 0;
  only_status_ = false;
  if (own_in_flight_ == 0) return release_spare();
  if (std::exchange(draining_, true)) return;
  for (Transfer* at = at_device_.head; at != nullptr; at = at->ahead_next) {
    if ((at->ahead_state & (own_bit | done_bit | cancelled_bit)) != own_bit) continue;
    at->ahead_state |= cancelled_bit;
    port_.cancel(rule_, *at);
  }
}

// --- what changes the endpoint ---

void PolledIn::quiesce() {
  held_ = true;
  drain();
  pump();
}

void PolledIn::abandon() {
  if (quiet()) return;
  AheadQueue kept;
  while (Transfer* transfer = at_device_.pop()) {
    if ((transfer->ahead_state & own_bit) == 0) {
      kept.push(*transfer);
    } else if ((transfer->ahead_state & done_bit) != 0) {
      port_.release(rule_, *transfer);
    } else {
      transfer->ahead_state |= abandoned_bit;
    }
  }
  at_device_ = kept;
  own_in_flight_ = 0;
  drained();
  pump();
}

void PolledIn::resume(bool drop) {
  held_ = false;
  if (drop) {
    while (!ready_.empty()) retire_first();
  }
  pump();
}

void PolledIn::allow(bool polling) {
  allowed_ = polling;
  if (!polling) drain();
}

void PolledIn::stop(TransferStatus status) {
  stopping_ = true;
  silence_timer_.disarm();
  while (!waiting_.empty()) end_with(*waiting_.head, status);
  while (!ready_.empty()) retire_first();
  release_spare();
}

}  // namespace farport
