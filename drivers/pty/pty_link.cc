#include "drivers/pty/pty_link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

namespace farport {

namespace {

namespace fs = std::filesystem;

std::string lock_path(const std::string& path) {
  const fs::path whole = path;
  return fmt::format("{}/.{}.lock", whole.parent_path().string(), whole.filename().string());
}

std::string link_target(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return {target, length > 0 ? static_cast<size_t>(length) : 0};
}

bool same_file(int fd, const std::string& path) {
  struct stat open_one{}, named_one{};
  return ::fstat(fd, &open_one) == 0 && ::lstat(path.c_str(), &named_one) == 0 &&
         open_one.st_dev == named_one.st_dev && open_one.st_ino == named_one.st_ino;
}

// `existed`: the lock file was there, free: its daemon has been killed.
Result<FileDescriptor> take_lock(const std::string& path, bool& existed) {
  const std::string name = lock_path(path);
  for (int attempt = 0; attempt < 8; ++attempt) {
    existed = ::access(name.c_str(), F_OK) == 0;
    FileDescriptor lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!lock) return fail_errno(errno, name);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno != EWOULDBLOCK) return fail_errno(errno, name);
      return fail(ErrorCode::busy, fmt::format("{} is in use by another attachment; choose another "
                                               "path, or detach that one first",
                                               path));
    }
    // Its last owner may have removed it between our open and our lock.
    if (same_file(lock.get(), name)) return lock;
  }
  return fail(fmt::format("{}: cannot be locked; try again", name));
}

// Whether what is at `path` may be replaced: nothing, or a link of ours that is stale.
Result<void> check_replaceable(const std::string& path, bool lock_was_left) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return fail_errno(errno, path);
  }
  const bool into_pts = S_ISLNK(status.st_mode) && link_target(path).starts_with("/dev/pts/");
  const bool dangling = ::access(path.c_str(), F_OK) != 0;
  if (into_pts && (lock_was_left || dangling)) return {};
  return fail(
      ErrorCode::busy,
      fmt::format("{} exists and was not made by Farport; remove it, or choose another path",
                  path));
}

}  // namespace

Result<PtyLink> PtyLink::create(const std::string& path, const std::string& target) {
  if (path.empty() || path.front() != '/' || path.back() == '/') {
    return fail(ErrorCode::usage, fmt::format("{}: the path of a pty must be absolute and name a "
                                              "file, such as /dev/farport/NAME",
                                              path));
  }
  std::error_code error;
  const fs::path folder = fs::path(path).parent_path();
  fs::create_directories(folder, error);
  if (error) return fail_errno(error.value(), folder.string());
  bool lock_was_left = false;
  auto lock = take_lock(path, lock_was_left);
  if (!lock) return std::unexpected(lock.error());
  if (auto free = check_replaceable(path, lock_was_left); !free) {
    if (!lock_was_left) ::unlink(lock_path(path).c_str());
    return std::unexpected(free.error());
  }
  // Made apart and renamed into place: the path always leads somewhere.
  const std::string draft = lock_path(path) + ".new";
  ::unlink(draft.c_str());
  if (::symlink(target.c_str(), draft.c_str()) < 0 || ::rename(draft.c_str(), path.c_str()) < 0) {
    const int number = errno;
    ::unlink(draft.c_str());
    return fail_errno(number, path);
  }
  PtyLink link;
  link.path_ = path;
  link.target_ = target;
  link.lock_ = std::move(*lock);
  return link;
}

PtyLink& PtyLink::operator=(PtyLink&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(target_, other.target_);
  std::swap(lock_, other.lock_);
  return *this;
}

void PtyLink::remove() {
  if (!lock_) return;
  if (link_target(path_) == target_) ::unlink(path_.c_str());
  ::unlink(lock_path(path_).c_str());
  lock_.reset();
}

}  // namespace farport
