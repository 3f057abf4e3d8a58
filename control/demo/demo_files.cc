#include "control/demo/demo_files.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace farport {

namespace {

constexpr size_t kFolderLengthMax = 80;  // a socket's path has 107

}  // namespace

Result<DemoFolder> DemoFolder::create() {
  const char* set = std::getenv("TMPDIR");
  std::string base = set == nullptr || *set == '\0' ? "/tmp" : set;
  if (base.size() > kFolderLengthMax - 20) base = "/tmp";
  std::string path = base + "/farport-demo-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) {
    return fail_errno(errno, "cannot make a folder in " + base + " (TMPDIR)");
  }
  return DemoFolder(path);
}

DemoFolder::~DemoFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<std::string> DemoFolder::write_config(const std::string& host, const std::string& listen,
                                             const std::string& more) const {
  for (const char* part : {"run", "state"}) {
    std::error_code fault;
    std::filesystem::create_directories(fmt::format("{}/{}/{}", path_, host, part), fault);
    if (fault) return fail_errno(fault.value(), "cannot make a folder in " + path_);
  }
  const std::string path = file(host + ".toml");
  std::ofstream out(path);
  out << fmt::format(
             "[host]\nname = \"{0}\"\nlisten = [{1}]\nsocket = \"{2}\"\nrun_dir = \"{3}/{0}/run\"\n"
             "state_dir = \"{3}/{0}/state\"\n",
             host, listen, socket(host), path_)
      << more;
  out.close();
  if (!out) return fail("cannot write " + path);
  return path;
}

std::string lab_config() {
  return fmt::format(R"(
# A USB stick: 24 MB/s, and half a millisecond before each transfer.
[[emulated]]
kind = "disk"
name = "STICK"
size = "{}"
rate = "24MB/s"
delay_us = 500

# An instrument that sends its readings.
[[emulated]]
kind = "serial"
name = "SCALE"
mode = "chatter"
lines_s = 5

[[export]]
device = "*"
hosts = ["desk"]
)",
                     demo_copy_bytes);
}

std::string desk_config(const std::string& lab_address) {
  return fmt::format(R"(
[[peer]]
name = "lab"
address = "{}"

# A demo is in a hurry: decide by the last second, not the last ten.
[policy]
window_s = 1
hold_evaluations = 2

[[vm]]
name = "studio"
allocation = "1Gbit/s"
memory = "2GiB"
cpus = 2
dirty_rate = "5MB/s"

[[vm]]
name = "branch"
allocation = "100Mbit/s"
memory = "2GiB"
cpus = 2
dirty_rate = "5MB/s"
)",
                     lab_address);
}

}  // namespace farport
