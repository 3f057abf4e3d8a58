// The connection under a session: lost, resumed over the same path or the next, moved back to a
// better one.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "control/daemon/peers.h"

namespace farport {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds kProbeInterval{1'000};
constexpr milliseconds kProbeLimit{3'000};
constexpr uint64_t kSoonNs = 1'000'000'000;
constexpr milliseconds kSoonAgain{500};
}  // namespace

void Peers::peer_paused(PeerSession& session, const ResumePoint& point, const Error& why) {
  attachments_->session_paused(session);
  std::string name;
  Peer* const peer = peer_of(session, &name);
  if (peer == nullptr || stopping_) return;  // it is being closed
  Live& live = *peer->live;
  live.paused = point;
  live.paused_by = why.message;
  if (live.resuming) {
    live.moving.reset();  // the other host was faster
    return take_up_visit(name);
  }
  if (live.moving) {
    Reached to = std::move(*std::exchange(live.moving, {}));
    return resume(name, std::move(to));
  }
  peer->since_unix_ms = unix_now_ms();
  announce("peer.paused", name,
           fmt::format("the connection to host {} ({}) was lost: {}; its devices wait", name,
                       live.address, why.message));
  const uint64_t now = monotonic_ns();
  peer->paths.lost(now);
  peer->backoff = milliseconds(0);
  if (!peer->configured) return;
  // Whoever began it resumes it; the other tries when nobody comes, by the addresses that it has.
  // A path that is lost again at once is not hammered at.
  const bool soon = now - live.resumed_ns < kSoonNs;
  if (live.connecting && !soon) return try_connect(name);
  retry_after(name, live.connecting ? kSoonAgain : kOthersTurn);
}

// Over a connection that has been made, with the numbers of a session that is paused.
void Peers::resume(const std::string& name, Reached reached) {
  Live& live = *peers_[name].live;
  // Of a parity of our own, so that the two can never claim the same one; above all before.
  live.attempt = std::max(live.attempt, live.connection) + 1;
  if ((live.attempt % 2 == 1) != live.connecting) ++live.attempt;
  greet(
      name, reached.stream,
      our_hello(wire::Purpose::resume, live.id, live.attempt, live.paused->received),
      [this, name, reached](Peer&, const Result<Hello>& hello) { resumed(name, reached, hello); });
}

void Peers::resumed(const std::string& name, const Reached& reached, const Result<Hello>& hello) {
  Peer& peer = peers_[name];
  if (!peer.live || !peer.live->paused) return reached.stream->close();
  Live& live = *peer.live;
  if (!hello && hello.error().code == ErrorCode::not_found) {
    // It has forgotten us: what is carried must be plugged in afresh.
    live.session->close({ErrorCode::unreachable, hello.error().message},
                        SessionEnd::peer_restarted);
    return;
  }
  if (!hello) {
    return failed(name, fmt::format("{}: {}", reached.stream->address(), hello.error().message));
  }
  if (hello->boot != live.session->peer().boot || hello->session != live.id) {
    reached.stream->close();
    live.session->close({ErrorCode::unreachable, "farportd was started again there"},
                        SessionEnd::peer_restarted);
    return;
  }
  if (auto fits = check_resume(*live.paused, hello->received); !fits) {
    reached.stream->close();
    live.session->close(fits.error());
    return;
  }
  if (auto still = still_trusted(reached.who); !still) {
    reached.stream->close();
    return failed(name, still.error().message);
  }
  peer.paths.connected(reached.path, monotonic_ns());
  live.connection = live.attempt;
  live.who = reached.who;
  go_on(name, live, reached.stream, hello->received);
  probe_later(name);
}

void Peers::go_on(const std::string& name, Live& live, const std::shared_ptr<PeerStream>& stream,
                  uint64_t peer_received) {
  const std::string before = std::exchange(live.address, stream->address());
  auto connection = stream->release();
  if (!connection) return failed(name, connection.error().message);
  live.paused.reset();
  live.resumed_ns = monotonic_ns();
  ++live.resumes;
  live.session->resume(std::move(*connection), peer_received);
  Peer& peer = peers_[name];
  peer.error.clear();
  peer.backoff = milliseconds(0);
  if (peer.retry) peer.retry->cancel();
  announce("peer.resumed", name,
           before == live.address
               ? fmt::format("the session with host {} goes on ({})", name, live.address)
               : fmt::format("the session with host {} goes on over {}, before {}", name,
                             live.address, before));
}

// --- back to a better path ---

void Peers::probe_later(const std::string& name) {
  Peer& peer = peers_[name];
  if (peer.paths.better().empty()) return;
  if (!peer.probing) peer.probing = std::make_unique<ControlTimer>(parts_.loop);
  peer.probing->after(kProbeInterval, [this, name] { probe(name); });
}

void Peers::probe(const std::string& name) {
  const auto found = peers_.find(name);
  if (stopping_ || found == peers_.end()) return;
  Peer& peer = found->second;
  if (!peer.open() || !peer.paths.in_use()) return;  // begins again with the next connection
  if (const auto path = peer.paths.go_back(monotonic_ns()); path && !peer.connecting()) {
    move_to(name, *path);
  }
  for (const size_t path : peer.paths.better()) {
    if (!peer.probes.contains(path)) probe_one(name, path);
  }
  probe_later(name);
}

// A whole greeting: that the network is there says nothing about who is at its end.
void Peers::probe_one(const std::string& name, size_t path) {
  Peer& peer = peers_[name];
  const auto verdict = [this, name, path](bool well) {
    const auto known = peers_.find(name);
    if (known == peers_.end()) return;
    known->second.paths.probed(path, well, monotonic_ns());
    known->second.probes.erase(path);
  };
  peer.probes[path] = Connector::start(
      parts_.loop, parts_.security, name, paths_of(peer, {path}), kProbeLimit,
      [this, verdict](Result<Reached> reached) {
        if (!reached) return verdict(false);
        const auto stream = reached->stream;
        auto limit = std::make_shared<ControlTimer>(parts_.loop);
        limit->after(kProbeLimit, [stream, verdict] {
          stream->close();
          verdict(false);
        });
        stream->send(
            encode_hello(our_hello(wire::Purpose::probe, Identity{}, 1, 0)),
            [stream, limit, verdict](const Result<void>& sent) {
              if (!sent) {
                limit->cancel();
                stream->close();
                return verdict(false);
              }
              stream->receive_greeting([stream, limit, verdict](const Result<Hello>& hello) {
                limit->cancel();
                stream->close();
                verdict(hello.has_value());
              });
            });
      });
}

// The new connection is there before the old one is let go of.
void Peers::move_to(const std::string& name, size_t path) {
  Peer& peer = peers_[name];
  peer.connector =
      Connector::start(parts_.loop, parts_.security, name, paths_of(peer, {path}), kProbeLimit,
                       [this, name](Result<Reached> reached) {
                         const auto found = peers_.find(name);
                         if (stopping_ || found == peers_.end()) return;
                         Peer& peer = found->second;
                         const auto kept = std::exchange(peer.connector, nullptr);
                         if (!peer.live) return;
                         if (peer.live->paused) return try_connect(name);  // lost meanwhile
                         if (!reached) return;  // the next probe will see
                         peer.live->moving = std::move(*reached);
                         peer.live->session->pause({ErrorCode::failed, "it moves to another path"});
                       });
}

}  // namespace farport
