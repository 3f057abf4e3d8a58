// The consumer's end of a channel: transfers leave as submit and data frames, and come back as
// complete and data frames.
#include <algorithm>
#include <cassert>
#include <utility>

#include "dataplane/channel.h"
#include "dataplane/limits.h"
#include "dataplane/session.h"

namespace farport {

namespace {

// Of Transfer::channel.state at this end.
enum TransferState : uint8_t {
  with_driver,  // allocated, or completed
  queued,       // submitted; nothing of it has left yet
  sending,      // part of its stream has left
  sent,         // all of it has; the device end has it or will
  receiving,    // its completion has begun to come
  returning,    // done; goes back to the driver at the end of the iteration
  lingering,    // released by the driver while a frame still refers to its memory
};

}  // namespace

DriverChannel::DriverChannel(Session& session, uint32_t number, ChannelEvents& events)
    : Channel(session, number, events) {}

DriverChannel::~DriverChannel() = default;

void DriverChannel::start(DeviceInfo info, uint64_t nominal_bytes_s, uint64_t credit_bytes,
                          std::unique_ptr<Driver> driver) {
  if (state_ != State::opening) return;  // closed meanwhile: channel_closed() says why
  if (peer_closed_) {
    close(why_);
    return;
  }
  info_ = std::move(info);
  driver_ = std::move(driver);
  granted_ += credit_bytes;
  meter_ = Meter(nominal_bytes_s, session_.loop().now_ns(), info_.kind);
  state_ = State::open;
  if (auto started = driver_->start(session_.worker(), *this); !started) {
    if (state_ != State::open) return;
    why_ = started.error();
    fail_in_flight(TransferStatus::cancelled);
    state_ = State::stopped;
    close_due_ = true;
    session_.wants_to_send(*this);
    session_.loop().flush_later(*this);
  }
}

void DriverChannel::close(Error why) {
  if (state_ == State::opening) {
    why_ = std::move(why);
    state_ = State::stopped;
    close_due_ = !peer_closed_ && !session_lost_;
    session_.wants_to_send(*this);
    session_.loop().flush_later(*this);
  } else {
    begin_stop(std::move(why), TransferStatus::cancelled);
  }
}

void DriverChannel::drop_driver() {
  drop_driver_ = true;
  session_.loop().flush_later(*this);
}

// Everything in flight goes back to the driver; then the driver lets go of its consumer; then the
// peer, unless it began, is told and gives the device back.
void DriverChannel::begin_stop(Error why, TransferStatus status) {
  if (state_ != State::open) return;
  state_ = State::stopping;
  why_ = std::move(why);
  fail_in_flight(status);
  driver_->stop();
}

void DriverChannel::driver_stopped() {
  assert(state_ == State::stopping);
  state_ = State::stopped;
  close_due_ = !peer_closed_ && !session_lost_;
  session_.wants_to_send(*this);
  session_.loop().flush_later(*this);
}

void DriverChannel::flush() {
  for (Transfer* batch = std::exchange(returned_, {}).head; batch != nullptr;) {
    Transfer& transfer = *std::exchange(batch, batch->channel.next);
    return_now(transfer);
  }
  if (state_ == State::stopped && std::exchange(drop_driver_, false)) {
    driver_.reset();
    events_.driver_gone(*this);
  }
  if (state_ == State::stopped && !close_due_ && (peer_closed_ || session_lost_) &&
      transfers_.in_use() == 0) {
    state_ = State::closed;
    events_.channel_closed(*this, why_);
    session_.remove(*this);
  }
}

Transfer* DriverChannel::allocate(uint32_t length, uint16_t packet_count) {
  return transfers_.allocate(length, packet_count);
}

void DriverChannel::submit(Transfer& transfer) {
  auto& own = transfer.channel;
  assert(own.state == with_driver);
  assert(transfer.chain <= limits::chains_per_channel_max);
  own.submitted_ns = session_.loop().now_ns();
  own.service_ns = 0;
  own.cancel_requested = false;
  own.stream_done = 0;
  own.stream_bytes = transfer.table_bytes() + (transfer.in() ? 0 : transfer.length);
  transfer.actual = 0;
  transfer.error_count = 0;
  meter_.submitted();
  if (state_ != State::open) {
    return_later(transfer, TransferStatus::unplugged);
    return;
  }
  own.state = queued;
  queue(transfer);
}

void DriverChannel::cancel(Transfer& transfer) {
  auto& own = transfer.channel;
  if (own.cancel_requested) return;
  // One of a chain leaves all the same, or the next would follow the one before it.
  if (own.state == queued && transfer.chain != 0) {
    own.cancel_requested = true;
  } else if (own.state == queued) {
    unqueue(transfer);
    return_later(transfer, TransferStatus::cancelled);
  } else if (own.state == sending) {
    own.cancel_requested = true;  // the cancel follows the last piece
  } else if (own.state == sent) {
    own.cancel_requested = true;
    cancels_.push(transfer);
    session_.wants_to_send(*this);
  }
}

void DriverChannel::release(Transfer& transfer) {
  assert(transfer.channel.state == with_driver);
  if (transfer.channel.holds != 0) {
    transfer.channel.state = lingering;
    return;
  }
  transfers_.release(transfer);
  if (state_ == State::stopped) session_.loop().flush_later(*this);
}

void DriverChannel::unheld(Transfer& transfer) {
  if (transfer.channel.state != lingering) return;
  transfers_.release(transfer);
  session_.loop().flush_later(*this);
}

void DriverChannel::consumer_left(std::string_view reason) {
  begin_stop({ErrorCode::failed, std::string(reason)}, TransferStatus::cancelled);
}

// --- sending ---

bool DriverChannel::has_frames(bool urgent) const {
  return urgent ? close_due_ || !cancels_.empty() || !urgent_.empty() : !bulk_.empty();
}

bool DriverChannel::next_frame(bool urgent, OutgoingFrame& frame) {
  if (!urgent) {
    // Small transfers that wait for credit must not be overtaken by bulk of their own endpoint.
    return urgent_.empty() && submit_frame(bulk_, limits::urgent_credit_bytes, frame);
  }
  if (close_frame(frame)) {
    session_.loop().flush_later(*this);
    return true;
  }
  if (Transfer* transfer = cancels_.pop(); transfer != nullptr) {
    frame.type = wire::FrameType::cancel;
    frame.transfer_id = transfer->channel.id;
    return true;
  }
  return submit_frame(urgent_, 0, frame);
}

bool DriverChannel::submit_frame(TransferQueue& queue, uint64_t credit_kept, OutgoingFrame& frame) {
  if (queue.empty()) return false;
  Transfer& transfer = *queue.head;
  auto& own = transfer.channel;
  if (own.state == queued) {
    if (granted_ - spent_ < cost(transfer) + credit_kept) return false;
    spent_ += cost(transfer);
    own.state = sending;
    frame.type = wire::FrameType::submit;
    frame.set_body(wire::SubmitBody{.length = transfer.length,
                                    .endpoint = transfer.endpoint,
                                    .type = static_cast<uint8_t>(transfer.type),
                                    .flags = transfer.flags,
                                    .chain = transfer.chain,
                                    .setup = transfer.setup,
                                    .start_frame = transfer.start_frame,
                                    .interval = transfer.interval,
                                    .packet_count = transfer.packet_count,
                                    .reserved1 = 0,
                                    .deadline_us = 0});
  }
  if (take_piece(queue, frame)) {
    own.state = sent;
    if (own.cancel_requested) cancels_.push(transfer);
  }
  return true;
}

// --- receiving ---

Result<std::span<std::byte>> DriverChannel::place(const wire::FrameHeader& header,
                                                  std::span<const std::byte> body) {
  const auto type = static_cast<wire::FrameType>(header.type);
  const uint32_t bytes = header.data_bytes();
  unplace();  // a frame that a lost link cut off comes again
  if (type != wire::FrameType::complete && type != wire::FrameType::data) {
    return session_.sink(bytes);
  }
  // Late news of what was given up when the channel began to stop.
  if (state_ != State::open) return session_.sink(bytes);
  Transfer* transfer = transfers_.find(header.transfer);
  if (transfer == nullptr) return broken("a completion of a transfer that is not in flight");
  auto& own = transfer->channel;
  uint32_t offset = 0;
  if (type == wire::FrameType::complete) {
    const auto completion = wire::decode<wire::CompleteBody>(body);
    if (auto checked = check_completion(*transfer, header, completion); !checked) {
      return std::unexpected(checked.error());
    }
  } else {
    if (own.state != receiving) return broken("data of a transfer that has not completed");
    if (auto checked = check_piece(*transfer, header, body); !checked) {
      return std::unexpected(checked.error());
    }
    offset = own.stream_done;
  }
  place_into(*transfer);
  return std::span(transfer->buffer.data() + Transfer::headroom_bytes + offset, bytes);
}

Result<void> DriverChannel::check_completion(const Transfer& transfer,
                                             const wire::FrameHeader& header,
                                             const wire::CompleteBody& body) const {
  if (transfer.channel.state != sent || transfer.channel.holds != 0) {
    return broken("a completion of a transfer that was not sent yet");
  }
  if (body.actual > transfer.length) return broken("more bytes moved than asked for");
  if (body.packet_count != 0 && body.packet_count != transfer.packet_count) {
    return broken("another number of isochronous packets than submitted");
  }
  const uint64_t stream =
      uint64_t{body.packet_count} * sizeof(IsoPacket) + (transfer.in() ? body.actual : 0);
  if (transfer.in() && transfer.packet_count != 0 && body.packet_count == 0 && body.actual != 0) {
    return broken("isochronous data without its packets");
  }
  if (header.data_bytes() > stream) return broken("more bytes than the transfer has");
  return {};
}

Result<void> DriverChannel::deliver(const wire::FrameHeader& header,
                                    std::span<const std::byte> body, std::span<std::byte> data) {
  switch (static_cast<wire::FrameType>(header.type)) {
    case wire::FrameType::credit: {
      const auto granted = wire::decode<wire::CreditBody>(body).granted_bytes;
      if (granted > granted_) granted_ = granted;
      session_.wants_to_send(*this);
      return {};
    }
    case wire::FrameType::close:
      peer_closed_ = true;
      close_due_ = false;
      if (state_ == State::opening) {  // unplugged before its driver was made
        why_ = peer_reason(body, data);
        state_ = State::stopped;
      }
      if (state_ == State::open) {
        const Error why = peer_reason(body, data);
        driver_->unplugged(why.message);
        begin_stop(why, TransferStatus::unplugged);
      }
      session_.loop().flush_later(*this);
      return {};
    case wire::FrameType::complete:
      return take_completion(header, body);
    case wire::FrameType::data: {
      Transfer* transfer = placed_;
      const bool wanted = transfer != nullptr && transfer->channel.state == receiving;
      unplace();
      if (!wanted) return {};
      transfer->channel.stream_done += header.data_bytes();
      return finish_if_whole(*transfer);
    }
    default:
      return broken("a frame that only a driver end sends");
  }
}

Result<void> DriverChannel::take_completion(const wire::FrameHeader& header,
                                            std::span<const std::byte> body) {
  Transfer* transfer = placed_;
  const bool wanted = transfer != nullptr && transfer->channel.state == sent;
  unplace();
  if (!wanted) return {};  // given up, before place() or since
  auto& own = transfer->channel;
  const auto completion = wire::decode<wire::CompleteBody>(body);
  if (own.cancel_requested) cancels_.remove(*transfer);
  transfer->actual = completion.actual;
  transfer->error_count = completion.error_count;
  transfer->start_frame = completion.start_frame;
  transfer->status = completion.status <= static_cast<uint8_t>(TransferStatus::link_lost)
                         ? static_cast<TransferStatus>(completion.status)
                         : TransferStatus::protocol;
  own.service_ns = completion.service_ns;
  busy_ns_ = completion.busy_ns;
  own.stream_bytes = completion.packet_count * uint32_t{sizeof(IsoPacket)} +
                     (transfer->in() ? completion.actual : 0);
  own.stream_done = header.data_bytes();
  own.state = receiving;
  return finish_if_whole(*transfer);
}

Result<void> DriverChannel::finish_if_whole(Transfer& transfer) {
  if (transfer.channel.stream_done < transfer.channel.stream_bytes) return {};
  if (auto checked = check_packets(transfer); !checked) return checked;
  return_now(transfer);
  return {};
}

// The driver lays packets out by these numbers, and the kernel drops a USB/IP connection whose sum
// is wrong: they must fit the memory and each other.
Result<void> DriverChannel::check_packets(const Transfer& transfer) const {
  uint64_t length = 0;
  uint64_t actual = 0;
  for (const IsoPacket& packet : transfer.packets()) {
    if (packet.actual > packet.length) return broken("an isochronous packet longer than asked for");
    length += packet.length;
    actual += packet.actual;
  }
  if (transfer.packet_count == 0) return {};
  if (length > transfer.length) return broken("isochronous packets longer than their transfer");
  if (transfer.in() && transfer.actual != 0 && actual != transfer.actual) {
    return broken("isochronous packets that do not add up to their transfer");
  }
  return {};
}

// --- giving back ---

void DriverChannel::return_later(Transfer& transfer, TransferStatus status) {
  transfer.status = status;
  transfer.channel.state = returning;
  returned_.push(transfer);
  session_.loop().flush_later(*this);
}

void DriverChannel::return_now(Transfer& transfer) {
  const uint64_t now = session_.loop().now_ns();
  const uint64_t round_trip = now - transfer.channel.submitted_ns;
  transfer.channel.state = with_driver;
  meter_.completed({.now_ns = now,
                    .bytes = transfer.actual,
                    .type = transfer.type,
                    .status = transfer.status,
                    .round_trip_ns = round_trip,
                    // A duration of the peer's making: never more than what we saw ourselves.
                    .service_ns = std::min(transfer.channel.service_ns, round_trip),
                    .busy_ns = busy_ns_});
  driver_->completed(transfer);
}

void DriverChannel::fail_in_flight(TransferStatus status) {
  urgent_ = {};
  bulk_ = {};
  cancels_ = {};
  bulk_queued_ = {};
  chain_queued_ = {};
  transfers_.for_each([this, status](Transfer& transfer) {
    const auto state = transfer.channel.state;
    if (state == with_driver || state == returning || state == lingering) return;
    transfer.actual = 0;
    return_later(transfer, status);
  });
}

void DriverChannel::session_lost() {
  session_lost_ = true;
  close_due_ = false;
  drop_holds();
  if (state_ == State::open) {
    const Error why{ErrorCode::unreachable, "the connection to " + session_.peer().host_name +
                                                " was lost: " + session_.why().message};
    driver_->unplugged(why.message);
    begin_stop(why, TransferStatus::link_lost);
  } else if (state_ == State::opening) {
    close({ErrorCode::unreachable, session_.why().message});
  }
  session_.loop().flush_later(*this);
}

}  // namespace farport
