#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "control/cli/cli.h"
#include "tests/unit/control/api/api_fixture.h"
#include "tests/unit/control/cli/captured_output.h"

namespace farport::test {
namespace {

class CheckConfigTest : public testing::Test {
 protected:
  int run(std::vector<std::string> more) {
    captured = std::make_unique<CapturedOutput>();
    more.insert(more.begin(), "check-config");
    return run_cli(more, commands(), captured->output);
  }
  void write(const std::string& text) { std::ofstream(path) << text; }

  TemporaryFolder folder;
  const std::string path = folder.file("farport.toml");
  std::unique_ptr<CapturedOutput> captured;
};

TEST_F(CheckConfigTest, AGoodFileIsGood) {
  write("[host]\nname = \"lab\"\n");
  EXPECT_EQ(run({path}), 0) << captured->err();
  EXPECT_NE(captured->out().find(path), std::string::npos) << captured->out();
}

TEST_F(CheckConfigTest, EveryFaultIsALineWithItsPlace) {
  write("[host]\nnmae = \"lab\"\nspin_us = \"soon\"\n");
  EXPECT_EQ(run({path}), 1);
  EXPECT_NE(captured->err().find(":2"), std::string::npos) << captured->err();
  EXPECT_NE(captured->err().find(":3"), std::string::npos) << captured->err();
  EXPECT_EQ(run({path, "--json"}), 1);
  const auto report = nlohmann::json::parse(captured->out());
  EXPECT_EQ(report["ok"], false);
  EXPECT_EQ(report["errors"].size(), 2u);
}

TEST_F(CheckConfigTest, AMissingFileThatWasNamedIsAFault) {
  EXPECT_EQ(run({path}), 1);
  EXPECT_NE(captured->err().find(path), std::string::npos) << captured->err();
}

TEST_F(CheckConfigTest, TheExampleIsAGoodFile) {
  ASSERT_EQ(run({"--example"}), 0);
  write(captured->out());
  EXPECT_EQ(run({path}), 0) << captured->err();
  EXPECT_EQ(run({"--describe"}), 0);
  EXPECT_NE(captured->out().find("[host]"), std::string::npos);
}

// Only the start told of them, when it was too late.
TEST_F(CheckConfigTest, WhatAStartWouldRefuseOfTheTrustFilesIsAFault) {
  const std::string trust = folder.file("trust");
  std::filesystem::create_directory(trust);
  std::filesystem::permissions(trust, std::filesystem::perms::owner_all);
  write("[host]\nname = \"lab\"\nstate_dir = \"" + folder.file("") + "\"\n[trust]\nauthority = \"" +
        folder.file("none.pem") + "\"\n");
  std::ofstream(trust + "/known_hosts") << "# pinned\nshed\n";
  EXPECT_EQ(run({path}), 1);
  EXPECT_NE(captured->err().find(path + ":3: host.state_dir: "), std::string::npos)
      << captured->err();
  EXPECT_NE(captured->err().find("/trust/known_hosts:2: "), std::string::npos) << captured->err();
  EXPECT_NE(captured->err().find(path + ":5: trust.authority: cannot open"), std::string::npos)
      << captured->err();
  EXPECT_FALSE(std::filesystem::exists(trust + "/host_key"));
  std::ofstream(trust + "/known_hosts") << "# pinned\n";
  write("[host]\nname = \"lab\"\nstate_dir = \"" + folder.file("") + "\"\n");
  EXPECT_EQ(run({path}), 0) << captured->err();
  EXPECT_FALSE(std::filesystem::exists(trust + "/host_key")) << "a check makes nothing";
}

// Not an error: the daemon's user may read them.
TEST_F(CheckConfigTest, WhatThisUserMayNotReadIsOnlySaid) {
  const std::string trust = folder.file("trust");
  std::filesystem::create_directory(trust);
  std::filesystem::permissions(trust, std::filesystem::perms::none);
  std::filesystem::permissions(folder.file(""), std::filesystem::perms::all);
  write("[host]\nstate_dir = \"" + folder.file("") + "\"\n");
  const Unprivileged unprivileged;
  ASSERT_TRUE(unprivileged.works());
  EXPECT_EQ(run({path}), 0) << captured->err();
  EXPECT_NE(captured->err().find("was not looked at"), std::string::npos) << captured->err();
}

}  // namespace
}  // namespace farport::test
