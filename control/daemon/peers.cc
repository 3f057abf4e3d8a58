#include "control/daemon/peers.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "control/config/config.h"
#include "control/trust/host_name.h"
#include "dataplane/limits.h"

namespace farport {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kConnectLimit{5'000};
constexpr milliseconds kGreetingLimit{5'000};
constexpr milliseconds kBackoffMin{250};
constexpr milliseconds kBackoffMax{15'000};
constexpr milliseconds kResumeBackoffMax{1'000};  // consumers wait
constexpr milliseconds kTrustInterval{60'000};    // certificates end by themselves

Identity random_identity() {
  Identity identity{};
  [[maybe_unused]] const auto got = getrandom(identity.data(), identity.size(), 0);
  return identity;
}

}  // namespace

Peers::Peers(Parts parts)
    : parts_([this, &parts] {
        parts.security.plain = [this](const std::string& host) { return may_be_plain(host); };
        return std::move(parts);
      }()),
      reception_(parts_.loop, parts_.security, parts_.refusals,
                 [this](Visitor visitor) { arrived(std::move(visitor)); }),
      trust_timer_(parts_.loop) {
  if (parts_.security.trust == nullptr) return;
  parts_.security.trust->on_change([this](bool own) { trust_changed(own); });
  check_trust();
}

Peers::~Peers() {
  if (parts_.security.trust != nullptr) parts_.security.trust->on_change({});
}

void Peers::set_hosts(const std::vector<DirectoryHost>& hosts) {
  std::set<std::string> wanted;
  for (const DirectoryHost& host : hosts) {
    std::vector<HostPort> addresses;
    for (const std::string& text : host.addresses) {
      // A bad one was refused when the configuration was read.
      if (auto address = parse_host_port(text, session_port)) addresses.push_back(*address);
    }
    if (addresses.empty() || host.name == parts_.host) continue;
    wanted.insert(host.name);
    Peer& peer = peers_[host.name];
    const auto same = [](const HostPort& one, const HostPort& other) {
      return format_host_port(one) == format_host_port(other);
    };
    if (peer.configured && std::ranges::equal(addresses, peer.addresses, same)) continue;
    peer.configured = true;
    addresses_changed(host.name, std::move(addresses));
    if (!peer.open() && !peer.connecting()) try_connect(host.name);
  }
  for (auto& [name, peer] : peers_) {
    if (!peer.configured || wanted.contains(name)) continue;
    peer.configured = false;
    if (peer.retry) peer.retry->cancel();
    if (peer.live) {
      peer.live->session->close({ErrorCode::failed, "the peer was removed from the configuration"});
    }
  }
  std::erase_if(peers_, [](const auto& one) {
    return !one.second.configured && !one.second.live && !one.second.connecting();
  });
}

// What was begun by the old list's places ends with it.
void Peers::addresses_changed(const std::string& name, std::vector<HostPort> addresses) {
  Peer& peer = peers_[name];
  std::optional<std::string> used;
  if (peer.paths.in_use()) used = format_host_port(peer.addresses[*peer.paths.in_use()]);
  peer.addresses = std::move(addresses);
  peer.paths = PathChoice(peer.addresses.size(), parts_.paths);
  peer.probes.clear();
  peer.connector = nullptr;
  if (const auto greeting = std::exchange(peer.greeting, nullptr)) greeting->close();
  if (peer.limit) peer.limit->cancel();
  peer.backoff = milliseconds(0);
  if (!used || !peer.open()) return;
  peer.live->moving.reset();
  for (size_t path = 0; path < peer.addresses.size(); ++path) {
    if (format_host_port(peer.addresses[path]) != *used) continue;
    peer.paths.connected(path, monotonic_ns());
    return probe_later(name);
  }
  move_to(name, 0);
}

// --- connecting ---

std::vector<Connector::Path> Peers::paths_of(const Peer& peer,
                                             const std::vector<size_t>& which) const {
  std::vector<Connector::Path> paths;
  for (const size_t path : which) paths.push_back({path, peer.addresses[path]});
  return paths;
}

void Peers::try_connect(const std::string& name) {
  const auto found = peers_.find(name);
  if (stopping_ || found == peers_.end()) return;
  Peer& peer = found->second;
  if (!peer.configured || peer.open() || peer.connecting()) return;
  if (peer.since_unix_ms == 0) peer.since_unix_ms = unix_now_ms();
  peer.connector = Connector::start(
      parts_.loop, parts_.security, name, paths_of(peer, peer.paths.order()), kConnectLimit,
      [this, name](Result<Reached> result) { reached(name, std::move(result)); });
}

void Peers::reached(const std::string& name, Result<Reached> reached) {
  const auto found = peers_.find(name);
  if (stopping_ || found == peers_.end()) return;
  Peer& peer = found->second;
  const auto kept = std::exchange(peer.connector, nullptr);
  if (!reached) return failed(name, reached.error().message);
  if (!peer.configured || peer.open()) return;  // it has connected to us meanwhile
  if (!peer.live) return begin(name, std::move(*reached));
  resume(name, std::move(*reached));
}

Hello Peers::our_hello(wire::Purpose purpose, const Identity& session, uint32_t connection,
                       uint64_t received) const {
  return {.host_name = parts_.host,
          .boot = parts_.boot,
          .session = session,
          .purpose = purpose,
          .connection = connection,
          .received = received,
          .frame_data_bytes_max = limits::frame_data_bytes_max,
          .compresses = true,
          .version_minor = wire::version_minor};
}

// Says hello and waits for the answer, for a bounded time; one greeting of a peer at a time.
void Peers::greet(const std::string& name, const std::shared_ptr<PeerStream>& stream, Hello hello,
                  Greeted done) {
  Peer& peer = peers_[name];
  peer.greeting = stream;
  const auto finish = [this, name, stream, done = std::move(done)](Result<Hello> result) {
    const auto found = peers_.find(name);
    if (found == peers_.end() || found->second.greeting != stream) return;
    found->second.greeting = nullptr;
    found->second.limit->cancel();
    done(found->second, std::move(result));
  };
  if (!peer.limit) peer.limit = std::make_unique<ControlTimer>(parts_.loop);
  peer.limit->after(kGreetingLimit, [finish, address = stream->address()] {
    finish(fail(ErrorCode::timed_out,
                fmt::format("{} accepted the connection and said nothing. Is it a Farport daemon?",
                            address)));
  });
  stream->send(encode_hello(hello), [stream, finish](Result<void> sent) {
    if (!sent) return finish(std::unexpected(sent.error()));
    stream->receive_greeting(finish);
  });
}

Result<void> Peers::check_name(const std::string& meant, const Hello& hello) const {
  if (hello.host_name == parts_.host) {
    return fail(ErrorCode::usage,
                fmt::format("both ends call themselves \"{}\": give each host a name of its own "
                            "(host.name)",
                            parts_.host));
  }
  if (hello.host_name.empty()) return fail(ErrorCode::usage, "it has no name (host.name)");
  if (!meant.empty() && hello.host_name != meant) {
    return fail(ErrorCode::usage, fmt::format("it is configured as host {} and calls itself {}",
                                              meant, hello.host_name));
  }
  return {};
}

void Peers::begin(const std::string& name, Reached reached) {
  const Identity id = random_identity();
  greet(name, reached.stream, our_hello(wire::Purpose::begin, id, 1, 0),
        [this, name, id, reached](Peer&, Result<Hello> hello) {
          if (!hello) {
            return failed(name,
                          fmt::format("{}: {}", reached.stream->address(), hello.error().message));
          }
          begun(name, reached, id, *hello);
        });
}

void Peers::begun(const std::string& name, const Reached& reached, const Identity& id,
                  const Hello& hello) {
  if (auto named = check_name(name, hello); !named) {
    reached.stream->send_and_close(encode_refusal(named.error()));
    return failed(name, fmt::format("{}: {}", reached.stream->address(), named.error().message));
  }
  if (!keeps(name, true, hello.boot)) return reached.stream->close();
  if (auto still = still_trusted(reached.who); !still) {
    reached.stream->close();
    return failed(name, still.error().message);
  }
  Live live;
  live.protection = reached.stream->protection();
  live.session = start_session(reached.stream, hello, true);
  live.connecting = true;
  live.id = id;
  live.who = reached.who;
  live.address = reached.stream->address();
  Peer& peer = peers_[name];
  peer.paths.connected(reached.path, monotonic_ns());
  adopt(name, std::move(live));
  probe_later(name);
}

// Told once per reason, tried again at growing intervals.
void Peers::failed(const std::string& name, const std::string& why) {
  const auto found = peers_.find(name);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (!peer.configured || stopping_ || peer.open()) return;
  if (peer.error != why) spdlog::warn("host {}: {}; trying again", name, why);
  peer.error = why;
  peer.backoff =
      std::clamp(peer.backoff * 2, kBackoffMin, peer.live ? kResumeBackoffMax : kBackoffMax);
  retry_after(name, peer.backoff);
}

void Peers::retry_after(const std::string& name, milliseconds delay) {
  Peer& peer = peers_[name];
  if (!peer.retry) peer.retry = std::make_unique<ControlTimer>(parts_.loop);
  peer.retry->after(delay, [this, name] { try_connect(name); });
}

// --- sessions ---

std::shared_ptr<PeerSession> Peers::start_session(const std::shared_ptr<PeerStream>& stream,
                                                  const Hello& hello, bool connecting) {
  SessionSettings settings;
  settings.resume_timeout_ns = parts_.resume_timeout_ns;
  settings.host_name = parts_.host;
  settings.connecting = connecting;
  WorkerThread& worker = *parts_.workers[next_worker_++ % parts_.workers.size()];
  auto session =
      PeerSession::start(parts_.loop, worker, std::move(settings), hello, stream->release(), *this);
  sessions_[session.get()] = session;
  return session;
}

// Whether a fresh session with this host is the one to keep.
bool Peers::keeps(const std::string& name, bool fresh_connecting, const Identity& boot) const {
  const auto found = peers_.find(name);
  if (found == peers_.end() || !found->second.live) return true;
  const Live& old = *found->second.live;
  if (boot != old.session->peer().boot) return true;
  if (fresh_connecting == old.connecting) return true;  // the one who connected has lost the old
  return fresh_connecting == (parts_.host < name);
}

void Peers::adopt(const std::string& name, Live live) {
  Peer& peer = peers_[name];
  const auto session = live.session;
  auto old = std::exchange(peer.live, std::move(live));
  peer.error.clear();
  peer.backoff = milliseconds(0);
  if (peer.retry) peer.retry->cancel();
  if (old) {
    parts_.lender.session_ending(*old->session);
    const bool restarted = session->peer().boot != old->session->peer().boot;
    old->session->close(
        {ErrorCode::busy, restarted ? "farportd was started again there"
                                    : "a newer session of the same two hosts replaces this one"},
        restarted ? SessionEnd::peer_restarted : SessionEnd::replaced);
  } else {
    peer.since_unix_ms = unix_now_ms();
    announce("peer.connected", name,
             fmt::format("host {} is connected ({}, {})", name, peer.live->address,
                         peer.live->protection));
  }
  attachments_->peer_opened(*session);
}

void Peers::announce(const std::string& type, const std::string& host, const std::string& message) {
  Event event;
  event.type = type;
  event.host = host;
  event.message = message;
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

void Peers::peer_driver_gone(PeerSession& session, uint32_t number) {
  attachments_->driver_gone(session, number);
}

Peers::Peer* Peers::peer_of(const PeerSession& session, std::string* name) {
  for (auto& [key, peer] : peers_) {
    if (!peer.live || peer.live->session.get() != &session) continue;
    if (name != nullptr) *name = key;
    return &peer;
  }
  return nullptr;
}

void Peers::peer_closed(PeerSession& session, const Error& why) {
  const auto kept = session.shared_from_this();
  sessions_.erase(&session);
  std::string name;
  Peer* const peer = peer_of(session, &name);
  if (peer != nullptr) {
    peer->live.reset();
    peer->since_unix_ms = unix_now_ms();
    announce("peer.lost", name,
             fmt::format("host {} is no longer connected: {}", name, why.message));
  }
  parts_.lender.session_closed(session, why);
  attachments_->session_closed(session, why);
  if (peer != nullptr) {
    failed(name, why.message);
    if (!peer->configured && !peer->connecting()) peers_.erase(name);
  }
  if (stopping_ && sessions_.empty() && stopped_) std::exchange(stopped_, nullptr)();
}

// --- trust ---

// In plain text, as loopback is unless trust.loopback says otherwise, any user of this machine can
// call itself anything. So a name stands for a host of this machine only: not for one with a key,
// not for one that is configured elsewhere, and, where other machines can connect, not for one that
// is configured nowhere.
Result<void> Peers::may_be_plain(const std::string& host) const {
  const auto refuse = [&host](const std::string& why) {
    return fail(ErrorCode::denied, fmt::format("host {} {}", host, why));
  };
  if (parts_.security.trust != nullptr && parts_.security.trust->knows(host)) {
    return refuse(
        fmt::format("is known here by its key: it must come encrypted ([trust] loopback "
                    "= true on both, or `farport trust remove {}` here)",
                    is_plain_name(host) ? host : "NAME"));
  }
  const auto known = peers_.find(host);
  if (known != peers_.end() && known->second.configured) {
    for (const HostPort& address : known->second.addresses) {
      if (is_loopback(address)) continue;
      return refuse(
          fmt::format("is not of this machine alone (its [[peer]] has the address {}), so "
                      "over loopback it must be encrypted: set [trust] loopback = true on "
                      "both",
                      format_host_port(address)));
    }
    return {};
  }
  if (parts_.listens_on_loopback_only) return {};
  return refuse(
      "is not configured here, and other machines may connect (host.listen), so over loopback it "
      "must be encrypted: set [trust] loopback = true on both, or add a [[peer]] of that name with "
      "a loopback address");
}

void Peers::check_trust() {
  trust_timer_.after(kTrustInterval, [this] {
    trust_changed(false);
    check_trust();
  });
}

Result<void> Peers::still_trusted(const TrustedPeer& who) const {
  if (who.fingerprint.empty()) return {};
  const auto still = parts_.security.trust->still(who);
  return still ? Result<void>() : Result<void>(std::unexpected(Error(still.error())));
}

// Whoever is not let in any more leaves; whoever was shown our former key is shown the new one.
void Peers::trust_changed(bool own) {
  for (auto& [name, peer] : peers_) {
    if (!peer.live || peer.live->who.fingerprint.empty()) continue;
    const auto still = parts_.security.trust->still(peer.live->who);
    if (!still) {
      parts_.refusals.count(still.error(), peer.live->address);
      peer.live->session->close(still.error(), SessionEnd::trust_removed);
    } else if (own && peer.open() && peer.paths.in_use()) {
      move_to(name, *peer.paths.in_use());
    }
  }
}

// --- what others ask ---

std::vector<HostEntry> Peers::list() const {
  std::vector<HostEntry> hosts;
  for (const auto& [name, peer] : peers_) {
    HostEntry entry;
    entry.name = name;
    entry.address = peer.live                ? peer.live->address
                    : peer.addresses.empty() ? std::string()
                                             : format_host_port(peer.addresses.front());
    entry.state = peer.open()          ? "connected"
                  : peer.live          ? "resuming"
                  : peer.error.empty() ? "connecting"
                                       : "unreachable";
    entry.since_unix_ms = peer.since_unix_ms;
    entry.error = peer.open() ? "" : peer.live ? peer.live->paused_by : peer.error;
    if (peer.live) {
      entry.channels = static_cast<uint32_t>(peer.live->session->channel_count());
      entry.fingerprint = peer.live->who.fingerprint;
      entry.resumes = peer.live->resumes;
    }
    for (size_t path = 0; path < peer.addresses.size(); ++path) {
      const bool used = peer.open() && peer.paths.in_use() == path;
      entry.paths.push_back({format_host_port(peer.addresses[path]), used ? "in use"
                                                                     : peer.paths.well(path)
                                                                         ? "well"
                                                                         : "not in use"});
    }
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
  if (peer.live) return peer.live->session;
  // Somebody waits for it: do not sit out the interval.
  if (!peer.connecting()) {
    peer.backoff = milliseconds(0);
    if (peer.retry) peer.retry->cancel();
    try_connect(host);
  }
  return fail(ErrorCode::unreachable,
              fmt::format("host {} is not connected: {}; check that farportd runs there and "
                          "listens on its address, and `farport doctor {}`",
                          host, peer.error.empty() ? "still connecting" : peer.error, host));
}

std::string Peers::host_at(const std::string& address) const {
  for (const auto& [name, peer] : peers_) {
    for (const HostPort& one : peer.addresses) {
      if (peer.configured && one.host == address) return name;
    }
  }
  return {};
}

std::vector<std::shared_ptr<PeerSession>> Peers::open_sessions() const {
  std::vector<std::shared_ptr<PeerSession>> open;
  for (const auto& [name, peer] : peers_) {
    if (peer.live) open.push_back(peer.live->session);
  }
  return open;
}

void Peers::end_paused(const Error& why) {
  for (auto& [name, peer] : peers_) {
    if (peer.live && peer.live->paused) peer.live->session->close(why);
  }
}

void Peers::stop(const Error& why, std::function<void()> done) {
  stopping_ = true;
  reception_.stop();
  trust_timer_.cancel();
  for (auto& [name, peer] : peers_) {
    if (peer.retry) peer.retry->cancel();
    if (peer.probing) peer.probing->cancel();
    peer.probes.clear();
    peer.connector = nullptr;
    if (const auto greeting = std::exchange(peer.greeting, nullptr)) greeting->close();
  }
  if (sessions_.empty()) return done();
  stopped_ = std::move(done);
  for (const auto& [raw, session] : sessions_) session->close(why);
}

}  // namespace farport
