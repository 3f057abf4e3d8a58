// The demo as a person runs it, where lines cannot be redrawn; and the hosts that it makes.
#include <gtest/gtest.h>

#include "control/cli/interrupt.h"
#include "control/demo/demo_command.h"
#include "control/demo/demo_files.h"
#include "control/demo/demo_host.h"
#include "tests/unit/control/api/api_fixture.h"
#include "tests/unit/control/cli/captured_output.h"

namespace farport::test {
namespace {

class DemoTest : public testing::Test {
 protected:
  DemoTest() { setenv("TMPDIR", folder.file("").c_str(), 1); }
  ~DemoTest() override {
    unsetenv("TMPDIR");
    set_interrupted(false);
  }
  bool nothing_left() { return std::filesystem::is_empty(folder.file("")); }
  TemporaryFolder folder;
};

// A host with no device of its own answered before it had asked its peers, and then again.
TEST_F(DemoTest, AHostWithoutDevicesListsThoseOfItsPeers) {
  {
    auto files = DemoFolder::create();
    ASSERT_TRUE(files) << files.error().message;
    const auto lab_file = files->write_config("lab", "\"127.0.0.1:0\"", lab_config());
    ASSERT_TRUE(lab_file);
    const auto lab = ChildHost::start(*lab_file, files->file("lab.log"));
    ASSERT_TRUE(lab) << lab.error().message;
    const auto desk_file = files->write_config("desk", "", desk_config((*lab)->address()));
    ASSERT_TRUE(desk_file);
    const auto desk = DemoHost::start(*desk_file, files->file("desk.log"), {});
    ASSERT_TRUE(desk) << desk.error().message;
    const ApiClient api(files->socket("desk"));
    EXPECT_TRUE(eventually([&api] {
      const auto answer = api.get("/v1/devices");
      return answer && (*answer)["devices"].size() == 2;
    }));
  }
  EXPECT_TRUE(nothing_left());
}

TEST_F(DemoTest, ShowsBothDecisionsAndLeavesNothing) {
  CapturedOutput captured;
  const Command demo{"demo", define_demo, "the demo"};
  EXPECT_EQ(run_cli({"demo"}, {&demo, 1}, captured.output), 0) << captured.out() << captured.err();
  const std::string out = captured.out();
  for (const char* text : {"SCALE 0000000", "achieved", "demand", "at the disk", "in the channel",
                           "VM studio on host desk: keep", "VM branch on host desk: migrate to lab",
                           "equal", "100 %"}) {
    EXPECT_NE(out.find(text), std::string::npos) << text << " is missing in\n" << out;
  }
  EXPECT_EQ(out.find("NOT EQUAL"), std::string::npos) << out;
  EXPECT_EQ(out.find('\x1b'), std::string::npos) << out;
  EXPECT_TRUE(nothing_left());
}

TEST_F(DemoTest, CtrlCLeavesNothing) {
  set_interrupted(true);
  CapturedOutput captured;
  const Command demo{"demo", define_demo, "the demo"};
  EXPECT_EQ(run_cli({"demo"}, {&demo, 1}, captured.output), 1);
  EXPECT_NE(captured.err().find("interrupted"), std::string::npos) << captured.err();
  EXPECT_TRUE(nothing_left());
}

}  // namespace
}  // namespace farport::test
