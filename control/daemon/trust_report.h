// Trust as the API tells and takes it.
//
//   GET    /v1/trust              {"host", "fingerprint", "next_fingerprint", "folder",
//   "authority",
//                                  "certificate", "certificate_expires", "revoked_until",
//                                  "keys": [{"host", "fingerprint", "comment"}],
//                                  "refusals": [{"reason", "address", "message", "count", ...}]}
//   POST   /v1/trust/keys         {"host", "fingerprint", "comment", "replace"}
//   DELETE /v1/trust/keys/HOST[?fingerprint=F]
//   POST   /v1/trust/renew        {"prepare": true}, or {} to take the prepared key
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "control/trust/overview.h"
#include "control/trust/refusals.h"
#include "dataplane/error.h"

namespace farport {

struct TrustReport {
  TrustOverview overview;
  std::vector<Refusals::Entry> refusals;  // the latest last
};
void to_json(nlohmann::json& json, const TrustReport& value);

struct TrustAddition {
  PinnedKey key;
  bool replace = false;  // instead of all other keys of the host
};
// usage: unknown fields, wrong types, no host or no fingerprint.
Result<TrustAddition> trust_addition_from_json(const nlohmann::json& json);
// Whether the renewal is only to be prepared.
Result<bool> trust_prepare_from_json(const nlohmann::json& json);

}  // namespace farport
