#include "control/daemon/peer_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "control/trust/handshake.h"

namespace farport {

namespace asio = boost::asio;
using boost::system::error_code;

struct PeerStream::Parts {
  explicit Parts(ControlLoop& loop) : loop(loop), socket(loop.context()) {}
  ControlLoop& loop;
  asio::posix::stream_descriptor socket;
};

Result<std::shared_ptr<PeerStream>> PeerStream::over(ControlLoop& loop, PeerConnection connection) {
  std::shared_ptr<PeerStream> stream(new PeerStream());
  stream->parts_ = std::make_unique<Parts>(loop);
  stream->address_ = std::move(connection.peer);
  stream->loopback_ = connection.loopback;
  const int flags = fcntl(connection.socket.get(), F_GETFL);
  if (flags < 0 || fcntl(connection.socket.get(), F_SETFL, flags | O_NONBLOCK) < 0) {
    return fail_errno(errno, "cannot set a socket not to block");
  }
  error_code error;
  stream->parts_->socket.assign(connection.socket.get(), error);
  if (error) return fail_errno(error.value(), "cannot wait for a socket");
  static_cast<void>(connection.socket.release());
  return stream;
}

PeerStream::~PeerStream() { close(); }

std::string PeerStream::protection() const {
  return tls_ == nullptr ? "not encrypted"
                         : SSL_CIPHER_get_name(SSL_get_current_cipher(tls_.get()));
}

bool PeerStream::open() const { return parts_->socket.is_open(); }

void PeerStream::close() {
  error_code ignored;
  parts_->socket.close(ignored);
}

// `then` is not called once the stream is closed.
void PeerStream::when(Want want, std::function<void()> then) {
  const auto event = want == Want::read ? asio::posix::stream_descriptor::wait_read
                                        : asio::posix::stream_descriptor::wait_write;
  parts_->socket.async_wait(event,
                            [self = shared_from_this(), then = std::move(then)](error_code error) {
                              if (!error && self->open()) then();
                            });
}

// --- TLS ---

void PeerStream::secure(UniqueSsl tls, std::function<void(std::expected<void, TrustError>)> done) {
  tls_ = std::move(tls);
  SSL_set_fd(tls_.get(), parts_->socket.native_handle());
  asio::post(parts_->loop.context(), [self = shared_from_this(), done = std::move(done)] {
    if (self->open()) self->handshake(done);
  });
}

void PeerStream::handshake(std::function<void(std::expected<void, TrustError>)> done) {
  ERR_clear_error();
  const int result = SSL_do_handshake(tls_.get());
  if (result == 1) return done({});
  const int error = SSL_get_error(tls_.get(), result);
  if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
    return done(std::unexpected(explain_handshake(*tls_, result)));
  }
  when(error == SSL_ERROR_WANT_READ ? Want::read : Want::write,
       [this, done = std::move(done)] { handshake(done); });
}

Result<PeerStream::Moved> PeerStream::tls_result(int result, size_t bytes) {
  if (result == 1) return Moved{bytes, {}};
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Moved{0, Want::read};
    case SSL_ERROR_WANT_WRITE:
      return Moved{0, Want::write};
    case SSL_ERROR_ZERO_RETURN:
      return fail(ErrorCode::unreachable, "it closed the connection");
    default:
      return std::unexpected(Error(explain_handshake(*tls_, result)));
  }
}

// --- bytes ---

Result<PeerStream::Moved> PeerStream::read_some(std::span<std::byte> into) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    size_t bytes = 0;
    const int result = SSL_read_ex(tls_.get(), into.data(), into.size(), &bytes);
    return tls_result(result, bytes);
  }
  const ssize_t got = recv(parts_->socket.native_handle(), into.data(), into.size(), 0);
  if (got > 0) return Moved{static_cast<size_t>(got), {}};
  if (got == 0) return fail(ErrorCode::unreachable, "it closed the connection");
  if (errno == EAGAIN || errno == EINTR) return Moved{0, Want::read};
  return fail_errno(errno, address_);
}

Result<PeerStream::Moved> PeerStream::write_some(std::span<const std::byte> from) {
  if (tls_ != nullptr) {
    ERR_clear_error();
    size_t bytes = 0;
    const int result = SSL_write_ex(tls_.get(), from.data(), from.size(), &bytes);
    return tls_result(result, bytes);
  }
  const ssize_t sent =
      ::send(parts_->socket.native_handle(), from.data(), from.size(), MSG_NOSIGNAL);
  if (sent >= 0) return Moved{static_cast<size_t>(sent), {}};
  if (errno == EAGAIN || errno == EINTR) return Moved{0, Want::write};
  return fail_errno(errno, address_);
}

// --- frames ---

void PeerStream::send(std::vector<std::byte> frame, std::function<void(Result<void>)> done) {
  auto kept = std::make_shared<std::vector<std::byte>>(std::move(frame));
  when(Want::write, [this, kept, done = std::move(done)] { send_rest(kept, 0, done); });
}

void PeerStream::send_rest(std::shared_ptr<std::vector<std::byte>> frame, size_t sent,
                           std::function<void(Result<void>)> done) {
  while (sent < frame->size()) {
    const auto moved = write_some(std::span(*frame).subspan(sent));
    if (!moved) return done(std::unexpected(moved.error()));
    sent += moved->bytes;
    if (moved->wait) {
      return when(*moved->wait, [this, frame, sent, done] { send_rest(frame, sent, done); });
    }
  }
  done({});
}

void PeerStream::receive_greeting(std::function<void(Result<Hello>)> done) {
  received_.assign(sizeof(wire::FrameHeader), std::byte{});
  receive_rest(0, std::move(done));
}

// First the header, which says how much follows; never a byte more than the greeting.
void PeerStream::receive_rest(size_t got, std::function<void(Result<Hello>)> done) {
  const auto finish = [this, &done](Result<Hello> result) {
    asio::post(parts_->loop.context(),
               [self = shared_from_this(), done, result = std::move(result)] {
                 if (self->open()) done(result);
               });
  };
  wire::FrameHeader header;
  for (;;) {
    while (got < received_.size()) {
      const auto moved = read_some(std::span(received_).subspan(got));
      if (!moved) return finish(std::unexpected(moved.error()));
      got += moved->bytes;
      if (moved->wait) {
        return when(*moved->wait, [this, got, done] { receive_rest(got, done); });
      }
    }
    std::memcpy(&header, received_.data(), sizeof header);
    const auto rest = greeting_bytes(header);
    if (!rest) return finish(std::unexpected(rest.error()));
    if (received_.size() == sizeof header + *rest) break;
    received_.resize(sizeof header + *rest);
  }
  finish(decode_greeting(header, std::span(received_).subspan(sizeof header)));
}

void PeerStream::send_and_close(const std::vector<std::byte>& frame) {
  if (!open()) return;
  static_cast<void>(write_some(frame));
  if (tls_ != nullptr) SSL_shutdown(tls_.get());
  ERR_clear_error();
  shutdown(parts_->socket.native_handle(), SHUT_WR);
  close();
}

// The ring waits by itself; a non-blocking socket would make it give up.
Result<PeerConnection> PeerStream::release() {
  FileDescriptor socket(parts_->socket.release());
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return fail_errno(errno, "cannot set a socket to block");
  }
  return PeerConnection{std::move(socket), address_, std::move(tls_), loopback_};
}

}  // namespace farport
