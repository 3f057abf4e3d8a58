// `farport trust`, against a fake daemon, and on the files where none runs.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "control/cli/cli.h"
#include "tests/unit/control/api/api_fixture.h"
#include "tests/unit/control/cli/captured_output.h"

namespace farport::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string key_a = "SHA256:" + std::string(42, 'a') + "A";
const std::string key_b = "SHA256:" + std::string(42, 'b') + "A";

struct Outcome {
  int code = 0;
  std::string out, err;
};
std::ostream& operator<<(std::ostream& stream, const Outcome& outcome) {
  return stream << outcome.code << "\n" << outcome.out << outcome.err;
}

Outcome run_at(const std::string& socket, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--socket", socket, "trust"});
  CapturedOutput captured;
  const int code = run_cli(arguments, commands(), captured.output);
  return {code, captured.out(), captured.err()};
}

class TrustCommand : public ApiFixture {
 protected:
  void SetUp() override {
    ApiFixture::SetUp();
    on_control([this] {
      TrustReport report;
      report.overview.host = "desk";
      report.overview.fingerprint = key_a;
      report.overview.keys = {{"lab", key_b, "in the cellar"}};
      service.trust_report = report;
    });
  }
  Outcome run(const std::vector<std::string>& arguments) { return run_at(socket_path, arguments); }
};

TEST_F(TrustCommand, ShowSaysWhatToRunOnTheOtherHost) {
  const Outcome outcome = run({"show"});
  EXPECT_EQ(outcome.code, 0) << outcome;
  EXPECT_THAT(outcome.out, HasSubstr("farport trust add desk " + key_a));
  EXPECT_EQ(json::parse(run({"show", "--json"}).out)["fingerprint"], key_a);
}

TEST_F(TrustCommand, ListShowsThePinnedKeys) {
  const Outcome outcome = run({"list"});
  EXPECT_EQ(outcome.code, 0) << outcome;
  EXPECT_THAT(outcome.out, HasSubstr(key_b));
  EXPECT_THAT(outcome.out, HasSubstr("in the cellar"));
}

TEST_F(TrustCommand, AddAndRemoveReachTheDaemon) {
  Outcome outcome = run({"add", "shed", key_b, "--comment", "the new one", "--replace"});
  EXPECT_EQ(outcome.code, 0) << outcome;
  EXPECT_THAT(outcome.out, HasSubstr("host shed is trusted now"));
  on_control([this] {
    ASSERT_EQ(service.trust_additions.size(), 1u);
    EXPECT_EQ(service.trust_additions[0].key.comment, "the new one");
    EXPECT_TRUE(service.trust_additions[0].replace);
  });
  EXPECT_EQ(run({"remove", "shed"}).code, 0);
  EXPECT_EQ(run({"remove", "shed", key_b}).code, 0);
  on_control([this] {
    const std::vector<std::pair<std::string, std::string>> expected = {{"shed", ""},
                                                                       {"shed", key_b}};
    EXPECT_EQ(service.trust_removals, expected);
  });
}

TEST_F(TrustCommand, RenewalIsPreparedFirst) {
  Outcome outcome = run({"renew", "--prepare"});
  EXPECT_EQ(outcome.code, 0) << outcome;
  EXPECT_THAT(outcome.out, HasSubstr("the next key is SHA256:new"));
  outcome = run({"renew"});
  EXPECT_THAT(outcome.out, HasSubstr("shows SHA256:new now"));
}

TEST_F(TrustCommand, ExitCodes) {
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"ad"}).code, 2);
  EXPECT_EQ(run({"add", "shed"}).code, 2);
  on_control([this] {
    service.trust_remove_answer = fail(ErrorCode::not_found, "no key is pinned");
    service.trust_add_answer = fail(ErrorCode::denied, "only root may");
  });
  EXPECT_EQ(run({"remove", "shed"}).code, 3);
  const Outcome denied = run({"add", "shed", key_b});
  EXPECT_EQ(denied.code, 5) << denied;
  EXPECT_THAT(denied.err, HasSubstr("only root may"));
}

// --- no farportd ---

class TrustFiles : public testing::Test {
 protected:
  TrustFiles() {
    std::string pattern = testing::TempDir() + "/farport-trust-XXXXXX";
    folder_ = mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    std::ofstream(folder_ + "/farport.toml")
        << "[host]\nname = \"desk\"\nstate_dir = \"" << folder_ << "/state\"\n";
  }
  ~TrustFiles() override { std::filesystem::remove_all(folder_); }
  Outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--config", folder_ + "/farport.toml"});
    return run_at(folder_ + "/no.sock", arguments);
  }
  std::string folder_;
};

TEST_F(TrustFiles, RootWorksOnThemAndIsTold) {
  if (geteuid() != 0) {  // others hear that no daemon answers
    EXPECT_EQ(run({"list"}).code, 6);
    return;
  }
  Outcome outcome = run({"add", "lab", key_b});
  EXPECT_EQ(outcome.code, 0) << outcome;
  EXPECT_THAT(outcome.err, HasSubstr("worked on the files in " + folder_ + "/state/trust"));
  outcome = run({"list", "--json"});
  EXPECT_EQ(json::parse(outcome.out)["keys"][0]["fingerprint"], key_b) << outcome;
  EXPECT_THAT(run({"show"}).out, HasSubstr("farport trust add desk SHA256:"));
  EXPECT_EQ(run({"remove", "lab"}).code, 0);
  EXPECT_EQ(run({"remove", "lab"}).code, 3);
  EXPECT_EQ(run({"add", "lab", "SHA256:short"}).code, 2);
  EXPECT_EQ(run({"renew"}).code, 3);
}

}  // namespace
}  // namespace farport::test
