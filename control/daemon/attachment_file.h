// Persistent attachments on disk: <state_dir>/attachments.json. Written whole to a file beside it,
// synced, renamed over it: after a power cut there is the old one or the new one.
//
//   {"version": 1, "attachments": [{"id": "att-1", "host", "device", "driver", "name", "vm",
//     "listen", "line", "user", "uid", "gid", "path"}]}
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/daemon/control_loop.h"
#include "control/daemon/service.h"

namespace farport {

inline constexpr size_t persistent_attachments_max = 1024;

struct KeptAttachment {
  std::string id;
  AttachRequest request;  // its device by the stable name, once that is known
  std::string user;       // for people; uid counts
  uid_t uid = 0;
  gid_t gid = 0;
  std::string path;  // where it was found last
};

std::string encode_attachments(const std::vector<KeptAttachment>& attachments);

struct LoadedAttachments {
  std::vector<KeptAttachment> attachments;
  std::vector<std::string> warnings;  // what was lost, and where it still is
};
// What is sound of a text; `warnings` says what was not. An error when none of it can be used.
Result<LoadedAttachments> decode_attachments(std::string_view text);

// Blocks. No file: nothing. What is not sound, wholly or in part, is kept beside the file as it
// was, and the rest is used. Fails when a file is there and cannot be read or moved: then it must
// not be written over.
Result<LoadedAttachments> load_attachments(const std::string& path);
// Blocks.
Result<void> write_attachments(const std::string& path,
                               const std::vector<KeptAttachment>& attachments);

// Writes on the pool, one at a time; of those asked for meanwhile, only the last.
// Thread rule: the control thread. It must outlive what it has begun: ask idle() before it goes.
class AttachmentFile {
 public:
  // An empty path: nothing is kept, and every save is done at once.
  AttachmentFile(ControlLoop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}

  void save(std::vector<KeptAttachment> attachments, Callback<void> done);
  // Once nothing is being written.
  void idle(std::function<void()> done);
  const std::string& path() const { return path_; }

 private:
  void write();

  ControlLoop& loop_;
  const std::string path_;
  std::vector<KeptAttachment> next_;
  std::vector<Callback<void>> waiting_;  // for the next write
  bool writing_ = false;
  std::vector<std::function<void()>> idle_;
};

}  // namespace farport
