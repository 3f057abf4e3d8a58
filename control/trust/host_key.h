// This host's own key, and what is shown of anybody's: fingerprints.
//
// Ed25519 (RFC 8410, RFC 8446 4.2.3): the signature needs no random numbers, so that a bad source
// of them never gives the key away; keys are small and there is nothing to choose wrongly.
//
// Thread rule: the control thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/trust/host_name.h"
#include "control/trust/openssl.h"
#include "dataplane/error.h"

namespace farport {

// "SHA256:" and the unpadded base64 of SHA-256 over the SubjectPublicKeyInfo (RFC 5280 4.1.2.7):
// of the key, so that a new certificate around it changes nothing.
std::string fingerprint_of(X509& certificate);
std::string fingerprint_of(EVP_PKEY& key);
// Whether the text is one; so that a shortened or mistyped one is never pinned.
bool is_fingerprint(std::string_view text);

// A private key in PEM. denied: others may read it. A key with a passphrase is an error: nobody is
// there to type it.
Result<UniqueKey> load_key(const std::string& path);
// A new one, 0600 from its first moment. busy: there is one already.
Result<UniqueKey> make_key(const std::string& path);
// Loads it, or makes it when it is not there.
Result<UniqueKey> load_or_make_key(const std::string& path);

// A certificate by the key itself: TLS wants one. It names the host only for the messages of those
// who do not know the key yet.
Result<UniqueCertificate> self_signed(EVP_PKEY& key, const std::string& host);

// The DNS names of a certificate (subjectAltName), as they are written.
std::vector<std::string> dns_names(X509& certificate);

}  // namespace farport
