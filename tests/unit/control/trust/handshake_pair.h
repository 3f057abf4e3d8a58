// Two ends of a handshake on a socketpair, driven in turn until both are done or one fails.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <optional>
#include <string>

#include "control/trust/handshake.h"
#include "dataplane/file_descriptor.h"
#include "dataplane/tls.h"

namespace farport::test {

class HandshakePair {
 public:
  HandshakePair() {
    signal(SIGPIPE, SIG_IGN);  // as farportd does: a peer may go at any moment
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    sockets_[0].reset(ends[0]);
    sockets_[1].reset(ends[1]);
  }
  int socket(size_t end) const { return sockets_[end].get(); }

  // An end's failure: nullopt when its handshake is done.
  struct Outcome {
    std::array<std::optional<TrustError>, 2> failure;
    bool done() const { return !failure[0] && !failure[1]; }
  };
  Outcome shake(SSL& first, SSL& second) {
    const std::array<SSL*, 2> ends{&first, &second};
    for (size_t end = 0; end < 2; ++end) SSL_set_fd(ends[end], sockets_[end].get());
    Outcome outcome;
    std::array<bool, 2> over{};
    // Both sides' flights are five at most; each turn moves one of them.
    for (int turn = 0; turn < 50 && !(over[0] && over[1]); ++turn) {
      for (size_t end = 0; end < 2; ++end) {
        if (!over[end]) over[end] = step(*ends[end], end, outcome.failure[end]);
      }
    }
    EXPECT_TRUE(over[0] && over[1]) << "a handshake that never ends";
    return outcome;
  }
  // One end against whatever is in its socket.
  std::optional<TrustError> shake_alone(SSL& ssl, size_t end) {
    SSL_set_fd(&ssl, sockets_[end].get());
    std::optional<TrustError> failure;
    for (int turn = 0; turn < 50; ++turn) {
      if (step(ssl, end, failure)) return failure;
    }
    ADD_FAILURE() << "a handshake that never ends";
    return failure;
  }
  void send(size_t end, const std::string& text) {
    ASSERT_EQ(::send(sockets_[end].get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  void close(size_t end) { sockets_[end].reset(); }

 private:
  bool step(SSL& ssl, size_t end, std::optional<TrustError>& failure) {
    const int result = SSL_do_handshake(&ssl);
    if (result == 1) return true;
    const int kind = SSL_get_error(&ssl, result);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) return false;
    failure = explain_handshake(ssl, result);
    shutdown(sockets_[end].get(), SHUT_WR);  // the other one hears of it
    return true;
  }

  std::array<FileDescriptor, 2> sockets_;
};

}  // namespace farport::test
