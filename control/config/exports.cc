#include "control/config/exports.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

namespace farport {
namespace {

bool fits(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

bool any_fits(const std::vector<std::string>& patterns, const std::string& name) {
  return std::ranges::any_of(patterns, [&](const std::string& p) { return fits(p, name); });
}

bool is_user(const std::string& entry, const Requester& requester) {
  if (entry.starts_with("user:")) {
    return !requester.user.empty() && entry.substr(5) == requester.user;
  }
  if (entry.starts_with("group:")) return std::ranges::count(requester.groups, entry.substr(6)) > 0;
  if (entry.starts_with("uid:")) {
    return requester.uid && entry.substr(4) == std::to_string(*requester.uid);
  }
  return false;
}

bool names_requester(const ExportRule& rule, const Requester& requester) {
  if (!requester.host.empty()) return any_fits(rule.hosts, requester.host);
  return std::ranges::any_of(rule.users,
                             [&](const std::string& entry) { return is_user(entry, requester); });
}

bool speaks_to(const ExportRule& rule, const Requester& requester) {
  const bool vm_fits =
      rule.vms.empty() || (!requester.vm.empty() && any_fits(rule.vms, requester.vm));
  if (!vm_fits) return false;
  if (names_requester(rule, requester)) return true;
  if (rule.deny) return rule.hosts.empty() && rule.users.empty();
  return requester.host.empty() && requester.uid == 0u;
}

std::string who(const Requester& requester) {
  std::string words;
  if (!requester.host.empty()) {
    words = fmt::format("host {}", requester.host);
  } else if (!requester.user.empty()) {
    words = fmt::format("user {}", requester.user);
  } else if (requester.uid) {
    words = fmt::format("uid {}", *requester.uid);
  } else {
    words = "an unknown user";
  }
  if (!requester.vm.empty()) words += fmt::format(" for VM {}", requester.vm);
  return words;
}

}  // namespace

bool matches_device(std::string_view pattern, std::span<const std::string> names) {
  const std::string terminated(pattern);
  return std::ranges::any_of(names, [&](const std::string& name) {
    return ::fnmatch(terminated.c_str(), name.c_str(), FNM_CASEFOLD) == 0;
  });
}

ExportAnswer export_allowed(std::span<const ExportRule> rules, std::span<const std::string> names,
                            const Requester& requester) {
  const ExportRule* allowing = nullptr;
  const ExportRule* about_others = nullptr;
  for (const ExportRule& rule : rules) {
    if (!matches_device(rule.device, names)) continue;
    if (!speaks_to(rule, requester)) {
      if (!rule.deny) about_others = &rule;
      continue;
    }
    if (rule.deny) {
      return {false, fmt::format("denied to {} by the rule at {}", who(requester),
                                 format_origin(rule.origin))};
    }
    if (allowing == nullptr) allowing = &rule;
  }
  if (allowing != nullptr) {
    return {true, fmt::format("allowed by the rule at {}", format_origin(allowing->origin))};
  }
  const std::string device = names.empty() ? "this device" : names.front();
  if (about_others != nullptr) {
    return {false, fmt::format("the rule at {} exports {}, but not to {}",
                               format_origin(about_others->origin), device, who(requester))};
  }
  return {false, fmt::format("no [[export]] rule of the device's host names {}: nothing is "
                             "exported without one",
                             device)};
}

}  // namespace farport
