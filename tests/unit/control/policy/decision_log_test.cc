#include "control/policy/decision_log.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "control/policy/advisor.h"

namespace farport {
namespace {

namespace fs = std::filesystem;

Decision decision_about(const std::string& vm) {
  Decision decision;
  decision.time_unix_ms = 1;
  decision.input.vm.name = vm;
  decision.verdict = decide(decision.input);
  return decision;
}

class DecisionLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "farport-decisions-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = (folder_ / "decisions.jsonl").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  DecisionLog open(uint64_t file_bytes_max = 1 << 20, size_t kept = 1000) {
    auto log = DecisionLog::open({.path = path_, .kept = kept, .file_bytes_max = file_bytes_max});
    EXPECT_TRUE(log) << log.error().message;
    return std::move(*log);
  }
  void write_raw(const std::string& text) {
    std::ofstream(path_, std::ios::binary | std::ios::app) << text;
  }
  std::string raw() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(DecisionLogTest, InMemoryOnlyKeepsTheLast) {
  auto log = DecisionLog::open({.path = "", .kept = 3, .file_bytes_max = 0});
  ASSERT_TRUE(log);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(log->append(decision_about(fmt::format("vm{}", i))));
  ASSERT_EQ(log->decisions().size(), 3u);
  EXPECT_EQ(log->decisions().front().sequence, 3u);
  EXPECT_EQ(log->find(2), nullptr);
  ASSERT_NE(log->find(5), nullptr);
  EXPECT_EQ(log->find(5)->input.vm.name, "vm4");
  EXPECT_EQ(log->latest("vm0"), nullptr);
  EXPECT_EQ(log->latest("vm3")->sequence, 4u);
}

TEST_F(DecisionLogTest, SurvivesItsDaemon) {
  {
    DecisionLog log = open();
    ASSERT_TRUE(log.append(decision_about("a")));
    ASSERT_TRUE(log.append(decision_about("b")));
  }
  DecisionLog log = open();
  ASSERT_EQ(log.decisions().size(), 2u);
  EXPECT_EQ(log.decisions().back().input.vm.name, "b");
  EXPECT_EQ(log.skipped(), 0u);
  ASSERT_TRUE(log.append(decision_about("c")));
  EXPECT_EQ(log.decisions().back().sequence, 3u);
}

// A daemon killed while it wrote leaves half a line: it is skipped and counted, and spoils neither
// the lines before it nor the one written next.
// On a fresh host the state folder is not there yet, and the daemon would not start.
TEST_F(DecisionLogTest, MakesItsFolder) {
  path_ = (folder_ / "fresh" / "state" / "decisions.jsonl").string();
  EXPECT_TRUE(open().append(decision_about("a")));
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(DecisionLogTest, ATornLastLineIsSkipped) {
  {
    DecisionLog log = open();
    ASSERT_TRUE(log.append(decision_about("a")));
  }
  const std::string whole = raw();
  write_raw(whole.substr(0, whole.size() / 2));
  {
    DecisionLog log = open();
    EXPECT_EQ(log.skipped(), 1u);
    ASSERT_EQ(log.decisions().size(), 1u);
    ASSERT_TRUE(log.append(decision_about("b")));
  }
  DecisionLog log = open();
  EXPECT_EQ(log.skipped(), 1u);
  ASSERT_EQ(log.decisions().size(), 2u);
  EXPECT_EQ(log.decisions().back().input.vm.name, "b");
  EXPECT_EQ(log.decisions().back().sequence, 2u);
}

// Torn right before the newline: what is there may not be all of it.
TEST_F(DecisionLogTest, ALineWithoutItsEndIsTorn) {
  {
    DecisionLog log = open();
    ASSERT_TRUE(log.append(decision_about("a")));
  }
  fs::resize_file(path_, fs::file_size(path_) - 1);
  DecisionLog log = open();
  EXPECT_EQ(log.skipped(), 1u);
  EXPECT_TRUE(log.decisions().empty());
}

TEST_F(DecisionLogTest, RubbishInTheMiddleIsSkipped) {
  DecisionLog first = open();
  ASSERT_TRUE(first.append(decision_about("a")));
  write_raw("rubbish\n\n{}\n[1]\n" + std::string(3, '\0') + "\n");
  ASSERT_TRUE(first.append(decision_about("b")));
  DecisionLog log = open();
  EXPECT_EQ(log.skipped(), 4u);
  ASSERT_EQ(log.decisions().size(), 2u);
}

TEST_F(DecisionLogTest, TheFileIsRotatedOnce) {
  constexpr uint64_t limit = 4'000;
  {
    DecisionLog log = open(limit);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(log.append(decision_about("a")));
      ASSERT_LE(fs::file_size(path_), limit);
    }
  }
  EXPECT_LE(fs::file_size(path_ + ".1"), limit);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 2u);
  DecisionLog log = open(limit);
  EXPECT_EQ(log.decisions().back().sequence, 100u);
  EXPECT_GT(log.decisions().size(), 2u);
  for (size_t i = 1; i < log.decisions().size(); ++i) {
    EXPECT_EQ(log.decisions()[i].sequence, log.decisions()[i - 1].sequence + 1);
  }
}

TEST_F(DecisionLogTest, ADecisionLargerThanTheFileIsWrittenAlone) {
  DecisionLog log = open(10);
  ASSERT_TRUE(log.append(decision_about("a")));
  ASSERT_TRUE(log.append(decision_about("b")));
  EXPECT_EQ(open(10).decisions().size(), 2u);
}

TEST_F(DecisionLogTest, NamesThatAreNotUtf8AreKeptReadable) {
  DecisionLog log = open();
  ASSERT_TRUE(log.append(decision_about("bad\xff")));
  EXPECT_EQ(open().decisions().size(), 1u);
}

TEST_F(DecisionLogTest, APathThatIsNoFileIsRefused) {
  const auto folder = DecisionLog::open({.path = folder_.string()});
  EXPECT_FALSE(folder);
  const auto missing = DecisionLog::open({.path = "/proc/farport/none/log"});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("none/log"), std::string::npos);
  const std::string fifo = (folder_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_FALSE(DecisionLog::open({.path = fifo}));
}

TEST_F(DecisionLogTest, AFileThatCannotBeWrittenLosesNoDecisionInMemory) {
  DecisionLog log = open(10);
  ASSERT_TRUE(log.append(decision_about("a")));
  fs::create_directories(path_ + ".1/in the way");
  EXPECT_FALSE(log.append(decision_about("b")));
  EXPECT_EQ(log.decisions().size(), 2u);
  fs::remove_all(path_ + ".1");
  EXPECT_TRUE(log.append(decision_about("c")));
}

// --- the advisor ---

constexpr uint64_t second_ns = 1'000'000'000;

PolicyInput measured(uint64_t bytes_s) {
  PolicyInput input;
  input.vm.name = "web";
  input.vm.host = "west";
  input.vm.allocation_bytes_s = 1'000;
  PolicyDevice disk;
  disk.name = "disk0";
  disk.host = "east";
  disk.measured_bytes_s = bytes_s;
  disk.window_full = true;
  input.devices = {disk};
  return input;
}

TEST(Advisor, RecordsOnlyWhatIsNew) {
  auto log = DecisionLog::open({});
  Advisor advisor(*log);
  uint64_t now = 0;
  EXPECT_TRUE(advisor.evaluate(measured(100), ++now, 1).recorded);
  EXPECT_FALSE(advisor.evaluate(measured(110), ++now, 2).recorded);
  EXPECT_FALSE(advisor.evaluate(measured(500), ++now, 3).recorded);
  // Over the threshold: first it must hold, then it is a move.
  EXPECT_TRUE(advisor.evaluate(measured(600), ++now, 4).recorded);
  EXPECT_FALSE(advisor.evaluate(measured(600), ++now, 5).recorded);
  const Advisor::Advice third = advisor.evaluate(measured(600), ++now, 6);
  EXPECT_TRUE(third.recorded);
  EXPECT_EQ(third.verdict.action, Action::migrate);
  EXPECT_TRUE(advisor.evaluate(measured(100), ++now, 7).recorded);
  // A dip starts the holding again.
  EXPECT_EQ(advisor.evaluate(measured(600), ++now, 8).verdict.reasons.front().code,
            ReasonCode::not_held_yet);
  ASSERT_EQ(log->decisions().size(), 5u);
  EXPECT_EQ(log->decisions()[2].time_unix_ms, 6u);
  EXPECT_EQ(log->decisions()[2].input.vm.evaluations_over, 2u);
}

TEST(Advisor, RemembersMoves) {
  auto log = DecisionLog::open({});
  Advisor advisor(*log);
  PolicyInput input = measured(900);
  input.settings.hold_evaluations = 0;
  const auto first = [&](uint64_t now_ns) {
    return advisor.evaluate(input, now_ns, 0).verdict.reasons.front().code;
  };
  EXPECT_EQ(first(0), ReasonCode::over_threshold);
  advisor.move_started("web");
  EXPECT_EQ(first(1 * second_ns), ReasonCode::vm_moving);
  advisor.move_ended("web", false, 2 * second_ns);
  EXPECT_EQ(first(2 * second_ns), ReasonCode::over_threshold);
  advisor.move_started("web");
  advisor.move_ended("web", true, 10 * second_ns);
  EXPECT_EQ(first(309 * second_ns), ReasonCode::moved_recently);
  EXPECT_EQ(first(310 * second_ns), ReasonCode::over_threshold);
  advisor.forget("web");
  EXPECT_EQ(first(311 * second_ns), ReasonCode::over_threshold);
}

}  // namespace
}  // namespace farport
