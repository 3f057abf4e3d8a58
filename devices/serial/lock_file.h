// The lock of serial ports that predates flock(): a file LCK..NAME in /run/lock that holds the
// process id of its owner as ten characters and a newline (FHS 3.0, section 5.9, the HDB UUCP
// format).
#pragma once

#include <optional>
#include <string>

#include "dataplane/error.h"

namespace farport::serial {

class LockFile {
 public:
  // Locks the node behind `path` (symbolic links are followed: the name is ttyUSB0's, not that of
  // its by-id link). Empty when the node is not directly in /dev or the folder cannot be written:
  // the port's other locks remain. `busy` names the process that holds it. A file whose process is
  // gone is replaced.
  static Result<std::optional<LockFile>> acquire(const std::string& path,
                                                 const std::string& folder);
  LockFile(LockFile&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  LockFile& operator=(LockFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~LockFile();

 private:
  explicit LockFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace farport::serial
