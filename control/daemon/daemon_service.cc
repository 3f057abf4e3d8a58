// What a daemon answers.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "control/daemon/daemon_host.h"
#include "control/daemon/peer_message.h"
#include "dataplane/wire.h"

namespace farport {

using nlohmann::json;

namespace {

constexpr std::chrono::seconds kAnswerLimit{10};

}  // namespace

VersionInfo Daemon::Host::version() const {
  VersionInfo info;
  info.version = FARPORT_VERSION;
  info.api_version = "v1";
  info.protocol_version = fmt::format("{}.{}", wire::version_major, wire::version_minor);
  info.host = settings_.host;
  info.boot_id = peer::to_hex(boot_);
  info.started_unix_ms = started_unix_ms_;
  info.pid = getpid();
  return info;
}

Health Daemon::Host::health() const {
  Health health;
  health.checks.push_back(
      {"devices", listed_,
       listed_ ? "the devices of this host are known" : "the devices of this host are being listed",
       ""});
  health.checks.push_back({"stopping", !stopping_, stopping_ ? "stops" : "runs", ""});
  health.ready = listed_ && !stopping_;
  return health;
}

// Workers know what compression does: each session is asked, the last answer ends it.
void Daemon::Host::hosts(Callback<std::vector<HostEntry>> done) {
  HostEntry self;
  self.name = settings_.host;
  self.self = true;
  for (const std::string& address : addresses()) {
    self.address += (self.address.empty() ? "" : ", ") + address;
  }
  self.state = "self";
  self.since_unix_ms = started_unix_ms_;
  const auto hosts = std::make_shared<std::vector<HostEntry>>(1, std::move(self));
  for (HostEntry& entry : peers_.list()) hosts->push_back(std::move(entry));
  // Goes, on whichever thread, with the last answer.
  const std::shared_ptr<void> finished(nullptr,
                                       [&loop = *loop_, hosts, done = std::move(done)](void*) {
                                         loop.post([hosts, done] { done(std::move(*hosts)); });
                                       });
  for (const auto& session : peers_.open_sessions()) {
    session->read_compression(
        [hosts, finished, name = session->peer_name()](const CompressionCounters& counters) {
          const auto found = std::ranges::find(*hosts, name, &HostEntry::name);
          if (found != hosts->end()) found->compression = counters;
        });
  }
}

// --- devices ---

void Daemon::Host::local_devices(const Caller& caller,
                                 std::function<void(std::vector<DeviceEntry>)> done) {
  const bool root = caller.uid == 0;
  loans_.devices({settings_.host, "", caller.user, caller.uid, caller.groups},
                 [root, done = std::move(done)](std::vector<DeviceEntry> entries) {
                   for (DeviceEntry& entry : entries) {
                     if (!root || entry.allowed) continue;
                     entry.allowed = true;
                     entry.reason = "root of the device's own host";
                   }
                   done(std::move(entries));
                 });
}

void Daemon::Host::remote_devices(PeerSession& session, Callback<std::vector<DeviceEntry>> done) {
  session.request({{"op", "devices"}}, kAnswerLimit,
                  [host = session.peer_name(), done = std::move(done)](Result<json> answer) {
                    if (!answer) return done(std::unexpected(answer.error()));
                    done(peer::decode_entries(*answer, host));
                  });
}

namespace {

// The answers of several hosts; `done` with the last.
struct Gathering {
  DeviceList list;
  size_t missing = 1;
  Callback<DeviceList> done;
  void finish_one() {
    if (--missing != 0) return;
    std::sort(list.devices.begin(), list.devices.end(), [](const auto& a, const auto& b) {
      return std::tie(a.host, a.info.name) < std::tie(b.host, b.info.name);
    });
    done(std::move(list));
  }
};

}  // namespace

void Daemon::Host::devices(const std::string& host, const Caller& caller,
                           Callback<DeviceList> done) {
  if (!host.empty() && host != settings_.host) {
    const auto session = peers_.session(host);
    if (!session) return done(std::unexpected(session.error()));
    return remote_devices(**session, [done = std::move(done)](auto entries) {
      if (!entries) return done(std::unexpected(entries.error()));
      done(DeviceList{std::move(*entries), {}});
    });
  }
  const auto gathering = std::make_shared<Gathering>();
  gathering->done = std::move(done);
  // One for this call itself: an answer may come from inside the asking.
  ++gathering->missing;
  local_devices(caller, [gathering](std::vector<DeviceEntry> entries) {
    for (DeviceEntry& entry : entries) gathering->list.devices.push_back(std::move(entry));
    gathering->finish_one();
  });
  if (!host.empty()) return gathering->finish_one();
  for (const HostEntry& entry : peers_.list()) {
    const auto session = peers_.session(entry.name);
    if (!session) {
      gathering->list.problems.push_back({entry.name, session.error()});
      continue;
    }
    ++gathering->missing;
    remote_devices(**session, [gathering, name = entry.name](const auto& entries) {
      if (!entries) {
        gathering->list.problems.push_back({name, entries.error()});
      } else {
        auto& all = gathering->list.devices;
        all.insert(all.end(), entries->begin(), entries->end());
      }
      gathering->finish_one();
    });
  }
  gathering->finish_one();
}

// --- attaching ---

void Daemon::Host::attach(const AttachRequest& request, const Caller& caller,
                          Callback<Attachment> done) {
  if (stopping_) return done(fail(ErrorCode::unreachable, "farportd stops"));
  if (auto known = advice_.check_vm(request.vm); !known) {
    return done(std::unexpected(known.error()));
  }
  attachments_.attach(request, caller, std::move(done));
}

void Daemon::Host::detach(const std::string& id, const Caller& caller, Callback<void> done) {
  attachments_.detach(id, caller, std::move(done));
}

// --- doctor ---

std::vector<Check> Daemon::Host::explain_self() const {
  std::vector<Check> checks;
  checks.push_back({"daemon", !stopping_,
                    fmt::format("farportd {} runs on host {}, process {}", FARPORT_VERSION,
                                settings_.host, getpid()),
                    ""});
  if (listeners_.empty()) {
    checks.push_back({"listen", true,
                      "listens nowhere: this host can use devices of others and be "
                      "reached by hosts it connects to",
                      ""});
  }
  for (const auto& listener : listeners_) {
    checks.push_back(
        {"listen", true,
         fmt::format(
             "{}{}", listener->address(),
             listener->loopback() && !settings_.encrypt_loopback ? ", in plain text" : ", by TLS"),
         ""});
  }
  for (Check& check : explain_trust("")) checks.push_back(std::move(check));
  for (const std::string& problem : catalogue_.problems()) {
    checks.push_back({"source", false, problem, "repair it, or remove it from the configuration"});
  }
  return checks;
}

Check Daemon::Host::explain_host(const std::string& host) {
  if (host == settings_.host) return {"host", true, fmt::format("{} is this host", host), ""};
  const auto session = peers_.session(host);
  if (session) {
    for (const HostEntry& entry : peers_.list()) {
      if (entry.name != host) continue;
      if (entry.state == "resuming") {
        return {
            "host", false,
            fmt::format("the connection to {} was lost: {}; its devices wait", host, entry.error),
            "see whether the network between the two is there; the session goes on by itself"};
      }
      return {"host", true,
              fmt::format("{} is connected ({}{})", host, entry.address,
                          entry.fingerprint.empty() ? ", not encrypted" : ", encrypted"),
              ""};
    }
  }
  return {"host", false, session.error().message,
          session.error().code == ErrorCode::not_found
              ? fmt::format("add a [[peer]] with the name {}", host)
              : "see that farportd runs there, that it listens on that address, and that no "
                "firewall is between"};
}

void Daemon::Host::explain(const std::string& host, const std::string& device, const Caller& caller,
                           Callback<std::vector<Check>> done) {
  std::vector<Check> checks = explain_self();
  if (host.empty() && device.empty()) {
    for (const HostEntry& entry : peers_.list()) {
      checks.push_back(explain_host(entry.name));
      for (Check& check : explain_trust(entry.name)) checks.push_back(std::move(check));
    }
    return done(std::move(checks));
  }
  const std::string where = host.empty() ? settings_.host : host;
  checks.push_back(explain_host(where));
  const bool reached = checks.back().ok;
  for (Check& check : explain_trust(where)) checks.push_back(std::move(check));
  if (device.empty() || !reached) return done(std::move(checks));
  if (where == settings_.host) {
    return loans_.explain(device, {where, "", caller.user, caller.uid, caller.groups},
                          caller.uid == 0,
                          [checks, done = std::move(done)](std::vector<Check> more) mutable {
                            checks.insert(checks.end(), more.begin(), more.end());
                            done(std::move(checks));
                          });
  }
  const json request = {{"op", "explain"}, {"device", device}, {"vm", ""}, {"user", caller.user}};
  (*peers_.session(where))
      ->request(
          request, kAnswerLimit,
          [checks, where, done = std::move(done)](Result<json> answer) mutable {
            if (!answer) {
              checks.push_back({"device", false, answer.error().message,
                                fmt::format("ask on host {} itself: `farport doctor`", where)});
              return done(std::move(checks));
            }
            auto more = peer::decode_checks(*answer);
            if (!more) return done(std::unexpected(more.error()));
            checks.insert(checks.end(), more->begin(), more->end());
            done(std::move(checks));
          });
}

}  // namespace farport
