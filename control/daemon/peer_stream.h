// A connection to another host before a worker has it: TLS when it is asked for, and the greeting.
//
// One thing at a time: each call comes after the one before it has said `done`. `done` comes once,
// on the control thread, never from inside the call; not at all after close(). Whoever uses it
// bounds the time.
//
// Thread rule: the control thread.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/daemon/control_loop.h"
#include "control/daemon/network.h"
#include "control/trust/trust.h"
#include "dataplane/greeting.h"

namespace farport {

class PeerStream : public std::enable_shared_from_this<PeerStream> {
 public:
  static Result<std::shared_ptr<PeerStream>> over(ControlLoop& loop, PeerConnection connection);
  ~PeerStream();

  // "192.0.2.7:7411".
  const std::string& address() const { return address_; }
  // Both ends of it have a loopback address.
  bool loopback() const { return loopback_; }
  // Null while it is plain.
  SSL* tls() const { return tls_.get(); }
  // "TLS_AES_128_GCM_SHA256", or "not encrypted".
  std::string protection() const;

  void secure(UniqueSsl tls, std::function<void(std::expected<void, TrustError>)> done);
  void send(std::vector<std::byte> frame, std::function<void(Result<void>)> done);
  // The peer's hello; its refusal as the error.
  void receive_greeting(std::function<void(Result<Hello>)> done);
  // Sends the frame, which tells why, as far as the socket takes it at once; then it closes.
  void send_and_close(const std::vector<std::byte>& frame);
  void close();
  bool open() const;

  // For a SocketLink, with what TLS has negotiated; the stream is closed then.
  Result<PeerConnection> release();

 private:
  struct Parts;
  enum class Want : uint8_t { read, write };
  // Bytes moved, or which event to wait for.
  struct Moved {
    size_t bytes = 0;
    std::optional<Want> wait;
  };

  PeerStream() = default;
  void handshake(std::function<void(std::expected<void, TrustError>)> done);
  void send_rest(std::shared_ptr<std::vector<std::byte>> frame, size_t sent,
                 std::function<void(Result<void>)> done);
  void receive_rest(size_t got, std::function<void(Result<Hello>)> done);
  Result<Moved> read_some(std::span<std::byte> into);
  Result<Moved> write_some(std::span<const std::byte> from);
  Result<Moved> tls_result(int result, size_t bytes);
  void when(Want want, std::function<void()> then);

  std::unique_ptr<Parts> parts_;
  std::string address_;
  bool loopback_ = false;
  UniqueSsl tls_;
  std::vector<std::byte> received_;  // header and rest of the greeting
};

}  // namespace farport
