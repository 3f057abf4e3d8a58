// What a session sends, in which order: answers about itself, control's messages, urgent channels
// in turn, bulk channels in turn.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "dataplane/session.h"

namespace farport {

namespace {
// A peer that is owed an acknowledgement and nothing else gets it after so long, or so many frames.
constexpr uint64_t kAcknowledgeAfterNs = 25'000'000;
constexpr uint64_t kAcknowledgeFrames = 256;
}  // namespace

void Session::wants_to_send(Channel& channel) {
  if (!open()) return;
  if (channel.has_frames(true)) urgent_.push(channel);
  if (channel.has_frames(false)) bulk_.push(channel);
  loop_.flush_later(*this);
}

// At the end of an iteration of the loop.
void Session::flush() {
  removed_.clear();
  dead_link_.reset();
  if (state_ == State::open) {
    if (pong_due_ && link_->ready()) {
      pong_due_ = false;
      const wire::PingBody body{.token = pong_token_};
      send_unnumbered(wire::FrameType::pong, std::as_bytes(std::span(&body, 1)), {});
    }
    if (ping_due_ && link_->ready()) {
      ping_due_ = false;
      const wire::PingBody body{.token = next_number_};
      send_unnumbered(wire::FrameType::ping, std::as_bytes(std::span(&body, 1)), {});
    }
    if (repeat_ != next_number_) repeat_frames();
    while (link_->ready() && window_open() && send_next()) {
    }
    if (received_ - received_told_ >= kAcknowledgeFrames) acknowledge();
    if (received_ != received_told_ && !acknowledge_timer_.armed()) owe_acknowledgement();
  }
  if (state_ == State::open) link_->flush();
  finish_if_done();
}

// What the peer did not get over the last connection, in the same order, before anything new.
void Session::repeat_frames() {
  while (repeat_ != next_number_ && link_->ready()) {
    transmit(sent_[repeat_++ % limits::frames_in_flight_max]);
    ++counters_.frames_repeated;
  }
}

bool Session::send_next() {
  if (repeat_ != next_number_) return false;
  return send_message_part() || send_unknown_closed() || send_of(urgent_, true) ||
         send_of(bulk_, false);
}

// One frame of the channel whose turn it is.
bool Session::send_of(ChannelQueue& queue, bool urgent) {
  while (!queue.empty()) {
    Channel& channel = *queue.pop();
    OutgoingFrame frame;
    if (!channel.next_frame(urgent, frame)) continue;  // waits for credit
    send_numbered(frame, &channel, channel.number());
    channel.frame_taken();
    if (channel.has_frames(urgent)) queue.push(channel);
    return true;
  }
  return false;
}

bool Session::send_message_part() {
  const auto next = std::find_if(messages_.begin(), messages_.end(),
                                 [](const OutgoingMessage& m) { return m.last_number == 0; });
  if (next == messages_.end()) return false;
  OutgoingMessage& message = *next;
  const size_t bytes = std::min<size_t>(message.text.size() - message.sent, peer_data_bytes_max_);
  const bool more = message.sent + bytes < message.text.size();
  OutgoingFrame frame;
  frame.type = wire::FrameType::message;
  frame.set_body(wire::MessageBody{
      .id = message.id, .kind = static_cast<uint8_t>(message.kind), .more = more, .reserved = 0});
  frame.data = std::as_bytes(std::span(message.text)).subspan(message.sent, bytes);
  message.sent += bytes;
  if (!more) message.last_number = next_number_;
  send_numbered(frame, nullptr, 0);
  return true;
}

// A close of a channel that is not here any more, or never was, is answered, so that the peer's
// driver end does not wait for ever.
bool Session::send_unknown_closed() {
  if (unknown_closed_.empty()) return false;
  OutgoingFrame frame;
  frame.type = wire::FrameType::close;
  frame.set_body(wire::ReasonBody{.code = static_cast<uint32_t>(ErrorCode::not_found),
                                  .version_major = wire::version_major,
                                  .version_minor = wire::version_minor});
  const uint32_t number = unknown_closed_.back();
  unknown_closed_.pop_back();
  send_numbered(frame, nullptr, number);
  return true;
}

void Session::send_numbered(const OutgoingFrame& frame, Channel* channel, uint32_t channel_number) {
  SentFrame& kept = sent_[next_number_ % limits::frames_in_flight_max];
  const bool copied = frame.data.size() <= OutgoingFrame::inline_bytes_max;
  const wire::FrameHeader header{
      .bytes = static_cast<uint32_t>(frame.body_bytes + frame.data.size()),
      .type = static_cast<uint8_t>(frame.type),
      .body_bytes = frame.body_bytes,
      .flags = 0,
      .number = next_number_++,
      .acknowledged = received_,
      .channel = channel_number,
      .transfer = frame.transfer_id};
  std::byte* to = kept.head.data();
  wire::encode(to, header);
  to += sizeof header;
  std::memcpy(to, frame.body.data(), frame.body_bytes);
  to += frame.body_bytes;
  if (copied && !frame.data.empty()) {
    std::memcpy(to, frame.data.data(), frame.data.size());
    to += frame.data.size();
  }
  kept.head_bytes = static_cast<uint16_t>(to - kept.head.data());
  kept.data = copied ? std::span<const std::byte>() : frame.data;
  kept.channel = channel;
  kept.transfer = frame.transfer;
  repeat_ = next_number_;
  transmit(kept);
}

void Session::transmit(SentFrame& frame) {
  std::memcpy(frame.head.data() + offsetof(wire::FrameHeader, acknowledged), &received_,
              sizeof received_);
  received_told_ = received_;
  ++counters_.frames_sent;
  counters_.bytes_sent += frame.head_bytes + frame.data.size();
  link_->send(std::span(frame.head).first(frame.head_bytes), frame.data);
}

void Session::send_unnumbered(wire::FrameType type, std::span<const std::byte> body,
                              std::span<const std::byte> data) {
  std::array<std::byte, Link::head_bytes_max> head;
  const auto bytes = static_cast<uint32_t>(body.size() + data.size());
  assert(sizeof(wire::FrameHeader) + bytes <= head.size());
  wire::encode(head.data(), wire::FrameHeader{.bytes = bytes,
                                              .type = static_cast<uint8_t>(type),
                                              .body_bytes = static_cast<uint8_t>(body.size()),
                                              .flags = 0,
                                              .number = 0,
                                              .acknowledged = received_,
                                              .channel = 0,
                                              .transfer = 0});
  std::byte* to = head.data() + sizeof(wire::FrameHeader);
  if (!body.empty()) std::memcpy(to, body.data(), body.size());
  if (!data.empty()) std::memcpy(to + body.size(), data.data(), data.size());
  received_told_ = received_;
  ++counters_.frames_sent;
  counters_.bytes_sent += sizeof(wire::FrameHeader) + bytes;
  link_->send(std::span(head).first(sizeof(wire::FrameHeader) + bytes), {});
}

void Session::send_reason(wire::FrameType type, const Error& why) {
  if (!link_->ready()) return;  // the peer does not listen; it will see the connection end
  const wire::ReasonBody body{.code = static_cast<uint32_t>(why.code),
                              .version_major = wire::version_major,
                              .version_minor = wire::version_minor};
  const std::string_view text =
      std::string_view(why.message).substr(0, OutgoingFrame::inline_bytes_max);
  send_unnumbered(type, std::as_bytes(std::span(&body, 1)), std::as_bytes(std::span(text)));
}

// Runs by timer, too: when nothing else went out to carry it.
void Session::owe_acknowledgement() {
  acknowledgement_owed_ = received_;
  acknowledge_timer_.arm_after(kAcknowledgeAfterNs);
}

// Frames of ours that left since may have told of what was owed, and what came after it is younger.
void Session::acknowledgement_due() {
  if (received_told_ < acknowledgement_owed_) return acknowledge();
  if (received_told_ != received_) owe_acknowledgement();
}

void Session::acknowledge() {
  if (state_ != State::open || received_ == received_told_) return;
  if (!link_->ready())
    return;  // what is being sent carries an older number; the next flush retries
  send_unnumbered(wire::FrameType::acknowledge, {}, {});
  loop_.flush_later(*this);
}

}  // namespace farport
