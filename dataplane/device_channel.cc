// The device's end of a channel: transfers arrive as submit and data frames, are carried out, and
// go back as complete and data frames.
#include <algorithm>
#include <cassert>
#include <utility>

#include "dataplane/channel.h"
#include "dataplane/limits.h"
#include "dataplane/session.h"

namespace farport {

namespace {

// A device goes by the setup packet. Of one that goes OUT there is nothing to bring back IN: what
// lies in the buffer may have been another's.
bool goes_one_way(const Transfer& transfer) {
  const bool moves = (transfer.setup[6] | transfer.setup[7]) != 0;
  return transfer.type != TransferType::control || !moves ||
         ((transfer.setup[0] ^ transfer.endpoint) & 0x80) == 0;
}

}  // namespace

DeviceChannel::DeviceChannel(Session& session, uint32_t number, std::unique_ptr<Device> device,
                             uint64_t nominal_bytes_s, uint64_t credit_bytes, ChannelEvents& events)
    : Channel(session, number, events),
      device_(std::move(device)),
      credit_bytes_(credit_bytes),
      granted_(credit_bytes),
      granted_told_(credit_bytes),
      gather_timer_(
          session.loop(),
          [](void* self) { static_cast<DeviceChannel*>(self)->send_all_gathered(); }, this) {
  meter_ = Meter(nominal_bytes_s, session.loop().now_ns(), device_->info().kind);
}

DeviceChannel::~DeviceChannel() = default;

void DeviceChannel::start() {
  assert(state_ == State::idle);
  state_ = State::open;
  device_->start(session_.worker(), *this);
}

void DeviceChannel::close(Error why) { begin_stop(std::move(why)); }

// The device gives back everything in flight and then itself; then the peer is told.
void DeviceChannel::begin_stop(Error why) {
  if (state_ != State::open) return;
  state_ = State::stopping;
  why_ = std::move(why);
  urgent_ = {};
  bulk_ = {};
  bulk_queued_ = {};
  submitting_ = nullptr;  // ended with the others
  chain_queued_ = {};
  for (Chain& chain : chains_) {
    chain.in_service = nullptr;
    chain.alongside = {};
    chain.waiting = {};
    chain.gathered = {};
  }
  gathered_ = 0;
  gather_timer_.disarm();
  transfers_.for_each([this](Transfer& transfer) {
    if (transfer.channel.state == in_service) return;  // comes by completed()
    transfer.channel.state = leaving;
    if (transfer.channel.holds == 0) transfers_.release(transfer);
  });
  device_->stop();
}

void DeviceChannel::device_stopped() {
  assert(state_ == State::stopping);
  state_ = State::stopped;
  close_due_ = !session_lost_;
  session_.wants_to_send(*this);
  session_.loop().flush_later(*this);
}

void DeviceChannel::flush() {
  if (state_ == State::stopped && !close_due_ && transfers_.in_use() == 0) {
    state_ = State::closed;
    events_.channel_closed(*this, why_);
    session_.remove(*this);
  }
}

void DeviceChannel::unplugged(std::string_view reason) {
  begin_stop({ErrorCode::not_found, std::string(reason)});
}

void DeviceChannel::session_lost() {
  session_lost_ = true;
  close_due_ = false;
  drop_holds();
  begin_stop({ErrorCode::unreachable, "the connection to " + session_.peer().host_name +
                                          " was lost: " + session_.why().message});
  session_.loop().flush_later(*this);
}

// --- receiving ---

Result<std::span<std::byte>> DeviceChannel::place(const wire::FrameHeader& header,
                                                  std::span<const std::byte> body) {
  const auto type = static_cast<wire::FrameType>(header.type);
  const uint32_t bytes = header.data_bytes();
  unplace();  // a frame that a lost link cut off comes again
  // And a submit with it, which may then be another: nothing of the first is believed.
  if (Transfer* cut = std::exchange(submitting_, nullptr); cut != nullptr) {
    transfers_.release(*cut);
  }
  if (state_ != State::open) return session_.sink(bytes);
  if (type == wire::FrameType::submit) return place_submit(header, body);
  if (type != wire::FrameType::data) return session_.sink(bytes);
  Transfer* transfer = transfers_.find(header.transfer);
  if (transfer == nullptr ||
      (transfer->channel.state != arriving && transfer->channel.state != refused)) {
    return broken("data of a transfer that was not submitted");
  }
  if (auto checked = check_piece(*transfer, header, body); !checked) {
    return std::unexpected(checked.error());
  }
  if (transfer->channel.state == refused) return session_.sink(bytes);
  place_into(*transfer);
  return stream(*transfer).subspan(transfer->channel.stream_done, bytes);
}

Result<std::span<std::byte>> DeviceChannel::place_submit(const wire::FrameHeader& header,
                                                         std::span<const std::byte> body) {
  const auto submit = wire::decode<wire::SubmitBody>(body);
  const bool in = (submit.endpoint & 0x80) != 0;
  const uint64_t table = uint64_t{submit.packet_count} * sizeof(IsoPacket);
  const uint64_t stream_bytes = table + (in ? 0 : submit.length);
  if (submit.type > static_cast<uint8_t>(TransferType::serial)) {
    return broken("a transfer of an unknown type");
  }
  if (submit.chain > limits::chains_per_channel_max) {
    return broken("a transfer of a chain past the limit of 16");
  }
  if (submit.length > limits::transfer_bytes_max || submit.packet_count > limits::iso_packets_max) {
    return broken("a transfer past the limit of 16 MiB and 1024 packets");
  }
  if (header.data_bytes() > stream_bytes) return broken("more bytes than the transfer has");
  const uint64_t price = limits::transfer_overhead_bytes + table + submit.length;
  if (price > granted_ - spent_) return broken("a transfer beyond the credit granted");

  if (transfers_.find(header.transfer) != nullptr) return broken("a transfer submitted twice");
  Transfer* transfer = transfers_.allocate_as(header.transfer, submit.length, submit.packet_count);
  if (transfer == nullptr) {
    transfer = transfers_.allocate_as(header.transfer, 0, 0);
    if (transfer == nullptr) return broken("a transfer id that is in use or past the limit");
    transfer->channel.state = refused;
  } else {
    transfer->channel.state = placed;
  }
  transfer->channel.stream_bytes = static_cast<uint32_t>(stream_bytes);
  transfer->channel.credit_bytes = static_cast<uint32_t>(price);
  submitting_ = transfer;
  if (transfer->channel.state == refused) return session_.sink(header.data_bytes());
  place_into(*transfer);
  return stream(*transfer).first(header.data_bytes());
}

Result<void> DeviceChannel::deliver(const wire::FrameHeader& header,
                                    std::span<const std::byte> body, std::span<std::byte> data) {
  switch (static_cast<wire::FrameType>(header.type)) {
    case wire::FrameType::close: {
      peer_closed_ = true;
      begin_stop(peer_reason(body, data));
      return {};
    }
    case wire::FrameType::submit:
      take_submit(header, body);
      return {};
    case wire::FrameType::data: {
      unplace();
      Transfer* transfer = transfers_.find(header.transfer);
      if (transfer == nullptr) return {};
      auto& own = transfer->channel;
      if (own.state != arriving && own.state != refused) return {};  // given up meanwhile
      own.stream_done += header.data_bytes();
      serve_if_whole(*transfer);
      return {};
    }
    case wire::FrameType::cancel:
      if (Transfer* transfer = transfers_.find(header.transfer); transfer != nullptr) {
        Chain& chain = chains_[transfer->chain];
        send_gathered(chain);
        if (transfer->channel.state == completing && chain.alongside.has(*transfer)) {
          // It is not to wait for the one in service, which may rest for ever.
          transfer->status = TransferStatus::cancelled;
          alongside_completed(chain, *transfer);
          return {};
        }
        if (transfer->channel.state == waiting) {
          chain_cancel(*transfer);
        } else if (transfer->channel.state == in_service) {
          device_->cancel(*transfer);
        }
      }
      return {};
    default:
      return broken("a frame that only a device end sends");
  }
}

void DeviceChannel::take_submit(const wire::FrameHeader& header, std::span<const std::byte> body) {
  unplace();
  submitting_ = nullptr;
  Transfer* transfer = transfers_.find(header.transfer);
  if (transfer == nullptr || state_ != State::open) return;  // given up meanwhile
  auto& own = transfer->channel;
  const auto submit = wire::decode<wire::SubmitBody>(body);
  spent_ += own.credit_bytes;
  transfer->type = static_cast<TransferType>(submit.type);
  transfer->endpoint = submit.endpoint;
  transfer->flags = submit.flags;
  transfer->chain = submit.chain;
  transfer->setup = submit.setup;
  transfer->start_frame = submit.start_frame;
  transfer->interval = submit.interval;
  own.stream_done = header.data_bytes();
  if (own.state == placed) own.state = arriving;
  serve_if_whole(*transfer);
}

void DeviceChannel::serve_if_whole(Transfer& transfer) {
  auto& own = transfer.channel;
  if (own.stream_done < own.stream_bytes) return;
  if (own.state == refused) transfer.status = TransferStatus::no_memory;
  if (transfer.chain != 0) return chain_whole(transfer);
  serve(transfer);
}

// `transfer.status` is no_memory when there was none for it.
void DeviceChannel::serve(Transfer& transfer) {
  uint64_t packet_bytes = 0;
  for (const IsoPacket& packet : transfer.packets()) packet_bytes += packet.length;
  if (packet_bytes > transfer.length || !goes_one_way(transfer)) {
    transfer.status = TransferStatus::invalid;
  }
  if (transfer.status != TransferStatus::ok) return end_unserved(transfer, transfer.status);
  const uint64_t now = session_.loop().now_ns();
  transfer.channel.state = in_service;
  transfer.channel.submitted_ns = now;
  meter_.submitted();
  busy_.begin(transfer.type, now);
  device_->submit(transfer);
}

// Ends a transfer that the device never has.
void DeviceChannel::end_unserved(Transfer& transfer, TransferStatus status) {
  const uint64_t now = session_.loop().now_ns();
  transfer.channel.state = in_service;
  transfer.channel.submitted_ns = now;
  transfer.status = status;
  transfer.actual = 0;
  meter_.submitted();
  busy_.begin(transfer.type, now);
  completed(transfer);
}

// --- sending ---

void DeviceChannel::completed(Transfer& transfer) {
  auto& own = transfer.channel;
  assert(own.state == in_service && "a device completes each transfer once");
  assert(transfer.actual <= transfer.length);
  const uint64_t now = session_.loop().now_ns();
  busy_.end(transfer.type, now);
  own.service_ns = now - own.submitted_ns;
  meter_.completed({.now_ns = now,
                    .bytes = transfer.actual,
                    .type = transfer.type,
                    .status = transfer.status,
                    .round_trip_ns = own.service_ns,
                    .service_ns = own.service_ns,
                    .busy_ns = busy_.busy_ns(now)});
  if (state_ != State::open) {
    own.state = leaving;
    if (own.holds == 0) transfers_.release(transfer);
    return;
  }
  Chain& chain = chains_[transfer.chain];
  if (chain.alongside.has(transfer)) return alongside_completed(chain, transfer);
  if (own.cancel_requested) transfer.status = TransferStatus::cancelled;
  finish_link(transfer);
}

// What became of a transfer goes to the peer, and its chain goes on.
void DeviceChannel::finish_link(Transfer& transfer) {
  Chain& chain = chains_[transfer.chain];
  const bool goes_on = chain.in_service == &transfer;
  const TransferStatus status = transfer.status;
  if (!goes_on || !gather(transfer)) {
    if (goes_on) send_gathered(chain);
    tell(transfer);
  }
  if (goes_on) chain_completed(chain, status);
}

void DeviceChannel::tell(Transfer& transfer) {
  auto& own = transfer.channel;
  own.state = completing;
  own.stream_done = 0;
  own.stream_bytes = transfer.table_bytes() + (transfer.in() ? transfer.actual : 0);
  queue(transfer);
}

bool DeviceChannel::credit_due() const {
  return granted_ - granted_told_ >=
         std::min(limits::credit_told_bytes, credit_bytes_ / limits::credit_told_share);
}

bool DeviceChannel::has_frames(bool urgent) const {
  return urgent ? close_due_ || credit_due() || !urgent_.empty() : !bulk_.empty();
}

bool DeviceChannel::next_frame(bool urgent, OutgoingFrame& frame) {
  if (!urgent) return complete_frame(bulk_, frame);
  if (close_frame(frame)) {
    session_.loop().flush_later(*this);
    return true;
  }
  if (credit_due()) {
    granted_told_ = granted_;
    frame.type = wire::FrameType::credit;
    frame.set_body(wire::CreditBody{.granted_bytes = granted_});
    return true;
  }
  return complete_frame(urgent_, frame);
}

bool DeviceChannel::complete_frame(TransferQueue& queue, OutgoingFrame& frame) {
  if (queue.empty()) return false;
  Transfer& transfer = *queue.head;
  auto& own = transfer.channel;
  if (own.stream_done == 0) {
    frame.type = wire::FrameType::complete;
    frame.set_body(wire::CompleteBody{.actual = transfer.actual,
                                      .error_count = transfer.error_count,
                                      .status = static_cast<uint8_t>(transfer.status),
                                      .reserved = 0,
                                      .packet_count = transfer.packet_count,
                                      .start_frame = transfer.start_frame,
                                      .service_ns = own.service_ns,
                                      .busy_ns = busy_.busy_ns(own.submitted_ns + own.service_ns)});
  }
  if (take_piece(queue, frame)) {
    own.state = leaving;
    // Inline data is copied when the frame is handed over, before anything else runs.
    if (own.holds == 0) left_ = &transfer;
  }
  return true;
}

void DeviceChannel::frame_taken() {
  if (Transfer* transfer = std::exchange(left_, nullptr); transfer != nullptr) release(*transfer);
}

void DeviceChannel::unheld(Transfer& transfer) {
  if (transfer.channel.state == leaving) release(transfer);
}

// Gives the memory back, and with it the credit.
void DeviceChannel::release(Transfer& transfer) {
  granted_ += transfer.channel.credit_bytes;
  transfers_.release(transfer);
  if (state_ != State::open) {
    session_.loop().flush_later(*this);
  } else if (credit_due()) {
    session_.wants_to_send(*this);
  }
}

}  // namespace farport
