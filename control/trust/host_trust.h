// A host's Trust, in files of one folder (<state_dir>/trust):
//
//   host_key       this host's key, made at the first start; 0600
//   host_key.next  the one that comes after it: `farport trust renew --prepare`
//   known_hosts    the keys of others
//
// and, where the configuration names them, an authority's certificates. A pin is the narrower word:
// a host or a key that is pinned is judged by its pins alone, the others by the authority.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/trust/authority.h"
#include "control/trust/known_hosts.h"
#include "control/trust/openssl.h"
#include "control/trust/overview.h"
#include "control/trust/trust.h"

namespace farport {

// Paths in PEM; empty: not used. `certificate` and `key` go together.
struct AuthorityFiles {
  std::string authority;    // those who certify hosts
  std::string certificate;  // this host's, with the authorities between
  std::string key;
  std::string revoked;  // lists of revoked certificates

  bool operator==(const AuthorityFiles&) const = default;
};

struct TrustSettings {
  std::string host;    // this host's name
  std::string folder;  // made when it is not there
  AuthorityFiles files;
  std::function<int64_t()> now_unix_s;  // for tests; empty: the system's clock
};

// "<state_dir>/trust".
std::string trust_folder(const std::string& state_dir);
// Within it.
inline constexpr std::string_view host_key_file = "host_key";
inline constexpr std::string_view known_hosts_file = "known_hosts";

// What HostTrust::open() would refuse, as the caller's user: all of it, by the configuration's key
// that leads to the file. Nothing is made or changed.
struct TrustFault {
  std::string key;      // "trust.authority", "host.state_dir", ...
  std::string message;  // with the file, and the line where it has lines
  bool unseen = false;  // this user may not look, so that nothing is known of it
};
std::vector<TrustFault> check_trust_files(const TrustSettings& settings);

class HostTrust final : public Trust {
 public:
  static Result<std::unique_ptr<HostTrust>> open(TrustSettings settings);

  // Trust
  Result<UniqueSsl> begin(TlsRole role) override;
  std::expected<TrustedPeer, TrustError> check(SSL& ssl, const std::string& expected) override;
  std::expected<void, TrustError> still(const TrustedPeer& peer) override;
  bool knows(const std::string& host) const override { return !known_.keys_of(host).empty(); }
  std::string fingerprint() const override { return identity_.fingerprint; }
  void on_change(std::function<void(bool own)> changed) override { changed_ = std::move(changed); }

  TrustOverview overview() const;
  int64_t now_unix_s() const;

  // Takes effect at once, on open sessions too (on_change). False: it was pinned already.
  // `replace`: instead of all other keys of the name.
  Result<bool> add(const PinnedKey& key, bool replace = false);
  // All keys of the name when `fingerprint` is empty; how many. not_found: none.
  Result<size_t> remove(const std::string& name, const std::string& fingerprint = {});
  // The fingerprint of the key that comes next; made when there is none.
  Result<std::string> prepare();
  // Takes the prepared key. not_found: there is none.
  Result<std::string> renew();
  // Reads everything again. When anything is wrong, nothing is changed.
  Result<void> reload(const AuthorityFiles& files);

 private:
  explicit HostTrust(TrustSettings settings) : settings_(std::move(settings)) {}

  Result<HostIdentity> read_identity(const AuthorityFiles& files) const;
  Result<void> change(const std::function<Result<bool>(KnownHosts&)>& edit);
  void notify(bool own) const;
  std::string path(std::string_view file) const;

  std::expected<TrustedPeer, TrustError> judge(std::shared_ptr<const PresentedChain> presented,
                                               const std::string& expected) const;
  std::expected<TrustedPeer, TrustError> judge_by_authority(TrustedPeer peer,
                                                            const std::string& expected) const;

  TrustSettings settings_;
  HostIdentity identity_;
  UniqueSslContext context_;
  KnownHosts known_;
  std::optional<Authority> authority_;
  std::function<void(bool own)> changed_;
};

}  // namespace farport
