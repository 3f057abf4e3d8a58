// What can be told of a host's trust: for `farport trust`, the API and doctor. Nothing in it is
// secret.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace farport {

struct PinnedKey {
  std::string name;         // of the host
  std::string fingerprint;  // "SHA256:..."
  std::string comment;
};

struct TrustOverview {
  std::string host;
  std::string fingerprint;       // this host's, that others are shown
  std::string next_fingerprint;  // prepared; empty: none
  std::string folder;
  std::vector<PinnedKey> keys;
  bool authority = false;                  // one is configured
  std::string certificate;                 // the file; empty: the host key is shown as it is
  int64_t certificate_expires_unix_s = 0;  // 0: never
  int64_t revoked_until_unix_s = 0;        // when the first list is out of date; 0: no list
};

}  // namespace farport
