// A stream socket on a worker's ring, for a protocol of small headers and large payloads.
//
// Reading: one receive is always under way. What comes goes first into the places that fill() named
// (a payload, straight into its transfer), the rest into a small inbox, from which take() reads
// headers. So a burst of small requests costs one system call, and of a large payload no more than
// the inbox's size is ever copied.
//
// Writing: queued at once, handed to the kernel together at the end of the iteration.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "dataplane/file_descriptor.h"
#include "dataplane/worker.h"

namespace farport::usbip {

class SocketStream final : private Flushable {
 public:
  // One message to send: up to three runs of memory, which stay as they are until sent(). The runs
  // are used up while they are sent.
  struct Outgoing {
    std::array<iovec, 3> parts{};
    uint8_t part_count = 0;
    Outgoing* next = nullptr;

    void add(const void* bytes, size_t length) {
      parts[part_count++] = {const_cast<void*>(bytes), length};
    }
  };

  // Called on the worker, never from inside a member function of the stream.
  class Events {
   public:
    // There is more to take(), or what fill() or skip() asked for is done.
    virtual void received() = 0;
    // All of it is with the kernel: its memory is free again.
    virtual void sent(Outgoing& message) = 0;
    // The peer has closed, or the connection failed. Comes at most once, never after close().
    virtual void ended(std::string_view reason) = 0;
    // close() is done: nothing refers to any memory of a message or a fill() any more. Messages
    // that were still queued are not reported. The stream may be destroyed, but not from inside.
    virtual void closed() = 0;

   protected:
    ~Events() = default;
  };

  static constexpr size_t inbox_bytes = 4096;

  SocketStream(Worker& worker, Events& events) : worker_(worker), events_(events) {}
  ~SocketStream();  // only before start() or after closed()
  SocketStream(const SocketStream&) = delete;
  SocketStream& operator=(const SocketStream&) = delete;

  void start(FileDescriptor socket);
  // Ends the connection at once. closed() follows.
  void close();
  bool started() const { return started_; }

  // --- reading ---
  // The next `length` bytes (at most inbox_bytes), or nullptr when they have not all come. Valid
  // until the next call.
  const std::byte* take(size_t length);
  // The next bytes belong in `first`, then in `second`.
  void fill(std::span<std::byte> first, std::span<std::byte> second = {});
  // The next bytes are not wanted.
  void skip(uint64_t length);
  // Everything asked for by fill() and skip() has come.
  bool filled() const { return fill_[0].empty() && fill_[1].empty() && skip_ == 0; }
  // Stops reading, so that the peer is held up by its own socket. A receive already under way may
  // still bring up to an inbox.
  void pause() { paused_ = true; }
  void resume();

  // --- writing ---
  void send(Outgoing& message);
  bool all_sent() const { return queue_ == nullptr; }

 private:
  struct Receive final : RingOperation {
    explicit Receive(SocketStream& stream) : stream(stream) {}
    void completed(int result, uint32_t) override { stream.receive_completed(result); }
    SocketStream& stream;
    msghdr message{};
    std::array<iovec, 3> parts{};
    size_t asked = 0;  // bytes that the parts have room for
    bool outstanding = false;
  };
  struct Send final : RingOperation {
    explicit Send(SocketStream& stream) : stream(stream) {}
    void completed(int result, uint32_t) override { stream.send_completed(result); }
    static constexpr size_t parts_max = 64;
    SocketStream& stream;
    msghdr message{};
    std::array<iovec, parts_max> parts{};
    bool outstanding = false;
  };

  void flush() override;
  void receive();
  void receive_completed(int result);
  void store(size_t received);
  void drain_inbox();
  void transmit();
  void gather();
  void take_off(size_t sent);
  void send_completed(int result);
  void end(std::string_view reason);

  Worker& worker_;
  Events& events_;
  FileDescriptor socket_;
  Receive receive_{*this};
  Send send_{*this};
  std::array<std::span<std::byte>, 2> fill_{};
  uint64_t skip_ = 0;
  Outgoing* queue_ = nullptr;
  Outgoing* queue_tail_ = nullptr;
  size_t inbox_begin_ = 0;
  size_t inbox_end_ = 0;
  bool started_ = false;
  bool paused_ = false;
  bool drained_ = false;  // the last receive got less than it asked for
  bool ended_ = false;
  bool closing_ = false;
  bool closed_ = false;
  std::array<std::byte, inbox_bytes> inbox_;
};

}  // namespace farport::usbip
