// The seam to whatever moves a session's frames: SocketLink (TCP over io_uring), later PacketLink
// (DPDK) and LocalLink. The fake is tests/unit/dataplane/simulated_link.h.
//
// Thread rule: one worker. A link is born connected. It reports link_lost() or link_broken() at
// most once; close() is always called, also after that; then it reports link_closed() exactly once,
// from the loop: from then on it touches no memory that it was given, and may be destroyed (not
// from inside the call).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/compression.h"
#include "dataplane/error.h"
#include "dataplane/wire.h"

namespace farport {

// What a link reports to its session.
class LinkEvents {
 public:
  // The header and the body of a frame are there and well-formed (wire::header_fault). Says where
  // its data goes: exactly header.data_bytes() of memory that stays until deliver() or
  // link_closed(). On an error nothing more is received; close() has been called from inside.
  virtual Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                             std::span<const std::byte> body) = 0;
  // The frame is complete, its data where place() said. Errors as in place().
  virtual Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                               std::span<std::byte> data) = 0;
  // ready() holds again.
  virtual void link_ready() = 0;
  // The connection is gone; the session may go on over another one.
  virtual void link_lost(Error why) = 0;
  // Instead of link_lost(): the peer sends what is no frame, so no other connection would help.
  virtual void link_broken(Error why) = 0;
  virtual void link_closed() = 0;

 protected:
  ~LinkEvents() = default;
};

class Link {
 public:
  // Bytes of a frame besides its data (header and body), and of data short enough to be copied.
  static constexpr uint32_t head_bytes_max = 256;

  virtual ~Link() = default;

  // From now on `events` is called; it outlives the link.
  virtual void start(LinkEvents& events) = 0;
  // Whether it takes another frame now. Otherwise link_ready() comes when it does.
  virtual bool ready() const = 0;
  // Takes a frame: `head` (at most head_bytes_max) is copied, `data` is referred to and must stay
  // until the frame is acknowledged or link_closed(). Only while ready().
  virtual void send(std::span<const std::byte> head, std::span<const std::byte> data) = 0;
  // Hands what was taken to the network; once per iteration of the loop.
  virtual void flush() = 0;
  // Ends it. What flush() has handed over may still arrive, or not; it is waited for a moment.
  virtual void close() = 0;
  // Instead of close(): at once, nothing more is sent.
  virtual void abort() = 0;
  // "127.0.0.1:7411": for messages.
  virtual const char* peer() const = 0;
  // How long something that was sent has waited without any sign of the peer's machine, the
  // transport's own acknowledgements included, beyond what a few round trips explain; 0 when
  // nothing waits. A dead network shows here long before a slow one would look like it.
  virtual uint64_t unanswered_ns() const = 0;
  // Zeros: it compresses nothing.
  virtual CompressionCounters compression() const { return {}; }
  // Keys for another channel between the same two hosts (RFC 8446, 7.5): both ends get the same
  // `out` for the same label and context, nobody else can. usage: the link is not encrypted.
  virtual Result<void> export_key(std::string_view label, std::span<const std::byte> context,
                                  std::span<std::byte> out) = 0;
};

}  // namespace farport
