// Files that decide who is trusted: never readable or writable by others, not even for a moment,
// and never half written.
//
// Thread rule: any; they block on the disk, which is local and small.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "dataplane/error.h"
#include "dataplane/file_descriptor.h"

namespace farport {

// 0700, made when it is not there. denied: others may write in it, or it is another's.
Result<void> make_private_folder(const std::string& path);
// The same of one that is there. not_found: it is not.
Result<void> check_private_folder(const std::string& path);

enum class Guard : uint8_t {
  secret,    // nobody else may read or write it
  integrity  // others may read it, not write it
};
// Opened for reading and looked at through the descriptor, so that nothing can be exchanged in
// between. denied: with the chmod or chown that repairs it. not_found: as it says.
Result<FileDescriptor> open_guarded(const std::string& path, Guard guard);
Result<std::string> read_guarded(const std::string& path, Guard guard, size_t bytes_max);

// Of write_private(): whether the file may be there already.
enum class Existing : uint8_t { replace, keep };
// A new file beside it with mode 0600 from its first moment, filled by `fill`, on the disk before
// it takes the name. busy: it is there already (keep).
Result<void> write_private(const std::string& path, Existing existing,
                           const std::function<Result<void>(int file)>& fill);
Result<void> write_private(const std::string& path, std::string_view text);

// Held while a file of the folder is read and written again: by the daemon, or by `farport trust`
// when no daemon runs.
Result<FileDescriptor> lock_folder(const std::string& path);

}  // namespace farport
