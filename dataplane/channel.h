// The conversation of one device with one consumer over a session: DriverChannel at the consumer's
// host, DeviceChannel at the device's. A channel is owned by its session.
//
// Rules that both ends hold, and check of each other:
//   - A transfer's stream is sent whole, in order; the device end completes a transfer only after
//   it
//     has all of it, so no memory is released while a frame refers to it.
//   - Credit counts the device end's memory: transfer_overhead_bytes + table + length for each
//     transfer, spent when its submit leaves, given back when the device end has let go of it.
//   - Per endpoint and per chain, order is kept: only transfers that nothing of theirs is queued
//     ahead of may overtake.
//   - A chain (transfer.h) is carried out by the device end, one transfer after the other, without
//     the driver end's hearing of one before the next begins.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <string>

#include "dataplane/busy_clock.h"
#include "dataplane/error.h"
#include "dataplane/limits.h"
#include "dataplane/link.h"
#include "dataplane/loop.h"
#include "dataplane/meter.h"
#include "dataplane/transfer_table.h"
#include "dataplane/wire.h"
#include "devices/device.h"
#include "drivers/driver.h"

namespace farport {

class Channel;
class Session;
class Worker;

// What a channel reports to control's side of the worker.
class ChannelEvents {
 public:
  // The channel is over and is destroyed soon. `why` as in LocalChannel::Events.
  virtual void channel_closed(Channel& channel, Error why) = 0;
  // As asked by DriverChannel::drop_driver().
  virtual void driver_gone(Channel&) {}

 protected:
  ~ChannelEvents() = default;
};

// A frame that a channel wants to send, as it is handed to the session.
struct OutgoingFrame {
  // Data up to this long travels in the head, copied; longer data is referred to.
  static constexpr uint32_t inline_bytes_max = 128;

  wire::FrameType type{};
  uint32_t transfer_id = 0;
  std::array<std::byte, 40> body;
  uint8_t body_bytes = 0;
  std::span<const std::byte> data;
  Transfer* transfer = nullptr;  // told to frame_acknowledged(); nullptr when no memory is meant

  template <class Body>
  void set_body(const Body& value) {
    static_assert(sizeof(Body) <= 40);
    wire::encode(body.data(), value);
    body_bytes = sizeof(Body);
  }
};

// Transfers that wait to be sent, in order.
struct TransferQueue {
  Transfer* head = nullptr;
  Transfer* tail = nullptr;
  bool empty() const { return head == nullptr; }
  void push(Transfer& transfer);
  Transfer* pop();
  bool remove(Transfer& transfer);
};

class Channel : protected Flushable {
 public:
  virtual ~Channel();
  uint32_t number() const { return number_; }
  const Meter& meter() const { return meter_; }

  // Takes the device from the consumer; channel_closed() follows. The peer is told.
  virtual void close(Error why) = 0;
  // Of a refuse, goodbye or close frame; the text as it came.
  static Error peer_reason(std::span<const std::byte> body, std::span<const std::byte> data);

 protected:
  friend class Session;
  friend class ChannelQueue;
  Channel(Session& session, uint32_t number, ChannelEvents& events);

  // --- called by the session ---
  // The next frame of the urgent or the bulk queue; false when there is none that may be sent now.
  virtual bool next_frame(bool urgent, OutgoingFrame& frame) = 0;
  virtual bool has_frames(bool urgent) const = 0;
  // The frame that next_frame() gave has been copied or retained.
  virtual void frame_taken() {}
  void frame_acknowledged(Transfer& transfer);
  virtual Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                             std::span<const std::byte> body) = 0;
  virtual Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                               std::span<std::byte> data) = 0;
  // The session is over: nothing is sent any more, no memory is referred to any more.
  virtual void session_lost() = 0;

  // --- shared by both ends ---
  // Nothing refers to the transfer's memory any more.
  virtual void unheld(Transfer& transfer) = 0;
  void hold(Transfer& transfer) { ++transfer.channel.holds; }
  // Memory that a frame is about to be received into: held until taken in deliver(). One frame at a
  // time is received, so one transfer at a time is placed.
  void place_into(Transfer& transfer);
  void unplace();
  void unhold(Transfer& transfer);
  // No frame refers to anything any more: the session is over.
  void drop_holds();
  static uint32_t cost(const Transfer& transfer);
  bool close_frame(OutgoingFrame& frame);
  // Queues a transfer's stream, in the class that its endpoint's order allows.
  void queue(Transfer& transfer);
  void count_in_bulk(const Transfer& transfer, int step);
  // Takes it out again; false when it has left already.
  bool unqueue(Transfer& transfer);
  // Puts the next piece of the queue's first transfer into `frame`, whose type and body the caller
  // has set for a first piece; true when it was the last, and the transfer has left the queue.
  bool take_piece(TransferQueue& queue, OutgoingFrame& frame);
  // The whole stream: memory from the packet table on.
  static std::span<std::byte> stream(const Transfer& transfer);
  // The part of a stream that a data frame names: in order, not empty, within the stream.
  Result<void> check_piece(const Transfer& transfer, const wire::FrameHeader& header,
                           std::span<const std::byte> body) const;
  std::unexpected<Error> broken(std::string_view what) const;
  static unsigned endpoint_index(uint8_t endpoint) {
    return (endpoint & 0x0fu) | (endpoint & 0x80u) >> 3;
  }

  Session& session_;
  const uint32_t number_;
  ChannelEvents& events_;
  TransferTable transfers_;
  Meter meter_;
  TransferQueue urgent_;
  TransferQueue bulk_;
  std::array<uint32_t, 32> bulk_queued_{};  // per endpoint: in bulk_
  std::array<uint32_t, limits::chains_per_channel_max + 1> chain_queued_{};  // per chain; not of 0
  bool close_due_ = false;  // a close frame is to be sent
  bool peer_closed_ = false;
  Error why_;
  std::string close_text_;      // data of the close frame
  Transfer* placed_ = nullptr;  // being received into

 private:
  // Of Session's queues.
  struct Queued {
    Channel* next = nullptr;
    bool queued = false;
  };
  std::array<Queued, 2> queued_;
};

// Channels that have something to send, served in turn.
class ChannelQueue {
 public:
  explicit ChannelQueue(size_t link) : link_(link) {}
  bool empty() const { return head_ == nullptr; }
  Channel* head() const { return head_; }
  void push(Channel& channel);  // at the end, unless it is there
  Channel* pop();
  void remove(Channel& channel);

 private:
  size_t link_;
  Channel* head_ = nullptr;
  Channel* tail_ = nullptr;
};

// The consumer's end.
class DriverChannel final : public Channel, public DriverPort {
 public:
  DriverChannel(Session& session, uint32_t number, ChannelEvents& events);
  ~DriverChannel() override;

  // The peer has opened the device: presents it to the consumer. When the driver cannot start,
  // channel_closed() follows with its error.
  void start(DeviceInfo info, uint64_t nominal_bytes_s, uint64_t credit_bytes,
             std::unique_ptr<Driver> driver);
  void close(Error why) override;
  // After close(), for whoever does not wait for the peer's last word, which may be as far as the
  // next connection: destroys the driver as soon as it has stopped; driver_gone() follows, once.
  // The channel itself goes on until the peer has said it, and channel_closed() is called.
  void drop_driver();
  // Whether start() went well and the channel is in use.
  bool open() const { return state_ == State::open; }
  Driver* driver() { return driver_.get(); }

  // DriverPort
  const DeviceInfo& info() const override { return info_; }
  Transfer* allocate(uint32_t length, uint16_t packet_count) override;
  void submit(Transfer& transfer) override;
  void cancel(Transfer& transfer) override;
  void release(Transfer& transfer) override;
  void consumer_left(std::string_view reason) override;
  void driver_stopped() override;

 private:
  // opening: the peer has been asked. stopping: the driver is. stopped: waiting for the peer.
  enum class State : uint8_t { opening, open, stopping, stopped, closed };

  bool next_frame(bool urgent, OutgoingFrame& frame) override;
  bool has_frames(bool urgent) const override;
  void unheld(Transfer& transfer) override;
  void flush() override;
  Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                     std::span<const std::byte> body) override;
  Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                       std::span<std::byte> data) override;
  void session_lost() override;

  bool submit_frame(TransferQueue& queue, uint64_t credit_kept, OutgoingFrame& frame);
  Result<void> check_completion(const Transfer& transfer, const wire::FrameHeader& header,
                                const wire::CompleteBody& body) const;
  Result<void> take_completion(const wire::FrameHeader& header, std::span<const std::byte> body);
  Result<void> finish_if_whole(Transfer& transfer);
  Result<void> check_packets(const Transfer& transfer) const;
  void return_later(Transfer& transfer, TransferStatus status);
  void return_now(Transfer& transfer);
  void fail_in_flight(TransferStatus status);
  void begin_stop(Error why, TransferStatus status);

  DeviceInfo info_;
  std::unique_ptr<Driver> driver_;
  State state_ = State::opening;
  bool session_lost_ = false;
  bool drop_driver_ = false;
  uint64_t granted_ = 0;    // by the device end, cumulative
  uint64_t spent_ = 0;      // by us
  TransferQueue cancels_;   // cancel frames to send
  TransferQueue returned_;  // back to the driver at the end of the iteration
  uint64_t busy_ns_ = 0;    // as last reported
};

// The device's end.
class DeviceChannel final : public Channel, private DeviceEvents {
 public:
  DeviceChannel(Session& session, uint32_t number, std::unique_ptr<Device> device,
                uint64_t nominal_bytes_s, uint64_t credit_bytes, ChannelEvents& events);
  ~DeviceChannel() override;

  void start();
  void close(Error why) override;
  Device& device() { return *device_; }

 private:
  enum class State : uint8_t { idle, open, stopping, stopped, closed };
  // Of Transfer::channel.state at this end.
  enum TransferState : uint8_t {
    placed,      // its submit frame is being received
    arriving,    // part of its stream has come
    refused,     // the same, but there was no memory for it: its stream goes nowhere
    waiting,     // whole; the device gets it when its chain has come to it
    in_service,  // the device has it
    completing,  // its completion is queued, or partly sent
    leaving,     // all is sent; frames still refer to its memory
  };

  bool next_frame(bool urgent, OutgoingFrame& frame) override;
  bool has_frames(bool urgent) const override;
  void unheld(Transfer& transfer) override;
  void flush() override;
  Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                     std::span<const std::byte> body) override;
  Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                       std::span<std::byte> data) override;
  void session_lost() override;

  void frame_taken() override;

  // DeviceEvents
  void completed(Transfer& transfer) override;
  void unplugged(std::string_view reason) override;
  void device_stopped() override;

  Result<std::span<std::byte>> place_submit(const wire::FrameHeader& header,
                                            std::span<const std::byte> body);
  void take_submit(const wire::FrameHeader& header, std::span<const std::byte> body);
  void serve_if_whole(Transfer& transfer);
  void serve(Transfer& transfer);
  void end_unserved(Transfer& transfer, TransferStatus status);
  bool complete_frame(TransferQueue& queue, OutgoingFrame& frame);
  bool credit_due() const;
  void release(Transfer& transfer);
  void begin_stop(Error why);

  // As many as a command of a disk has behind its wrapper: data and status.
  class Alongside {
   public:
    static constexpr size_t items_max = 2;
    bool empty() const { return count_ == 0; }
    bool room() const { return count_ < items_.size(); }
    bool has(const Transfer& transfer) const {
      return std::ranges::find(items(), &transfer) != items().end();
    }
    void push(Transfer& transfer) { items_[count_++] = &transfer; }
    Transfer* back() const { return items_[count_ - 1]; }
    Transfer* pop_back() { return items_[--count_]; }
    Transfer* pop_front() {
      Transfer* const front = items_.front();
      std::shift_left(items_.begin(), items_.end(), 1);
      --count_;
      return front;
    }
    auto reversed() const { return std::views::reverse(items()); }

   private:
    std::span<Transfer* const> items() const { return std::span(items_).first(count_); }
    std::array<Transfer*, items_max> items_{};
    size_t count_ = 0;
  };
  // Of one chain: what the device has of it, and what waits for that to end ok. What is done may
  // wait for the next to be done, too, so that one message carries both.
  struct Chain {
    Transfer* in_service = nullptr;
    Alongside alongside{};  // the device has these, too; done or not, they come after that one
    TransferQueue waiting{};
    TransferQueue gathered{};  // completed
    bool broken = false;       // what arrives does not begin, until the chain begins anew
    bool failed = false;       // neither does what waits
    bool pumping = false;  // chain_completed() is at work: a device may complete inside submit()
  };
  void finish_link(Transfer& transfer);
  void tell(Transfer& transfer);

  // device_chains.cc
  bool serve_alongside(Chain& chain, Transfer& transfer);
  void alongside_completed(Chain& chain, Transfer& transfer);
  void alongside_cancel(Chain& chain);
  void leave_alongside(Transfer& transfer);
  void chain_whole(Transfer& transfer);
  void chain_cancel(Transfer& transfer);
  void chain_completed(Chain& chain, TransferStatus status);
  bool gather(Transfer& transfer);
  void send_gathered(Chain& chain);
  void send_all_gathered();

  std::unique_ptr<Device> device_;
  State state_ = State::idle;
  bool session_lost_ = false;
  uint64_t credit_bytes_;  // the window
  uint64_t granted_;       // cumulative, as it stands
  uint64_t granted_told_;  // as the peer knows
  uint64_t spent_ = 0;     // by the peer
  BusyClock busy_;
  std::array<Chain, limits::chains_per_channel_max + 1> chains_;  // [0] is none
  uint32_t gathered_ = 0;                                         // of all chains
  Timer gather_timer_;
  Transfer* submitting_ = nullptr;  // its submit frame is being received
  Transfer* left_ = nullptr;  // all of it is in the frame just given: release it at frame_taken()
};

}  // namespace farport
