#include "drivers/usbip/urb_stream.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "devices/usbip/iso_packets.h"

namespace farport::usbip {

namespace {
// Memory that another channel of the worker holds is given back without our being told.
constexpr uint64_t retry_interval_ns = 2'000'000;
}  // namespace

UrbStream::UrbStream(Worker& worker, DriverPort& port, Events& events)
    : worker_(worker),
      port_(port),
      events_(events),
      stream_(worker, *this),
      endpoints_(port.info()),
      retry_timer_(
          worker, [](void* self) { static_cast<UrbStream*>(self)->retry(); }, this),
      answer_timer_(
          worker,
          [](void* self) {
            auto& stream = *static_cast<UrbStream*>(self);
            stream.ended_ = true;  // it does not read its replies: no longer worth waiting for
            stream.settle();
          },
          this) {}

UrbStream::~UrbStream() { assert(at_port_ == 0); }

void UrbStream::start(FileDescriptor socket, std::span<const std::byte> greeting) {
  stream_.start(std::move(socket));
  if (greeting.empty()) return;
  greeting_.assign(greeting.begin(), greeting.end());
  greeting_message_.add(greeting_.data(), greeting_.size());
  stream_.send(greeting_message_);
}

// --- requests ---

void UrbStream::read_requests() {
  while (!holding_ && !finishing_ && !ended_ && stream_.filled()) {
    if (owed_ >= owed_max) {
      crowded_ = true;
      stream_.pause();
      return;
    }
    if (incoming_ != nullptr) {
      payload_complete();
    } else if (!read_request()) {
      return;
    }
  }
  if (finishing_) stream_.pause();
}

bool UrbStream::read_request() {
  const std::byte* bytes = stream_.take(message_bytes);
  if (bytes == nullptr) return false;
  const auto request = decode_request(std::span<const std::byte, message_bytes>(bytes, 48));
  if (!request) {
    ended(request.error().message);
    return false;
  }
  if (request->command == Command::unlink) {
    unlink(*request);
  } else {
    admit(*request);
  }
  return true;
}

UrbStream::Plan UrbStream::plan(const Request& request) {
  Plan plan;
  const uint8_t address = request.endpoint | (request.in ? 0x80 : 0);
  const usb::Endpoint* endpoint = endpoints_.find(address);
  const bool known = endpoint != nullptr || request.endpoint == 0;
  plan.type = endpoints_.type_of(address);
  plan.endpoint = address;
  plan.data_bytes = request.in ? 0 : request.length;
  // Trap 1: only the endpoint's type tells whether packets follow. Of an unknown endpoint the count
  // has to be believed, or the stream would be lost.
  const bool counted = request.packet_count != 0 && request.packet_count != packet_count_none;
  if (counted && (plan.type == TransferType::isochronous || !known)) {
    plan.table_bytes = uint64_t{request.packet_count} * sizeof(wire::IsoDescriptor);
    plan.packet_count =
        static_cast<uint16_t>(std::min(request.packet_count, limits::iso_packets_max));
  }
  if (plan.type == TransferType::control) {
    const bool setup_in = (request.setup[0] & 0x80) != 0;
    const uint32_t setup_length = request.setup[6] | uint32_t{request.setup[7]} << 8;
    plan.endpoint = request.endpoint | (setup_in ? 0x80 : 0);
    // A device moves what the setup packet says: the memory has to be there, in that direction.
    if (setup_length > request.length || (request.length != 0 && setup_in != request.in)) {
      plan.refusal = TransferStatus::invalid;
    }
  }
  if (!known || request.length > limits::transfer_bytes_max ||
      plan.table_bytes > limits::iso_packets_max * sizeof(wire::IsoDescriptor) ||
      (plan.type == TransferType::isochronous && !counted) || find(request.seqnum) != nullptr) {
    plan.refusal = TransferStatus::invalid;
  }
  if (unplugged_) plan.refusal = TransferStatus::unplugged;
  return plan;
}

void UrbStream::admit(const Request& request) {
  const Plan plan = this->plan(request);
  if (plan.refusal != TransferStatus::ok) {
    stream_.skip(plan.data_bytes + plan.table_bytes);
    return refuse(request.seqnum, plan.refusal);
  }
  Transfer* transfer = nullptr;
  if (owed_ < requests_max && (bytes_ == 0 || bytes_ + request.length <= bytes_max)) {
    transfer = port_.allocate(request.length, plan.packet_count);
  }
  if (transfer == nullptr) {
    if (holding_ && worker_.now_ns() >= held_until_ns_) {
      holding_ = false;
      stream_.skip(plan.data_bytes + plan.table_bytes);
      return refuse(request.seqnum, TransferStatus::no_memory);
    }
    return hold(request);
  }
  holding_ = false;
  transfer->type = plan.type;
  transfer->endpoint = plan.endpoint;
  transfer->flags = transfer_flags_of(request.flags);
  transfer->start_frame = request.start_frame;
  transfer->interval = request.interval;
  transfer->setup = request.setup;
  Pending& pending = *take_pending(request.seqnum);
  pending.transfer = transfer;
  pending.isochronous = plan.type == TransferType::isochronous;
  transfer->driver_context = &pending;
  pending.bytes = request.length;
  bytes_ += request.length;
  incoming_ = &pending;
  stream_.fill(plan.data_bytes != 0 ? transfer->data() : std::span<std::byte>{},
               std::as_writable_bytes(transfer->packets()));
}

void UrbStream::hold(const Request& request) {
  if (!holding_) {
    holding_ = true;
    held_ = request;
    held_until_ns_ = worker_.now_ns() + admission_wait_ns;
    stream_.pause();
  }
  retry_timer_.arm_after(retry_interval_ns);
}

void UrbStream::retry() {
  if (!holding_ || finishing_ || ended_) return;
  admit(Request(held_));
  if (holding_) return;
  retry_timer_.disarm();
  go_on();
}

// Reading was paused: first what is in the inbox, then what is in the socket.
void UrbStream::go_on() {
  read_requests();
  if (!holding_ && !crowded_ && !finishing_ && !ended_) stream_.resume();
}

void UrbStream::payload_complete() {
  Pending& pending = *std::exchange(incoming_, nullptr);
  if (pending.isochronous && !take_iso_request(*pending.transfer)) {
    const uint32_t seqnum = pending.seqnum;
    give_back(pending);
    return refuse(seqnum, TransferStatus::invalid);
  }
  submit(pending);
}

void UrbStream::submit(Pending& pending) {
  Pending** bucket = bucket_of(pending.seqnum);
  pending.next_in_bucket = *bucket;
  *bucket = &pending;
  ++at_port_;
  port_.submit(*pending.transfer);
}

void UrbStream::unlink(const Request& request) {
  Pending* unlink = take_pending(request.seqnum);
  Pending* target = find(request.unlink_seqnum);
  // Unknown or answered already: its RET_SUBMIT, if there was one, is ahead of this in the queue.
  if (target == nullptr) return reply_unlink(*unlink, 0);
  unlink->next_waiting = target->unlinks;
  target->unlinks = unlink;
  port_.cancel(*target->transfer);
}

void UrbStream::refuse(uint32_t seqnum, TransferStatus status) {
  Pending& pending = *take_pending(seqnum);
  encode_reply({.seqnum = seqnum, .status = errno_of(status)}, pending.message);
  pending.add(pending.message.data(), message_bytes);
  stream_.send(pending);
}

// --- replies ---

void UrbStream::completed(Transfer& transfer) {
  Pending& pending = *static_cast<Pending*>(transfer.driver_context);
  --at_port_;
  forget(pending);
  if (transfer.type == TransferType::control && transfer.status == TransferStatus::ok) {
    endpoints_.observe(transfer.setup);
  }
  if (!ended_) {
    reply(pending);
  } else {
    while (pending.unlinks != nullptr) {
      Pending& unlink = *std::exchange(pending.unlinks, pending.unlinks->next_waiting);
      give_back(unlink);
    }
    give_back(pending);
  }
  settle();
}

void UrbStream::reply(Pending& pending) {
  Pending* unlinks = std::exchange(pending.unlinks, nullptr);
  const Transfer& transfer = *pending.transfer;
  int32_t unlink_status = 0;
  if (unlinks != nullptr && transfer.status == TransferStatus::cancelled && transfer.actual == 0) {
    unlink_status = errno_of(TransferStatus::cancelled);
    give_back(pending);
  } else {
    reply_submit(pending);
  }
  while (unlinks != nullptr) {
    Pending& unlink = *std::exchange(unlinks, unlinks->next_waiting);
    reply_unlink(unlink, std::exchange(unlink_status, 0));
  }
}

void UrbStream::reply_submit(Pending& pending) {
  Transfer& transfer = *pending.transfer;
  Reply reply{.seqnum = pending.seqnum,
              .status = errno_of(transfer.status),
              .actual = std::min(transfer.actual, transfer.length),
              .start_frame = transfer.start_frame};
  if (pending.isochronous) {
    const IsoTotals totals = put_iso_reply(transfer);
    if (!totals.consistent) reply.status = errno_of(TransferStatus::protocol);
    reply.actual = totals.actual;
    reply.error_count = totals.error_count;
    reply.packet_count = transfer.packet_count;
  }
  encode_reply(reply, pending.message);
  pending.add(pending.message.data(), message_bytes);
  if (transfer.in()) pending.add(transfer.data().data(), reply.actual);
  if (pending.isochronous) pending.add(transfer.packets().data(), transfer.table_bytes());
  stream_.send(pending);
}

void UrbStream::reply_unlink(Pending& unlink, int32_t status) {
  encode_reply({.command = Command::unlink_reply, .seqnum = unlink.seqnum, .status = status},
               unlink.message);
  unlink.add(unlink.message.data(), message_bytes);
  stream_.send(unlink);
}

void UrbStream::sent(SocketStream::Outgoing& message) {
  if (&message == &greeting_message_) return;
  give_back(static_cast<Pending&>(message));
  if (holding_) {
    retry();
  } else if (crowded_ && owed_ < owed_max) {
    crowded_ = false;
    go_on();
  }
  settle();
}

// --- the end ---

void UrbStream::ended(std::string_view reason) {
  if (ended_) return;
  ended_ = true;
  stream_.pause();
  if (finishing_) return settle();
  events_.stream_ended(reason);
}

void UrbStream::finish() {
  if (finishing_) return;
  finishing_ = true;
  holding_ = false;
  retry_timer_.disarm();
  stream_.pause();
  answer_timer_.arm_after(answer_wait_ns);
  settle();
}

// Cancelled transfers always come back; the wait for them has no limit of its own.
void UrbStream::settle() {
  if (!finishing_ || answered_ || at_port_ != 0) return;
  if (!ended_ && stream_.started() && !stream_.all_sent()) return;
  answered_ = true;
  answer_timer_.disarm();
  events_.stream_answered();
}

void UrbStream::closed() {
  for (const auto& pending : all_) release_transfer(*pending);
  events_.stream_closed();
}

// --- bookkeeping ---

UrbStream::Pending* UrbStream::take_pending(uint32_t seqnum) {
  if (free_ == nullptr) {
    all_.push_back(std::make_unique<Pending>());
    free_ = all_.back().get();
  }
  Pending* pending = std::exchange(free_, free_->next_waiting);
  *pending = {};
  pending->seqnum = seqnum;
  ++owed_;
  return pending;
}

void UrbStream::give_back(Pending& pending) {
  release_transfer(pending);
  pending.next_waiting = free_;
  free_ = &pending;
  --owed_;
}

void UrbStream::release_transfer(Pending& pending) {
  if (pending.transfer == nullptr) return;
  Transfer& transfer = *std::exchange(pending.transfer, nullptr);
  bytes_ -= pending.bytes;
  port_.release(transfer);
}

UrbStream::Pending** UrbStream::bucket_of(uint32_t seqnum) {
  return &buckets_[(seqnum * 2654435769u) >> 22];  // Fibonacci hashing to 10 bits
}

UrbStream::Pending* UrbStream::find(uint32_t seqnum) {
  Pending* pending = *bucket_of(seqnum);
  while (pending != nullptr && pending->seqnum != seqnum) pending = pending->next_in_bucket;
  return pending;
}

void UrbStream::forget(Pending& pending) {
  Pending** link = bucket_of(pending.seqnum);
  while (*link != &pending) link = &(*link)->next_in_bucket;
  *link = pending.next_in_bucket;
}

}  // namespace farport::usbip
