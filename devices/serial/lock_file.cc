#include "devices/serial/lock_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <utility>

#include "dataplane/file_descriptor.h"

namespace farport::serial {

namespace {

// At most `size_max` bytes; empty when it cannot be read.
std::string read_file(const std::string& path, size_t size_max) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::string text(size_max, '\0');
  const ssize_t count = fd ? ::read(fd.get(), text.data(), text.size()) : -1;
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

// 0 when the file does not hold a process id.
pid_t owner_of(const std::string& lock_path) {
  const std::string text = read_file(lock_path, 64);
  const long number = std::strtol(text.c_str(), nullptr, 10);
  return number > 0 && number <= INT_MAX ? static_cast<pid_t>(number) : 0;
}

std::string process_name(pid_t process) {
  std::string name = read_file(fmt::format("/proc/{}/comm", process), 64);
  while (!name.empty() && name.back() == '\n') name.pop_back();
  return name.empty() ? "?" : name;
}

std::string device_name(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return {};
  const std::string_view node = resolved;
  constexpr std::string_view folder = "/dev/";
  if (!node.starts_with(folder) || node.find('/', folder.size()) != node.npos) return {};
  return std::string(node.substr(folder.size()));
}

}  // namespace

Result<std::optional<LockFile>> LockFile::acquire(const std::string& path,
                                                  const std::string& folder) {
  const std::string device = device_name(path);
  if (device.empty()) return std::nullopt;
  const std::string lock_path = folder + "/LCK.." + device;
  // Written apart and linked into place, so that nobody ever reads a lock without its owner.
  const std::string draft = fmt::format("{}/LTMP.{}.{}", folder, ::getpid(), device);
  {
    FileDescriptor fd(
        ::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    const std::string text = fmt::format("{:10}\n", ::getpid());
    if (!fd || ::write(fd.get(), text.data(), text.size()) != ssize_t(text.size())) {
      ::unlink(draft.c_str());
      return std::nullopt;
    }
  }
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::link(draft.c_str(), lock_path.c_str()) == 0) {
      ::unlink(draft.c_str());
      return LockFile(lock_path);
    }
    if (errno != EEXIST) break;
    const pid_t owner = owner_of(lock_path);
    const bool alive = owner > 0 && (::kill(owner, 0) == 0 || errno == EPERM);
    // Our own process id is either a port of ours, open now, or a number left over from before a
    // reboot or in another container: flock() tells these apart, so go on.
    if (alive && owner != ::getpid()) {
      ::unlink(draft.c_str());
      return fail(ErrorCode::busy, fmt::format("{}: in use by process {} ({}), which holds {}",
                                               path, owner, process_name(owner), lock_path));
    }
    if (alive) break;
    ::unlink(lock_path.c_str());
  }
  ::unlink(draft.c_str());
  return std::nullopt;
}

LockFile::~LockFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace farport::serial
