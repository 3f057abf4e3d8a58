#include "control/daemon/trust_advice.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/trust/host_key.h"

namespace farport {

namespace {

constexpr int64_t kLately_ms = 10 * 60'000;
constexpr int64_t kSoon_s = 14 * 86'400;  // time enough to ask an authority for a new one
constexpr size_t kShown = 5;

// Those that a person can repair; a port scanner is nothing to repair.
bool of_a_host(Refusal reason) { return reason <= Refusal::revoked_list; }

std::string day(int64_t unix_s) { return format_time(unix_s * 1000).substr(0, 10); }

Check explain_end(const std::string& name, const std::string& what, int64_t end_unix_s,
                  int64_t now_unix_s, const std::string& advice) {
  if (end_unix_s <= now_unix_s) {
    return {name, false,
            fmt::format("{} ran out on {}: other hosts are not reached", what, day(end_unix_s)),
            advice};
  }
  const int64_t left_s = end_unix_s - now_unix_s;
  if (left_s > kSoon_s) return {name, true, fmt::format("{}, until {}", what, day(end_unix_s)), ""};
  return {name, true,
          fmt::format("{}, ONLY until {}, in {} days: {}", what, day(end_unix_s), left_s / 86'400,
                      advice),
          ""};
}

std::string pinned_words(const std::vector<PinnedKey>& keys) {
  std::string words;
  for (const PinnedKey& key : keys) words += (words.empty() ? "" : ", ") + key.fingerprint;
  return words;
}

bool is_pinned(const std::vector<PinnedKey>& keys, const std::string& fingerprint) {
  return std::ranges::any_of(keys,
                             [&](const PinnedKey& key) { return key.fingerprint == fingerprint; });
}

// The key for which the host was turned away lately; empty: none.
std::string refused_key(const TrustReport& report, const std::string& host, int64_t now_unix_ms) {
  std::string key;
  for (const Refusals::Entry& one : report.refusals) {
    const bool lately = now_unix_ms - one.last_unix_ms <= kLately_ms;
    if (one.host == host && !one.fingerprint.empty() && lately) key = one.fingerprint;
  }
  return key;
}

// To be copied into a shell.
std::string add_command(const std::string& host, const std::string& fingerprint) {
  return fmt::format("farport trust add {} {}", is_plain_name(host) ? host : "NAME", fingerprint);
}

}  // namespace

std::vector<Check> explain_own_trust(const TrustReport& report, int64_t now_unix_ms) {
  const TrustOverview& all = report.overview;
  std::vector<Check> checks;
  checks.push_back({"own key", true,
                    fmt::format("this host shows {}; {} {} pinned here{}", all.fingerprint,
                                all.keys.size(), all.keys.size() == 1 ? "key is" : "keys are",
                                all.authority ? ", others are judged by the authority" : ""),
                    ""});
  if (!all.certificate.empty()) {
    checks.push_back(explain_end("certificate", "this host's certificate " + all.certificate,
                                 all.certificate_expires_unix_s, now_unix_ms / 1000,
                                 "get a new one from the authority, then `systemctl reload "
                                 "farportd`"));
  }
  if (all.revoked_until_unix_s != 0) {
    checks.push_back(explain_end("revoked list", "the list of revoked certificates (trust.revoked)",
                                 all.revoked_until_unix_s, now_unix_ms / 1000,
                                 "get a new one from the authority, then `systemctl reload "
                                 "farportd`"));
  }
  std::vector<Refusals::Entry> lately;
  for (const Refusals::Entry& one : report.refusals) {
    if (now_unix_ms - one.last_unix_ms <= kLately_ms) lately.push_back(one);
  }
  if (lately.empty()) {
    checks.push_back({"refused", true, "nobody was refused in the last 10 minutes", ""});
  }
  const size_t skipped = lately.size() - std::min(lately.size(), kShown);
  for (size_t i = skipped; i < lately.size(); ++i) {
    const Refusals::Entry& one = lately[i];
    checks.push_back(
        {"refused", !of_a_host(one.reason),
         fmt::format("{} ({} times, last at {}): {}: {}", one.address, one.count,
                     format_time(one.last_unix_ms), refusal_words(one.reason), one.message),
         "if it is a host of yours, do what is said there; otherwise keep it out by a "
         "firewall"});
  }
  return checks;
}

Check explain_peer_trust(const TrustReport& report, const HostEntry& peer, bool plain,
                         int64_t now_unix_ms) {
  const TrustOverview& overview = report.overview;
  const std::string& host = peer.name;
  if (plain) {
    return {"trust", true,
            fmt::format("{} is reached over loopback, where no key is asked for (trust.loopback)",
                        host),
            ""};
  }
  std::vector<PinnedKey> keys;
  std::ranges::copy_if(overview.keys, std::back_inserter(keys),
                       [&](const PinnedKey& key) { return key.name == host; });
  const std::string known =
      keys.empty() ? fmt::format("no key of {} is pinned; the authority's certificates count", host)
                   : fmt::format("{} is pinned here with {}", host, pinned_words(keys));
  if (peer.state == "connected") {
    return {"trust", true, fmt::format("{}, and {} knows this host's key", known, host), ""};
  }
  const std::string shown = refused_key(report, host, now_unix_ms);
  const std::string theirs = add_command(host, shown.empty() ? "SHA256:..." : shown);
  const std::string ours = add_command(overview.host, overview.fingerprint);
  if (!keys.empty() && !shown.empty() && !is_pinned(keys, shown)) {
    return {"trust", false, fmt::format("{}, but it shows {}", known, shown),
            fmt::format("on {}: `farport trust show`; only if it says the same, here: `{} "
                        "--replace`",
                        host, theirs)};
  }
  if (keys.empty() && !overview.authority) {
    return {"trust", false, fmt::format("no key of {} is pinned here: it is not let in", host),
            fmt::format("on {}: `farport trust show`, and `{}`; here: {}`{}`", host, ours,
                        shown.empty() ? "what it shows, as " : "if it shows the same, ", theirs)};
  }
  // Its refusal names the key that it did not take.
  if (peer.error.find(overview.fingerprint) != std::string::npos) {
    return {"trust", false, fmt::format("{}, but {} does not take this host's key", known, host),
            fmt::format("on {}: `{}`", host, ours)};
  }
  return {"trust", true,
          fmt::format("{}; whether {} knows this host's key can be seen on {} itself: `farport "
                      "trust list`, and if not, there: `{}`",
                      known, host, host, ours),
          ""};
}

}  // namespace farport
