// Users and groups of this host by number. Blocks: the system may ask a directory server.
#pragma once

#include <sys/types.h>

#include <string>

#include "control/daemon/service.h"

namespace farport {

// The number as text when there is no such user or group.
std::string user_name(uid_t uid);
std::string group_name(gid_t gid);

// Who `uid` is now, with the groups that the system gives that user; `gid` is the primary one. A
// user that is no more has that group alone.
Caller look_up_caller(uid_t uid, gid_t gid);

}  // namespace farport
