#include "devices/usbip/socket_stream.h"

#include <fcntl.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <string>

namespace farport::usbip {

namespace {

// Moves as much of `bytes` as fits to the front of `target`, and both forward.
void move_into(std::span<std::byte>& target, std::span<const std::byte>& bytes) {
  const size_t count = std::min(target.size(), bytes.size());
  if (count == 0) return;
  std::memcpy(target.data(), bytes.data(), count);
  target = target.subspan(count);
  bytes = bytes.subspan(count);
}

}  // namespace

SocketStream::~SocketStream() {
  assert(!receive_.outstanding && !send_.outstanding);
  worker_.forget(*this);
}

void SocketStream::start(FileDescriptor socket) {
  assert(!started_);
  started_ = true;
  socket_ = std::move(socket);
  // A non-blocking descriptor would make the ring report EAGAIN instead of waiting.
  const int flags = fcntl(socket_.get(), F_GETFL);
  if (flags >= 0) fcntl(socket_.get(), F_SETFL, flags & ~O_NONBLOCK);
  receive();
}

void SocketStream::close() {
  if (closing_) return;
  closing_ = true;
  if (started_) ::shutdown(socket_.get(), SHUT_RDWR);
  if (receive_.outstanding) worker_.cancel(receive_);
  if (send_.outstanding) worker_.cancel(send_);
  worker_.flush_later(*this);
}

const std::byte* SocketStream::take(size_t length) {
  assert(filled() && length <= inbox_bytes);
  if (inbox_end_ - inbox_begin_ < length) return nullptr;
  const std::byte* bytes = inbox_.data() + inbox_begin_;
  inbox_begin_ += length;
  return bytes;
}

void SocketStream::fill(std::span<std::byte> first, std::span<std::byte> second) {
  assert(filled() && !receive_.outstanding);
  fill_ = {first, second};
  drain_inbox();
}

void SocketStream::skip(uint64_t length) {
  assert(filled());
  skip_ = length;
  drain_inbox();
}

void SocketStream::drain_inbox() {
  std::span<const std::byte> bytes(inbox_.data() + inbox_begin_, inbox_end_ - inbox_begin_);
  move_into(fill_[0], bytes);
  move_into(fill_[1], bytes);
  const auto skipped = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size()));
  skip_ -= skipped;
  inbox_begin_ = inbox_end_ - (bytes.size() - skipped);
}

void SocketStream::resume() {
  paused_ = false;
  receive();
}

void SocketStream::receive() {
  if (receive_.outstanding || paused_ || ended_ || closing_) return;
  const size_t left = inbox_end_ - inbox_begin_;
  std::memmove(inbox_.data(), inbox_.data() + inbox_begin_, left);
  inbox_begin_ = 0;
  inbox_end_ = left;
  size_t count = 0;
  for (const auto& target : fill_) {
    if (!target.empty()) receive_.parts[count++] = {target.data(), target.size()};
  }
  assert(left < inbox_bytes && "whoever reads takes whole messages out of the inbox");
  receive_.parts[count++] = {inbox_.data() + left, inbox_bytes - left};
  receive_.asked = 0;
  for (size_t i = 0; i < count; ++i) receive_.asked += receive_.parts[i].iov_len;
  receive_.message = {};
  receive_.message.msg_iov = receive_.parts.data();
  receive_.message.msg_iovlen = count;
  receive_.outstanding = true;
  io_uring_sqe* sqe = worker_.prepare(receive_);
  io_uring_prep_recvmsg(sqe, socket_.get(), &receive_.message, 0);
  // There is nothing to be had before the peer writes again: do not try, wait for it.
  if (drained_) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
}

void SocketStream::receive_completed(int result) {
  receive_.outstanding = false;
  if (closing_) {
    worker_.flush_later(*this);
    return;
  }
  if (result == -EINTR || result == -EAGAIN) {
    receive();
    return;
  }
  if (result == 0) return end("the peer closed the connection");
  if (result < 0) return end(std::string("the connection failed: ") + std::strerror(-result));
  drained_ = static_cast<size_t>(result) < receive_.asked;
  store(static_cast<size_t>(result));
  events_.received();
  receive();
}

// `received` bytes lie where the receive put them: the fill targets first, then the inbox.
void SocketStream::store(size_t received) {
  for (auto& target : fill_) {
    const size_t count = std::min(target.size(), received);
    target = target.subspan(count);
    received -= count;
  }
  inbox_end_ += received;
  drain_inbox();
}

void SocketStream::send(Outgoing& message) {
  if (closing_ || ended_) return;  // never reported as sent; the owner cleans up at closed()
  message.next = nullptr;
  (queue_ == nullptr ? queue_ : queue_tail_->next) = &message;
  queue_tail_ = &message;
  worker_.flush_later(*this);
}

void SocketStream::flush() {
  if (!closing_) {
    transmit();
    return;
  }
  if (closed_ || receive_.outstanding || send_.outstanding) return;
  closed_ = true;
  socket_.reset();
  events_.closed();
}

// Mostly the socket has room: the ring is for when it does not.
void SocketStream::transmit() {
  while (!send_.outstanding && queue_ != nullptr && !ended_ && !closing_) {
    gather();
    const ssize_t sent = sendmsg(socket_.get(), &send_.message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      take_off(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      send_.outstanding = true;
      io_uring_prep_sendmsg(worker_.prepare(send_), socket_.get(), &send_.message, MSG_NOSIGNAL);
    } else if (errno != EINTR) {
      return end(std::string("the connection failed: ") + std::strerror(errno));
    }
  }
}

// As many messages as fit one call.
void SocketStream::gather() {
  size_t count = 0;
  for (const Outgoing* message = queue_; message != nullptr; message = message->next) {
    if (count + message->part_count > Send::parts_max) break;
    for (size_t i = 0; i < message->part_count; ++i) {
      if (message->parts[i].iov_len != 0) send_.parts[count++] = message->parts[i];
    }
  }
  send_.message = {};
  send_.message.msg_iov = send_.parts.data();
  send_.message.msg_iovlen = count;
}

void SocketStream::send_completed(int result) {
  send_.outstanding = false;
  if (closing_) {
    worker_.flush_later(*this);
    return;
  }
  if (result == -EINTR || result == -EAGAIN) {
    worker_.flush_later(*this);
    return;
  }
  if (result < 0) return end(std::string("the connection failed: ") + std::strerror(-result));
  take_off(static_cast<size_t>(result));
  transmit();
}

// So many bytes of the queue are with the kernel.
void SocketStream::take_off(size_t sent) {
  while (queue_ != nullptr && !closing_) {
    size_t left = 0;
    for (size_t i = 0; i < queue_->part_count; ++i) {
      iovec& part = queue_->parts[i];
      const size_t count = std::min(part.iov_len, sent);
      part.iov_base = static_cast<std::byte*>(part.iov_base) + count;
      part.iov_len -= count;
      sent -= count;
      left += part.iov_len;
    }
    if (left != 0) break;
    Outgoing& message = *queue_;
    queue_ = message.next;
    events_.sent(message);
  }
}

void SocketStream::end(std::string_view reason) {
  if (ended_) return;
  ended_ = true;
  events_.ended(reason);
}

}  // namespace farport::usbip
