// HostTrust: whether to let a peer in. The order: its key is pinned; its name is pinned, with
// another key; the authority; nobody knows it.
#include <fmt/format.h>

#include <algorithm>

#include "control/trust/handshake.h"
#include "control/trust/host_key.h"
#include "control/trust/host_trust.h"

namespace farport {

namespace {

std::unexpected<TrustError> refuse(Refusal reason, std::string message, std::string host = {},
                                   std::string fingerprint = {}) {
  return std::unexpected(TrustError{
      {ErrorCode::denied, std::move(message)}, reason, std::move(host), std::move(fingerprint)});
}

std::string fingerprints(const std::vector<PinnedKey>& keys) {
  std::string words;
  for (const PinnedKey& key : keys) words += (words.empty() ? "" : " or ") + key.fingerprint;
  return words;
}

// What people shall copy into a shell: no name that a stranger has chosen to mean something there.
std::string name_for_command(const std::string& name) {
  return is_plain_name(name) ? name : "NAME";
}

std::unexpected<TrustError> refuse_unknown(const TrustedPeer& peer, const std::string& expected) {
  std::string claimed = expected;
  if (expected.empty()) {
    const auto names = dns_names(*peer.presented->certificate);
    claimed = names.empty() ? "" : names.front();
  }
  const std::string name = name_for_command(claimed);
  return refuse(
      Refusal::unknown_key,
      fmt::format("{} shows a key that is not known on this host: {}. If `farport trust show` on "
                  "{} itself says the same, accept it here: farport trust add {} {}",
                  expected.empty() ? (name == "NAME" ? std::string("the caller")
                                                     : fmt::format("the caller, which says it is "
                                                                   "{},",
                                                                   name))
                                   : fmt::format("host {}", expected),
                  peer.fingerprint, name == "NAME" ? "that host" : name, name, peer.fingerprint),
      claimed, peer.fingerprint);
}

std::unexpected<TrustError> refuse_changed(const std::string& host, const std::string& shown,
                                           const std::vector<PinnedKey>& pinned) {
  return refuse(
      Refusal::wrong_key,
      fmt::format("THE KEY OF HOST {} IS NOT THE PINNED ONE: pinned {}, shown {}. Somebody may be "
                  "between the two hosts, or {} was installed anew or has renewed its key. Look on "
                  "{} itself with `farport trust show`; only if it says {}, run here: farport "
                  "trust add {} {} --replace",
                  host, fingerprints(pinned), shown, host, host, shown, name_for_command(host),
                  shown),
      host, shown);
}

}  // namespace

std::expected<TrustedPeer, TrustError> HostTrust::check(SSL& ssl, const std::string& expected) {
  auto presented = presented_by(ssl);
  if (!presented) return refuse(Refusal::no_key, "it shows no key");
  const unsigned char* protocol = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(&ssl, &protocol, &length);
  if (std::string_view(reinterpret_cast<const char*>(protocol), length) != handshake_protocol) {
    return refuse(Refusal::bad_handshake,
                  fmt::format("it speaks TLS, but not {}", handshake_protocol));
  }
  return judge(std::move(presented), expected);
}

std::expected<void, TrustError> HostTrust::still(const TrustedPeer& peer) {
  if (!peer.presented) return {};  // a plain connection, of which nothing was asked
  auto judged = judge(peer.presented, peer.host);
  if (!judged) return std::unexpected(judged.error());
  return {};
}

std::expected<TrustedPeer, TrustError> HostTrust::judge(
    std::shared_ptr<const PresentedChain> presented, const std::string& expected) const {
  TrustedPeer peer;
  peer.presented = std::move(presented);
  peer.fingerprint = fingerprint_of(*peer.presented->certificate);
  if (peer.fingerprint.empty()) return refuse(Refusal::no_key, "its key cannot be read");
  if (peer.fingerprint == identity_.fingerprint) {
    return refuse(Refusal::own_key,
                  fmt::format("it shows the key of this host itself: if one is a copy of the "
                              "other's disk, run there `farport trust renew --prepare` and "
                              "`farport trust renew`; if it is this host, correct the [[peer]]'s "
                              "address"));
  }
  const std::string pinned = known_.name_of(peer.fingerprint);
  if (!pinned.empty() && !expected.empty() && pinned != expected) {
    return refuse(Refusal::wrong_host,
                  fmt::format("host {} was meant, but the key is that of host {}: correct the "
                              "[[peer]]'s address, or, if the host has a new name, run `farport "
                              "trust remove {}` and add the key under the new one",
                              expected, pinned, pinned));
  }
  if (!pinned.empty()) {
    peer.host = pinned;
    return peer;
  }
  if (const auto others = known_.keys_of(expected); !others.empty()) {
    return refuse_changed(expected, peer.fingerprint, others);
  }
  if (authority_) return judge_by_authority(std::move(peer), expected);
  return refuse_unknown(peer, expected);
}

std::expected<TrustedPeer, TrustError> HostTrust::judge_by_authority(
    TrustedPeer peer, const std::string& expected) const {
  const std::string who = expected.empty() ? "the caller" : "host " + expected;
  const auto verified = authority_->verify(*peer.presented, now_unix_s());
  if (!verified) {
    TrustError error = verified.error();
    error.message = fmt::format("{}: {} (its key is {})", who, error.message, peer.fingerprint);
    return std::unexpected(std::move(error));
  }
  const auto names = dns_names(*peer.presented->certificate);
  // Exact, by subjectAltName alone: the name of a host is no pattern.
  const auto named = expected.empty() ? std::ranges::find_if(names, is_host_name)
                                      : std::ranges::find(names, expected);
  if (named == names.end()) {
    std::string list;
    for (const std::string& name : names) {
      list += (list.empty() ? "" : ", ") + (is_host_name(name) ? name : std::string("?"));
    }
    return refuse(Refusal::wrong_name,
                  fmt::format("{}: its certificate names {}, not {}: its subjectAltName must hold "
                              "DNS:NAME with the host.name there, exactly (its key is {})",
                              who, list.empty() ? "no host" : list,
                              expected.empty() ? "a host" : expected, peer.fingerprint));
  }
  if (const auto others = known_.keys_of(*named); !others.empty()) {
    return refuse_changed(*named, peer.fingerprint, others);
  }
  peer.host = *named;
  peer.by_authority = true;
  peer.expires_unix_s = *verified;
  return peer;
}

}  // namespace farport
