#include "drivers/ahead/iso_in.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dataplane/limits.h"

namespace farport {

IsoIn::IsoIn(RulePort& port, Rule& rule, const usb::Endpoint& endpoint, UsbSpeed speed)
    : port_(port),
      rule_(rule),
      address_(endpoint.address),
      interval_ns_(endpoint.interval_microframes(speed) * uint64_t{125'000}),
      clock_(interval_ns_),
      timer_(port.loop(), [](void* self) { static_cast<IsoIn*>(self)->serve(); }, this) {}

uint64_t IsoIn::depth_ns() const {
  return running_ && clock_.measured()
             ? static_cast<uint64_t>(std::max<int64_t>(clock_.offset_ns() - clock_.base_ns(), 0))
             : 0;
}

// --- the consumer ---

void IsoIn::submitted(Transfer& transfer) {
  ++outstanding_;
  transfer.ahead_state = 0;
  last_submit_ns_ = port_.loop().now_ns();
  if (!running_ && (plain_ || !start(transfer))) {
    plain_ = true;
    at_device_.push(transfer);
    return port_.submit(rule_, transfer);
  }
  waiting_.push(transfer);
  ++waiting_count_;
  keep_running();
  serve();
}

// With iso_asap or without: Linux's snd_usb_audio does not set it, and means no certain frame (it
// cannot: struct urb's start_frame is an answer, and usbfs has none).
bool IsoIn::start(const Transfer& first) {
  packet_bytes_ = 0;
  for (const IsoPacket& packet : first.packets()) {
    packet_bytes_ = std::max(packet_bytes_, packet.length);
  }
  packets_ = first.packet_count;
  const uint64_t bytes = uint64_t{packet_bytes_} * packets_;
  if (bytes == 0 || bytes > ahead_bytes_max / 2 || first.length > limits::transfer_bytes_max) {
    return false;
  }
  interval_ = first.interval;
  received_ = given_ = ready_packets_ = 0;
  round_trip_ns_ = 0;
  frame_known_ = false;
  first_asked_ns_ = port_.loop().now_ns();
  clock_.start(first_asked_ns_);
  running_ = true;
  return true;
}

void IsoIn::cancel(Transfer& transfer) {
  if (!waiting_.remove(transfer)) return port_.cancel(rule_, transfer);
  --waiting_count_;
  finish(transfer, TransferStatus::cancelled);
  if (outstanding_ == 0) end_stream();
  arm();
}

// With nothing of the stream in it.
void IsoIn::finish(Transfer& consumer, TransferStatus status) {
  for (IsoPacket& packet : consumer.packets()) {
    packet.actual = 0;
    packet.status = static_cast<uint32_t>(status);
  }
  consumer.status = status;
  consumer.actual = 0;
  consumer.error_count = consumer.packet_count;
  --outstanding_;
  port_.finish(consumer);
}

// --- the device ---

uint32_t IsoIn::wanted_in_flight() const {
  const uint64_t each_ns = packets_ * interval_ns_;
  const uint64_t cover_ns = round_trip_ns_ == 0
                                ? ahead_ns_first
                                : round_trip_ns_ + std::min(clock_.jitter_ns(), depth_ns_max);
  const uint64_t wanted = std::max<uint64_t>(cover_ns / each_ns + 2, waiting_count_ + 1);
  const uint64_t most =
      std::min<uint64_t>(ahead_bytes_max / (packet_bytes_ * packets_), ahead_ns_max / each_ns + 2);
  return static_cast<uint32_t>(std::min(wanted, most));
}

void IsoIn::keep_running() {
  while (running_ && in_flight_ < wanted_in_flight()) {
    if (ask()) continue;
    if (in_flight_ == 0) fail();
    return;
  }
}

bool IsoIn::ask() {
  Transfer* transfer = port_.allocate(rule_, packet_bytes_ * packets_, packets_);
  if (transfer == nullptr) return false;
  transfer->type = TransferType::isochronous;
  transfer->endpoint = address_;
  transfer->flags = transfer_flags::iso_asap;
  transfer->interval = interval_;
  for (IsoPacket& packet : transfer->packets()) packet = IsoPacket{packet_bytes_, 0, 0, 0};
  transfer->ahead_state = own_bit;
  ++own_;
  ++in_flight_;
  at_device_.push(*transfer);
  port_.submit(rule_, *transfer);
  return true;
}

void IsoIn::completed(Transfer& transfer) {
  transfer.ahead_state |= done_bit;
  while (at_device_.head != nullptr && (at_device_.head->ahead_state & done_bit) != 0) {
    take_result(*at_device_.pop());
  }
  keep_running();
  serve();
}

void IsoIn::take_result(Transfer& result) {
  if ((result.ahead_state & own_bit) == 0) {
    --outstanding_;
    if (outstanding_ == 0) plain_ = false;
    return port_.finish(result);
  }
  if ((result.ahead_state & ended_bit) != 0) {
    --own_;
    return port_.release(rule_, result);
  }
  --in_flight_;
  if (result.status == TransferStatus::ok) return take_packets(result);
  --own_;
  port_.release(rule_, result);
  fail();
}

void IsoIn::take_packets(Transfer& result) {
  const uint64_t now = port_.loop().now_ns();
  if (round_trip_ns_ == 0) round_trip_ns_ = std::max<uint64_t>(now - first_asked_ns_, 1);
  if (!frame_known_) frame_ = result.start_frame;
  frame_known_ = true;
  received_ += packets_;
  // After a pause of the network the stream goes on where it is now.
  const uint64_t delay = now - received_ * interval_ns_;
  const bool first = !clock_.measured();
  if (!first &&
      static_cast<int64_t>(delay) - clock_.base_ns() > static_cast<int64_t>(depth_ns_max)) {
    clock_.forget();
    given_ = received_ - packets_;
    drop_packets(ready_packets_);
  }
  const bool anew = !clock_.measured();
  clock_.arrived(received_, now);
  if (anew) clock_.shift(clock_.base_ns() - clock_.offset_ns());
  ready_.push(result);
  ready_packets_ += packets_;
  if (given_ > received_ - ready_packets_) drop_packets(given_ - (received_ - ready_packets_));
  set_depth(packets_);
  // The consumer falls behind its own device: what it does not fetch is lost, as on the bus.
  while (ready_packets_ * interval_ns_ > depth_ns_max + 2 * packets_ * interval_ns_) {
    deviations_ += packets_ - used_packets_;
    given_ += packets_ - used_packets_;
    drop_first_result();
  }
}

void IsoIn::set_depth(uint64_t packets) {
  const uint64_t depth = std::min(clock_.jitter_ns() + margin_ns, depth_ns_max);
  const int64_t target = clock_.base_ns() + static_cast<int64_t>(depth);
  if (target > clock_.offset_ns()) {
    clock_.shift(target - clock_.offset_ns());
  } else {
    clock_.steer(target, packets);
  }
}

void IsoIn::drop_packets(uint64_t packets) {
  while (packets > 0 && !ready_.empty()) {
    const uint64_t left = packets_ - used_packets_;
    if (packets >= left) {
      packets -= left;
      drop_first_result();
      continue;
    }
    for (; packets > 0; --packets) {
      used_bytes_ += ready_.head->packets()[used_packets_++].actual;
      --ready_packets_;
    }
  }
}

void IsoIn::drop_first_result() {
  ready_packets_ -= packets_ - used_packets_;
  used_packets_ = used_bytes_ = 0;
  --own_;
  port_.release(rule_, *ready_.pop());
}

// --- the consumer's transfers, each at its time ---

void IsoIn::serve() {
  if (stopping_) return;
  const uint64_t now = port_.loop().now_ns();
  while (running_ && clock_.measured() && !waiting_.empty() &&
         clock_.due_ns(given_ + waiting_.head->packet_count) <= now) {
    --waiting_count_;
    give(*waiting_.pop());
  }
  if (running_ && waiting_.empty() && now - last_submit_ns_ >= silence_ns) end_stream();
  arm();
}

void IsoIn::arm() {
  if (!running_ || stopping_) return timer_.disarm();
  if (waiting_.empty()) return timer_.arm_at(last_submit_ns_ + silence_ns);
  if (!clock_.measured()) return timer_.disarm();
  timer_.arm_at(clock_.due_ns(given_ + waiting_.head->packet_count));
}

void IsoIn::give(Transfer& consumer) {
  consumer.status = TransferStatus::ok;
  consumer.actual = 0;
  consumer.error_count = 0;
  consumer.start_frame = frame_;
  frame_ += consumer.packet_count * std::max(interval_, 1u);
  uint32_t missing = 0;
  for (IsoPacket& packet : consumer.packets()) {
    if (!give_packet(consumer, packet)) ++missing;
  }
  if (missing != 0) miss(consumer, missing);
  if (missing < consumer.packet_count) ++saved_;
  --outstanding_;
  port_.finish(consumer);
}

// False when it is not there; then `to` is left empty.
bool IsoIn::give_packet(Transfer& consumer, IsoPacket& to) {
  to.actual = 0;
  to.status = static_cast<uint32_t>(TransferStatus::ok);
  if (ready_.empty()) return false;
  Transfer& result = *ready_.head;
  const IsoPacket& from = result.packets()[used_packets_];
  to.status = from.status;
  to.actual = std::min(from.actual, to.length);
  if (from.actual > to.length) to.status = static_cast<uint32_t>(TransferStatus::overflow);
  if (to.status != static_cast<uint32_t>(TransferStatus::ok)) ++consumer.error_count;
  if (to.actual != 0) {
    std::memcpy(consumer.data().data() + consumer.actual, result.data().data() + used_bytes_,
                to.actual);
  }
  consumer.actual += to.actual;
  used_bytes_ += from.actual;
  ++used_packets_;
  --ready_packets_;
  ++given_;
  if (used_packets_ == packets_) drop_first_result();
  return true;
}

void IsoIn::miss(Transfer& consumer, uint32_t missing) {
  const auto later = static_cast<int64_t>(missing * interval_ns_);
  deviations_ += missing;
  if (clock_.offset_ns() + later - clock_.base_ns() <= static_cast<int64_t>(depth_ns_max)) {
    return clock_.shift(later);
  }
  given_ += missing;
  consumer.error_count += missing;
  for (IsoPacket& packet : consumer.packets().last(missing)) {
    packet.status = static_cast<uint32_t>(TransferStatus::late);
  }
}

// --- the end ---

// Something is wrong with the stream: the device's own answers to the consumer's transfers are the
// ones that count, from here to its next start.
void IsoIn::fail() {
  end_stream();
  plain_ = true;
  while (Transfer* transfer = waiting_.pop()) {
    --waiting_count_;
    if (stopping_) {
      finish(*transfer, TransferStatus::cancelled);
      continue;
    }
    at_device_.push(*transfer);
    port_.submit(rule_, *transfer);
  }
}

void IsoIn::end_stream() {
  running_ = false;
  timer_.disarm();
  while (!ready_.empty()) drop_first_result();
  in_flight_ = 0;
  for (Transfer* at = at_device_.head; at != nullptr; at = at->ahead_next) {
    if ((at->ahead_state & (own_bit | ended_bit)) != own_bit) continue;
    at->ahead_state |= ended_bit;
    if ((at->ahead_state & done_bit) == 0 && !stopping_) port_.cancel(rule_, *at);
  }
}

void IsoIn::end() {
  end_stream();
  plain_ = outstanding_ != waiting_count_;
  while (Transfer* transfer = waiting_.pop()) {
    --waiting_count_;
    finish(*transfer, TransferStatus::cancelled);
  }
}

void IsoIn::stop(TransferStatus status) {
  stopping_ = true;
  end_stream();
  while (Transfer* transfer = waiting_.pop()) {
    --waiting_count_;
    finish(*transfer, status);
  }
}

}  // namespace farport
