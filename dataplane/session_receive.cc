// What a session receives, each thing checked before it is believed.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "dataplane/session.h"

namespace farport {

namespace {

std::unexpected<Error> broken(std::string what) {
  return fail("the peer broke the protocol: " + std::move(what));
}

}  // namespace

std::span<std::byte> Session::sink(uint32_t bytes) { return std::span(sink_).first(bytes); }

// Whoever breaks the rules is told so, and only its own session ends.
Result<std::span<std::byte>> Session::place(const wire::FrameHeader& header,
                                            std::span<const std::byte> body) {
  auto placed = place_checked(header, body);
  if (!placed) end(placed.error(), true);
  return placed;
}

Result<void> Session::deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                              std::span<std::byte> data) {
  auto delivered = deliver_checked(header, body, data);
  if (!delivered) end(delivered.error(), true);
  return delivered;
}

Result<std::span<std::byte>> Session::place_checked(const wire::FrameHeader& header,
                                                    std::span<const std::byte> body) {
  const auto type = static_cast<wire::FrameType>(header.type);
  if (type == wire::FrameType::hello || type == wire::FrameType::refuse) {
    return broken("a second hello");
  }
  if (auto taken = take_acknowledgement(header.acknowledged); !taken) {
    return std::unexpected(taken.error());
  }
  if (!wire::numbered(type)) return sink(header.data_bytes());
  duplicate_ = header.number <= received_;
  if (header.number > received_ + 1) {
    return broken("frame " + std::to_string(header.number) + " came after frame " +
                  std::to_string(received_));
  }
  if (duplicate_ || type == wire::FrameType::message) return sink(header.data_bytes());
  Channel* target = channel(header.channel);
  return target == nullptr ? sink(header.data_bytes()) : target->place(header, body);
}

Result<void> Session::deliver_checked(const wire::FrameHeader& header,
                                      std::span<const std::byte> body, std::span<std::byte> data) {
  ++counters_.frames_received;
  counters_.bytes_received += sizeof header + header.bytes;
  if (state_ != State::open) return {};
  loop_.flush_later(*this);
  switch (static_cast<wire::FrameType>(header.type)) {
    case wire::FrameType::goodbye:
      return take_goodbye(body, data);
    case wire::FrameType::acknowledge:
    case wire::FrameType::pong:
      return {};
    case wire::FrameType::ping:
      pong_due_ = true;
      pong_token_ = wire::decode<wire::PingBody>(body).token;
      return {};
    default:
      break;
  }
  if (duplicate_) return {};
  received_ = header.number;
  if (static_cast<wire::FrameType>(header.type) == wire::FrameType::message) {
    return take_message(body, data);
  }
  return take_channel_frame(header, body, data);
}

// Frees what the peer has; a number that was never sent ends the session.
Result<void> Session::take_acknowledgement(uint64_t number) {
  if (number <= acknowledged_) return {};
  if (number >= next_number_) {
    return broken("it acknowledges frame " + std::to_string(number) + " of " +
                  std::to_string(next_number_ - 1));
  }
  if (!window_open()) loop_.flush_later(*this);
  while (acknowledged_ < number) {
    SentFrame& frame = sent_[++acknowledged_ % limits::frames_in_flight_max];
    frame.data = {};
    if (frame.transfer != nullptr) {
      std::exchange(frame.channel, nullptr)
          ->frame_acknowledged(*std::exchange(frame.transfer, nullptr));
    }
  }
  while (!messages_.empty() && messages_.front().last_number != 0 &&
         messages_.front().last_number <= acknowledged_) {
    messages_bytes_ -= messages_.front().text.size();
    messages_.pop_front();
  }
  return {};
}

Result<void> Session::take_message(std::span<const std::byte> body, std::span<std::byte> data) {
  const auto message = wire::decode<wire::MessageBody>(body);
  if (incoming_message_.size() + data.size() > limits::message_bytes_max) {
    return broken("a control message of over 1 MiB");
  }
  incoming_message_.append(reinterpret_cast<const char*>(data.data()), data.size());
  if (message.more != 0) return {};
  if (message.kind < static_cast<uint8_t>(wire::MessageKind::request) ||
      message.kind > static_cast<uint8_t>(wire::MessageKind::notice)) {
    return broken("a control message of an unknown kind");
  }
  events_.session_message(*this, static_cast<wire::MessageKind>(message.kind), message.id,
                          std::exchange(incoming_message_, {}));
  return {};
}

Result<void> Session::take_goodbye(std::span<const std::byte> body, std::span<std::byte> data) {
  Error why = Channel::peer_reason(body, data);
  why.message = fmt::format("{} ended the session: {}", peer_.host_name,
                            printable(data, wire::reason_bytes_max));
  end(std::move(why), false);
  return {};
}

Result<void> Session::take_channel_frame(const wire::FrameHeader& header,
                                         std::span<const std::byte> body,
                                         std::span<std::byte> data) {
  Channel* target = channel(header.channel);
  if (target != nullptr) return target->deliver(header, body, data);
  // Frames that crossed with our close. A close that asks for an answer gets one.
  if (static_cast<wire::FrameType>(header.type) == wire::FrameType::close &&
      !ours(header.channel) && unknown_closed_.size() < limits::channels_per_session_max) {
    unknown_closed_.push_back(header.channel);
  }
  return {};
}

}  // namespace farport
