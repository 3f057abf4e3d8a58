// The rules there are, and which of them a device gets.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/usb/descriptors.h"
#include "drivers/ahead/rule.h"

namespace farport {

struct RuleKind {
  std::string_view name;
  bool on_by_default;     // only where it is exact
  std::string_view what;  // what it does, for people
  bool (*fits)(const DeviceInfo& info, const usb::Interface& interface);
  std::unique_ptr<Rule> (*make)(RulePort& port, const usb::Interface& interface);
};

// In the order in which they are asked for an endpoint.
std::span<const RuleKind> rule_kinds();
const RuleKind* find_rule_kind(std::string_view name);

// What a user has said about one device; names of rules. `off` wins.
struct RuleSwitches {
  std::vector<std::string> on{};
  std::vector<std::string> off{};
};
struct RuleVerdict {
  bool on = false;
  std::string_view why;  // for people
};
RuleVerdict rule_verdict(const RuleKind& kind, const RuleSwitches& switches);

// The chain (Transfer::chain) of an interface; 0 when there are too many.
uint8_t chain_of(const usb::Interface& interface);

}  // namespace farport
