// The life of a session: greeting, open, closing, closed.
#include "dataplane/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace farport {

Result<void> check_resume(const ResumePoint& point, uint64_t received) {
  if (received > point.sent) {
    return fail(ErrorCode::denied,
                fmt::format("it claims frame {} of {}: it cannot be the session that it says it is",
                            received, point.sent));
  }
  if (received < point.acknowledged) {
    return fail(ErrorCode::denied,
                fmt::format("it goes back to frame {} and had acknowledged {}: it cannot be the "
                            "session that it says it is",
                            received, point.acknowledged));
  }
  return {};
}

Session::Session(Worker& worker, Loop& loop, SessionSettings settings, Hello peer,
                 std::unique_ptr<Link> link, SessionEvents& events)
    : worker_(worker),
      loop_(loop),
      settings_(std::move(settings)),
      link_(std::move(link)),
      events_(events),
      peer_(std::move(peer)),
      probe_timer_(
          loop, [](void* self) { static_cast<Session*>(self)->probe(); }, this),
      resume_timer_(
          loop, [](void* self) { static_cast<Session*>(self)->resume_timed_out(); }, this),
      acknowledge_timer_(
          loop, [](void* self) { static_cast<Session*>(self)->acknowledgement_due(); }, this),
      sent_(limits::frames_in_flight_max),
      peer_data_bytes_max_(std::min(peer_.frame_data_bytes_max, limits::frame_data_bytes_max)),
      sink_(limits::frame_data_bytes_max) {}

Session::~Session() {
  assert(state_ == State::idle || state_ == State::closed);
  loop_.forget(*this);
}

void Session::start() {
  assert(state_ == State::idle);
  state_ = State::open;
  heard_ns_ = loop_.now_ns();
  link_->start(*this);
  probe_timer_.arm_after(settings_.probe_interval_ns);
}

void Session::close(Error why) { end(std::move(why), true); }

void Session::end(Error why, bool tell_peer) {
  if (state_ == State::closing || state_ == State::closed) return;
  if (tell_peer && state_ == State::open) {
    send_reason(wire::FrameType::goodbye, why);
    link_->flush();
  }
  const State before = std::exchange(state_, State::closing);
  why_ = std::move(why);
  probe_timer_.disarm();
  resume_timer_.disarm();
  acknowledge_timer_.disarm();
  if (before == State::paused) {
    let_go();
  } else if (link_ != nullptr) {
    link_->close();
  }
}

// --- pausing and resuming ---

void Session::pause(Error why) {
  if (state_ != State::open) return;
  state_ = State::pausing;
  why_ = std::move(why);
  probe_timer_.disarm();
  acknowledge_timer_.disarm();
  // A path that lets a greeting through and nothing else is no path: its time goes on.
  const uint64_t now = loop_.now_ns();
  if (counters_.resumes == 0 || received_ != resumed_received_ || acknowledged_ != resumed_sent_) {
    resume_deadline_ns_ = now + settings_.resume_timeout_ns;
  }
  resume_timer_.arm_after(resume_deadline_ns_ > now ? resume_deadline_ns_ - now : 0);
  link_->abort();  // what has not arrived is sent again
}

// From here on no memory of ours is referred to by the link.
void Session::link_closed() {
  assert(state_ == State::pausing || state_ == State::closing);
  if (state_ == State::closing) return let_go();
  state_ = State::paused;
  compression_before_ = compression();
  compression_before_.on = false;
  dead_link_ = std::move(link_);  // not destroyed from inside its own call
  loop_.flush_later(*this);
  for (const auto& channel : channels_) channel->unplace();  // what was cut off comes again
  events_.session_paused(*this, resume_point(), why_);
}

void Session::resume(std::unique_ptr<Link> link, uint64_t peer_received) {
  assert(state_ == State::paused && check_resume(resume_point(), peer_received));
  link_ = std::move(link);
  state_ = State::open;
  ++counters_.resumes;
  resume_timer_.disarm();
  static_cast<void>(take_acknowledgement(peer_received));
  repeat_ = acknowledged_ + 1;
  resumed_received_ = received_;
  resumed_sent_ = acknowledged_;
  received_told_ = received_;  // in the hello
  ping_due_ = pong_due_ = false;
  ping_open_ = false;
  heard_ns_ = loop_.now_ns();
  link_->start(*this);
  probe_timer_.arm_after(settings_.watch_interval_ns);
  for (const auto& channel : channels_) wants_to_send(*channel);
  loop_.flush_later(*this);
}

void Session::resume_timed_out() {
  timed_out_ = true;
  end({ErrorCode::timed_out,
       fmt::format("it was not back within {} s: {}", settings_.resume_timeout_ns / 1'000'000'000,
                   why_.message)},
      false);
}

// --- ending ---

// Channels let go of their memory, and end.
void Session::let_go() {
  let_go_ = true;
  for (size_t index = 0; index < channels_.size(); ++index) {
    if (channels_[index]) channels_[index]->session_lost();
  }
  loop_.flush_later(*this);
}

void Session::finish_if_done() {
  if (!let_go_ || state_ != State::closing || !channels_.empty()) return;
  state_ = State::closed;
  events_.session_closed(*this, why_);  // may destroy this
}

// While frames move, the link is looked at often: a dead network is noticed within a second. At
// rest a ping makes sure that there is something to be answered.
void Session::probe() {
  if (state_ != State::open) return;
  const uint64_t now = loop_.now_ns();
  if (const uint64_t dead = link_->unanswered_ns(); dead >= settings_.unanswered_max_ns) {
    return pause(
        {ErrorCode::timed_out, fmt::format("the network to {} ({}) has been dead for {} ms",
                                           peer_.host_name, link_->peer(), dead / 1'000'000)});
  }
  if (counters_.frames_received != heard_frames_) {
    heard_frames_ = counters_.frames_received;
    heard_ns_ = now;
    ping_open_ = false;
  } else if (now - heard_ns_ >= settings_.silent_max_ns) {
    return pause(
        {ErrorCode::timed_out, fmt::format("nothing heard from {} ({}) for {} ms", peer_.host_name,
                                           link_->peer(), (now - heard_ns_) / 1'000'000)});
  } else if (!ping_open_) {
    ping_due_ = ping_open_ = true;
    loop_.flush_later(*this);
  }
  const uint64_t sent = next_number_ - 1;
  const bool busy = ping_open_ || sent != watched_sent_ || acknowledged_ != sent;
  watched_sent_ = sent;
  probe_timer_.arm_after(busy ? settings_.watch_interval_ns : settings_.probe_interval_ns);
}

CompressionCounters Session::compression() const {
  return link_ == nullptr ? compression_before_
                          : compression_before_.followed_by(link_->compression());
}

SessionCounters Session::counters() const {
  SessionCounters counters = counters_;
  counters.frames_unacknowledged = next_number_ - 1 - acknowledged_;
  return counters;
}

void Session::send_message(wire::MessageKind kind, uint32_t id, std::string text) {
  assert(text.size() <= limits::message_bytes_max);
  if (!open()) return;
  if (messages_.size() >= limits::messages_kept_max ||
      messages_bytes_ + text.size() > limits::messages_kept_bytes_max) {
    return end({ErrorCode::busy, peer_.host_name + " asks and does not take the answers"}, true);
  }
  messages_bytes_ += text.size();
  messages_.push_back({.kind = kind, .id = id, .text = std::move(text)});
  loop_.flush_later(*this);
}

DriverChannel* Session::add_driver_channel(uint32_t number, ChannelEvents& events) {
  if (!open() || !ours(number) || channel(number) != nullptr ||
      channels_.size() >= limits::channels_per_session_max) {
    return nullptr;
  }
  auto added = std::make_unique<DriverChannel>(*this, number, events);
  DriverChannel* raw = added.get();
  channels_.push_back(std::move(added));
  return raw;
}

DeviceChannel* Session::add_device_channel(uint32_t number, std::unique_ptr<Device> device,
                                           uint64_t nominal_bytes_s, uint64_t credit_bytes,
                                           ChannelEvents& events) {
  if (!open() || number == 0 || ours(number) || channel(number) != nullptr ||
      channels_.size() >= limits::channels_per_session_max) {
    return nullptr;
  }
  auto added = std::make_unique<DeviceChannel>(*this, number, std::move(device), nominal_bytes_s,
                                               credit_bytes, events);
  DeviceChannel* raw = added.get();
  channels_.push_back(std::move(added));
  raw->start();
  return raw;
}

// Channels are few and looked up once a frame: a scan beats a map.
Channel* Session::channel(uint32_t number) const {
  for (const auto& channel : channels_) {
    if (channel->number() == number) return channel.get();
  }
  return nullptr;
}

void Session::remove(Channel& channel) {
  urgent_.remove(channel);
  bulk_.remove(channel);
  const auto at = std::find_if(channels_.begin(), channels_.end(),
                               [&](const auto& owned) { return owned.get() == &channel; });
  assert(at != channels_.end());
  removed_.push_back(std::move(*at));
  channels_.erase(at);
  loop_.flush_later(*this);
}

}  // namespace farport
