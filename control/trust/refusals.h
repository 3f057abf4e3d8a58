// Who was turned away, and why: counted by reason, the latest kept for people, and logged once per
// reason and address in a minute, so that neither the log nor memory grows with what strangers
// send.
//
// Thread rule: the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/error.h"

namespace farport {

enum class Refusal : uint8_t {
  // the identity (control/trust)
  no_key,           // the handshake ended without a key of theirs
  unknown_key,      // never seen here
  wrong_key,        // the name is known, with another key
  wrong_host,       // the key is known, of another host
  own_key,          // it is this host's own: a cloned disk, say
  wrong_authority,  // not by the configured authority
  wrong_name,       // the certificate names other hosts
  wrong_purpose,    // the certificate is not for TLS in that role
  expired,
  not_yet_valid,
  revoked,
  revoked_list,  // the list of revoked certificates is missing or too old
  // the handshake
  not_tls,
  old_version,  // below TLS 1.3
  bad_handshake,
  handshake_timed_out,
  too_many_half_open,
  // the session
  bad_greeting,
  wrong_version,  // of the wire format
  too_many_sessions,
  replayed_resume,
  future_numbers,
  stolen_session,   // resumed with another key than it was opened with
  unknown_session,  // resumed, but there is none
};
inline constexpr size_t refusal_reasons = static_cast<size_t>(Refusal::unknown_session) + 1;

// "wrong_key", as in JSON and metrics; and for people: "another key than the pinned one".
std::string_view refusal_name(Refusal reason);
std::string_view refusal_words(Refusal reason);

// An Error that knows its reason; where only an Error is wanted, it is one.
struct TrustError : Error {
  Refusal reason = Refusal::unknown_key;
  // Of a key that is not pinned (unknown_key, wrong_key), for whoever tells how to pin it.
  std::string host = {};         // the name that was meant, or that it claims; may be a stranger's
  std::string fingerprint = {};  // of the key that it shows
};

class Refusals {
 public:
  static constexpr size_t recent_max = 64;  // kept for list()
  static constexpr size_t quiet_max = 512;  // pairs of reason and address that are quiet
  static constexpr int64_t quiet_ms = 60'000;
  static constexpr size_t lines_a_minute_max = 60;  // whatever the number of addresses

  struct Entry {
    Refusal reason = Refusal::unknown_key;
    std::string address;  // numeric, without the port: that differs each time
    std::string message;  // the latest
    std::string host;     // as in TrustError, of the latest
    std::string fingerprint;
    uint64_t count = 0;  // since it was first seen, while it is kept
    int64_t first_unix_ms = 0;
    int64_t last_unix_ms = 0;
  };

  // `now_unix_ms` and `log`: for tests; otherwise the system's clock and spdlog's warnings.
  explicit Refusals(std::function<int64_t()> now_unix_ms = {},
                    std::function<void(const std::string&)> log = {});

  // `address` as "192.0.2.7:4711" or without a port.
  void count(Refusal reason, const std::string& address, const std::string& message) {
    count(TrustError{{ErrorCode::denied, message}, reason}, address);
  }
  void count(const TrustError& why, const std::string& address);

  uint64_t total(Refusal reason) const { return totals_[static_cast<size_t>(reason)]; }
  uint64_t total() const;
  // The latest `recent_max` pairs of reason and address, the latest last.
  std::vector<Entry> list() const { return {recent_.begin(), recent_.end()}; }

 private:
  bool may_log(Refusal reason, const std::string& address, int64_t now);

  std::function<int64_t()> now_;
  std::function<void(const std::string&)> log_;
  std::array<uint64_t, refusal_reasons> totals_{};
  std::deque<Entry> recent_;
  std::map<std::pair<Refusal, std::string>, int64_t> quiet_until_;
  int64_t minute_begin_ = 0;
  size_t minute_lines_ = 0;
};

}  // namespace farport
