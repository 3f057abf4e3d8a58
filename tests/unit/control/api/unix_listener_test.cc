#include "control/api/unix_listener.h"

#include <sys/stat.h>

#include <fstream>

#include "tests/unit/control/api/api_fixture.h"

namespace farport::test {
namespace {

namespace fs = std::filesystem;

class UnixListenerTest : public testing::Test {
 protected:
  TemporaryFolder folder;
  const std::string path = folder.file("api.sock");
  UnixListenerSettings settings{.path = path, .group = {}, .mode = 0660};
};

TEST_F(UnixListenerTest, MakesASocketWithItsMode) {
  for (const mode_t mode : {0600u, 0660u, 0666u}) {
    settings.mode = mode;
    const auto listener = listen_unix(settings);
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_FALSE(listener->inherited);
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777, mode);
    EXPECT_TRUE(RawClient(path).connected());
    fs::remove(path);
  }
}

TEST_F(UnixListenerTest, AFileInItsPlaceIsLeftAlone) {
  std::ofstream(path) << "precious";
  const auto listener = listen_unix(settings);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::failed);
  EXPECT_NE(listener.error().message.find("not a socket"), std::string::npos);
  std::string text;
  std::ifstream(path) >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(UnixListenerTest, ALinkOrAFolderIsLeftAlone) {
  fs::create_directory(path);
  EXPECT_FALSE(listen_unix(settings));
  EXPECT_TRUE(fs::is_directory(path));
  fs::remove(path);
  fs::create_symlink(folder.file("elsewhere"), path);
  EXPECT_FALSE(listen_unix(settings));
  EXPECT_TRUE(fs::is_symlink(path));
}

TEST_F(UnixListenerTest, AStaleSocketIsReplaced) {
  listen_unix(settings)->socket.reset();  // as a killed daemon leaves it
  ASSERT_TRUE(fs::exists(path));
  ASSERT_FALSE(RawClient(path).connected());
  const auto listener = listen_unix(settings);
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_TRUE(RawClient(path).connected());
}

TEST_F(UnixListenerTest, ALivingDaemonKeepsItsSocket) {
  const auto first = listen_unix(settings);
  ASSERT_TRUE(first);
  const auto second = listen_unix(settings);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_NE(second.error().message.find(path), std::string::npos);
  EXPECT_TRUE(RawClient(path).connected());
}

TEST_F(UnixListenerTest, APathMustFit) {
  for (const std::string& bad : {std::string(), "/tmp/" + std::string(200, 'x')}) {
    settings.path = bad;
    const auto listener = listen_unix(settings);
    ASSERT_FALSE(listener) << bad;
    EXPECT_EQ(listener.error().code, ErrorCode::usage);
  }
}

TEST_F(UnixListenerTest, AMissingFolderOrGroupIsNamed) {
  settings.path = folder.file("nowhere/api.sock");
  const auto no_folder = listen_unix(settings);
  ASSERT_FALSE(no_folder);
  EXPECT_NE(no_folder.error().message.find("nowhere"), std::string::npos);

  settings.path = path;
  settings.group = "no-such-group-here";
  const auto no_group = listen_unix(settings);
  ASSERT_FALSE(no_group);
  EXPECT_EQ(no_group.error().code, ErrorCode::not_found);
  EXPECT_NE(no_group.error().message.find("no-such-group-here"), std::string::npos);
  EXPECT_FALSE(fs::exists(path));  // nothing is left of the attempt
}

}  // namespace
}  // namespace farport::test
