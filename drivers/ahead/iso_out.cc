#include "drivers/ahead/iso_out.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace farport {

IsoOut::IsoOut(RulePort& port, Rule& rule, const usb::Endpoint& endpoint, UsbSpeed speed)
    : port_(port),
      rule_(rule),
      address_(endpoint.address),
      interval_ns_(endpoint.interval_microframes(speed) * uint64_t{125'000}),
      clock_(interval_ns_),
      timer_(port.loop(), [](void* self) { static_cast<IsoOut*>(self)->serve(); }, this) {}

// --- the consumer ---

void IsoOut::submitted(Transfer& transfer) {
  const uint64_t now = port_.loop().now_ns();
  if (waiting_.empty() && own_ == 0 && plain_count_ == 0) running_ = plain_ = false;
  if (plain_) {
    ++plain_count_;
    transfer.ahead_state = 0;
    return port_.submit(rule_, transfer);
  }
  // A stream that ran dry begins anew, as soon as possible.
  if (!running_ || (waiting_.empty() && clock_.due_ns(submitted_) + lead_ns_ < now)) {
    running_ = true;
    submitted_ = given_ = played_ = 0;
    for (Transfer* at = at_device_.head; at != nullptr; at = at->ahead_next) {
      submitted_ += at->packet_count;
    }
    given_ = submitted_;
    clock_.start(now - submitted_ * interval_ns_);
    lead_ns_ = 0;
    frame_ = transfer.start_frame;
  }
  transfer.ahead_state = numbers_++ & number_mask;
  if (!send(transfer)) transfer.ahead_state |= lost_bit;
  submitted_ += transfer.packet_count;
  waiting_.push(transfer);
  arm();
}

bool IsoOut::send(Transfer& consumer) {
  if (own_bytes_ + consumer.length > ahead_bytes_max ||
      own_packets_ * interval_ns_ > ahead_ns_max) {
    return false;
  }
  Transfer* copy = port_.allocate(rule_, consumer.length, consumer.packet_count);
  if (copy == nullptr) return false;
  copy->type = consumer.type;
  copy->endpoint = consumer.endpoint;
  copy->flags = consumer.flags;
  copy->start_frame = consumer.start_frame;
  copy->interval = consumer.interval;
  std::ranges::copy(consumer.packets(), copy->packets().begin());
  if (consumer.length != 0) {
    std::memcpy(copy->data().data(), consumer.data().data(), consumer.length);
  }
  copy->ahead_state = own_bit | consumer.ahead_state;
  ++own_;
  own_bytes_ += copy->length;
  own_packets_ += copy->packet_count;
  at_device_.push(*copy);
  port_.submit(rule_, *copy);
  return true;
}

// Its copy is cancelled with it; those of transfers that have completed are played.
void IsoOut::cancel(Transfer& transfer) {
  if (!waiting_.remove(transfer)) return port_.cancel(rule_, transfer);
  for (Transfer* at = at_device_.head; at != nullptr; at = at->ahead_next) {
    if ((at->ahead_state & number_mask) == transfer.ahead_state) port_.cancel(rule_, *at);
  }
  submitted_ -= transfer.packet_count;
  finish(transfer, TransferStatus::cancelled, TransferStatus::cancelled);
  arm();
}

// With nothing of it played.
void IsoOut::finish(Transfer& consumer, TransferStatus of_packets, TransferStatus status) {
  for (IsoPacket& packet : consumer.packets()) {
    packet.actual = 0;
    packet.status = static_cast<uint32_t>(of_packets);
  }
  consumer.status = status;
  consumer.actual = 0;
  consumer.error_count = consumer.packet_count;
  port_.finish(consumer);
}

// --- the device ---

void IsoOut::completed(Transfer& transfer) {
  if ((transfer.ahead_state & own_bit) == 0) {
    --plain_count_;
    return port_.finish(transfer);
  }
  at_device_.remove(transfer);
  --own_;
  own_bytes_ -= transfer.length;
  own_packets_ -= transfer.packet_count;
  if (!stopping_) take_result(transfer);
  port_.release(rule_, transfer);
  if (!stopping_) arm();
}

void IsoOut::take_result(const Transfer& result) {
  if (result.status == TransferStatus::cancelled) return;
  if (result.status != TransferStatus::ok) return fail(result.status);
  for (const IsoPacket& packet : result.packets()) {
    if (packet.status == static_cast<uint32_t>(TransferStatus::ok)) continue;
    ++untold_;
    ++deviations_;
    untold_status_ = packet.status <= static_cast<uint32_t>(TransferStatus::link_lost)
                         ? static_cast<TransferStatus>(packet.status)
                         : TransferStatus::protocol;
  }
  played_ += result.packet_count;
  if (running_) set_lead();
}

// The pace follows the device's own clock; the lead, what its results' jitter needs beyond what the
// consumer has in flight.
void IsoOut::set_lead() {
  const bool first = !clock_.measured();
  clock_.arrived(played_, port_.loop().now_ns());
  if (first) ahead_ns_ = clock_.base_ns() - clock_.offset_ns();
  const uint64_t in_flight_ns = (submitted_ - given_) * interval_ns_;
  const uint64_t jitter_ns = std::min(clock_.jitter_ns(), lead_ns_max);
  const uint64_t wanted_ns = jitter_ns > in_flight_ns ? jitter_ns - in_flight_ns : 0;
  if (wanted_ns > lead_ns_) {
    clock_.shift(-static_cast<int64_t>(wanted_ns - lead_ns_));
    lead_ns_ = wanted_ns;
  } else {
    lead_ns_ -= std::min<uint64_t>(lead_ns_ - wanted_ns, interval_ns_ / StreamClock::steer_share);
  }
  clock_.steer(clock_.base_ns() - ahead_ns_ - static_cast<int64_t>(lead_ns_), 1);
}

// --- the consumer's transfers, each at its time ---

void IsoOut::serve() {
  const uint64_t now = port_.loop().now_ns();
  while (!waiting_.empty() && clock_.due_ns(given_ + waiting_.head->packet_count) <= now) {
    give(*waiting_.pop());
  }
  arm();
}

void IsoOut::arm() {
  if (waiting_.empty() || stopping_) return timer_.disarm();
  timer_.arm_at(clock_.due_ns(given_ + waiting_.head->packet_count));
}

void IsoOut::give(Transfer& consumer) {
  given_ += consumer.packet_count;
  consumer.start_frame = frame_;
  frame_ += consumer.packet_count * std::max(consumer.interval, 1u);
  if ((consumer.ahead_state & lost_bit) != 0) {
    // A transfer as such is never late (USB/IP: status 0); its packets are.
    ++deviations_;
    return finish(consumer, TransferStatus::late, TransferStatus::ok);
  }
  consumer.status = TransferStatus::ok;
  consumer.actual = 0;
  consumer.error_count = 0;
  for (IsoPacket& packet : consumer.packets()) {
    packet.actual = packet.length;
    packet.status = static_cast<uint32_t>(TransferStatus::ok);
    if (untold_ != 0) {
      --untold_;
      packet.actual = 0;
      packet.status = static_cast<uint32_t>(untold_status_);
      ++consumer.error_count;
    }
    consumer.actual += packet.actual;
  }
  ++saved_;
  port_.finish(consumer);
}

// --- the end ---

void IsoOut::fail(TransferStatus status) {
  running_ = false;
  plain_ = true;
  ++deviations_;
  while (Transfer* transfer = waiting_.pop()) finish(*transfer, status, status);
  for (Transfer* at = at_device_.head; at != nullptr; at = at->ahead_next) {
    port_.cancel(rule_, *at);
  }
}

void IsoOut::end() {
  running_ = false;
  while (Transfer* transfer = waiting_.head) cancel(*transfer);
}

void IsoOut::stop(TransferStatus status) {
  stopping_ = true;
  timer_.disarm();
  while (Transfer* transfer = waiting_.pop()) finish(*transfer, status, status);
}

}  // namespace farport
