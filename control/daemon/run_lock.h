// One daemon per run folder: a lock file that the kernel gives up when its holder dies, however it
// dies. While it is held, any socket in the folder that nobody answers is stale.
#pragma once

#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

class RunLock {
 public:
  // Makes the folder if need be (0755). busy: a daemon with this run folder is alive.
  static Result<RunLock> take(const std::string& run_dir);

 private:
  explicit RunLock(FileDescriptor file) : file_(std::move(file)) {}
  FileDescriptor file_;
};

}  // namespace farport
