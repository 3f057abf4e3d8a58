// The sessions of this host: to the peers of the directory, connected again and again for as long
// as they are configured, and from whoever connects. One session per pair of hosts.
//
//   peers.cc          hosts, connecting, and what others ask
//   peer_visits.cc    those who connect to us: new sessions, resumed ones, probes
//   peer_paths.cc     a session's connection: lost, resumed, moved to another path
//
// When two hosts connect to each other at once, both keep the session that the host with the
// smaller name connected. A peer that has started again (another boot id) replaces whatever is left
// of its former self. The connecting side resumes; the other does, too, when nobody comes.
//
// Thread rule: the control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/attachments.h"
#include "control/daemon/connector.h"
#include "control/daemon/event_log.h"
#include "control/daemon/lender.h"
#include "control/daemon/path_choice.h"
#include "control/daemon/peer_session.h"
#include "control/daemon/reception.h"
#include "control/daemon/service.h"
#include "control/directory/directory.h"
#include "dataplane/limits.h"

namespace farport {

class Peers final : public PeerDirectory, private PeerSessionEvents {
 public:
  struct Parts {
    ControlLoop& loop;
    std::vector<WorkerThread*> workers;  // sessions go to them in turn
    EventLog& events;
    Lender& lender;
    Security security;  // `plain` is set here
    Refusals& refusals;
    std::string host;
    Identity boot{};
    size_t sessions_max = limits::sessions_per_host_max;
    uint64_t resume_timeout_ns = 30'000'000'000;
    PathSettings paths;
    bool listens_on_loopback_only = false;
  };
  explicit Peers(Parts parts);
  ~Peers();
  // Channels of sessions are reported to it; set before start.
  void set_attachments(Attachments& attachments) { attachments_ = &attachments; }

  // Peers that are new are connected to, those that are gone are closed.
  void set_hosts(const std::vector<DirectoryHost>& hosts);
  void accepted(PeerConnection connection) { reception_.accepted(std::move(connection)); }
  // Ends sessions that have no connection: nothing of them can be ended in order.
  void end_paused(const Error& why);
  // No more connecting or accepting; open sessions end with `why`, then `done`.
  void stop(const Error& why, std::function<void()> done);

  std::vector<HostEntry> list() const;
  Result<std::shared_ptr<PeerSession>> session(const std::string& host) override;
  // The peer that is configured with this numeric address; empty: none.
  std::string host_at(const std::string& address) const;
  // Sessions that are open, by the peer's name.
  std::vector<std::shared_ptr<PeerSession>> open_sessions() const;

 private:
  // The session of a pair of hosts, and the connection under it.
  struct Live {
    std::shared_ptr<PeerSession> session;
    bool connecting = false;  // we began it
    Identity id{};
    uint32_t connection = 1;  // the one in use, or used last
    uint32_t attempt = 1;     // the latest that we have claimed: odd where we began it, or even
    uint64_t resumed_ns = 0;
    TrustedPeer who;
    std::optional<ResumePoint> paused;
    std::string paused_by;
    std::optional<Visitor> resuming;  // a visitor that resumes it, once it is paused
    std::optional<Reached> moving;    // the connection it moves to, once it is paused
    std::string address;
    std::string protection;
    uint64_t resumes = 0;
  };
  struct Peer {
    std::vector<HostPort> addresses;  // in order of preference
    PathChoice paths;
    bool configured = false;
    std::string error;
    int64_t since_unix_ms = 0;
    std::chrono::milliseconds backoff{0};
    std::unique_ptr<ControlTimer> retry;  // of connecting
    std::unique_ptr<ControlTimer> limit;  // of a greeting
    std::unique_ptr<ControlTimer> probing;
    std::shared_ptr<Connector> connector;  // reaching
    std::shared_ptr<PeerStream> greeting;  // reached
    std::map<size_t, std::shared_ptr<Connector>> probes;
    std::optional<Live> live;

    bool connecting() const { return connector != nullptr || greeting != nullptr; }
    bool open() const { return live && !live->paused; }
  };
  using Greeted = std::function<void(Peer&, Result<Hello>)>;

  // peers.cc
  void try_connect(const std::string& name);
  void reached(const std::string& name, Result<Reached> reached);
  void begin(const std::string& name, Reached reached);
  void begun(const std::string& name, const Reached& reached, const Identity& id,
             const Hello& hello);
  void failed(const std::string& name, const std::string& why);
  void addresses_changed(const std::string& name, std::vector<HostPort> addresses);
  void retry_after(const std::string& name, std::chrono::milliseconds delay);
  Result<void> check_name(const std::string& meant, const Hello& hello) const;
  void greet(const std::string& name, const std::shared_ptr<PeerStream>& stream, Hello hello,
             Greeted done);
  Hello our_hello(wire::Purpose purpose, const Identity& session, uint32_t connection,
                  uint64_t received) const;
  std::vector<Connector::Path> paths_of(const Peer& peer, const std::vector<size_t>& which) const;
  std::shared_ptr<PeerSession> start_session(const std::shared_ptr<PeerStream>& stream,
                                             const Hello& hello, bool connecting);
  void adopt(const std::string& name, Live live);
  bool keeps(const std::string& name, bool fresh_connecting, const Identity& fresh_boot) const;
  void announce(const std::string& type, const std::string& host, const std::string& message);
  Peer* peer_of(const PeerSession& session, std::string* name = nullptr);
  void trust_changed(bool own);
  void check_trust();
  Result<void> may_be_plain(const std::string& host) const;
  Result<void> still_trusted(const TrustedPeer& who) const;

  // How long whoever did not begin a session leaves it to the other to resume it.
  static constexpr std::chrono::milliseconds kOthersTurn{1'000};

  // peer_visits.cc
  void arrived(Visitor visitor);
  void visit_begins(Visitor visitor);
  void visit_resumes(Visitor visitor);
  void take_up_visit(const std::string& name);

  // peer_paths.cc
  void resume(const std::string& name, Reached reached);
  void resumed(const std::string& name, const Reached& reached, const Result<Hello>& hello);
  void go_on(const std::string& name, Live& live, const std::shared_ptr<PeerStream>& stream,
             uint64_t peer_received);
  void move_to(const std::string& name, size_t path);
  void probe_later(const std::string& name);
  void probe(const std::string& name);
  void probe_one(const std::string& name, size_t path);

  // PeerSessionEvents
  void peer_request(PeerSession& session, uint32_t id, const nlohmann::json& request) override;
  void peer_notice(PeerSession& session, const nlohmann::json& notice) override;
  void peer_channel_closed(PeerSession& session, uint32_t number, const Error& why) override;
  void peer_driver_gone(PeerSession& session, uint32_t number) override;
  void peer_paused(PeerSession& session, const ResumePoint& point, const Error& why) override;
  void peer_closed(PeerSession& session, const Error& why) override;

  Parts parts_;
  Reception reception_;
  Attachments* attachments_ = nullptr;
  std::map<std::string, Peer> peers_;
  std::map<const PeerSession*, std::shared_ptr<PeerSession>> sessions_;  // that are not closed
  size_t next_worker_ = 0;
  ControlTimer trust_timer_;
  bool stopping_ = false;
  std::function<void()> stopped_;
};

}  // namespace farport
