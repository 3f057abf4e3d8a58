// Connections that others have made, until they have said who they are: TLS where it is needed, a
// hello within a few seconds, a key that is trusted. Strangers cost little: so many at a time, and
// the oldest goes when one more comes, so that those who only hold connections open keep nobody
// out. What is refused is told why, counted, and logged once.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "control/daemon/connector.h"
#include "control/trust/refusals.h"

namespace farport {

struct Visitor {
  std::shared_ptr<PeerStream> stream;
  TrustedPeer who;  // `host` as its key says, and as its hello does
  Hello hello;
};

class Reception {
 public:
  static constexpr size_t waiting_max = 128;

  Reception(ControlLoop& loop, Security security, Refusals& refusals,
            std::function<void(Visitor)> arrived);

  void accepted(PeerConnection connection);
  // Tells it why and closes.
  void refuse(const Visitor& visitor, Refusal reason, const Error& why);
  size_t waiting() const { return guests_.size(); }
  void stop();

 private:
  struct Guest {
    std::shared_ptr<PeerStream> stream;
    std::unique_ptr<ControlTimer> limit;
    bool secured = false;
  };
  using Place = std::list<Guest>::iterator;

  void greet(Place guest);
  void greeted(Place guest, const Result<Hello>& hello);
  void turn_away(Place guest, Refusal reason, const Error& why, bool tell) {
    turn_away(guest, TrustError{why, reason}, tell);
  }
  void turn_away(Place guest, const TrustError& why, bool tell);

  ControlLoop& loop_;
  Security security_;
  Refusals& refusals_;
  std::function<void(Visitor)> arrived_;
  std::list<Guest> guests_;  // the oldest first
  bool stopped_ = false;
};

}  // namespace farport
