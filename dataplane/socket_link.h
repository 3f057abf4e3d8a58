// A session's frames over one TCP connection (IPv4 or IPv6), by io_uring.
//
// Sending: heads are gathered in one block, data is referred to, and everything of an iteration of
// the loop leaves in one sendmsg; while that is under way the next batch gathers. Receiving: short
// frames come many at a time through a staging block; the data of a long frame is received right
// where it belongs, with a little room behind it for the next frame's head.
//
// With TLS (tls_records.h) a batch is sealed into one block, some in two parts (socket_link.cc says
// which), and that leaves in one send; what comes is received into one block and opened right where
// it belongs.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/compression.h"
#include "dataplane/file_descriptor.h"
#include "dataplane/limits.h"
#include "dataplane/link.h"
#include "dataplane/standing_queue.h"
#include "dataplane/tls.h"
#include "dataplane/tls_records.h"
#include "dataplane/unanswered.h"
#include "dataplane/worker.h"

namespace farport {

// TCP options that the link relies on: no delay, little unsent data in the kernel (so that urgent
// frames do not wait behind it), a dead peer noticed. For sockets of either side, before
// SocketLink.
Result<void> prepare_link_socket(int fd);

struct LinkOptions {
  // Its handshake is finished, its context one of prepare_tls_context(); what it has already read
  // of the session is delivered first. Empty: plain.
  UniqueSsl tls;
  bool compress = false;  // both ends take compressed frames: used where it pays
  // What is known of the way already, such as from the session's last connection.
  CompressionPolicy compression;
};

class SocketLink final : public Link, private Pollable {
 public:
  // `socket`: connected, prepared. `peer`: "address:port", for messages.
  SocketLink(Worker& worker, FileDescriptor socket, std::string peer, LinkOptions options = {});
  ~SocketLink() override;

  void start(LinkEvents& events) override;
  bool ready() const override;
  void send(std::span<const std::byte> head, std::span<const std::byte> data) override;
  void flush() override;
  void close() override;
  void abort() override;
  const char* peer() const override { return peer_.c_str(); }
  uint64_t unanswered_ns() const override;
  Result<void> export_key(std::string_view label, std::span<const std::byte> context,
                          std::span<std::byte> out) override;

  CompressionCounters compression() const override;
  const CompressionPolicy& compression_policy() const { return options_.compression; }

 private:
  static constexpr size_t staging_bytes = 64 << 10;
  static constexpr size_t behind_bytes = 4 << 10;  // room for heads behind a long frame's data
  static constexpr size_t heads_bytes = 64 << 10;
  static constexpr size_t pieces_max = 256;
  static constexpr size_t batch_bytes_max = 512 << 10;
  // The frame that comes last makes it longer. Beside that a record for what records add, and one
  // that TlsRecords wants to spare.
  static_assert(batch_bytes_max + limits::frame_data_bytes_max + 2 * TlsRecords::record_bytes_max <=
                TlsRecords::sealed_bytes_max);
  // Of compressed data in a batch; a frame that does not shrink by an eighth goes as it is.
  static constexpr size_t packed_bytes_max = 256 << 10;
  static constexpr size_t packed_frame_max = limits::frame_data_bytes_max / 8 * 7;

  // What leaves in one sendmsg. The block of heads never moves once made.
  struct Batch {
    std::vector<std::byte> heads = std::vector<std::byte>(heads_bytes);
    size_t heads_used = 0;
    std::vector<std::byte> packed;  // empty without compression
    size_t packed_used = 0;
    std::array<iovec, pieces_max> pieces;
    size_t piece_count = 0;
    size_t bytes = 0;
    bool last_is_head = false;  // the next head may join the last piece
  };
  struct Send final : RingOperation {
    explicit Send(SocketLink& link) : link(link) {}
    void completed(int result, uint32_t flags) override { link.sent(result, flags); }
    SocketLink& link;
  };
  struct Receive final : RingOperation {
    explicit Receive(SocketLink& link) : link(link) {}
    void completed(int result, uint32_t flags) override { link.received(result, flags); }
    SocketLink& link;
  };
  // link_closed() comes from the loop, after all else of the iteration.
  struct Closed final : Flushable {
    explicit Closed(SocketLink& link) : link(link) {}
    void flush() override { link.report_closed(); }
    SocketLink& link;
  };

  std::span<const std::byte> pack(std::span<std::byte> head, std::span<const std::byte> data);
  bool something_to_send() const;
  void go_on_sending();
  bool next_message();
  bool send_now();
  void submit_send();
  void sent(int result, uint32_t flags);
  bool advance(size_t bytes);
  void batch_sent();
  void prepare_receive();
  void prepare_staging();
  void submit_receive();
  bool open_records();
  void send_alert();
  unsigned poll() override;
  void before_sleep() override;
  void received(int result, uint32_t flags);
  bool parse();
  bool begin_frame();
  bool finish_frame();
  bool unpack_frame();
  void lose(Error why);
  void maybe_closed();
  void report_closed();

  Worker& worker_;
  FileDescriptor socket_;
  std::string peer_;
  LinkOptions options_;
  std::optional<TlsRecords> tls_;
  // With compression.
  std::optional<Packer> packer_;
  std::vector<std::byte> arrived_packed_;
  CompressionCounters compression_;
  uint64_t waiting_since_ns_ = 0;
  mutable UnansweredClock unanswered_;  // remembers the last look
  mutable StandingQueue queue_;         // the same
  mutable StandingQueue::Stood stood_;  // not told to the policy yet
  LinkEvents* events_ = nullptr;

  std::array<std::unique_ptr<Batch>, 2> batches_;
  Batch* filling_;
  Batch* sending_ = nullptr;
  msghdr send_message_{};
  size_t message_left_ = 0;    // bytes of it to be sent yet
  std::span<iovec> unsealed_;  // of the batch being sent
  size_t part_bytes_ = 0;      // of it, to seal and send at once
  iovec sealed_piece_{};       // the message, with TLS
  bool end_sealed_ = false;    // TLS's own end is on its way
  Send send_{*this};
  bool was_full_ = false;

  std::vector<std::byte> staging_;
  size_t staging_begin_ = 0;  // of what is not parsed yet
  size_t staging_end_ = 0;
  wire::FrameHeader header_{};
  std::array<std::byte, wire::body_bytes_max> body_{};
  std::span<std::byte> data_;  // of the frame being received
  size_t data_done_ = 0;
  bool in_frame_ = false;  // head taken, data not complete
  std::array<iovec, 2> receive_pieces_{};
  msghdr receive_message_{};
  size_t receive_asked_ = 0;
  bool drained_ = false;  // the last receive got less than it asked for
  bool nop_ = false;      // the ring was only asked to come back at once
  unsigned opened_ = 0;   // records, in this round
  Receive receive_{*this};
  bool receiving_ = false;    // the ring has a receive of ours
  bool receive_due_ = false;  // prepared, to be polled for or submitted

  bool lost_ = false;
  bool closing_ = false;
  bool closed_ = false;
  Timer close_timer_;  // a peer that does not take our last words is not waited for
  Closed report_{*this};
};

}  // namespace farport
