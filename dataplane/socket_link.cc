#include "dataplane/socket_link.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>

namespace farport {

namespace {

constexpr int kUnsentBytesMax = 256 << 10;
// Longer than a network hesitates; a session outlives the connection.
constexpr int kUserTimeoutMs = 3'000;
constexpr uint64_t kLastWordsNs = 1'000'000'000;
// A batch is sealed and sent in so many parts, if they are not too short for it: the peer opens one
// while the next is sealed, and what comes after the last part is what a lone request waits for.
// A longer batch leaves at once, which costs least: mostly others wait behind it, and the peer
// still has the one before it to open. (A lone transfer of that length loses no more than runs
// differ by.)
constexpr size_t kSealedParts = 2;
constexpr size_t kSealedPartBytesMin = 32 << 10;
constexpr size_t kSealedInPartsMax = 320 << 10;

}  // namespace

Result<void> prepare_link_socket(int fd) {
  const auto set = [fd](int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
  };
  if (!set(IPPROTO_TCP, TCP_NODELAY, 1) || !set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytesMax) ||
      !set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs)) {
    return fail_errno(errno, "cannot set TCP options of a session's socket");
  }
  return {};
}

SocketLink::SocketLink(Worker& worker, FileDescriptor socket, std::string peer, LinkOptions options)
    : worker_(worker),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      options_(std::move(options)),
      batches_{std::make_unique<Batch>(), std::make_unique<Batch>()},
      filling_(batches_[0].get()),
      staging_(staging_bytes),
      close_timer_(
          worker,
          [](void* self) {
            auto& link = *static_cast<SocketLink*>(self);
            // A send that had moved something ends as if it were done: nothing may follow it.
            link.lost_ = true;
            if (link.sending_ != nullptr) link.worker_.cancel(link.send_);
          },
          this) {}

SocketLink::~SocketLink() {
  assert(closed_ || events_ == nullptr);
  worker_.forget(report_);
  worker_.remove_pollable(*this);
}

void SocketLink::start(LinkEvents& events) {
  events_ = &events;
  // The ring waits for a socket only if it may block.
  const int flags = fcntl(socket_.get(), F_GETFL);
  if ((flags & O_NONBLOCK) != 0) fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK);
  if (options_.tls) tls_.emplace(std::move(options_.tls), socket_.get(), peer_);
  if (options_.compress) {
    packer_.emplace();
    arrived_packed_.resize(limits::frame_data_bytes_max);
    for (auto& batch : batches_) batch->packed.resize(packed_bytes_max);
  }
  if (worker_.spins()) worker_.add_pollable(*this);
  prepare_receive();
}

uint64_t SocketLink::unanswered_ns() const {
  if (!socket_) return 0;
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return 0;
  if (options_.compress) {
    const auto stood = queue_.look({.busy_us = info.tcpi_busy_time,
                                    .bytes_acknowledged = info.tcpi_bytes_acked,
                                    .round_trip_us = info.tcpi_rtt,
                                    .round_trip_min_us = info.tcpi_min_rtt});
    stood_.bytes += stood.bytes;
    stood_.ns += stood.ns;
  }
  constexpr uint64_t kMs = 1'000'000;
  // What a few round trips explain is not dead, only far away, or behind a long queue.
  const uint64_t patience_ns = uint64_t{info.tcpi_rtt} * 1'000 * 3;
  const uint64_t waited_ns =
      unanswered_.at(worker_.now_ns(), {.unacknowledged = info.tcpi_unacked,
                                        .bytes_acknowledged = info.tcpi_bytes_acked,
                                        .sent_ns_ago = info.tcpi_last_data_sent * kMs,
                                        .answered_ns_ago = info.tcpi_last_ack_recv * kMs,
                                        .received_ns_ago = info.tcpi_last_data_recv * kMs});
  return waited_ns > patience_ns ? waited_ns - patience_ns : 0;
}

Result<void> SocketLink::export_key(std::string_view label, std::span<const std::byte> context,
                                    std::span<std::byte> out) {
  if (tls_) return tls_->export_key(label, context, out);
  return fail(ErrorCode::usage, "the link to " + peer_ + " is not encrypted: it has no keys");
}

// --- sending ---

bool SocketLink::ready() const {
  return !closing_ && !lost_ && filling_->heads_used + head_bytes_max <= heads_bytes &&
         filling_->piece_count + 2 <= pieces_max && filling_->bytes < batch_bytes_max &&
         (!options_.compress || filling_->packed_used + packed_frame_max <= packed_bytes_max);
}

void SocketLink::send(std::span<const std::byte> head, std::span<const std::byte> data) {
  assert(ready() && head.size() <= head_bytes_max);
  Batch& batch = *filling_;
  std::byte* to = batch.heads.data() + batch.heads_used;
  std::memcpy(to, head.data(), head.size());
  batch.heads_used += head.size();
  if (options_.compress && data.size() >= CompressionPolicy::frame_data_bytes_min) {
    data = pack({to, head.size()}, data);
  }
  if (batch.last_is_head) {
    batch.pieces[batch.piece_count - 1].iov_len += head.size();
  } else {
    batch.pieces[batch.piece_count++] = {to, head.size()};
  }
  batch.last_is_head = data.empty();
  if (!data.empty()) {
    batch.pieces[batch.piece_count++] = {const_cast<std::byte*>(data.data()), data.size()};
  }
  batch.bytes += head.size() + data.size();
}

// The data as it is to be sent: itself, or compressed in the batch's own memory, and the head says
// so.
std::span<const std::byte> SocketLink::pack(std::span<std::byte> head,
                                            std::span<const std::byte> data) {
  auto header = wire::decode<wire::FrameHeader>(head.first(sizeof(wire::FrameHeader)));
  if (!wire::compressible(header.type)) return data;
  CompressionPolicy& policy = options_.compression;
  if (stood_.ns != 0) {
    const auto stood = std::exchange(stood_, {});
    policy.waited(worker_.now_ns(), stood.bytes, stood.ns);
  }
  const auto next = policy.next(worker_.now_ns());
  if (next == CompressionPolicy::Next::plain) return data;
  const bool sample = next == CompressionPolicy::Next::sample;
  const auto tried =
      data.first(sample ? std::min(data.size(), CompressionPolicy::sample_bytes) : data.size());
  const auto room =
      std::span(filling_->packed).subspan(filling_->packed_used, tried.size() - tried.size() / 8);
  const uint64_t begin_ns = Worker::read_clock_ns();
  const size_t bytes = packer_->pack(tried, room);
  const uint64_t took_ns = Worker::read_clock_ns() - begin_ns;
  policy.tried(worker_.now_ns(), tried.size(), bytes == 0 ? tried.size() : bytes, took_ns);
  if (sample) ++compression_.samples;
  if (sample || bytes == 0) return data;
  filling_->packed_used += bytes;
  ++compression_.frames;
  compression_.bytes_before += data.size();
  compression_.bytes_after += bytes;
  header.bytes = header.body_bytes + static_cast<uint32_t>(bytes);
  header.flags |= wire::frame_flags::compressed;
  wire::encode(head.data(), header);
  return room.first(bytes);
}

CompressionCounters SocketLink::compression() const {
  CompressionCounters counters = compression_;
  counters.on = options_.compression.on();
  return counters;
}

void SocketLink::flush() {
  if (!ready()) was_full_ = true;
  if (sending_ != nullptr || !something_to_send() || lost_) return;
  sending_ = filling_;
  filling_ = filling_ == batches_[0].get() ? batches_[1].get() : batches_[0].get();
  unsealed_ = std::span(sending_->pieces).first(sending_->piece_count);
  part_bytes_ = sending_->bytes > kSealedInPartsMax
                    ? TlsRecords::sealed_bytes_max
                    : std::max(sending_->bytes / kSealedParts, kSealedPartBytesMin);
  go_on_sending();
  maybe_closed();  // it may have been lost in that, and nothing be under way any more
}

bool SocketLink::something_to_send() const {
  // TLS has answers of its own to give, and ends the connection in order.
  return filling_->bytes != 0 || (tls_ && (tls_->has_to_send() || (closing_ && !end_sealed_)));
}

// Until the batch has left, the socket is full, or the link is lost. Mostly the socket has room:
// the ring is for when it does not.
void SocketLink::go_on_sending() {
  while (next_message()) {
    if (send_now()) continue;
    if (!lost_) return submit_send();
    break;
  }
  batch_sent();
}

// What is to be sent of the batch next; false when there is nothing, or the link is lost.
bool SocketLink::next_message() {
  if (lost_) return false;
  send_message_ = {};
  if (!tls_) {
    send_message_.msg_iov = unsealed_.data();
    send_message_.msg_iovlen = unsealed_.size();
    unsealed_ = {};
    message_left_ = std::exchange(sending_->bytes, 0);
    return message_left_ != 0;
  }
  if (auto sealed = tls_->seal(unsealed_, part_bytes_); !sealed) {
    lose(std::move(sealed.error()));
    return false;
  }
  if (closing_ && unsealed_.empty() && filling_->bytes == 0 && !end_sealed_) {
    end_sealed_ = true;
    tls_->seal_end();
  }
  const auto bytes = tls_->sealed();
  sealed_piece_ = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  send_message_.msg_iov = &sealed_piece_;
  send_message_.msg_iovlen = 1;
  message_left_ = bytes.size();
  return message_left_ != 0;
}

// True when the message has left.
bool SocketLink::send_now() {
  const ssize_t result = sendmsg(socket_.get(), &send_message_, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (result >= 0) return advance(static_cast<size_t>(result));
  if (errno != EAGAIN && errno != EINTR) lose(errno_error(errno, peer_));
  return false;
}

void SocketLink::submit_send() {
  if (options_.compress) waiting_since_ns_ = Worker::read_clock_ns();
  // MSG_WAITALL: the kernel goes on by itself after a partial send.
  io_uring_prep_sendmsg(worker_.prepare(send_), socket_.get(), &send_message_,
                        MSG_NOSIGNAL | MSG_WAITALL);
}

// Takes what was sent off the message; true when nothing is left.
bool SocketLink::advance(size_t bytes) {
  if (tls_) tls_->sent(bytes);
  message_left_ -= bytes;
  if (message_left_ == 0) return true;
  while (bytes >= send_message_.msg_iov->iov_len) {
    bytes -= send_message_.msg_iov->iov_len;
    ++send_message_.msg_iov;
    --send_message_.msg_iovlen;
  }
  send_message_.msg_iov->iov_base =
      static_cast<std::byte*>(send_message_.msg_iov->iov_base) + bytes;
  send_message_.msg_iov->iov_len -= bytes;
  return false;
}

void SocketLink::batch_sent() {
  sending_->heads_used = sending_->packed_used = sending_->piece_count = sending_->bytes = 0;
  sending_->last_is_head = false;
  sending_ = nullptr;
  if (was_full_ && ready()) {
    was_full_ = false;
    events_->link_ready();
  }
}

void SocketLink::sent(int result, uint32_t) {
  assert(sending_ != nullptr);
  if (result > 0 && !lost_) {
    if (options_.compress) {
      // What the iteration did before it began to wait, packing above all, is not part of it.
      options_.compression.waited(worker_.now_ns(), static_cast<uint64_t>(result),
                                  Worker::read_clock_ns() - waiting_since_ns_);
    }
    if (!advance(static_cast<size_t>(result))) return submit_send();
    go_on_sending();
  } else {
    batch_sent();
    if (result <= 0) lose(errno_error(result == 0 ? EPIPE : -result, peer_));
    lost_ = true;  // also when it was closing
  }
  if (sending_ == nullptr && something_to_send() && !lost_) flush();
  maybe_closed();
}

// --- receiving ---

void SocketLink::prepare_receive() {
  receive_message_ = {};
  receive_message_.msg_iov = receive_pieces_.data();
  if (tls_) {
    receive_message_.msg_iovlen = 1;  // where: submit_receive()
  } else if (in_frame_) {
    assert(staging_begin_ == staging_end_);
    staging_begin_ = staging_end_ = 0;
    const auto rest = data_.subspan(data_done_);
    receive_pieces_ = {iovec{rest.data(), rest.size()}, iovec{staging_.data(), behind_bytes}};
    receive_message_.msg_iovlen = 2;
    receive_asked_ = rest.size() + behind_bytes;
  } else {
    prepare_staging();
    receive_pieces_[0] = {staging_.data() + staging_end_, staging_bytes - staging_end_};
    receive_message_.msg_iovlen = 1;
    receive_asked_ = staging_bytes - staging_end_;
  }
  receive_due_ = true;
  if (!worker_.spins()) submit_receive();
}

// Room behind what is not parsed yet: at most the beginning of a head, which moves to the front.
void SocketLink::prepare_staging() {
  if (staging_begin_ == 0) return;
  if (staging_begin_ != staging_end_) {
    std::memmove(staging_.data(), staging_.data() + staging_begin_, staging_end_ - staging_begin_);
  }
  staging_end_ -= staging_begin_;
  staging_begin_ = 0;
}

void SocketLink::submit_receive() {
  receive_due_ = false;
  receiving_ = true;
  io_uring_sqe* sqe = worker_.prepare(receive_);
  if (tls_ && tls_->holds_unopened()) {
    // What was read before the link began does not make the socket readable.
    io_uring_prep_nop(sqe);
    nop_ = true;
    return;
  }
  if (tls_) {
    const auto arrival = tls_->arrival();
    receive_pieces_[0] = {arrival.data(), arrival.size()};
  }
  io_uring_prep_recvmsg(sqe, socket_.get(), &receive_message_, 0);
  // There is nothing to be had before the next packet: do not try, wait for it.
  if (drained_) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

unsigned SocketLink::poll() {
  if (!receive_due_ || closing_ || lost_) return 0;
  if (tls_) {
    opened_ = 0;
    tls_->begin_round();
    if (open_records()) return opened_;
    receive_due_ = false;
    maybe_closed();
    return 1;
  }
  const ssize_t result = recvmsg(socket_.get(), &receive_message_, MSG_DONTWAIT);
  if (result < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  receive_due_ = false;
  received(result < 0 ? -errno : static_cast<int>(result), 0);
  return 1;
}

void SocketLink::before_sleep() {
  if (receive_due_ && !closing_ && !lost_) submit_receive();
}

void SocketLink::received(int result, uint32_t) {
  receiving_ = false;
  if (closing_ || lost_) {
    maybe_closed();
    return;
  }
  if (tls_) {
    if (std::exchange(nop_, false)) {
      tls_->begin_round();
    } else {
      tls_->arrived(result);
    }
    if (open_records()) {
      prepare_receive();
    } else {
      maybe_closed();
    }
    return;
  }
  if (result == -EINTR || result == -EAGAIN) {
    prepare_receive();
    return;
  }
  if (result <= 0) {
    lose(result == 0 ? Error{ErrorCode::unreachable, peer_ + " closed the connection"}
                     : errno_error(-result, peer_));
    return;
  }
  auto bytes = static_cast<size_t>(result);
  drained_ = bytes < receive_asked_;
  if (in_frame_) {
    const size_t direct = std::min(bytes, data_.size() - data_done_);
    data_done_ += direct;
    bytes -= direct;
  }
  staging_end_ += bytes;
  if (parse()) {
    prepare_receive();
  } else {
    maybe_closed();
  }
}

// Opens what has come, for one round; false when the link is to end.
bool SocketLink::open_records() {
  for (;;) {
    prepare_staging();
    const auto direct = in_frame_ ? data_.subspan(data_done_) : std::span<std::byte>();
    const auto opened = tls_->open(direct, std::span(staging_).subspan(staging_end_));
    if (!opened) {
      send_alert();
      lose(opened.error());
      return false;
    }
    if (*opened == 0) break;
    ++opened_;
    const size_t placed = std::min(*opened, direct.size());
    data_done_ += placed;
    staging_end_ += *opened - placed;
    if (!parse()) return false;
  }
  drained_ = tls_->drained();
  if (tls_->has_to_send()) flush();  // an answer of TLS's own
  return !closing_ && !lost_;        // that may have failed
}

// Tells the peer what TLS has against it, if that can be done at once.
void SocketLink::send_alert() {
  if (sending_ != nullptr || tls_->sealed().empty()) return;
  const auto alert = tls_->sealed();
  ::send(socket_.get(), alert.data(), alert.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// Takes all frames that are there; false when the link is to end.
bool SocketLink::parse() {
  for (;;) {
    if (in_frame_) {
      if (data_done_ < data_.size()) return true;
      if (!finish_frame()) return false;
    } else {
      const size_t there = staging_end_ - staging_begin_;
      if (there < sizeof header_) return true;
      std::memcpy(&header_, staging_.data() + staging_begin_, sizeof header_);
      if (const char* fault = wire::header_fault(header_, limits::frame_data_bytes_max)) {
        lost_ = true;
        events_->link_broken({ErrorCode::failed, peer_ + " sent " + fault});
        return false;
      }
      if (there < sizeof header_ + header_.body_bytes) return true;
      if (!begin_frame()) return false;
    }
    if (closing_ || lost_) return false;
  }
}

bool SocketLink::begin_frame() {
  staging_begin_ += sizeof header_;
  std::memcpy(body_.data(), staging_.data() + staging_begin_, header_.body_bytes);
  staging_begin_ += header_.body_bytes;
  if ((header_.flags & wire::frame_flags::compressed) != 0) {
    if (!options_.compress) {
      lose({ErrorCode::failed, peer_ + " sent a compressed frame, which was not agreed on"});
      return false;
    }
    data_ = std::span(arrived_packed_).first(header_.data_bytes());
  } else {
    auto placed = events_->place(header_, std::span(body_).first(header_.body_bytes));
    if (!placed) return false;
    assert(placed->size() == header_.data_bytes());
    data_ = *placed;
  }
  data_done_ = std::min(data_.size(), staging_end_ - staging_begin_);
  if (data_done_ > 0) std::memcpy(data_.data(), staging_.data() + staging_begin_, data_done_);
  staging_begin_ += data_done_;
  in_frame_ = true;
  return true;
}

bool SocketLink::finish_frame() {
  in_frame_ = false;
  if ((header_.flags & wire::frame_flags::compressed) != 0 && !unpack_frame()) return false;
  return events_->deliver(header_, std::span(body_).first(header_.body_bytes), data_).has_value();
}

// Puts the data where it belongs, and makes the header that of the frame without compression.
bool SocketLink::unpack_frame() {
  const auto packed = data_;
  const uint32_t bytes = unpacked_bytes(packed);
  if (bytes == 0 || bytes > limits::frame_data_bytes_max) {
    lose({ErrorCode::failed, peer_ + " sent a compressed frame longer than the limit, or empty"});
    return false;
  }
  header_.bytes = header_.body_bytes + bytes;
  header_.flags &= static_cast<uint16_t>(~wire::frame_flags::compressed);
  auto placed = events_->place(header_, std::span(body_).first(header_.body_bytes));
  if (!placed) return false;
  assert(placed->size() == bytes);
  data_ = *placed;
  if (!unpack(packed, data_)) {
    lose({ErrorCode::failed, peer_ + " sent a compressed frame that does not unpack to the length "
                                     "it names"});
    return false;
  }
  ++compression_.frames_received;
  return true;
}

// --- ending ---

void SocketLink::lose(Error why) {
  if (lost_ || closing_) return;
  lost_ = true;
  events_->link_lost(std::move(why));
}

// Lets what is being sent go out, for a bounded time; then nothing of ours is in the kernel's
// hands.
void SocketLink::close() {
  if (closing_) return;
  closing_ = true;
  if (receiving_) worker_.cancel(receive_);
  if (lost_) {
    if (sending_ != nullptr) worker_.cancel(send_);
  } else {
    flush();
    if (sending_ != nullptr) close_timer_.arm_after(kLastWordsNs);
  }
  maybe_closed();
}

void SocketLink::abort() {
  lost_ = true;  // nothing is sent any more
  close();
}

void SocketLink::maybe_closed() {
  if (closing_ && !receiving_ && sending_ == nullptr && !closed_) worker_.flush_later(report_);
}

void SocketLink::report_closed() {
  if (closed_ || receiving_ || sending_ != nullptr) return;
  closed_ = true;
  close_timer_.disarm();
  socket_.reset();
  events_->link_closed();  // may destroy this, but not from inside
}

}  // namespace farport
