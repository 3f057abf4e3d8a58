// The folder that the demo works in, with the configuration of its two hosts. Gone with it.
#pragma once

#include <string>

#include "dataplane/error.h"

namespace farport {

class DemoFolder {
 public:
  // In $TMPDIR, if its name leaves room for a Unix socket's; else in /tmp.
  static Result<DemoFolder> create();
  DemoFolder(DemoFolder&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  DemoFolder& operator=(DemoFolder&&) = delete;
  ~DemoFolder();

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string socket(const std::string& host) const { return file(host + ".sock"); }
  // Writes HOST.toml and makes the folders it names. `more`: the rest of the configuration.
  Result<std::string> write_config(const std::string& host, const std::string& listen,
                                   const std::string& more) const;

 private:
  explicit DemoFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// The host that has the devices.
std::string lab_config();
// The host that uses them, with two VMs, of which `branch` has less than the disk needs.
std::string desk_config(const std::string& lab_address);

inline constexpr const char* demo_disk = "usb:1d6b:0104:STICK";
inline constexpr const char* demo_serial = "serial:SCALE";
inline constexpr uint64_t demo_copy_bytes = 96u << 20;

}  // namespace farport
