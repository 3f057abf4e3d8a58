// The life of a session: greeting, open, closing, closed.
#include "dataplane/session.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace farport {

Session::Session(Worker& worker, Loop& loop, SessionSettings settings, std::unique_ptr<Link> link,
                 SessionEvents& events)
    : worker_(worker),
      loop_(loop),
      settings_(std::move(settings)),
      link_(std::move(link)),
      events_(events),
      probe_timer_(
          loop, [](void* self) { static_cast<Session*>(self)->probe(); }, this),
      acknowledge_timer_(
          loop, [](void* self) { static_cast<Session*>(self)->acknowledge(); }, this),
      sent_(limits::frames_in_flight_max),
      sink_(limits::frame_data_bytes_max) {}

Session::~Session() {
  assert(state_ == State::idle || state_ == State::closed);
  loop_.forget(*this);
}

void Session::start() {
  assert(state_ == State::idle);
  state_ = State::greeting;
  link_->start(*this);
  probe_timer_.arm_after(settings_.greeting_timeout_ns);
  // The connecting side speaks first; the other answers once it knows to whom.
  if (settings_.connecting) {
    send_hello();
    loop_.flush_later(*this);
  }
}

void Session::peer_greeted(PeerHello peer, uint32_t data_bytes_max) {
  peer_ = std::move(peer);
  peer_data_bytes_max_ = std::min(data_bytes_max, limits::frame_data_bytes_max);
  if (!settings_.connecting) send_hello();
  state_ = State::open;
  probe_timer_.arm_after(settings_.probe_interval_ns);
  events_.session_opened(*this, peer_);
  loop_.flush_later(*this);
}

void Session::close(Error why) { end(std::move(why), true); }

void Session::end(Error why, bool tell_peer) {
  if (state_ == State::closing || state_ == State::closed) return;
  if (tell_peer && state_ != State::idle) {
    send_reason(state_ == State::greeting && !settings_.connecting ? wire::FrameType::refuse
                                                                   : wire::FrameType::goodbye,
                why);
    link_->flush();
  }
  state_ = State::closing;
  why_ = std::move(why);
  probe_timer_.disarm();
  acknowledge_timer_.disarm();
  link_->close();
}

void Session::link_lost(Error why) {
  if (state_ == State::greeting) {
    why.message = std::string(link_->peer()) +
                  " ended the connection before it said hello: " + why.message +
                  ". Is it a Farport daemon?";
  }
  end(std::move(why), false);
}

// From here on no memory of ours is referred to: channels let go of theirs, and end.
void Session::link_closed() {
  assert(state_ == State::closing);
  link_closed_ = true;
  for (size_t index = 0; index < channels_.size(); ++index) {
    if (channels_[index]) channels_[index]->session_lost();
  }
  loop_.flush_later(*this);
}

void Session::finish_if_done() {
  if (!link_closed_ || state_ != State::closing || !channels_.empty()) return;
  state_ = State::closed;
  events_.session_closed(*this, why_);  // may destroy this
}

// Nothing heard for an interval: ask. Nothing heard for the timeout: lost.
void Session::probe() {
  if (state_ == State::greeting) {
    end({ErrorCode::timed_out, std::string(link_->peer()) +
                                   " accepted the connection and said nothing. Is it a Farport "
                                   "daemon?"},
        true);
    return;
  }
  if (counters_.frames_received != heard_frames_) {
    heard_frames_ = counters_.frames_received;
    silent_ns_ = 0;
  } else {
    silent_ns_ += settings_.probe_interval_ns;
    if (silent_ns_ >= settings_.probe_timeout_ns) {
      end({ErrorCode::timed_out,
           "nothing heard from " + peer_.host_name + " (" + link_->peer() + ") for " +
               std::to_string(settings_.probe_timeout_ns / 1'000'000) + " ms"},
          false);
      return;
    }
    ping_due_ = true;
    loop_.flush_later(*this);
  }
  probe_timer_.arm_after(settings_.probe_interval_ns);
}

SessionCounters Session::counters() const {
  SessionCounters counters = counters_;
  counters.frames_unacknowledged = next_number_ - 1 - acknowledged_;
  return counters;
}

void Session::send_message(wire::MessageKind kind, uint32_t id, std::string text) {
  assert(text.size() <= limits::message_bytes_max);
  messages_.push_back({.kind = kind, .id = id, .text = std::move(text)});
  loop_.flush_later(*this);
}

DriverChannel* Session::add_driver_channel(uint32_t number, ChannelEvents& events) {
  if (state_ != State::open || !ours(number) || channel(number) != nullptr ||
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
  if (state_ != State::open || number == 0 || ours(number) || channel(number) != nullptr ||
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
