#include "control/trust/refusals.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace farport {

namespace {

struct Words {
  Refusal reason;
  std::string_view name, words;
};

constexpr std::array<Words, refusal_reasons> kWords{{
    {Refusal::no_key, "no_key", "showed no key"},
    {Refusal::unknown_key, "unknown_key", "a key that is not known here"},
    {Refusal::wrong_key, "wrong_key", "another key than the pinned one"},
    {Refusal::wrong_host, "wrong_host", "the key of another host"},
    {Refusal::own_key, "own_key", "this host's own key"},
    {Refusal::wrong_authority, "wrong_authority", "not certified by the authority"},
    {Refusal::wrong_name, "wrong_name", "a certificate for another name"},
    {Refusal::wrong_purpose, "wrong_purpose", "a certificate for another purpose"},
    {Refusal::expired, "expired", "an expired certificate"},
    {Refusal::not_yet_valid, "not_yet_valid", "a certificate that is not valid yet"},
    {Refusal::revoked, "revoked", "a revoked certificate"},
    {Refusal::revoked_list, "revoked_list", "no current list of revoked certificates"},
    {Refusal::not_tls, "not_tls", "does not speak TLS"},
    {Refusal::old_version, "old_version", "speaks TLS below 1.3"},
    {Refusal::bad_handshake, "bad_handshake", "a malformed handshake"},
    {Refusal::handshake_timed_out, "handshake_timed_out", "did not finish the handshake"},
    {Refusal::too_many_half_open, "too_many_half_open", "too many unfinished connections"},
    {Refusal::bad_greeting, "bad_greeting", "a malformed greeting"},
    {Refusal::wrong_version, "wrong_version", "another version of the wire format"},
    {Refusal::too_many_sessions, "too_many_sessions", "too many sessions"},
    {Refusal::replayed_resume, "replayed_resume", "a replayed resume"},
    {Refusal::future_numbers, "future_numbers", "a resume with numbers from the future"},
    {Refusal::stolen_session, "stolen_session", "the session of another key"},
    {Refusal::unknown_session, "unknown_session", "a session that does not exist"},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (static_cast<size_t>(kWords[i].reason) != i) return false;
  }
  return true;
}
static_assert(in_order());

// "192.0.2.7" of "192.0.2.7:4711", "2001:db8::7" of "[2001:db8::7]:4711".
std::string without_port(const std::string& address) {
  if (address.starts_with("[")) return address.substr(1, address.find(']') - 1);
  const auto colon = address.find(':');
  if (colon == std::string::npos || address.find(':', colon + 1) != std::string::npos) {
    return address;  // none, or a bare IPv6 address
  }
  return address.substr(0, colon);
}

}  // namespace

std::string_view refusal_name(Refusal reason) { return kWords[static_cast<size_t>(reason)].name; }
std::string_view refusal_words(Refusal reason) { return kWords[static_cast<size_t>(reason)].words; }

Refusals::Refusals(std::function<int64_t()> now_unix_ms,
                   std::function<void(const std::string&)> log)
    : now_(std::move(now_unix_ms)), log_(std::move(log)) {
  if (!now_) {
    now_ = [] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(
                 std::chrono::system_clock::now().time_since_epoch())
          .count();
    };
  }
  if (!log_) log_ = [](const std::string& line) { spdlog::warn("{}", line); };
}

void Refusals::count(const TrustError& why, const std::string& address) {
  const Refusal reason = why.reason;
  ++totals_[static_cast<size_t>(reason)];
  const int64_t now = now_();
  const std::string from = without_port(address);
  Entry entry{reason, from, why.message, why.host, why.fingerprint, 0, now, now};
  const auto found = std::ranges::find_if(
      recent_, [&](const Entry& one) { return one.reason == reason && one.address == from; });
  if (found != recent_.end()) {
    entry.count = found->count;
    entry.first_unix_ms = found->first_unix_ms;
    recent_.erase(found);
  }
  ++entry.count;
  recent_.push_back(std::move(entry));
  if (recent_.size() > recent_max) recent_.pop_front();
  if (!may_log(reason, from, now)) return;
  // The message says what was seen; the rest of the minute is in the count.
  log_(fmt::format("refused {} ({}): {}", from, refusal_words(reason), why.message));
}

bool Refusals::may_log(Refusal reason, const std::string& address, int64_t now) {
  if (now - minute_begin_ >= quiet_ms || now < minute_begin_) {
    minute_begin_ = now;
    minute_lines_ = 0;
    std::erase_if(quiet_until_, [now](const auto& one) {
      // A clock that was set back must not keep anything quiet for longer.
      return one.second <= now || one.second > now + quiet_ms;
    });
  }
  const std::pair key(reason, address);
  const auto found = quiet_until_.find(key);
  if (found != quiet_until_.end() && found->second > now) return false;
  if (minute_lines_ >= lines_a_minute_max) return false;
  if (found == quiet_until_.end() && quiet_until_.size() >= quiet_max) return false;
  quiet_until_[key] = now + quiet_ms;
  ++minute_lines_;
  return true;
}

uint64_t Refusals::total() const {
  return std::accumulate(totals_.begin(), totals_.end(), uint64_t{0});
}

}  // namespace farport
