#include "control/daemon/peers.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "control/config/config.h"
#include "dataplane/limits.h"

namespace farport {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kConnectLimit{5'000};
constexpr milliseconds kBackoffMin{250};
constexpr milliseconds kBackoffMax{15'000};
// Connections that have not said who they are: they get their own, small allowance, so that garbage
// on the port cannot keep known hosts out.
constexpr size_t kGreetingMax = 64;

Identity random_identity() {
  Identity identity{};
  [[maybe_unused]] const auto got = getrandom(identity.data(), identity.size(), 0);
  return identity;
}

}  // namespace

Peers::~Peers() = default;

void Peers::set_hosts(const std::vector<DirectoryHost>& hosts) {
  std::set<std::string> wanted;
  for (const DirectoryHost& host : hosts) {
    const auto address = parse_host_port(host.address, session_port);
    if (!address || host.name == parts_.host) continue;  // refused when the configuration was read
    wanted.insert(host.name);
    Peer& peer = peers_[host.name];
    const bool moved =
        peer.configured && format_host_port(peer.address) != format_host_port(*address);
    const bool fresh = !peer.configured;
    peer.configured = true;
    peer.address = *address;
    if (fresh || moved) peer.backoff = milliseconds(0);
    if ((fresh || moved) && peer.session == nullptr && !peer.connecting) try_connect(host.name);
  }
  for (auto& [name, peer] : peers_) {
    if (!peer.configured || wanted.contains(name)) continue;
    peer.configured = false;
    if (peer.retry) peer.retry->cancel();
    if (peer.session) {
      peer.session->close({ErrorCode::failed, "the peer was removed from the configuration"});
    }
  }
  std::erase_if(peers_, [](const auto& one) {
    return !one.second.configured && one.second.session == nullptr && !one.second.connecting;
  });
}

// --- connecting ---

void Peers::try_connect(const std::string& name) {
  const auto found = peers_.find(name);
  if (stopping_ || found == peers_.end()) return;
  Peer& peer = found->second;
  if (!peer.configured || peer.session != nullptr || peer.connecting) return;
  peer.connecting = true;
  if (peer.since_unix_ms == 0) peer.since_unix_ms = unix_now_ms();
  connect(
      parts_.loop, peer.address, kConnectLimit,
      [this, name](Result<PeerConnection> connection) { connected(name, std::move(connection)); });
}

void Peers::connected(const std::string& name, Result<PeerConnection> connection) {
  const auto found = peers_.find(name);
  if (stopping_ || found == peers_.end()) return;
  if (!connection) return failed(name, connection.error().message);
  if (!found->second.configured || found->second.session != nullptr) {
    found->second.connecting = false;  // it has connected to us meanwhile
    return;
  }
  const auto session = start_session(std::move(*connection), true);
  sessions_[session.get()].second = name;
}

// Told once per reason, tried again at growing intervals.
void Peers::failed(const std::string& name, const std::string& why) {
  const auto found = peers_.find(name);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  peer.connecting = false;
  if (!peer.configured || stopping_ || peer.session != nullptr) return;
  if (peer.error != why) spdlog::warn("host {}: {}; trying again", name, why);
  peer.error = why;
  peer.backoff = std::clamp(peer.backoff * 2, kBackoffMin, kBackoffMax);
  if (!peer.retry) peer.retry = std::make_unique<ControlTimer>(parts_.loop);
  peer.retry->after(peer.backoff, [this, name] { try_connect(name); });
}

void Peers::accepted(PeerConnection connection) {
  if (stopping_) return;
  if (greeting_ >= kGreetingMax) {
    log_refusal(connection.peer, "too many connections have not said who they are");
    return;
  }
  start_session(std::move(connection), false);
}

void Peers::log_refusal(const std::string& address, const std::string& why) {
  constexpr uint64_t minute_ns = 60'000'000'000;
  constexpr size_t each_minute_max = 10;
  const uint64_t now_ns = monotonic_ns();
  if (now_ns - logging_since_ns_ >= minute_ns) {
    if (logged_ > each_minute_max) {
      spdlog::warn("{} more connections were refused", logged_ - each_minute_max);
    }
    logging_since_ns_ = now_ns;
    logged_ = 0;
  }
  if (++logged_ <= each_minute_max) spdlog::warn("{}: refused: {}", address, why);
}

std::shared_ptr<PeerSession> Peers::start_session(PeerConnection connection, bool connecting) {
  SessionSettings settings;
  settings.host_name = parts_.host;
  settings.boot = parts_.boot;
  settings.session = random_identity();
  settings.connecting = connecting;
  WorkerThread& worker = *parts_.workers[next_worker_++ % parts_.workers.size()];
  const auto session =
      PeerSession::start(parts_.loop, worker, std::move(settings), std::move(connection.socket),
                         std::move(connection.peer), *this);
  sessions_[session.get()] = {session, ""};
  ++greeting_;
  return session;
}

// --- sessions ---

bool Peers::replaces(const PeerSession& fresh, const PeerSession& old) const {
  if (fresh.peer().boot != old.peer().boot) return true;
  if (fresh.connecting() == old.connecting())
    return true;  // the one who connected lost the old one
  const bool we_are_smaller = parts_.host < fresh.peer_name();
  return fresh.connecting() == we_are_smaller;
}

void Peers::peer_opened(PeerSession& session) {
  --greeting_;
  const std::string& name = session.peer_name();
  const std::string meant = sessions_[&session].second;
  if (name.empty() || name == parts_.host) {
    session.close({ErrorCode::usage,
                   fmt::format("both ends call themselves \"{}\": give each host a name of its own "
                               "(host.name)",
                               parts_.host)});
    return;
  }
  if (!meant.empty() && meant != name) {
    session.close({ErrorCode::usage, fmt::format("{} is configured as host {} and calls itself {}",
                                                 session.address(), meant, name)});
    return;
  }
  const auto found = peers_.find(name);
  const std::shared_ptr<PeerSession> old = found == peers_.end() ? nullptr : found->second.session;
  if (old != nullptr && !replaces(session, *old)) {
    session.close({ErrorCode::busy, "there is a session between the two hosts already"});
    return;
  }
  if (old == nullptr && open_sessions().size() >= parts_.sessions_max) {
    session.close(
        {ErrorCode::busy, fmt::format("host {} has sessions with {} hosts, the most there "
                                      "can be",
                                      parts_.host, parts_.sessions_max)});
    return;
  }
  adopt(session);
  if (old != nullptr) {
    parts_.lender.session_ending(*old);
    const bool restarted = session.peer().boot != old->peer().boot;
    old->close({ErrorCode::busy, "a newer session of the same two hosts replaces this one"},
               restarted ? SessionEnd::peer_restarted : SessionEnd::replaced);
  }
}

void Peers::adopt(PeerSession& session) {
  Peer& peer = peers_[session.peer_name()];
  const bool fresh = peer.session == nullptr;
  peer.session = session.shared_from_this();
  peer.connecting = false;
  peer.error.clear();
  peer.backoff = milliseconds(0);
  if (peer.retry) peer.retry->cancel();
  attachments_->peer_opened(session);
  if (!fresh) return;
  peer.since_unix_ms = unix_now_ms();
  Event event;
  event.type = "peer.connected";
  event.host = session.peer_name();
  event.message = fmt::format("host {} is connected ({})", session.peer_name(), session.address());
  parts_.events.add(std::move(event));
}

void Peers::peer_request(PeerSession& session, uint32_t id, const nlohmann::json& request) {
  parts_.lender.request(session, id, request);
}

void Peers::peer_notice(PeerSession& session, const nlohmann::json& notice) {
  attachments_->peer_notice(session, notice);
}

void Peers::peer_channel_closed(PeerSession& session, uint32_t number, const Error& why) {
  if (!parts_.lender.channel_closed(session, number, why)) {
    attachments_->channel_closed(session, number, why);
  }
}

Peers::Peer* Peers::peer_of(const PeerSession& session, std::string* name) {
  for (auto& [key, peer] : peers_) {
    if (peer.session.get() != &session) continue;
    if (name != nullptr) *name = key;
    return &peer;
  }
  return nullptr;
}

void Peers::peer_closed(PeerSession& session, const Error& why) {
  const auto kept = session.shared_from_this();
  const std::string meant = std::exchange(sessions_[&session].second, {});
  sessions_.erase(&session);
  std::string name;
  Peer* const peer = peer_of(session, &name);
  if (!session.greeted()) --greeting_;
  parts_.lender.session_closed(session, why);
  attachments_->session_closed(session, why);
  if (peer != nullptr) {
    peer->session = nullptr;
    peer->since_unix_ms = unix_now_ms();
    Event event;
    event.type = "peer.lost";
    event.host = name;
    event.message = fmt::format("host {} is no longer connected: {}", name, why.message);
    parts_.events.add(std::move(event));
    failed(name, why.message);
    if (!peer->configured) peers_.erase(name);
  } else if (!meant.empty()) {
    failed(meant, why.message);
  } else if (!stopping_ && !session.greeted()) {
    log_refusal(session.address(), why.message);
  }
  if (stopping_ && sessions_.empty() && stopped_) std::exchange(stopped_, nullptr)();
}

// --- what others ask ---

std::vector<HostEntry> Peers::list() const {
  std::vector<HostEntry> hosts;
  for (const auto& [name, peer] : peers_) {
    HostEntry entry;
    entry.name = name;
    entry.address =
        peer.session && !peer.configured ? peer.session->address() : format_host_port(peer.address);
    entry.state = peer.session ? "connected" : peer.error.empty() ? "connecting" : "unreachable";
    entry.since_unix_ms = peer.since_unix_ms;
    entry.error = peer.session ? "" : peer.error;
    entry.channels = peer.session ? static_cast<uint32_t>(peer.session->channel_count()) : 0;
    hosts.push_back(std::move(entry));
  }
  return hosts;
}

Result<std::shared_ptr<PeerSession>> Peers::session(const std::string& host) {
  const auto found = peers_.find(host);
  if (found == peers_.end()) {
    return fail(ErrorCode::not_found,
                fmt::format("there is no host {}; `farport hosts` lists those known, a [[peer]] in "
                            "the configuration adds one",
                            host));
  }
  Peer& peer = found->second;
  if (peer.session != nullptr) return peer.session;
  // Somebody waits for it: do not sit out the interval.
  if (!peer.connecting) {
    peer.backoff = milliseconds(0);
    if (peer.retry) peer.retry->cancel();
    try_connect(host);
  }
  return fail(ErrorCode::unreachable,
              fmt::format("host {} ({}) is not connected: {}; check that farportd runs there and "
                          "listens on that address",
                          host, format_host_port(peer.address),
                          peer.error.empty() ? "still connecting" : peer.error));
}

std::string Peers::host_at(const std::string& address) const {
  for (const auto& [name, peer] : peers_) {
    if (peer.configured && peer.address.host == address) return name;
  }
  return {};
}

std::vector<std::shared_ptr<PeerSession>> Peers::open_sessions() const {
  std::vector<std::shared_ptr<PeerSession>> open;
  for (const auto& [name, peer] : peers_) {
    if (peer.session != nullptr) open.push_back(peer.session);
  }
  return open;
}

void Peers::stop(const Error& why, std::function<void()> done) {
  stopping_ = true;
  for (auto& [name, peer] : peers_) {
    if (peer.retry) peer.retry->cancel();
  }
  if (sessions_.empty()) return done();
  stopped_ = std::move(done);
  for (const auto& [raw, session] : sessions_) session.first->close(why);
}

}  // namespace farport
