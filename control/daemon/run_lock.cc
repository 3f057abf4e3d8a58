#include "control/daemon/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>

namespace farport {

Result<RunLock> RunLock::take(const std::string& run_dir) {
  std::error_code made;
  std::filesystem::create_directories(run_dir, made);
  if (made) return fail_errno(made.value(), fmt::format("cannot make the run folder {}", run_dir));
  const std::string path = run_dir + "/farportd.lock";
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) return fail_errno(errno, fmt::format("cannot open {}", path));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(errno, fmt::format("cannot lock {}", path));
    std::array<char, 32> pid{};
    const auto got = pread(file.get(), pid.data(), pid.size() - 1, 0);
    std::string holder(pid.data(), got > 0 ? static_cast<size_t>(got) : 0);
    while (!holder.empty() && (holder.back() < '0' || holder.back() > '9')) holder.pop_back();
    return fail(
        ErrorCode::busy,
        fmt::format("farportd runs already with the run folder {} (process {}); stop it, or "
                    "give this one another --run-dir",
                    run_dir, holder.empty() ? "unknown" : holder));
  }
  const std::string pid = fmt::format("{}\n", getpid());
  if (ftruncate(file.get(), 0) != 0 ||
      pwrite(file.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return fail_errno(errno, fmt::format("cannot write {}", path));
  }
  return RunLock(std::move(file));
}

}  // namespace farport
