#include "control/daemon/driver_maker.h"

#include <fmt/format.h>

#include <algorithm>

#include "control/daemon/service.h"

namespace farport {

std::string DriverTypes::names() const {
  std::string names;
  for (const auto& [name, type] : types_) names += (names.empty() ? "" : ", ") + name;
  return names;
}

Result<void> DriverTypes::check(const std::string& name) const {
  if (name.empty() || types_.contains(name)) return {};
  return fail(ErrorCode::usage,
              fmt::format("there is no driver \"{}\"; there are {}", name, names()));
}

Result<std::string> DriverTypes::choose(const std::string& name, DeviceKind kind) const {
  const std::string chosen = !name.empty() ? name : (kind == DeviceKind::serial ? "pty" : "vhci");
  const auto found = types_.find(chosen);
  if (found == types_.end()) {
    return fail(ErrorCode::usage,
                fmt::format("there is no driver \"{}\"; there are {}", chosen, names()));
  }
  const auto& kinds = found->second.kinds;
  if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
    return fail(ErrorCode::usage, fmt::format("the driver {} does not present {} devices", chosen,
                                              device_kind_name(kind)));
  }
  return chosen;
}

}  // namespace farport
