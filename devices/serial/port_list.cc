#include "devices/serial/port_list.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>
#include <system_error>

namespace farport::serial {

namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    found.push_back(at->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool is_real(const fs::path& class_entry) {
  std::error_code error;
  if (!fs::exists(class_entry / "device", error)) return false;
  return first_line(class_entry / "type") != "0";
}

// The port's device is some levels below the USB device, which is the first to have idVendor.
void describe(const fs::path& class_entry, DeviceInfo& info) {
  std::error_code error;
  fs::path at = fs::canonical(class_entry / "device", error);
  for (int level = 0; !error && level < 6 && at.has_relative_path(); ++level) {
    if (fs::exists(at / "idVendor", error)) {
      const std::string maker = first_line(at / "manufacturer"),
                        product = first_line(at / "product");
      info.description = maker.empty() || product.empty() ? maker + product : maker + " " + product;
      info.serial_number = first_line(at / "serial");
      break;
    }
    at = at.parent_path();
  }
  if (info.description.empty()) {
    info.description = "serial port " + class_entry.filename().string();
  }
}

// Node name (ttyUSB0) to the names of its links in by-id.
std::multimap<std::string, std::string> by_id_links(const fs::path& dev) {
  std::multimap<std::string, std::string> links;
  for (const fs::path& link : entries(dev / "serial" / "by-id")) {
    std::error_code error;
    const fs::path target = fs::read_symlink(link, error);
    if (!error) links.emplace(target.filename().string(), link.filename().string());
  }
  return links;
}

std::string extra_name(const std::string& path) {
  constexpr std::string_view dev = "/dev/";
  return "serial:" + (path.starts_with(dev) ? path.substr(dev.size()) : path);
}

std::vector<std::string> expand(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  return paths;
}

// Adds an extra path: as a further name of a port that is listed already, or as a port of its own.
void add_extra(const std::string& path, std::vector<DeviceInfo>& ports) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) return;
  const std::string name = extra_name(path);
  for (DeviceInfo& port : ports) {
    struct stat other{};
    if (::stat(port.path.c_str(), &other) != 0 || other.st_rdev != status.st_rdev) continue;
    if (port.name != name &&
        std::find(port.aliases.begin(), port.aliases.end(), name) == port.aliases.end()) {
      port.aliases.push_back(name);
    }
    return;
  }
  DeviceInfo info;
  info.kind = DeviceKind::serial;
  info.name = name;
  info.description = "serial port " + path;
  info.path = path;
  ports.push_back(std::move(info));
}

}  // namespace

std::vector<DeviceInfo> list_ports(const SerialFolders& folders,
                                   const std::vector<std::string>& extra) {
  std::vector<DeviceInfo> ports;
  const auto links = by_id_links(folders.dev);
  for (const fs::path& entry : entries(folders.sys_class_tty)) {
    const std::string node = entry.filename().string();
    const fs::path path = fs::path(folders.dev) / node;
    std::error_code error;
    if (!is_real(entry) || !fs::exists(path, error)) continue;
    DeviceInfo info;
    info.kind = DeviceKind::serial;
    info.path = path.string();
    info.name = "serial:" + node;
    const auto [first, last] = links.equal_range(node);
    if (first != last) {
      info.aliases.push_back(info.name);
      info.name = "serial:by-id/" + first->second;
      for (auto at = std::next(first); at != last; ++at) {
        info.aliases.push_back("serial:by-id/" + at->second);
      }
    }
    describe(entry, info);
    ports.push_back(std::move(info));
  }
  for (const std::string& pattern : extra) {
    for (const std::string& path : expand(pattern)) add_extra(path, ports);
  }
  std::sort(ports.begin(), ports.end(),
            [](const DeviceInfo& a, const DeviceInfo& b) { return a.name < b.name; });
  return ports;
}

}  // namespace farport::serial
