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

}  // namespace
}  // namespace farport::test
