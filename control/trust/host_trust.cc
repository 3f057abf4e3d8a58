#include "control/trust/host_trust.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "control/trust/handshake.h"
#include "control/trust/host_key.h"
#include "control/trust/private_file.h"

namespace farport {

namespace {

constexpr std::string_view kNextKey = "host_key.next";

Result<std::optional<Authority>> read_authority(const AuthorityFiles& files) {
  if (files.authority.empty()) return std::optional<Authority>();
  auto loaded = Authority::load(files.authority, files.revoked);
  if (!loaded) return std::unexpected(loaded.error());
  return std::optional<Authority>(std::move(*loaded));
}

}  // namespace

std::string trust_folder(const std::string& state_dir) { return state_dir + "/trust"; }

// --- its files ---

std::string HostTrust::path(std::string_view file) const {
  return fmt::format("{}/{}", settings_.folder, file);
}

int64_t HostTrust::now_unix_s() const {
  return settings_.now_unix_s ? settings_.now_unix_s() : std::time(nullptr);
}

Result<HostIdentity> HostTrust::read_identity(const AuthorityFiles& files) const {
  if (!files.certificate.empty()) {
    return load_identity(files.certificate, files.key, settings_.host);
  }
  HostIdentity identity;
  auto key = load_or_make_key(path(host_key_file));
  if (!key) return std::unexpected(key.error());
  identity.key = std::move(*key);
  auto certificate = self_signed(*identity.key, settings_.host);
  if (!certificate) return std::unexpected(certificate.error());
  identity.certificate = std::move(*certificate);
  identity.fingerprint = fingerprint_of(*identity.key);
  return identity;
}

Result<std::unique_ptr<HostTrust>> HostTrust::open(TrustSettings settings) {
  if (auto folder = make_private_folder(settings.folder); !folder) {
    return std::unexpected(folder.error());
  }
  const AuthorityFiles files = settings.files;
  std::unique_ptr<HostTrust> trust(new HostTrust(std::move(settings)));
  if (auto read = trust->reload(files); !read) return std::unexpected(read.error());
  return trust;
}

Result<void> HostTrust::reload(const AuthorityFiles& files) {
  if (files.certificate.empty() != files.key.empty()) {
    return fail(ErrorCode::usage, "trust.certificate and trust.key go together: set both or none");
  }
  if (files.authority.empty() && !files.revoked.empty()) {
    return fail(ErrorCode::usage, "trust.revoked needs trust.authority");
  }
  auto known = KnownHosts::load(path(known_hosts_file));
  if (!known) return std::unexpected(known.error());
  auto authority = read_authority(files);
  if (!authority) return std::unexpected(authority.error());
  auto identity = read_identity(files);
  if (!identity) return std::unexpected(identity.error());
  auto context = make_tls_context(*identity);
  if (!context) return std::unexpected(context.error());
  // Self-signed certificates differ each time; what they hold does not.
  const bool own = identity_.fingerprint != identity->fingerprint ||
                   identity_.expires_unix_s != identity->expires_unix_s;
  settings_.files = files;
  known_ = std::move(*known);
  authority_ = std::move(*authority);
  identity_ = std::move(*identity);
  context_ = std::move(*context);
  notify(own);
  return {};
}

void HostTrust::notify(bool own) const {
  if (changed_) changed_(own);
}

TrustOverview HostTrust::overview() const {
  TrustOverview all;
  all.host = settings_.host;
  all.fingerprint = identity_.fingerprint;
  all.folder = settings_.folder;
  all.keys = known_.keys();
  all.authority = authority_.has_value();
  all.certificate = settings_.files.certificate;
  all.certificate_expires_unix_s = identity_.expires_unix_s;
  if (authority_) all.revoked_until_unix_s = authority_->revoked_until_unix_s();
  if (const auto next = load_key(path(kNextKey))) all.next_fingerprint = fingerprint_of(**next);
  return all;
}

// --- changing who is trusted ---

// Of what is on the disk: a person may have edited it since it was read.
Result<void> HostTrust::change(const std::function<Result<bool>(KnownHosts&)>& edit) {
  const auto lock = lock_folder(settings_.folder);
  if (!lock) return std::unexpected(lock.error());
  auto known = KnownHosts::load(path(known_hosts_file));
  if (!known) return std::unexpected(known.error());
  const auto edited = edit(*known);
  if (!edited) return std::unexpected(edited.error());
  if (*edited) {
    if (auto saved = known->save(path(known_hosts_file)); !saved) return saved;
  }
  known_ = std::move(*known);
  notify(false);
  return {};
}

Result<bool> HostTrust::add(const PinnedKey& key, bool replace) {
  if (key.fingerprint == identity_.fingerprint) {
    return fail(ErrorCode::usage,
                fmt::format("{} is the key of this host itself: take what `farport trust show` "
                            "prints on host {}",
                            key.fingerprint, key.name));
  }
  if (key.name == settings_.host) {
    return fail(ErrorCode::usage,
                fmt::format("{} is the name of this host itself: take the other host's", key.name));
  }
  bool added = false;
  auto changed = change([&](KnownHosts& known) -> Result<bool> {
    auto fresh = known.add(key);
    if (!fresh) return fresh;
    added = *fresh;
    size_t removed = 0;
    for (const PinnedKey& other : replace ? known.keys_of(key.name) : std::vector<PinnedKey>()) {
      if (other.fingerprint != key.fingerprint)
        removed += known.remove(key.name, other.fingerprint);
    }
    return added || removed != 0;
  });
  if (!changed) return std::unexpected(changed.error());
  return added;
}

Result<size_t> HostTrust::remove(const std::string& name, const std::string& fingerprint) {
  size_t removed = 0;
  auto changed = change([&](KnownHosts& known) -> Result<bool> {
    const size_t of_name = known.keys_of(name).size();
    removed = known.remove(name, fingerprint);
    if (removed != 0) return true;
    return fail(ErrorCode::not_found,
                of_name == 0 ? fmt::format("no key is pinned for host {}: `farport trust list` "
                                           "shows what is",
                                           name)
                             : fmt::format("host {} has {} pinned, but not {}: `farport trust "
                                           "list` shows what is",
                                           name, of_name == 1 ? "a key" : "keys", fingerprint));
  });
  if (!changed) return std::unexpected(changed.error());
  return removed;
}

// --- renewing one's own ---

Result<std::string> HostTrust::prepare() {
  if (!settings_.files.certificate.empty()) {
    return fail(ErrorCode::usage,
                fmt::format("this host shows the certificate {}: get a new one from the authority, "
                            "then `systemctl reload farportd`",
                            settings_.files.certificate));
  }
  auto next = load_or_make_key(path(kNextKey));
  if (!next) return std::unexpected(next.error());
  return fingerprint_of(**next);
}

Result<std::string> HostTrust::renew() {
  const auto lock = lock_folder(settings_.folder);
  if (!lock) return std::unexpected(lock.error());
  auto next = load_key(path(kNextKey));
  if (!next && next.error().code == ErrorCode::not_found) {
    return fail(ErrorCode::not_found,
                "no key is prepared: run `farport trust renew --prepare`, add what it shows on the "
                "other hosts, then run `farport trust renew` again");
  }
  if (!next) return std::unexpected(next.error());
  if (rename(path(kNextKey).c_str(), path(host_key_file).c_str()) != 0) {
    return fail_errno(errno, fmt::format("cannot replace {}", path(host_key_file)));
  }
  if (auto read = reload(settings_.files); !read) return std::unexpected(read.error());
  return identity_.fingerprint;
}

// --- one handshake ---

Result<UniqueSsl> HostTrust::begin(TlsRole role) {
  UniqueSsl ssl(SSL_new(context_.get()));
  if (!ssl) return fail(fmt::format("cannot begin a handshake: {}", openssl_words()));
  if (role == TlsRole::connecting) {
    SSL_set_connect_state(ssl.get());
  } else {
    SSL_set_accept_state(ssl.get());
  }
  return ssl;
}

}  // namespace farport
