// The device host's side of attachments: answers what peers ask about the devices here.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/daemon/loans.h"
#include "control/daemon/peer_session.h"

namespace farport {

class Lender {
 public:
  Lender(ControlLoop& loop, Loans& loans) : loans_(loans), quiet_(loop) {}

  using Sessions = std::function<std::vector<std::shared_ptr<PeerSession>>()>;
  // The peers that are told of changes, those whose session is open.
  void set_sessions(Sessions sessions) { sessions_ = std::move(sessions); }

  // Any request of a peer; answered, now or later.
  void request(PeerSession& session, uint32_t id, const nlohmann::json& request);
  // False when the channel is none of a device here.
  bool channel_closed(PeerSession& session, uint32_t number, const Error& why);
  void session_closed(PeerSession& session, const Error& why);
  // The session will end: its devices will soon be free.
  void session_ending(PeerSession& session);
  // A device was plugged in or given back: the peers are told, at once and then no more often than
  // twice a second, however fast devices come and go.
  void devices_changed();
  size_t lent_count() const { return lent_.size(); }

 private:
  // By session and channel number. `loan` is 0 while the device is being opened; `released` when
  // the peer has given up meanwhile.
  struct Lent {
    uint64_t loan = 0;
    bool released = false;
  };
  using Key = std::pair<const PeerSession*, uint32_t>;

  void devices(PeerSession& session, uint32_t id);
  void attach(PeerSession& session, uint32_t id, const nlohmann::json& request);
  void release(PeerSession& session, uint32_t id, const nlohmann::json& request);
  void explain(PeerSession& session, uint32_t id, const nlohmann::json& request);
  void opened(const std::shared_ptr<PeerSession>& session, uint32_t number, uint32_t id,
              Result<Loans::Loan> loan);

  Loans& loans_;
  Sessions sessions_;
  ControlTimer quiet_;  // runs after a notice
  bool quiet_now_ = false;
  bool changed_again_ = false;  // meanwhile
  std::map<Key, Lent> lent_;
};

}  // namespace farport
