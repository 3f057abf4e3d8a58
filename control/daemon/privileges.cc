#include "control/daemon/privileges.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

namespace farport {

namespace {

struct Named {
  int number;
  const char* name;
};
constexpr std::array kKnown{Named{CAP_CHOWN, "CAP_CHOWN"}, Named{CAP_FOWNER, "CAP_FOWNER"},
                            Named{CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
                            Named{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}};

uint64_t bit(int capability) { return uint64_t{1} << capability; }

uint64_t needed(const PrivilegeNeeds& needs) {
  uint64_t keep = bit(CAP_CHOWN) | bit(CAP_FOWNER);
  if (needs.low_ports) keep |= bit(CAP_NET_BIND_SERVICE);
  for (const std::string& folder : needs.folders) {
    struct stat status{};
    // One that is not there yet is made by this process, as its own.
    if (stat(folder.c_str(), &status) == 0 && status.st_uid != geteuid()) {
      keep |= bit(CAP_DAC_OVERRIDE);
    }
  }
  return keep;
}

using Sets = std::array<__user_cap_data_struct, 2>;  // 32 bits each (capget(2))

uint64_t permitted(const Sets& sets) {
  return sets[0].permitted | static_cast<uint64_t>(sets[1].permitted) << 32;
}

// While CAP_SETPCAP is there. Without it (no root, or a unit that has cut the set already) the set
// stays as it is: it gives nothing that execve(2) could take under no_new_privs.
Result<void> cut_bounding_set(uint64_t keep) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
    if (capability < 64 && (keep & bit(capability)) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, capability) != 0 && errno != EPERM) {
      return fail_errno(errno, fmt::format("cannot give up capability {}", capability));
    }
  }
  return {};
}

}  // namespace

Result<std::string> drop_privileges(const PrivilegeNeeds& needs) {
  // Both fail on no kernel that has io_uring.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return fail_errno(errno, "cannot give up new privileges and core dumps");
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Sets sets{};
  if (syscall(SYS_capget, &header, sets.data()) != 0) {
    return fail_errno(errno, "cannot read this process's capabilities");
  }
  const uint64_t keep = needed(needs) & permitted(sets);
  if (auto cut = cut_bounding_set(keep); !cut) return std::unexpected(cut.error());
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (size_t half = 0; half < sets.size(); ++half) {
    const auto part = static_cast<uint32_t>(keep >> (32 * half));
    sets[half] = {.effective = part, .permitted = part, .inheritable = 0};
  }
  if (syscall(SYS_capset, &header, sets.data()) != 0) {
    return fail_errno(errno, "cannot give up capabilities");
  }
  std::string kept;
  for (const Named& one : kKnown) {
    if ((keep & bit(one.number)) != 0) kept += (kept.empty() ? "" : ", ") + std::string(one.name);
  }
  return fmt::format("privileges: user {}, kept {}; no new ones, no core dumps", geteuid(),
                     kept.empty() ? "no capability" : kept);
}

}  // namespace farport
