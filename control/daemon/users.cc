#include "control/daemon/users.h"

#include <grp.h>
#include <pwd.h>

#include <array>
#include <vector>

namespace farport {

namespace {

// Empty: there is no such user.
std::string known_user(uid_t uid) {
  std::array<char, 4096> memory{};
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(uid, &entry, memory.data(), memory.size(), &found);
  return found == nullptr ? std::string() : found->pw_name;
}

}  // namespace

std::string user_name(uid_t uid) {
  const std::string name = known_user(uid);
  return name.empty() ? std::to_string(uid) : name;
}

std::string group_name(gid_t gid) {
  std::array<char, 4096> memory{};
  group entry{};
  group* found = nullptr;
  getgrgid_r(gid, &entry, memory.data(), memory.size(), &found);
  return found == nullptr ? std::to_string(gid) : found->gr_name;
}

Caller look_up_caller(uid_t uid, gid_t gid) {
  Caller caller{
      .uid = uid, .gid = gid, .pid = 0, .user = user_name(uid), .groups = {group_name(gid)}};
  const std::string name = known_user(uid);
  if (name.empty()) return caller;
  std::vector<gid_t> groups(256);
  int count = static_cast<int>(groups.size());
  if (getgrouplist(name.c_str(), gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<size_t>(count));  // what it needs
    if (getgrouplist(name.c_str(), gid, groups.data(), &count) < 0) return caller;
  }
  groups.resize(static_cast<size_t>(count));
  for (const gid_t group : groups) {
    if (group != gid) caller.groups.push_back(group_name(group));
  }
  return caller;
}

}  // namespace farport
