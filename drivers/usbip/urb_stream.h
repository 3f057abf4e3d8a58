// The server's side of USB/IP's request phase on a stream socket: reads SUBMIT and UNLINK, carries
// them out through a DriverPort, writes the replies. The kernel's vhci (over a socketpair) and
// stock clients (over TCP) are both at the other end of one of these.
//
// A request's payload is read into its transfer and written from it; nothing is copied in between.
// One bad request is answered with an error and the rest goes on; only a message that cannot be
// understood at all (an unknown command) ends the stream.
//
// Unlinking (FACTS.md, trap 4): a request that was cancelled without having moved anything is
// answered by RET_UNLINK(-ECONNRESET) alone. In every other case its RET_SUBMIT goes out first,
// with its data, and RET_UNLINK(0) follows: nothing that the device has sent is lost.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/limits.h"
#include "devices/usb/endpoint_table.h"
#include "devices/usbip/protocol.h"
#include "devices/usbip/socket_stream.h"
#include "drivers/driver.h"

namespace farport::usbip {

class UrbStream final : private SocketStream::Events {
 public:
  class Events {
   public:
    // The consumer closed the stream, or broke the protocol. At most once, never after finish().
    virtual void stream_ended(std::string_view reason) = 0;
    // finish(): everything is answered; now it is time for close().
    virtual void stream_answered() = 0;
    // close() is done and every transfer released.
    virtual void stream_closed() = 0;

   protected:
    ~Events() = default;
  };

  // What one consumer may hold at once. Past either the stream stops reading until something is
  // answered; a request that has waited for admission_wait_ns is answered with -ENOMEM instead, so
  // that an UNLINK behind it is never out of reach.
  static constexpr uint32_t requests_max = limits::transfers_per_channel_max;
  static constexpr uint64_t bytes_max = 2 * limits::usb_channel_credit_bytes;
  // Replies owed in all, UNLINKs and refused requests included; past it the stream stops reading.
  static constexpr uint32_t owed_max = 2 * requests_max;
  static constexpr uint64_t admission_wait_ns = 1'000'000'000;
  // finish() waits this long for the consumer to take its last replies.
  static constexpr uint64_t answer_wait_ns = 1'000'000'000;

  UrbStream(Worker& worker, DriverPort& port, Events& events);
  ~UrbStream();  // only before start() or after stream_closed()

  // `greeting` (copied) is sent ahead of all replies.
  void start(FileDescriptor socket, std::span<const std::byte> greeting = {});
  // Driver::completed().
  void completed(Transfer& transfer);
  // The device is gone: requests from here on are answered with -ESHUTDOWN.
  void unplugged() { unplugged_ = true; }
  // Takes no more requests. stream_answered() follows when the transfers in flight have come back
  // and are answered; it may come from inside.
  void finish();
  // Ends the connection. stream_closed() follows, never from inside.
  void close() { stream_.close(); }
  bool ended() const { return ended_; }

 private:
  // One message we owe: the reply to a SUBMIT or to an UNLINK.
  struct Pending : SocketStream::Outgoing {
    Message message{};
    uint32_t seqnum = 0;
    bool isochronous = false;
    uint32_t bytes = 0;  // counted against bytes_max while it has a transfer
    Transfer* transfer = nullptr;
    Pending* unlinks = nullptr;       // UNLINKs that wait for this request to end
    Pending* next_waiting = nullptr;  // free list; or the next of `unlinks`
    Pending* next_in_bucket = nullptr;
  };
  // What must be known of a SUBMIT before it can be read on.
  struct Plan {
    TransferType type = TransferType::control;
    uint8_t endpoint = 0;
    uint16_t packet_count = 0;
    uint64_t data_bytes = 0;   // that follow the header
    uint64_t table_bytes = 0;  // and then
    TransferStatus refusal = TransferStatus::ok;
  };

  // SocketStream::Events
  void received() override { read_requests(); }
  void sent(SocketStream::Outgoing& message) override;
  void ended(std::string_view reason) override;
  void closed() override;

  void read_requests();
  bool read_request();
  Plan plan(const Request& request);
  void admit(const Request& request);
  void hold(const Request& request);
  void retry();
  void go_on();
  void payload_complete();
  void submit(Pending& pending);
  void unlink(const Request& request);
  void refuse(uint32_t seqnum, TransferStatus status);

  void reply(Pending& pending);
  void reply_submit(Pending& pending);
  void reply_unlink(Pending& unlink, int32_t status);
  void settle();

  Pending* take_pending(uint32_t seqnum);
  void give_back(Pending& pending);
  void release_transfer(Pending& pending);
  Pending** bucket_of(uint32_t seqnum);
  Pending* find(uint32_t seqnum);
  void forget(Pending& pending);

  Worker& worker_;
  DriverPort& port_;
  Events& events_;
  SocketStream stream_;
  usb::EndpointTable endpoints_;
  Timer retry_timer_;
  Timer answer_timer_;

  std::vector<std::unique_ptr<Pending>> all_;  // grows to the most ever owed at once
  Pending* free_ = nullptr;
  std::array<Pending*, 1024> buckets_{};  // requests at the device, by seqnum
  Pending* incoming_ = nullptr;           // the SUBMIT whose payload is being read
  Request held_;                          // the SUBMIT that waits for admission
  uint64_t held_until_ns_ = 0;
  uint64_t bytes_ = 0;    // data of all transfers held
  uint32_t owed_ = 0;     // Pendings in use
  uint32_t at_port_ = 0;  // transfers submitted and not back
  std::vector<std::byte> greeting_;
  SocketStream::Outgoing greeting_message_;
  bool holding_ = false;  // held_ waits
  bool crowded_ = false;  // owed_max reached
  bool unplugged_ = false;
  bool ended_ = false;
  bool finishing_ = false;
  bool answered_ = false;
};

}  // namespace farport::usbip
