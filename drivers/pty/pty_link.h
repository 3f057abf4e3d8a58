// The stable path of a pty: a symbolic link to its /dev/pts/N, which changes with every attachment.
//
// Beside DIR/NAME lies DIR/.NAME.lock, locked (flock) while the link is in use: a link whose lock
// is free belongs to a daemon that is gone, and is replaced, even when its /dev/pts/N is somebody
// else's terminal by now. Without a lock file only a link into /dev/pts that leads nowhere is
// replaced. Anything else at that path is refused, never touched.
#pragma once

#include <string>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

class PtyLink {
 public:
  PtyLink() = default;
  // Makes the folder (0755) when it is missing. `busy` when another attachment uses the path.
  static Result<PtyLink> create(const std::string& path, const std::string& target);
  PtyLink(PtyLink&& other) noexcept { *this = std::move(other); }
  PtyLink& operator=(PtyLink&& other) noexcept;
  ~PtyLink() { remove(); }

  const std::string& path() const { return path_; }
  // Removes link and lock, the link only if it is still ours.
  void remove();

 private:
  std::string path_, target_;
  FileDescriptor lock_;
};

}  // namespace farport
