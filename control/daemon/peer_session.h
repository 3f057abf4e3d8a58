// A session with another host as control sees it: requests and responses, channels by their number.
// The Session itself lives on a worker (peer_session.cc, class OnWorker); the two halves speak by
// post() only.
//
// Thread rule: the control thread. Callbacks come there, exactly once; when the session ends, what
// is unanswered is answered with `unreachable`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/control_loop.h"
#include "control/daemon/network.h"
#include "control/daemon/service.h"
#include "control/daemon/worker_thread.h"
#include "dataplane/file_descriptor.h"
#include "dataplane/session.h"

namespace farport {

class PeerSession;

// How a session came to its end, for whoever decides what becomes of what it carried.
enum class SessionEnd : uint8_t {
  closed_by_us,
  closed_by_peer,  // also: the connection was lost, and nothing more is known
  timed_out,       // resume_timeout has passed
  peer_restarted,  // another boot id
  replaced,        // by a newer session of the same two daemons
  trust_removed,
};

// Figures of one channel, taken on its worker.
struct MeterReading {
  MeterSnapshot meter;
  LatencySummary total, service, channel;
  std::vector<RuleFigures> rules{};  // of a driver end
};
MeterReading read_meter(const Meter& meter, uint64_t now_ns);

// What a session tells the rest of the daemon.
class PeerSessionEvents {
 public:
  // A request of the peer, parsed: to be answered once by respond(id, ...).
  virtual void peer_request(PeerSession& session, uint32_t id, const nlohmann::json& request) = 0;
  // Something that needs no answer, parsed.
  virtual void peer_notice(PeerSession& session, const nlohmann::json& notice) = 0;
  // A channel of either end is over; its number is free again.
  virtual void peer_channel_closed(PeerSession& session, uint32_t number, const Error& why) = 0;
  // As asked by drop_driver(): nothing of the channel is left at the consumer.
  virtual void peer_driver_gone(PeerSession& session, uint32_t number) = 0;
  // The connection is gone; resume() goes on, or in time the session ends.
  virtual void peer_paused(PeerSession& session, const ResumePoint& point, const Error& why) = 0;
  // The last thing a session says. Its channels are over, those not reported before too.
  virtual void peer_closed(PeerSession& session, const Error& why) = 0;

 protected:
  ~PeerSessionEvents() = default;
};

class PeerSession : public std::enable_shared_from_this<PeerSession> {
 public:
  // Over a connection on which both have said hello; an error instead of a connection ends it at
  // once. `events` outlives the session's last event.
  static std::shared_ptr<PeerSession> start(ControlLoop& loop, WorkerThread& worker,
                                            SessionSettings settings, Hello peer,
                                            Result<PeerConnection> connection,
                                            PeerSessionEvents& events);
  ~PeerSession();

  bool open() const { return state_ == State::open; }
  // It has no connection now.
  bool paused() const { return open() && paused_; }
  bool connecting() const { return connecting_; }
  const std::string& peer_name() const { return hello_.host_name; }
  const Hello& peer() const { return hello_; }
  size_t channel_count() const { return channels_.size(); }

  // Ends it in order; peer_closed() follows.
  void close(Error why, SessionEnd how = SessionEnd::closed_by_us);
  // Known once peer_closed() is called.
  SessionEnd how_it_ended() const { return end_; }

  // Lets go of the connection; peer_paused() follows, or has come.
  void pause(Error why);
  // The numbers of now, from the worker; not after the session has closed.
  void where_it_stands(std::function<void(const ResumePoint&)> done);
  // After peer_paused(): goes on; `peer_received` has been checked.
  void resume(PeerConnection connection, uint64_t peer_received);

  // Says something that needs no answer.
  void notify(const nlohmann::json& notice);
  void request(const nlohmann::json& request, std::chrono::milliseconds limit,
               Callback<nlohmann::json> done);
  // The peer is to undo what an attach of this channel has done or will do. While the session is
  // paused this is kept for it, before whatever is asked next, and `done` does not wait.
  void release(uint32_t number, std::function<void()> done);
  void respond(uint32_t id, const nlohmann::json& response);

  // --- channels whose device is at the peer ---
  // Opens a channel and sends `request` with its number as "channel". When the answer is an error,
  // the caller closes the channel.
  Result<uint32_t> attach(nlohmann::json request, std::chrono::milliseconds limit,
                          Callback<nlohmann::json> done);
  // Presents the device; `started` is given Driver::path(). When the driver cannot start, or the
  // channel is gone, that is not called: peer_channel_closed() says why, or has said it.
  void start_driver(uint32_t number, DeviceInfo info, uint64_t nominal_bytes_s,
                    uint64_t credit_bytes, std::unique_ptr<Driver> driver,
                    std::function<void(const std::string&)> started);
  // --- channels whose device is here ---
  // Puts the device into service and answers request `id` with `response`; with an error when the
  // number is taken. False in `done`: it was not put into service.
  void add_device(uint32_t number, std::unique_ptr<Device> device, uint64_t nominal_bytes_s,
                  uint64_t credit_bytes, uint32_t id, nlohmann::json response,
                  std::function<void(bool)> done);

  void close_channel(uint32_t number, Error why);
  // Of a channel that is being closed, and whose peer may not answer for long: once its driver is
  // gone, peer_driver_gone() follows, unless peer_channel_closed() comes first.
  void drop_driver(uint32_t number);
  // Of all channels whose driver is here, by number.
  void read_meters(std::function<void(std::map<uint32_t, MeterReading>)> done);
  // Zeros when the session is over.
  void read_compression(std::function<void(const CompressionCounters&)> done);

 private:
  class OnWorker;
  enum class State : uint8_t { open, closed };
  struct Pending {
    Callback<nlohmann::json> done;
    std::unique_ptr<ControlTimer> timer;
    bool until_pause = false;  // whoever waits for it does not wait for the next connection
  };

  PeerSession(ControlLoop& loop, bool connecting, Hello peer, PeerSessionEvents& events);
  uint32_t send_request(const nlohmann::json& request, std::chrono::milliseconds limit,
                        Callback<nlohmann::json> done);
  void give_up_waiting();
  uint32_t add_pending(std::chrono::milliseconds limit, Callback<nlohmann::json> done);
  void answer(uint32_t id, Result<nlohmann::json> result);
  uint32_t free_number();
  void send_response(uint32_t id, const nlohmann::json& response);

  // From the worker.
  void took_message(wire::MessageKind kind, uint32_t id, const std::string& text);
  void lost_channel(uint32_t number, const Error& why);
  void lost_driver(uint32_t number);
  void paused(const ResumePoint& point, const Error& why);
  void ended(const Error& why, bool timed_out);

  ControlLoop& loop_;
  const bool connecting_;
  const Hello hello_;
  PeerSessionEvents& events_;
  std::shared_ptr<OnWorker> on_worker_;
  State state_ = State::open;
  bool paused_ = false;  // no connection now
  SessionEnd end_ = SessionEnd::closed_by_peer;
  std::map<uint32_t, Pending> pending_;
  uint32_t next_request_ = 1;
  size_t unanswered_ = 0;        // requests of the peer
  std::set<uint32_t> channels_;  // in use, of both ends
  uint32_t next_number_;
};

}  // namespace farport
