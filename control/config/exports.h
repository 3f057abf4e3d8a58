// Who may have a device. Nothing is exported without a rule; a rule that denies wins over all that
// allow.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/config/config.h"

namespace farport {

// Shell patterns (fnmatch(3), * matches / too), as in device = "usb:046d:*". Without regard to
// case: device names are lower case, and people copy hexadecimal in either.
bool matches_device(std::string_view pattern, std::span<const std::string> names);

// Who asks: another host, or a user of this one.
struct Requester {
  std::string host;  // empty: this host
  std::string vm;    // empty: not for a VM
  std::optional<uint32_t> uid;
  std::string user;
  std::vector<std::string> groups;
};

struct ExportAnswer {
  bool allowed = false;
  std::string reason;  // names the rule that decided by file and line, or says that there is none
};

// A rule that allows speaks to
//   - the hosts whose names fit one of `hosts`, and no other host;
//   - the users of this host listed in `users` ("user:NAME", "group:NAME", "uid:N"), and root;
// and if it lists `vms`, only when the device is for one of these. A rule that denies speaks to
// those it lists, or, with neither hosts nor users, to everyone, root too.
ExportAnswer export_allowed(std::span<const ExportRule> rules, std::span<const std::string> names,
                            const Requester& requester);

}  // namespace farport
