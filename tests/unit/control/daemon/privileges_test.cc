// What is left of a process's privileges, by what the kernel says of it.
#include "control/daemon/privileges.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace farport {
namespace {

// In a process of its own: what is given up does not come back.
std::string status_after(const PrivilegeNeeds& needs) {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::string text = "failed\n";
    if (const auto dropped = drop_privileges(needs)) {
      std::ifstream status("/proc/self/status");
      std::ostringstream all;
      all << *dropped << "\n" << status.rdbuf();
      text = all.str();
    }
    [[maybe_unused]] const auto written = write(ends[1], text.data(), text.size());
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  std::array<char, 4096> part{};
  for (ssize_t got; (got = read(ends[0], part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return text;
}

uint64_t set_of(const std::string& status, const std::string& name) {
  const size_t at = status.find("\n" + name + ":\t");
  EXPECT_NE(at, std::string::npos) << name << " in " << status;
  return at == std::string::npos ? ~uint64_t{0}
                                 : std::stoull(status.substr(at + name.size() + 3), nullptr, 16);
}

// CAP_CHOWN is 0, CAP_DAC_OVERRIDE 1, CAP_FOWNER 3, CAP_NET_BIND_SERVICE 10 (capability.h).
constexpr uint64_t usual = 1 << 0 | 1 << 3;

TEST(Privileges, OnlyWhatIsNeededIsKept) {
  const std::string status = status_after({});
  EXPECT_EQ(set_of(status, "NoNewPrivs"), 1u);
  EXPECT_EQ(set_of(status, "CapInh"), 0u);
  EXPECT_EQ(set_of(status, "CapAmb"), 0u);
  EXPECT_EQ(set_of(status, "CapEff") & ~usual, 0u) << status;
  EXPECT_EQ(set_of(status, "CapPrm") & ~usual, 0u) << status;
  if (geteuid() != 0) GTEST_SKIP() << "the rest needs root, which has something to give up";
  EXPECT_EQ(set_of(status, "CapEff"), usual);
  EXPECT_EQ(set_of(status, "CapBnd") & ~usual, 0u);
  EXPECT_TRUE(status.starts_with("privileges: user 0, kept CAP_CHOWN, CAP_FOWNER;")) << status;
}

TEST(Privileges, MoreIsKeptForWhatIsConfigured) {
  if (geteuid() != 0) GTEST_SKIP() << "only root has something to give up";
  EXPECT_EQ(set_of(status_after({.low_ports = true, .folders = {}}), "CapEff"), usual | 1 << 10);
  std::string pattern = testing::TempDir() + "/farport-privileges-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  EXPECT_EQ(set_of(status_after({.low_ports = false, .folders = {pattern}}), "CapEff"), usual);
  ASSERT_EQ(chown(pattern.c_str(), 12345, 12345), 0);
  EXPECT_EQ(set_of(status_after({.low_ports = false, .folders = {pattern}}), "CapEff"),
            usual | 1 << 1);
  std::filesystem::remove(pattern);
}

}  // namespace
}  // namespace farport
