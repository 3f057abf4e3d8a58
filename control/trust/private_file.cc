#include "control/trust/private_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

namespace farport {

namespace {

std::string folder_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

Result<void> check_owner(const std::string& path, const struct stat& status) {
  if (status.st_uid == geteuid() || status.st_uid == 0) return {};
  return fail(
      ErrorCode::denied,
      fmt::format("{} belongs to user {}, who could exchange it: run `chown {} {}` if it is "
                  "what it should be",
                  path, status.st_uid, geteuid(), path));
}

Result<void> write_all(int file, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno(errno, fmt::format("cannot write {}", path));
    text.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<void> sync_folder(const std::string& folder) {
  FileDescriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || fsync(opened.get()) != 0) {
    return fail_errno(errno, fmt::format("cannot write the folder {}", folder));
  }
  return {};
}

// Removes the unfinished file however the writing ends.
class Unfinished {
 public:
  explicit Unfinished(std::string path) : path_(std::move(path)) {}
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Result<void> make_private_folder(const std::string& path) {
  std::error_code made;
  std::filesystem::create_directories(folder_of(path), made);
  if (made) return fail_errno(made.value(), fmt::format("cannot make the folder of {}", path));
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, fmt::format("cannot make the folder {}", path));
  }
  return check_private_folder(path);
}

Result<void> check_private_folder(const std::string& path) {
  FileDescriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status{};
  if (!folder || fstat(folder.get(), &status) != 0) {
    return fail_errno(errno, fmt::format("cannot open the folder {}", path));
  }
  if (auto owned = check_owner(path, status); !owned) return owned;
  if ((status.st_mode & 0022) != 0) {
    return fail(ErrorCode::denied,
                fmt::format("others may write in {} (mode {:04o}): look whether its files are "
                            "yours, then run `chmod 700 {}`",
                            path, status.st_mode & 07777, path));
  }
  return {};
}

Result<FileDescriptor> open_guarded(const std::string& path, Guard guard) {
  // Non-blocking: a FIFO in its place must not hold the daemon up.
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0) {
    return fail_errno(errno, fmt::format("cannot open {}", path));
  }
  if (!S_ISREG(status.st_mode)) return fail(fmt::format("{} is not a file", path));
  if (auto owned = check_owner(path, status); !owned) return std::unexpected(owned.error());
  const mode_t forbidden = guard == Guard::secret ? 0077 : 0022;
  if ((status.st_mode & forbidden) != 0) {
    return fail(
        ErrorCode::denied,
        guard == Guard::secret
            ? fmt::format("others may read the private key {} (mode {:04o}): run `chmod 600 {}`, "
                          "and take a new key if anybody has read it",
                          path, status.st_mode & 07777, path)
            : fmt::format("others may write {} (mode {:04o}): look at what it says, then run "
                          "`chmod go-w {}`",
                          path, status.st_mode & 07777, path));
  }
  return file;
}

Result<std::string> read_guarded(const std::string& path, Guard guard, size_t bytes_max) {
  const auto file = open_guarded(path, guard);
  if (!file) return std::unexpected(file.error());
  std::string text;
  std::array<char, 16384> part{};
  while (true) {
    const ssize_t got = read(file->get(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, fmt::format("cannot read {}", path));
    if (got == 0) return text;
    text.append(part.data(), static_cast<size_t>(got));
    if (text.size() > bytes_max) {
      return fail(
          fmt::format("{} is too large (over {} bytes): is it the right file?", path, bytes_max));
    }
  }
}

Result<void> write_private(const std::string& path, Existing existing,
                           const std::function<Result<void>(int file)>& fill) {
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) {
    return fail_errno(errno, "the system gives no random numbers");
  }
  const Unfinished unfinished(fmt::format("{}.{:016x}", path, random));
  // O_EXCL: nobody has prepared it, as a link to elsewhere or with a mode of their own.
  FileDescriptor file(
      open(unfinished.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno(errno, fmt::format("cannot make {}", unfinished.path()));
  if (auto filled = fill(file.get()); !filled) return filled;
  if (fsync(file.get()) != 0) return fail_errno(errno, fmt::format("cannot write {}", path));
  // link() never takes the place of a file that is there, rename() always does.
  const int named = existing == Existing::keep ? link(unfinished.path().c_str(), path.c_str())
                                               : rename(unfinished.path().c_str(), path.c_str());
  if (named != 0 && errno == EEXIST) {
    return fail(ErrorCode::busy, fmt::format("{} is there already", path));
  }
  if (named != 0) return fail_errno(errno, fmt::format("cannot make {}", path));
  return sync_folder(folder_of(path));
}

Result<void> write_private(const std::string& path, std::string_view text) {
  return write_private(path, Existing::replace,
                       [&](int file) { return write_all(file, text, path); });
}

Result<FileDescriptor> lock_folder(const std::string& path) {
  FileDescriptor folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail_errno(errno, fmt::format("cannot open the folder {}", path));
  while (flock(folder.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return fail_errno(errno, fmt::format("cannot lock the folder {}", path));
  }
  return folder;
}

}  // namespace farport
