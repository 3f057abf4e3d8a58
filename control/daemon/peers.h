// The sessions of this host: to the peers of the directory, connected again and again for as long
// as they are configured, and from whoever connects. One session per pair of hosts.
//
// When two hosts connect to each other at once, each ends up with two sessions; both keep the one
// that the host with the smaller name connected. A peer that has started again (another boot id)
// replaces whatever is left of its former self.
//
// Thread rule: the control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/daemon/attachments.h"
#include "control/daemon/event_log.h"
#include "control/daemon/lender.h"
#include "control/daemon/network.h"
#include "control/daemon/peer_session.h"
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
    std::string host;
    Identity boot{};
    size_t sessions_max = limits::sessions_per_host_max;
  };
  explicit Peers(Parts parts) : parts_(std::move(parts)) {}
  ~Peers();
  // Channels of sessions are reported to it; set before start.
  void set_attachments(Attachments& attachments) { attachments_ = &attachments; }

  // Peers that are new are connected to, those that are gone are closed.
  void set_hosts(const std::vector<DirectoryHost>& hosts);
  void accepted(PeerConnection connection);
  // No more connecting or accepting; open sessions end with `why`, then `done`.
  void stop(const Error& why, std::function<void()> done);

  std::vector<HostEntry> list() const;
  Result<std::shared_ptr<PeerSession>> session(const std::string& host) override;
  // The peer that is configured with this numeric address; empty: none.
  std::string host_at(const std::string& address) const;
  // Sessions that are open, by the peer's name.
  std::vector<std::shared_ptr<PeerSession>> open_sessions() const;

 private:
  struct Peer {
    HostPort address;
    bool configured = false;
    bool connecting = false;
    std::string error;
    int64_t since_unix_ms = 0;
    std::chrono::milliseconds backoff{0};
    std::unique_ptr<ControlTimer> retry;
    std::shared_ptr<PeerSession> session;  // open
  };

  void try_connect(const std::string& name);
  void connected(const std::string& name, Result<PeerConnection> connection);
  void failed(const std::string& name, const std::string& why);
  std::shared_ptr<PeerSession> start_session(PeerConnection connection, bool connecting);
  bool replaces(const PeerSession& fresh, const PeerSession& old) const;
  void adopt(PeerSession& session);
  void log_refusal(const std::string& address, const std::string& why);
  Peer* peer_of(const PeerSession& session, std::string* name = nullptr);

  // PeerSessionEvents
  void peer_opened(PeerSession& session) override;
  void peer_request(PeerSession& session, uint32_t id, const nlohmann::json& request) override;
  void peer_notice(PeerSession& session, const nlohmann::json& notice) override;
  void peer_channel_closed(PeerSession& session, uint32_t number, const Error& why) override;
  void peer_closed(PeerSession& session, const Error& why) override;

  Parts parts_;
  Attachments* attachments_ = nullptr;
  std::map<std::string, Peer> peers_;
  // All that are not closed, and which configured peer each was meant for (empty: they connected).
  std::map<const PeerSession*, std::pair<std::shared_ptr<PeerSession>, std::string>> sessions_;
  size_t greeting_ = 0;  // of which have not said hello
  size_t next_worker_ = 0;
  // Of strangers' connections: logs stay small whatever comes.
  uint64_t logging_since_ns_ = 0;
  size_t logged_ = 0;
  bool stopping_ = false;
  std::function<void()> stopped_;
};

}  // namespace farport
