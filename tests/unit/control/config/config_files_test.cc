// The configuration from several files, the environment and flags.
#include "control/config/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "control/config/reader.h"

namespace farport {
namespace {

namespace fs = std::filesystem;

class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "farport-config-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    fs::create_directory(folder_ / "conf.d");
    sources_.path = (folder_ / "farport.toml").string();
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const char* name, std::string_view text) { std::ofstream(folder_ / name) << text; }

  fs::path folder_;
  ConfigSources sources_;
};

TEST_F(ConfigFiles, LaterOnesOverrideAndAppend) {
  write("farport.toml", "[host]\nname = \"a\"\nspin_us = 1\n[[vm]]\nname = \"one\"\n");
  write("conf.d/20.toml", "[host]\nname = \"c\"\n[[vm]]\nname = \"three\"\n");
  write("conf.d/10.toml", "[host]\nname = \"b\"\nworkers = 3\n[[vm]]\nname = \"two\"\n");
  write("conf.d/30.conf", "rubbish");
  write("conf.d/.40.toml", "rubbish");
  const ConfigReport report = load_config(sources_);
  ASSERT_TRUE(report.errors.empty()) << report.errors[0];
  EXPECT_EQ(report.files.size(), 3u);
  EXPECT_EQ(report.config.host.name, "c");
  EXPECT_EQ(report.config.host.spin_us, 1u);
  EXPECT_EQ(report.config.host.workers, 3u);
  ASSERT_EQ(report.config.vms.size(), 3u);
  EXPECT_EQ(report.config.vms[1].name, "two");
  EXPECT_EQ(report.config.vms[2].origin.file, (folder_ / "conf.d/20.toml").string());
}

TEST_F(ConfigFiles, NamesAreUniqueAcrossFiles) {
  write("farport.toml", "[[vm]]\nname = \"one\"\n");
  write("conf.d/10.toml", "\n[[vm]]\nname = \"one\"\n");
  const ConfigReport report = load_config(sources_);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_NE(report.errors[0].find("10.toml:2: VM \"one\" is there twice, first at"),
            std::string::npos);
}

TEST_F(ConfigFiles, FlagsComeBeforeTheEnvironmentBeforeFiles) {
  write("farport.toml", "[host]\nname = \"file\"\nspin_us = 1\nworkers = 2\n");
  sources_.environment = {{"FARPORT_HOST_NAME", "environment"},
                          {"FARPORT_HOST_SPIN_US", "7"},
                          {"FARPORT_HOST_LISTEN", "127.0.0.1:1, [::1]:2"},
                          {"FARPORT_HOST_LOG_JSON", "1"},
                          {"FARPORT_HOST_MEMORY_MAX", "1GiB"},
                          {"FARPORT_POLICY_THRESHOLD", "12.5"},
                          {"FARPORT_SOMETHING_ELSE", "x"}};
  sources_.overrides = {{"host.name", "flag"}, {"usbip_server.listen", "127.0.0.1:5"}};
  const ConfigReport report = load_config(sources_);
  ASSERT_TRUE(report.errors.empty()) << report.errors[0];
  EXPECT_EQ(report.config.host.name, "flag");
  EXPECT_EQ(report.config.host.spin_us, 7u);
  EXPECT_EQ(report.config.host.workers, 2u);
  EXPECT_EQ(report.config.host.listen.size(), 2u);
  EXPECT_TRUE(report.config.host.log_json);
  EXPECT_EQ(report.config.policy.settings.threshold, Percent{1250});
  ASSERT_TRUE(report.config.usbip_server);
  EXPECT_EQ(report.config.usbip_server->listen.port, 5);
  EXPECT_EQ(report.config.set_by.at("host.name"), "the command line");
}

TEST_F(ConfigFiles, WrongOverridesAreNamedByTheirSource) {
  sources_.environment = {{"FARPORT_HOST_WORKERS", "many"}};
  sources_.overrides = {{"host.nme", "x"}, {"vm.name", "x"}, {"host", "x"}};
  const ConfigReport report = load_config(sources_);
  ASSERT_EQ(report.errors.size(), 4u);
  EXPECT_EQ(
      report.errors[0],
      "the environment (FARPORT_HOST_WORKERS): host.workers: found \"many\", expected a whole "
      "number from 1 to 64");
  EXPECT_EQ(report.errors[1], "the command line: unknown key \"host\"");
}

TEST_F(ConfigFiles, AMissingFileIsTheDefaultsUnlessItWasAskedFor) {
  EXPECT_TRUE(load_config(sources_).errors.empty());
  sources_.must_exist = true;
  const ConfigReport report = load_config(sources_);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_EQ(report.errors[0], sources_.path + ": No such file or directory");
}

TEST_F(ConfigFiles, WhatIsNoFileIsRefused) {
  fs::create_directory(folder_ / "conf.d/folder.toml");
  const ConfigReport report = load_config(sources_);
  ASSERT_EQ(report.errors.size(), 1u);
  EXPECT_NE(report.errors[0].find("folder.toml: not a file"), std::string::npos);
}

TEST_F(ConfigFiles, TheEnvironmentIsRead) {
  ASSERT_EQ(::setenv("FARPORT_TEST_VALUE", "a=b", 1), 0);
  const auto variables = farport_environment();
  ::unsetenv("FARPORT_TEST_VALUE");
  ASSERT_TRUE(variables.contains("FARPORT_TEST_VALUE"));
  EXPECT_EQ(variables.at("FARPORT_TEST_VALUE"), "a=b");
  EXPECT_FALSE(variables.contains("PATH"));
}

}  // namespace
}  // namespace farport
