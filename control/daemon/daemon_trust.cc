// What a daemon answers about trust.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/daemon/daemon_host.h"
#include "control/daemon/trust_advice.h"

namespace farport {

namespace {

std::unexpected<Error> no_trust() {
  return fail(ErrorCode::not_found, "this daemon has no keys: it serves this machine alone");
}

}  // namespace

Result<void> Daemon::Host::may_change_trust(const Caller& caller) const {
  if (!settings_.trust) return no_trust();
  const bool admin = std::ranges::any_of(live_.admin_groups, [&](const std::string& group) {
    return std::ranges::find(caller.groups, group) != caller.groups.end();
  });
  if (caller.uid == 0 || admin) return {};
  return fail(ErrorCode::denied,
              fmt::format("user {} may look at whom this host trusts, not change it: only root "
                          "and the group of host.socket_group may",
                          caller.user));
}

Result<TrustReport> Daemon::Host::trust() const {
  if (!settings_.trust) return no_trust();
  return TrustReport{settings_.trust->overview(), refusals_.list()};
}

Result<bool> Daemon::Host::trust_add(const TrustAddition& addition, const Caller& caller) {
  if (auto may = may_change_trust(caller); !may) return std::unexpected(may.error());
  auto added = settings_.trust->add(addition.key, addition.replace);
  if (added) {
    spdlog::info("{} trusts {} with {}{}", caller.user, addition.key.name, addition.key.fingerprint,
                 addition.replace ? " alone" : "");
    announce("trust.changed", fmt::format("host {} is trusted with {}", addition.key.name,
                                          addition.key.fingerprint));
  }
  return added;
}

Result<size_t> Daemon::Host::trust_remove(const std::string& host, const std::string& fingerprint,
                                          const Caller& caller) {
  if (auto may = may_change_trust(caller); !may) return std::unexpected(may.error());
  auto removed = settings_.trust->remove(host, fingerprint);
  if (removed) {
    spdlog::info("{} trusts {} no longer{}{}", caller.user, host,
                 fingerprint.empty() ? "" : " with ", fingerprint);
    announce("trust.changed", fmt::format("host {} is trusted no longer{}{}", host,
                                          fingerprint.empty() ? "" : " with ", fingerprint));
  }
  return removed;
}

Result<std::string> Daemon::Host::trust_renew(bool prepare, const Caller& caller) {
  if (auto may = may_change_trust(caller); !may) return std::unexpected(may.error());
  auto fingerprint = prepare ? settings_.trust->prepare() : settings_.trust->renew();
  if (fingerprint && !prepare) {
    spdlog::info("{} renewed this host's key: {}", caller.user, *fingerprint);
    announce("trust.renewed", fmt::format("this host shows {} now", *fingerprint));
  }
  return fingerprint;
}

void Daemon::Host::reload_trust(const AuthorityFiles& files) {
  if (!settings_.trust) return;
  if (auto read = settings_.trust->reload(files); !read) {
    spdlog::error("reload: {}; whom this host trusts was not changed", read.error().message);
    announce("trust.failed", read.error().message);
  }
}

std::vector<Check> Daemon::Host::explain_trust(const std::string& host) const {
  if (!settings_.trust) return {};
  const TrustReport report{settings_.trust->overview(), refusals_.list()};
  if (host.empty()) return explain_own_trust(report, unix_now_ms());
  for (const HostEntry& entry : peers_.list()) {
    if (entry.name != host) continue;
    const auto address = parse_host_port(entry.address, 0);
    const bool plain = address && is_loopback(*address) && !settings_.encrypt_loopback;
    return {explain_peer_trust(report, entry, plain, unix_now_ms())};
  }
  return {};
}

}  // namespace farport
