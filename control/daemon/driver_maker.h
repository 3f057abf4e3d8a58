// Which driver ends there are, for which kinds of device, and how to make one. Filled by the
// program (standard_drivers.cc; the demo and tests add their own), used at each attach.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/error.h"
#include "drivers/driver.h"

namespace farport {

// What a maker is told.
struct DriverRequest {
  DeviceInfo info;
  std::string device_host;
  std::string name;       // of what is presented, where the consumer sees one; never empty
  std::string listen;     // "ADDRESS:PORT", or empty
  std::string line;       // "2400 7E2", or empty
  std::string last_path;  // where the same attachment was found before; empty: it is new
  uid_t uid = 0;          // of the one who asked, who should be able to use it
  gid_t gid = 0;
};

struct DriverType {
  std::vector<DeviceKind> kinds;  // that it can present
  // Called on the pool: may block.
  std::function<Result<std::unique_ptr<Driver>>(const DriverRequest&)> make;
};

class DriverTypes {
 public:
  void add(const std::string& name, DriverType type) { types_[name] = std::move(type); }
  // Checks the name (usage: unknown, or not for this kind of device); empty: the kind's default.
  Result<std::string> choose(const std::string& name, DeviceKind kind) const;
  // Unknown names only; the kind is not known yet.
  Result<void> check(const std::string& name) const;
  const DriverType& at(const std::string& name) const { return types_.at(name); }
  std::string names() const;

 private:
  std::map<std::string, DriverType> types_;
};

}  // namespace farport
