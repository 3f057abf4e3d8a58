#include "control/daemon/peer_session.h"

#include <fmt/format.h>

#include <atomic>
#include <cassert>
#include <utility>

#include "control/daemon/peer_message.h"
#include "dataplane/socket_link.h"

namespace farport {

using nlohmann::json;
using std::chrono::milliseconds;

namespace {

// Requests of a peer that wait for their answers.
constexpr size_t kUnansweredMax = 256;
// Messages of a peer that control has not looked at yet.
constexpr size_t kUntakenMax = 1024;
constexpr milliseconds kReleaseLimit{10'000};

LatencySummary summarise(const Histogram& histogram) {
  return {histogram.percentile(50), histogram.percentile(99), histogram.percentile(99.9),
          histogram.max()};
}

}  // namespace

MeterReading read_meter(const Meter& meter, uint64_t now_ns) {
  return {meter.snapshot(now_ns),
          summarise(meter.total()),
          summarise(meter.service()),
          summarise(meter.channel()),
          {}};
}

// The worker's half: owns the Session. It lives until the session has closed and both halves have
// let go of it; the Session itself is destroyed on the worker.
class PeerSession::OnWorker final : public SessionEvents,
                                    public ChannelEvents,
                                    public std::enable_shared_from_this<OnWorker> {
 public:
  OnWorker(ControlLoop& loop, WorkerThread& worker) : loop_(loop), worker_(worker) {}

  std::weak_ptr<PeerSession> owner;  // set before anything runs; locked on the control thread only

  // Runs `work(*this)` on the worker while the session exists, `otherwise()` when it has gone.
  template <class Work, class Otherwise>
  void run(Work work, Otherwise otherwise) {
    auto both = std::make_shared<std::pair<Work, Otherwise>>(std::move(work), std::move(otherwise));
    worker_.post([self = shared_from_this(), both] {
      if (self->session_ != nullptr && !self->closed_) {
        both->first(*self);
      } else {
        both->second();
      }
    });
  }
  template <class Work>
  void run(Work work) {
    run(std::move(work), [] {});
  }

  void begin(SessionSettings settings, Hello peer, PeerConnection connection) {
    compresses_ = peer.compresses;
    session_ = std::make_unique<Session>(worker_.worker(), worker_.worker(), std::move(settings),
                                         std::move(peer), link_over(std::move(connection)), *this);
    session_->start();
  }
  std::unique_ptr<Link> link_over(PeerConnection connection) {
    LinkOptions options;
    options.tls = std::move(connection.tls);
    options.compress = compresses_;
    return std::make_unique<SocketLink>(worker_.worker(), std::move(connection.socket),
                                        std::move(connection.peer), std::move(options));
  }

  Session& session() { return *session_; }
  ControlLoop& loop() { return loop_; }
  uint64_t now_ns() const { return worker_.worker().now_ns(); }
  std::map<uint32_t, DriverChannel*> drivers;

  void tell(std::function<void(PeerSession&)> what) {
    loop_.post([owner = owner, what = std::move(what)] {
      if (const auto session = owner.lock()) what(*session);
    });
  }

  // --- SessionEvents ---
  void session_paused(Session&, const ResumePoint& point, const Error& why) override {
    tell([point, why](PeerSession& session) { session.paused(point, why); });
  }
  void session_message(Session&, wire::MessageKind kind, uint32_t id, std::string text) override {
    // What control has not got round to is bounded: a peer that only asks is no peer.
    if (untaken_->fetch_add(1) >= kUntakenMax) {
      untaken_->fetch_sub(1);
      return session_->close({ErrorCode::busy, "too many messages at once"});
    }
    loop_.post([owner = owner, untaken = untaken_, kind, id, text = std::move(text)] {
      untaken->fetch_sub(1);
      if (const auto session = owner.lock()) session->took_message(kind, id, text);
    });
  }
  void session_closed(Session&, Error why) override {
    closed_ = true;
    worker_.post([self = shared_from_this(), why = std::move(why)] {
      const bool timed_out = self->session_->timed_out();
      self->session_.reset();
      self->tell([why, timed_out](PeerSession& session) { session.ended(why, timed_out); });
    });
  }

  // --- ChannelEvents ---
  void channel_closed(Channel& channel, Error why) override {
    drivers.erase(channel.number());
    // Of a session that ends, the end is what matters: it is told once, for all its channels.
    if (!session_->open()) return;
    // Control must find the device destroyed, so that the next one can open it: the session
    // destroys a removed channel at the end of the next iteration, the second message comes after.
    worker_.post([self = shared_from_this(), number = channel.number(), why = std::move(why)] {
      self->worker_.post([self, number, why] {
        self->tell([number, why](PeerSession& session) { session.lost_channel(number, why); });
      });
    });
  }
  void driver_gone(Channel& channel) override {
    tell([number = channel.number()](PeerSession& session) { session.lost_driver(number); });
  }

 private:
  ControlLoop& loop_;
  WorkerThread& worker_;
  std::unique_ptr<Session> session_;
  // Messages on their way to control; shared with those, which may outlive this.
  std::shared_ptr<std::atomic<size_t>> untaken_ = std::make_shared<std::atomic<size_t>>(0);
  bool compresses_ = false;
  bool closed_ = false;
};

PeerSession::PeerSession(ControlLoop& loop, bool connecting, Hello peer, PeerSessionEvents& events)
    : loop_(loop),
      connecting_(connecting),
      hello_(std::move(peer)),
      events_(events),
      next_number_(connecting ? 1 : 2) {}

PeerSession::~PeerSession() = default;

std::shared_ptr<PeerSession> PeerSession::start(ControlLoop& loop, WorkerThread& worker,
                                                SessionSettings settings, Hello peer,
                                                Result<PeerConnection> connection,
                                                PeerSessionEvents& events) {
  std::shared_ptr<PeerSession> session(new PeerSession(loop, settings.connecting, peer, events));
  session->on_worker_ = std::make_shared<OnWorker>(loop, worker);
  session->on_worker_->owner = session;
  if (!connection) {
    loop.post([session, why = connection.error()] { session->ended(why, false); });
    return session;
  }
  // Handed over in a shared_ptr because a std::function must be copyable.
  auto held = std::make_shared<PeerConnection>(std::move(*connection));
  worker.post([half = session->on_worker_, settings = std::move(settings), peer = std::move(peer),
               held]() mutable { half->begin(settings, peer, std::move(*held)); });
  return session;
}

void PeerSession::close(Error why, SessionEnd how) {
  if (state_ == State::closed) return;
  end_ = how;
  on_worker_->run([why = std::move(why)](OnWorker& half) { half.session().close(why); });
}

void PeerSession::pause(Error why) {
  on_worker_->run([why = std::move(why)](OnWorker& half) { half.session().pause(why); });
}

void PeerSession::where_it_stands(std::function<void(const ResumePoint&)> done) {
  on_worker_->run([done = std::move(done)](OnWorker& half) {
    half.loop().post([done, point = half.session().resume_point()] { done(point); });
  });
}

void PeerSession::resume(PeerConnection connection, uint64_t peer_received) {
  paused_ = false;
  auto held = std::make_shared<PeerConnection>(std::move(connection));
  on_worker_->run([held, peer_received](OnWorker& half) {
    // It may have ended meanwhile, by its time or by a user.
    if (!half.session().paused()) return;
    half.session().resume(half.link_over(std::move(*held)), peer_received);
  });
}

void PeerSession::paused(const ResumePoint& point, const Error& why) {
  if (state_ != State::open) return;
  paused_ = true;
  give_up_waiting();
  events_.peer_paused(*this, point, why);
}

void PeerSession::notify(const json& notice) {
  if (state_ != State::open) return;
  on_worker_->run([text = peer::dump(notice)](OnWorker& half) {
    half.session().send_message(wire::MessageKind::notice, 0, text);
  });
}

uint32_t PeerSession::add_pending(milliseconds limit, Callback<json> done) {
  const uint32_t id = next_request_++;
  Pending pending{std::move(done), std::make_unique<ControlTimer>(loop_)};
  pending.timer->after(limit, [this, id, limit] {
    answer(id, fail(ErrorCode::timed_out, fmt::format("host {} did not answer within {} s",
                                                      peer_name(), limit.count() / 1000)));
  });
  pending_.emplace(id, std::move(pending));
  return id;
}

void PeerSession::answer(uint32_t id, Result<json> result) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;  // it came after the time limit
  const Pending pending = std::move(found->second);
  pending_.erase(found);
  pending.done(std::move(result));
}

void PeerSession::request(const json& request, milliseconds limit, Callback<json> done) {
  if (state_ != State::open) {
    done(fail(ErrorCode::unreachable, fmt::format("host {} is not connected", peer_name())));
    return;
  }
  if (paused_) {
    done(fail(
        ErrorCode::unreachable,
        fmt::format("the connection to host {} was lost and is being resumed (`farport hosts`)",
                    peer_name())));
    return;
  }
  static_cast<void>(send_request(request, limit, std::move(done)));
}

// What is sent while the session is paused leaves with the next connection.
uint32_t PeerSession::send_request(const json& request, milliseconds limit, Callback<json> done) {
  const uint32_t id = add_pending(limit, std::move(done));
  on_worker_->run([id, text = peer::dump(request)](OnWorker& half) {
    half.session().send_message(wire::MessageKind::request, id, text);
  });
  return id;
}

void PeerSession::release(uint32_t number, std::function<void()> done) {
  if (state_ != State::open) return done();  // the peer gives back everything
  const uint32_t id = send_request({{"op", "release"}, {"channel", number}}, kReleaseLimit,
                                   [done](const Result<json>&) { done(); });
  pending_.at(id).until_pause = true;
  if (paused_) give_up_waiting();
}

void PeerSession::give_up_waiting() {
  std::vector<uint32_t> ids;
  for (const auto& [id, pending] : pending_) {
    if (pending.until_pause) ids.push_back(id);
  }
  for (const uint32_t id : ids) {
    answer(id, fail(ErrorCode::unreachable, "the session is paused; it is asked later"));
  }
}

void PeerSession::respond(uint32_t id, const json& response) {
  --unanswered_;
  send_response(id, response);
}

void PeerSession::send_response(uint32_t id, const json& response) {
  std::string text = peer::dump(response);
  if (text.size() > limits::message_bytes_max) {
    text = peer::dump(peer::error_response({ErrorCode::failed, "the answer is too long"}));
  }
  on_worker_->run([id, text = std::move(text)](OnWorker& half) {
    half.session().send_message(wire::MessageKind::response, id, text);
  });
}

// Numbers are not used again soon: a late frame of an old channel cannot meet a new one.
uint32_t PeerSession::free_number() {
  do {
    next_number_ += 2;
    if (next_number_ > 0x7fffffff) next_number_ = connecting_ ? 1 : 2;
  } while (channels_.contains(next_number_));
  return next_number_;
}

Result<uint32_t> PeerSession::attach(json request, milliseconds limit, Callback<json> done) {
  if (state_ != State::open) {
    return fail(ErrorCode::unreachable, fmt::format("host {} is not connected", peer_name()));
  }
  if (channels_.size() >= limits::channels_per_session_max) {
    return fail(ErrorCode::busy, fmt::format("{} channels are open with host {} already, the most "
                                             "there can be; detach something first",
                                             channels_.size(), peer_name()));
  }
  const uint32_t number = free_number();
  channels_.insert(number);
  request["channel"] = number;
  const uint32_t id = add_pending(limit, std::move(done));
  on_worker_->run([id, number, text = peer::dump(request)](OnWorker& half) {
    DriverChannel* const channel = half.session().add_driver_channel(number, half);
    if (channel == nullptr) {
      half.tell([id, number](PeerSession& session) {
        session.answer(
            id, fail(ErrorCode::busy,
                     "the session with this host is ending, or has all the channels it can"));
        session.lost_channel(number, {ErrorCode::busy, "the channel could not be opened"});
      });
      return;
    }
    half.drivers[number] = channel;
    half.session().send_message(wire::MessageKind::request, id, text);
  });
  return number;
}

void PeerSession::start_driver(uint32_t number, DeviceInfo info, uint64_t nominal_bytes_s,
                               uint64_t credit_bytes, std::unique_ptr<Driver> driver,
                               std::function<void(const std::string&)> started) {
  // A driver that is never started is destroyed on the worker too, with the message.
  const auto held = std::make_shared<std::unique_ptr<Driver>>(std::move(driver));
  on_worker_->run([number, info = std::move(info), nominal_bytes_s, credit_bytes, held,
                   started = std::move(started)](OnWorker& half) {
    const auto found = half.drivers.find(number);
    if (found == half.drivers.end()) return;
    DriverChannel& channel = *found->second;
    channel.start(info, nominal_bytes_s, credit_bytes, std::move(*held));
    if (!channel.open()) return;
    half.loop().post([started, path = channel.driver()->path()] { started(path); });
  });
}

void PeerSession::add_device(uint32_t number, std::unique_ptr<Device> device,
                             uint64_t nominal_bytes_s, uint64_t credit_bytes, uint32_t id,
                             json response, std::function<void(bool)> done) {
  --unanswered_;
  const bool theirs = (number % 2 == 1) != connecting_;
  const bool taken = !theirs || !channels_.insert(number).second;
  auto& loop = loop_;
  const auto held = std::make_shared<std::unique_ptr<Device>>(std::move(device));
  on_worker_->run(
      [number, taken, held, nominal_bytes_s, credit_bytes, id, text = peer::dump(response), done,
       &loop](OnWorker& half) {
        const bool added =
            !taken && half.session().add_device_channel(number, std::move(*held), nominal_bytes_s,
                                                        credit_bytes, half) != nullptr;
        held->reset();
        if (!added && !taken) half.tell([number](PeerSession& me) { me.channels_.erase(number); });
        half.session().send_message(
            wire::MessageKind::response, id,
            added ? text
                  : peer::dump(peer::error_response(
                        {ErrorCode::failed, fmt::format("channel {} is taken", number)})));
        loop.post([done, added] { done(added); });
      },
      [held, done, &loop] {
        held->reset();  // on the worker, where a device belongs
        loop.post([done] { done(false); });
      });
}

void PeerSession::close_channel(uint32_t number, Error why) {
  on_worker_->run([number, why = std::move(why)](OnWorker& half) {
    if (Channel* const channel = half.session().channel(number)) channel->close(why);
  });
}

void PeerSession::drop_driver(uint32_t number) {
  on_worker_->run([number](OnWorker& half) {
    if (const auto found = half.drivers.find(number); found != half.drivers.end()) {
      found->second->drop_driver();
    }
  });
}

void PeerSession::read_meters(std::function<void(std::map<uint32_t, MeterReading>)> done) {
  on_worker_->run([done = std::move(done), &loop = loop_](OnWorker& half) {
    std::map<uint32_t, MeterReading> readings;
    const uint64_t now_ns = half.now_ns();
    for (const auto& [number, channel] : half.drivers) {
      MeterReading& reading = readings[number] = read_meter(channel->meter(), now_ns);
      const SessionCounters counters = half.session().counters();
      reading.meter.retransmissions = counters.frames_repeated;
      reading.meter.resumes = counters.resumes;
      if (channel->driver() != nullptr) reading.rules = channel->driver()->rule_figures();
    }
    loop.post([done, readings = std::move(readings)] { done(readings); });
  });
}

void PeerSession::read_compression(std::function<void(const CompressionCounters&)> done) {
  on_worker_->run(
      [done](OnWorker& half) {
        half.loop().post([done, counters = half.session().compression()] { done(counters); });
      },
      [done, &loop = loop_] { loop.post([done] { done({}); }); });
}

void PeerSession::took_message(wire::MessageKind kind, uint32_t id, const std::string& text) {
  auto message = peer::parse(text);
  if (kind == wire::MessageKind::response) {
    if (!message) return answer(id, std::unexpected(message.error()));
    if (auto ok = peer::check_response(*message); !ok)
      return answer(id, std::unexpected(ok.error()));
    answer(id, std::move(*message));
  } else if (kind == wire::MessageKind::request) {
    if (!message) return send_response(id, peer::error_response(message.error()));
    if (unanswered_ >= kUnansweredMax) {
      return send_response(id,
                           peer::error_response({ErrorCode::busy, "too many requests at once"}));
    }
    ++unanswered_;
    events_.peer_request(*this, id, *message);
  } else if (kind == wire::MessageKind::notice && message) {
    events_.peer_notice(*this, *message);  // a bad one has nobody to answer to
  }
}

void PeerSession::lost_channel(uint32_t number, const Error& why) {
  if (state_ == State::closed) return;  // ended() has said it of all
  channels_.erase(number);
  events_.peer_channel_closed(*this, number, why);
}

void PeerSession::lost_driver(uint32_t number) {
  if (state_ == State::closed) return;
  events_.peer_driver_gone(*this, number);
}

void PeerSession::ended(const Error& why, bool timed_out) {
  if (state_ == State::closed) return;
  if (timed_out) end_ = SessionEnd::timed_out;
  const auto self = shared_from_this();
  state_ = State::closed;
  const Error error{ErrorCode::unreachable,
                    fmt::format("the connection to host {} ended: {}", peer_name(), why.message)};
  while (!pending_.empty()) answer(pending_.begin()->first, std::unexpected(error));
  events_.peer_closed(*this, why);
}

}  // namespace farport
