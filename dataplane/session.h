// Two hosts that talk: numbers and acknowledges frames, shares one link between many channels, and
// carries control's messages. session.cc: life; session_send.cc: what goes out, in which order;
// session_receive.cc: what comes in, each thing checked.
//
// Retention: each numbered frame keeps its head in a ring, and refers to its transfer's memory,
// until the peer has acknowledged its number. A session that has lost its connection is paused:
// channels and consumers stay, what they submit waits. Over the next connection both sides say
// which number they took last, and each repeats what the other has not.
//
// Two priorities: control, cancel, interrupt, serial, and small transfers that no larger one of the
// same endpoint is ahead of, overtake bulk. Bulk of several channels alternates frame by frame.
//
// Thread rule: everything on the session's worker.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/channel.h"
#include "dataplane/error.h"
#include "dataplane/greeting.h"
#include "dataplane/limits.h"
#include "dataplane/link.h"
#include "dataplane/loop.h"
#include "dataplane/wire.h"

namespace farport {

struct SessionSettings {
  std::string host_name;  // ours
  bool connecting = false;
  uint64_t probe_interval_ns = 1'000'000'000;  // ping when nothing came for so long
  uint64_t watch_interval_ns = 100'000'000;    // of the link, while anything moves
  uint64_t unanswered_max_ns = 600'000'000;    // the network is lost when it was dead for so long
  uint64_t silent_max_ns = 10'000'000'000;     // the peer is, when it has said nothing for so long
  uint64_t resume_timeout_ns = 30'000'000'000;
};

// Where a session without a connection stands: what the peer is told, and what it may claim.
struct ResumePoint {
  uint64_t received = 0;      // the last frame taken
  uint64_t acknowledged = 0;  // the last frame of ours that the peer is known to have
  uint64_t sent = 0;          // the last frame of ours
};

// Whether a peer that says it has `received` can go on from there.
Result<void> check_resume(const ResumePoint& point, uint64_t received);

struct SessionCounters {
  uint64_t frames_sent = 0, frames_received = 0;
  uint64_t bytes_sent = 0, bytes_received = 0;  // of frames, heads included
  uint64_t frames_unacknowledged = 0;
  uint64_t frames_repeated = 0;  // sent again after a lost connection
  uint64_t resumes = 0;
};

class Session;

// What a session reports to control's side of the worker.
class SessionEvents {
 public:
  // A complete control message: valid UTF-8 is not promised, JSON neither.
  virtual void session_message(Session& session, wire::MessageKind kind, uint32_t id,
                               std::string text) = 0;
  // The connection is gone and `why`; nothing of it is referred to any more. Consumers see a pause.
  // resume() goes on; after resume_timeout the session ends.
  virtual void session_paused(Session& session, const ResumePoint& point, const Error& why) = 0;
  // The session is over, all its channels are closed, it may be destroyed (not from inside).
  virtual void session_closed(Session& session, Error why) = 0;

 protected:
  ~SessionEvents() = default;
};

class Session final : public LinkEvents, private Flushable {
 public:
  // `peer`: its hello, come over `link` (greeting.h); ours has been sent.
  Session(Worker& worker, Loop& loop, SessionSettings settings, Hello peer,
          std::unique_ptr<Link> link, SessionEvents& events);
  ~Session();  // only before start() or after session_closed()

  void start();
  // Ends the session in order: the peer is told `why`, channels close, session_closed() follows.
  void close(Error why);
  // Lets go of the connection, to go on over another one: session_paused() follows, or has come.
  void pause(Error why);
  // Where it stands, now. Of a session that moves, only `sent` is of use.
  ResumePoint resume_point() const { return {received_, acknowledged_, next_number_ - 1}; }
  // After session_paused(): goes on over `link`. `peer_received`: as its hello said, checked.
  void resume(std::unique_ptr<Link> link, uint64_t peer_received);

  // Whether channels and messages may be used; also while it is paused.
  bool open() const { return state_ == State::open || paused(); }
  bool paused() const { return state_ == State::pausing || state_ == State::paused; }
  // It ended because nobody resumed it in time.
  bool timed_out() const { return timed_out_; }
  const Hello& peer() const { return peer_; }
  SessionCounters counters() const;
  // Of all its links; `on` is false while it has none.
  CompressionCounters compression() const;

  // --- control messages ---
  // `text` at most limits::message_bytes_max.
  void send_message(wire::MessageKind kind, uint32_t id, std::string text);

  // --- channels; numbers are chosen by the driver end: odd on the connecting side, even on the
  // other A channel whose device is at the peer: it waits in state opening until start()
  // (channel.h). nullptr when the number is taken or there are too many.
  DriverChannel* add_driver_channel(uint32_t number, ChannelEvents& events);
  // A channel whose device is here; the device is started.
  DeviceChannel* add_device_channel(uint32_t number, std::unique_ptr<Device> device,
                                    uint64_t nominal_bytes_s, uint64_t credit_bytes,
                                    ChannelEvents& events);
  Channel* channel(uint32_t number) const;
  // Whether channels of this number are chosen by this side.
  bool ours(uint32_t number) const { return (number % 2 == 1) == settings_.connecting; }
  size_t channel_count() const { return channels_.size(); }

  // --- for channels ---
  // The channel has something to send.
  void wants_to_send(Channel& channel);
  // The channel is over; destroyed after the present iteration's events.
  void remove(Channel& channel);
  Worker& worker() { return worker_; }
  Loop& loop() { return loop_; }
  // Why it ended, once it has.
  const Error& why() const { return why_; }
  // What the peer takes in one frame.
  uint32_t peer_data_bytes_max() const { return peer_data_bytes_max_; }
  // Where data goes that nobody wants.
  std::span<std::byte> sink(uint32_t bytes);

  // --- LinkEvents ---
  Result<std::span<std::byte>> place(const wire::FrameHeader& header,
                                     std::span<const std::byte> body) override;
  Result<void> deliver(const wire::FrameHeader& header, std::span<const std::byte> body,
                       std::span<std::byte> data) override;
  void link_ready() override { loop_.flush_later(*this); }
  void link_lost(Error why) override { pause(std::move(why)); }
  void link_broken(Error why) override { end(std::move(why), true); }
  void link_closed() override;

 private:
  // pausing: the link is being closed. closing: the same, for good.
  enum class State : uint8_t { idle, open, pausing, paused, closing, closed };

  // A numbered frame, from its sending to its acknowledgement.
  struct SentFrame {
    std::array<std::byte, Link::head_bytes_max> head;
    uint16_t head_bytes = 0;
    std::span<const std::byte> data;
    Channel* channel = nullptr;    // told when it is acknowledged
    Transfer* transfer = nullptr;  // whose memory `data` is
  };
  struct OutgoingMessage {
    wire::MessageKind kind;
    uint32_t id;
    std::string text;
    size_t sent = 0;
    uint64_t last_number = 0;  // of its last frame, once sent: the text is kept until that
  };

  // session.cc
  void end(Error why, bool tell_peer);
  void let_go();
  void finish_if_done();
  void probe();
  void resume_timed_out();

  // session_send.cc
  void flush() override;
  bool send_next();
  bool send_message_part();
  bool send_unknown_closed();
  void repeat_frames();
  void send_reason(wire::FrameType type, const Error& why);
  void send_unnumbered(wire::FrameType type, std::span<const std::byte> body,
                       std::span<const std::byte> data);
  void send_numbered(const OutgoingFrame& frame, Channel* channel, uint32_t channel_number);
  bool send_of(ChannelQueue& queue, bool urgent);
  void owe_acknowledgement();
  void acknowledgement_due();
  void acknowledge();
  bool window_open() const { return next_number_ - acknowledged_ <= limits::frames_in_flight_max; }
  void transmit(SentFrame& frame);

  // session_receive.cc
  Result<std::span<std::byte>> place_checked(const wire::FrameHeader& header,
                                             std::span<const std::byte> body);
  Result<void> deliver_checked(const wire::FrameHeader& header, std::span<const std::byte> body,
                               std::span<std::byte> data);
  Result<void> take_acknowledgement(uint64_t number);
  Result<void> take_message(std::span<const std::byte> body, std::span<std::byte> data);
  Result<void> take_goodbye(std::span<const std::byte> body, std::span<std::byte> data);
  Result<void> take_channel_frame(const wire::FrameHeader& header, std::span<const std::byte> body,
                                  std::span<std::byte> data);

  Worker& worker_;
  Loop& loop_;
  SessionSettings settings_;
  std::unique_ptr<Link> link_;
  SessionEvents& events_;
  State state_ = State::idle;
  Hello peer_;
  Error why_;  // of the end, or of the pause
  bool timed_out_ = false;
  bool let_go_ = false;              // channels have been told that it is over
  std::unique_ptr<Link> dead_link_;  // until the end of the iteration
  Timer probe_timer_;
  bool ping_open_ = false;     // sent, and nothing heard since
  uint64_t watched_sent_ = 0;  // last number sent when the probe timer last fired
  Timer resume_timer_;
  uint64_t resume_deadline_ns_ = 0;
  uint64_t resumed_received_ = 0;  // as it stood at the last resume: what came since is progress
  uint64_t resumed_sent_ = 0;
  uint64_t heard_ns_ = 0;      // when the probe timer last saw that something had come
  uint64_t heard_frames_ = 0;  // frames received when the probe timer last fired
  Timer acknowledge_timer_;

  // sending
  std::vector<SentFrame> sent_;  // ring: number % frames_in_flight_max
  uint64_t next_number_ = 1;
  uint64_t acknowledged_ = 0;  // by the peer
  uint64_t repeat_ = 1;        // the next frame to send on this connection: next_number_, mostly
  uint32_t peer_data_bytes_max_ = 0;
  std::deque<OutgoingMessage> messages_;
  size_t messages_bytes_ = 0;
  ChannelQueue urgent_{0};
  ChannelQueue bulk_{1};
  std::vector<uint32_t> unknown_closed_;  // channels the peer closed that are not here: tell it so
  bool ping_due_ = false;
  bool pong_due_ = false;
  uint64_t pong_token_ = 0;

  // receiving
  uint64_t received_ = 0;              // the last number taken
  uint64_t received_told_ = 0;         // of which the peer knows
  uint64_t acknowledgement_owed_ = 0;  // of frames up to this when acknowledge_timer_ fires
  bool duplicate_ = false;             // the frame being received was taken before
  std::string incoming_message_;
  std::vector<std::byte> sink_;  // one frame's data

  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<Channel>> removed_;
  SessionCounters counters_;
  CompressionCounters compression_before_;  // of links that are gone
};

}  // namespace farport
