#include "dataplane/channel.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "dataplane/limits.h"
#include "dataplane/session.h"

namespace farport {

// A transfer of up to so many bytes may overtake bulk.
constexpr uint32_t kSmallBytes = 4096;

void TransferQueue::push(Transfer& transfer) {
  transfer.channel.next = nullptr;
  if (tail == nullptr) {
    head = &transfer;
  } else {
    tail->channel.next = &transfer;
  }
  tail = &transfer;
}

Transfer* TransferQueue::pop() {
  Transfer* transfer = head;
  if (transfer == nullptr) return nullptr;
  head = transfer->channel.next;
  if (head == nullptr) tail = nullptr;
  return transfer;
}

bool TransferQueue::remove(Transfer& transfer) {
  Transfer* before = nullptr;
  for (Transfer* at = head; at != nullptr; before = at, at = at->channel.next) {
    if (at != &transfer) continue;
    (before == nullptr ? head : before->channel.next) = at->channel.next;
    if (tail == at) tail = before;
    return true;
  }
  return false;
}

void ChannelQueue::push(Channel& channel) {
  auto& place = channel.queued_[link_];
  if (place.queued) return;
  place.queued = true;
  place.next = nullptr;
  if (tail_ == nullptr) {
    head_ = &channel;
  } else {
    tail_->queued_[link_].next = &channel;
  }
  tail_ = &channel;
}

Channel* ChannelQueue::pop() {
  Channel* channel = head_;
  if (channel == nullptr) return nullptr;
  auto& place = channel->queued_[link_];
  head_ = place.next;
  if (head_ == nullptr) tail_ = nullptr;
  place.queued = false;
  return channel;
}

void ChannelQueue::remove(Channel& channel) {
  Channel* before = nullptr;
  for (Channel* at = head_; at != nullptr; before = at, at = at->queued_[link_].next) {
    if (at != &channel) continue;
    (before == nullptr ? head_ : before->queued_[link_].next) = at->queued_[link_].next;
    if (tail_ == at) tail_ = before;
    at->queued_[link_].queued = false;
    return;
  }
}

Channel::Channel(Session& session, uint32_t number, ChannelEvents& events)
    : session_(session),
      number_(number),
      events_(events),
      transfers_(session.loop().buffers()),
      meter_(0, session.loop().now_ns()) {}

Channel::~Channel() { session_.loop().forget(*this); }

void Channel::frame_acknowledged(Transfer& transfer) { unhold(transfer); }

void Channel::unhold(Transfer& transfer) {
  assert(transfer.channel.holds > 0);
  if (--transfer.channel.holds == 0) unheld(transfer);
}

void Channel::place_into(Transfer& transfer) {
  hold(transfer);
  placed_ = &transfer;
}

void Channel::unplace() {
  if (Transfer* transfer = std::exchange(placed_, nullptr); transfer != nullptr) unhold(*transfer);
}

void Channel::drop_holds() {
  placed_ = nullptr;
  transfers_.for_each([this](Transfer& transfer) {
    if (transfer.channel.holds == 0) return;
    transfer.channel.holds = 0;
    unheld(transfer);
  });
}

uint32_t Channel::cost(const Transfer& transfer) {
  return limits::transfer_overhead_bytes + transfer.table_bytes() + transfer.length;
}

void Channel::queue(Transfer& transfer) {
  const bool periodic =
      transfer.type == TransferType::bulk || transfer.type == TransferType::isochronous;
  // What is small overtakes other endpoints' bulk, never its own endpoint's or its own chain's.
  const bool first =
      bulk_queued_[endpoint_index(transfer.endpoint)] == 0 && chain_queued_[transfer.chain] == 0;
  if (!periodic || (transfer.channel.stream_bytes <= kSmallBytes && first)) {
    urgent_.push(transfer);
  } else {
    count_in_bulk(transfer, 1);
    bulk_.push(transfer);
  }
  session_.wants_to_send(*this);
}

void Channel::count_in_bulk(const Transfer& transfer, int step) {
  bulk_queued_[endpoint_index(transfer.endpoint)] += static_cast<uint32_t>(step);
  if (transfer.chain != 0) chain_queued_[transfer.chain] += static_cast<uint32_t>(step);
}

bool Channel::unqueue(Transfer& transfer) {
  if (urgent_.remove(transfer)) return true;
  if (!bulk_.remove(transfer)) return false;
  count_in_bulk(transfer, -1);
  return true;
}

std::span<std::byte> Channel::stream(const Transfer& transfer) {
  return {transfer.buffer.data() + Transfer::headroom_bytes, transfer.channel.stream_bytes};
}

bool Channel::take_piece(TransferQueue& queue, OutgoingFrame& frame) {
  Transfer& transfer = *queue.head;
  auto& own = transfer.channel;
  const uint32_t bytes =
      std::min(own.stream_bytes - own.stream_done, session_.peer_data_bytes_max());
  if (own.stream_done != 0) {
    frame.type = wire::FrameType::data;
    frame.set_body(wire::DataBody{.offset = own.stream_done});
  }
  frame.transfer_id = own.id;
  frame.data = stream(transfer).subspan(own.stream_done, bytes);
  if (bytes > OutgoingFrame::inline_bytes_max) {
    frame.transfer = &transfer;
    hold(transfer);
  }
  own.stream_done += bytes;
  if (own.stream_done < own.stream_bytes) return false;
  queue.pop();
  if (&queue == &bulk_) count_in_bulk(transfer, -1);
  return true;
}

bool Channel::close_frame(OutgoingFrame& frame) {
  if (!close_due_) return false;
  close_due_ = false;
  frame.type = wire::FrameType::close;
  frame.set_body(wire::ReasonBody{.code = static_cast<uint32_t>(why_.code),
                                  .version_major = wire::version_major,
                                  .version_minor = wire::version_minor});
  close_text_ = why_.message.substr(0, OutgoingFrame::inline_bytes_max);
  frame.data = std::as_bytes(std::span(close_text_));
  return true;
}

Error Channel::peer_reason(std::span<const std::byte> body, std::span<const std::byte> data) {
  const auto reason = wire::decode<wire::ReasonBody>(body);
  const bool known = reason.code >= static_cast<uint32_t>(ErrorCode::failed) &&
                     reason.code <= static_cast<uint32_t>(ErrorCode::unreachable);
  return {known ? static_cast<ErrorCode>(reason.code) : ErrorCode::failed,
          std::string(reinterpret_cast<const char*>(data.data()), data.size())};
}

Result<void> Channel::check_piece(const Transfer& transfer, const wire::FrameHeader& header,
                                  std::span<const std::byte> body) const {
  const auto piece = wire::decode<wire::DataBody>(body);
  const auto& own = transfer.channel;
  if (piece.offset != own.stream_done) return broken("a piece of a transfer out of order");
  if (header.data_bytes() == 0) return broken("an empty piece of a transfer");
  if (header.data_bytes() > own.stream_bytes - own.stream_done) {
    return broken("more bytes than the transfer has");
  }
  return {};
}

std::unexpected<Error> Channel::broken(std::string_view what) const {
  return fail("the peer broke the protocol on channel " + std::to_string(number_) + ": " +
              std::string(what));
}

}  // namespace farport
