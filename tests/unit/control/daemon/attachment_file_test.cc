#include "control/daemon/attachment_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace farport {
namespace {

KeptAttachment disk() {
  KeptAttachment kept;
  kept.id = "att-7";
  kept.request.host = "alpha";
  kept.request.device = "usb:1d6b:0104:A1";
  kept.request.driver = "vhci";
  kept.request.vm = "build";
  kept.user = "ann";
  kept.uid = 1000;
  kept.gid = 100;
  kept.path = "vhci port 3";
  return kept;
}

class AttachmentFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "farport-kept-XXXXXX";
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
    path_ = folder_ + "/state/attachments.json";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void put(const std::string& text) {
    std::filesystem::create_directories(folder_ + "/state");
    std::ofstream(path_) << text;
  }
  size_t files() {
    const auto all = std::filesystem::directory_iterator(folder_ + "/state");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }
  std::string folder_, path_;
};

TEST_F(AttachmentFileTest, WhatIsWrittenIsReadBack) {
  EXPECT_TRUE(load_attachments(path_)->attachments.empty());
  ASSERT_TRUE(write_attachments(path_, {disk()}));
  const auto loaded = load_attachments(path_);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(loaded->warnings.empty());
  ASSERT_EQ(loaded->attachments.size(), 1u);
  const KeptAttachment& back = loaded->attachments[0];
  EXPECT_EQ(back.id, "att-7");
  EXPECT_EQ(back.request.host, "alpha");
  EXPECT_EQ(back.request.device, "usb:1d6b:0104:A1");
  EXPECT_EQ(back.request.driver, "vhci");
  EXPECT_EQ(back.request.vm, "build");
  EXPECT_TRUE(back.request.persistent);
  EXPECT_EQ(back.user, "ann");
  EXPECT_EQ(back.uid, 1000u);
  EXPECT_EQ(back.gid, 100u);
  EXPECT_EQ(back.path, "vhci port 3");
  EXPECT_EQ(files(), 1u) << "something was left beside it";
}

TEST_F(AttachmentFileTest, WhatIsNoSuchFileIsMovedAside) {
  const std::string cases[] = {"",
                               "x",
                               "[]",
                               "{}",
                               R"({"version": 2, "attachments": []})",
                               R"({"version": 1, "attachments": {}})",
                               R"({"version": 1, "attachments": [{"id")"};
  for (const std::string& text : cases) {
    put(text);
    const auto loaded = load_attachments(path_);
    ASSERT_TRUE(loaded) << text;
    EXPECT_TRUE(loaded->attachments.empty()) << text;
    ASSERT_EQ(loaded->warnings.size(), 1u) << text;
    EXPECT_NE(loaded->warnings[0].find(path_ + ".bad-"), std::string::npos);
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_GE(files(), 1u) << "it is lost";
  }
}

TEST_F(AttachmentFileTest, OneBadEntryCostsItselfAlone) {
  const std::string good = encode_attachments({disk()});
  const std::string entry =
      good.substr(good.find('{', 1), good.rfind('}', good.rfind(']')) + 1 - good.find('{', 1));
  const std::string bad[] = {
      "7",
      "{}",
      entry,  // the same id twice
      R"({"id": "att-9", "host": "alpha", "device": 7, "uid": 0, "gid": 0})",
      R"({"id": "att-9", "host": "alpha", "device": "d", "uid": -1, "gid": 0})",
      R"({"id": "att-9", "host": "", "device": "d", "gid": 0})"};
  for (const std::string& one : bad) {
    put(R"({"version": 1, "attachments": [)" + entry + "," + one + "]}");
    const auto loaded = load_attachments(path_);
    ASSERT_TRUE(loaded) << one;
    EXPECT_EQ(loaded->attachments.size(), 1u) << one;
    EXPECT_EQ(loaded->warnings.size(), 1u) << one;
    const auto again = load_attachments(path_);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->attachments.size(), 1u) << "the sound one was not written back";
    EXPECT_TRUE(again->warnings.empty());
  }
}

TEST_F(AttachmentFileTest, WhatCannotBeReadIsNotWrittenOver) {
  std::filesystem::create_directories(path_);
  EXPECT_FALSE(load_attachments(path_));
  EXPECT_TRUE(std::filesystem::is_directory(path_));
  EXPECT_FALSE(write_attachments("/proc/none/attachments.json", {}));
}

}  // namespace
}  // namespace farport
