// An authority whose certificates name hosts: the chain, the dates, the list of revoked ones, the
// name and the purpose (RFC 5280 6, RFC 6125 by subjectAltName only), each refused in its own
// words.
//
// Thread rule: the control thread.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "control/trust/openssl.h"
#include "control/trust/refusals.h"
#include "control/trust/trust.h"
#include "dataplane/error.h"

namespace farport {

// What the peer has shown in a handshake.
struct PresentedChain {
  UniqueCertificate certificate;
  std::vector<UniqueCertificate> others;  // as it sent them; not trusted by that
  bool of_server = false;                 // it accepted the connection
};
// Null when the peer showed no certificate.
std::shared_ptr<const PresentedChain> presented_by(SSL& ssl);

class Authority {
 public:
  static constexpr size_t bundle_bytes_max = 1 << 20;
  static constexpr size_t revoked_bytes_max = 16 << 20;
  static constexpr int depth_max = 4;  // authorities between the root and a host

  // `authority`: a bundle of certificates in PEM. `revoked`: lists in PEM, one of each authority in
  // the chain; empty: nothing is revoked.
  static Result<Authority> load(const std::string& authority, const std::string& revoked);

  // Whether the chain is the authority's, in date and not revoked, and for this purpose. The
  // earliest end of its certificates, in seconds since 1970.
  std::expected<int64_t, TrustError> verify(const PresentedChain& chain, int64_t now_unix_s) const;

  int64_t revoked_until_unix_s() const { return revoked_until_unix_s_; }  // 0: without a list

 private:
  UniqueStore store_;
  int64_t revoked_until_unix_s_ = 0;
};

// This host's own key and the certificate around it.
struct HostIdentity {
  UniqueKey key;
  UniqueCertificate certificate;
  std::vector<UniqueCertificate> others;  // authorities between
  std::string fingerprint;
  int64_t expires_unix_s = 0;  // 0: never (self-signed)
};
// Of files in PEM. usage: the key is not the certificate's, or it does not name `host`.
Result<HostIdentity> load_identity(const std::string& certificate, const std::string& key,
                                   const std::string& host);

int64_t unix_time_of(const ASN1_TIME& time);
// "2026-01-31 12:00 UTC".
std::string format_day(int64_t unix_s);

}  // namespace farport
