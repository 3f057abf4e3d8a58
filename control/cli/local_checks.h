// What `farport doctor` can see by itself, without a daemon: what this machine has of what farport
// uses.
#pragma once

#include <string>
#include <vector>

#include "control/daemon/service.h"

namespace farport {

// Modules, device nodes and settings, below `root` (empty: this machine's own; tests have theirs).
// None of these is needed by everyone: each says what it is for.
std::vector<Check> local_checks(const std::string& root = {});

}  // namespace farport
