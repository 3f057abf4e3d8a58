#include "control/cli/api_client.h"

#include <fstream>
#include <thread>

#include "control/cli/interrupt.h"
#include "tests/unit/control/api/api_fixture.h"

namespace farport::test {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

// Something that is no farportd: takes one caller at a time, says `answer`, and hangs up, or not.
class Stranger {
 public:
  Stranger(const std::string& path, std::string answer, bool hang_up = true)
      : listener_(std::move(listen_unix({.path = path, .group = {}, .mode = 0600})->socket)),
        thread_([this, answer = std::move(answer), hang_up] { serve(answer, hang_up); }) {}
  ~Stranger() {
    stop_ = true;
    thread_.join();
  }

 private:
  void serve(const std::string& answer, bool hang_up) {
    std::vector<FileDescriptor> open;
    while (!stop_) {
      pollfd waiting{listener_.get(), POLLIN, 0};
      if (poll(&waiting, 1, 10) <= 0) continue;
      FileDescriptor caller(accept(listener_.get(), nullptr, nullptr));
      char request[4096];
      if (recv(caller.get(), request, sizeof request, 0) <= 0) continue;
      send(caller.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      if (!hang_up) open.push_back(std::move(caller));
    }
  }
  FileDescriptor listener_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class ApiClientTest : public ApiFixture {
 protected:
  ~ApiClientTest() override { set_interrupted(false); }
  ApiClient client{socket_path};
  const std::string elsewhere = folder.file("other.sock");
};

TEST_F(ApiClientTest, GetsPostsAndRemoves) {
  on_control([this] { service.attach_answer->id = "att-5"; });
  const auto version = client.get("/v1/version");
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_EQ((*version)["host"], "desk");
  const auto attached =
      client.post("/v1/attachments", {{"device", "lab/serial:SCALE"}}, milliseconds(5000));
  ASSERT_TRUE(attached) << attached.error().message;
  EXPECT_EQ((*attached)["id"], "att-5");
  EXPECT_TRUE(client.remove("/v1/attachments/att-5", milliseconds(5000)));
  EXPECT_EQ(on_control([this] { return service.detach_requests; }),
            std::vector<std::string>{"att-5"});
}

TEST_F(ApiClientTest, ErrorsAreTheApisOwn) {
  for (const ErrorCode code :
       {ErrorCode::failed, ErrorCode::usage, ErrorCode::not_found, ErrorCode::busy,
        ErrorCode::denied, ErrorCode::timed_out, ErrorCode::unreachable}) {
    on_control([&] { service.attach_answer = fail(code, "because"); });
    const auto answer = client.post("/v1/attachments", {{"device", "x"}}, milliseconds(5000));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, code);
    EXPECT_EQ(answer.error().message, "because");
  }
}

TEST_F(ApiClientTest, NoDaemonIsUnreachableAndSaysWhatToDo) {
  std::ofstream(folder.file("file")) << "no socket";
  listen_unix({.path = elsewhere, .group = {}, .mode = 0600})->socket.reset();  // stale
  for (const std::string& path : {folder.file("missing"), folder.file("file"), elsewhere}) {
    const auto answer = ApiClient(path).get("/v1/version");
    ASSERT_FALSE(answer) << path;
    EXPECT_EQ(answer.error().code, ErrorCode::unreachable) << path;
    EXPECT_NE(answer.error().message.find(path), std::string::npos) << answer.error().message;
    EXPECT_NE(answer.error().message.find("--socket"), std::string::npos) << answer.error().message;
  }
  const auto longer = ApiClient(std::string(300, 'x')).get("/v1/version");
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code, ErrorCode::usage);
}

TEST_F(ApiClientTest, ASocketOfOthersNamesTheGroupToJoin) {
  const auto listener = listen_unix({.path = elsewhere, .group = {}, .mode = 0000});
  // Otherwise the group of the one who runs this, which is none of root's either.
  constexpr gid_t ordinary = 4711;
  if (geteuid() == 0) {
    ASSERT_EQ(chown(elsewhere.c_str(), 0, ordinary), 0);
  }
  const Unprivileged unprivileged;
  ASSERT_TRUE(unprivileged.works());
  const auto answer = ApiClient(elsewhere).get("/v1/version");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::denied);
  EXPECT_NE(answer.error().message.find("join group"), std::string::npos) << answer.error().message;
}

// It used to say: join group root.
TEST_F(ApiClientTest, ASocketOfRootsGroupIsNoReasonToJoinThatGroup) {
  if (geteuid() != 0) GTEST_SKIP() << "only root makes a socket of group root";
  const auto listener = listen_unix({.path = elsewhere, .group = {}, .mode = 0000});
  ASSERT_EQ(chown(elsewhere.c_str(), 0, 0), 0);
  const Unprivileged unprivileged;
  ASSERT_TRUE(unprivileged.works());
  const auto answer = ApiClient(elsewhere).get("/v1/version");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::denied);
  const std::string& said = answer.error().message;
  EXPECT_EQ(said.find("usermod"), std::string::npos) << said;
  EXPECT_EQ(said.find("join"), std::string::npos) << said;
  EXPECT_NE(said.find("host.socket_group"), std::string::npos) << said;
  EXPECT_NE(said.find("as root"), std::string::npos) << said;
}

TEST_F(ApiClientTest, WhatIsNoDaemonIsToldSo) {
  const std::pair<std::string, ErrorCode> cases[] = {
      {"", ErrorCode::unreachable},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", ErrorCode::failed},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ErrorCode::failed},
      {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"cut\": ", ErrorCode::unreachable},
      {"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nno\n", ErrorCode::failed},
      {"HTTP/1.1 404 No\r\nContent-Length: 15\r\n\r\n{\"message\": 42}", ErrorCode::failed},
      {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", ErrorCode::failed},
  };
  for (const auto& [text, code] : cases) {
    std::filesystem::remove(elsewhere);
    const Stranger stranger(elsewhere, text);
    const auto answer = ApiClient(elsewhere).get("/v1/version");
    ASSERT_FALSE(answer) << text;
    EXPECT_EQ(answer.error().code, code) << text << ": " << answer.error().message;
    EXPECT_NE(answer.error().message.find(elsewhere), std::string::npos) << answer.error().message;
  }
}

TEST_F(ApiClientTest, ADaemonThatHangsIsWaitedForOnlySoLong) {
  const Stranger stranger(elsewhere, "HTTP/1.1 200 OK\r\n", false);
  const auto answer = ApiClient(elsewhere).get("/v1/version", milliseconds(300));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::timed_out);
}

TEST_F(ApiClientTest, WaitingIsToldAndCtrlCEndsIt) {
  on_control([this] { service.hold = true; });
  int told = 0;
  const auto answer = client.post("/v1/attachments", {{"device", "x"}}, std::chrono::seconds(60),
                                  [&told](milliseconds) {
                                    if (++told == 3) set_interrupted(true);
                                  });
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, "interrupted");
  EXPECT_EQ(told, 3);
}

TEST_F(ApiClientTest, LinesComeOneByOne) {
  on_control([this] {
    for (uint64_t i = 1; i <= 500; ++i) service.kept.push_back(make_event(i));
  });
  std::vector<uint64_t> seen;
  const auto done = client.lines("/v1/events?after=0&follow=false", [&](const std::string& line) {
    seen.push_back(json::parse(line)["sequence"].get<uint64_t>());
    return true;
  });
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_EQ(seen.size(), 500u);
  EXPECT_EQ(seen.front(), 1u);
  EXPECT_EQ(seen.back(), 500u);
}

TEST_F(ApiClientTest, AFollowedStreamEndsWhenItsReaderHasEnough) {
  on_control([this] { service.kept = {make_event(1), make_event(2)}; });
  int lines = 0;
  const auto done =
      client.lines("/v1/events?after=0", [&](const std::string&) { return ++lines < 2; });
  EXPECT_TRUE(done);
  EXPECT_EQ(lines, 2);
  EXPECT_TRUE(
      eventually([this] { return on_control([this] { return service.subscriptions() == 0; }); }));
}

TEST_F(ApiClientTest, AStreamsErrorsAreErrors) {
  const auto done = client.lines("/v1/events?after=soon", [](const std::string&) { return true; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::usage);
}

TEST_F(ApiClientTest, ALineWithoutEndIsRefused) {
  const std::string body(2 << 20, 'x');
  const Stranger stranger(elsewhere, "HTTP/1.1 200 OK\r\nContent-Length: " +
                                         std::to_string(body.size()) + "\r\n\r\n" + body);
  const auto done =
      ApiClient(elsewhere).lines("/v1/events", [](const std::string&) { return true; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::failed);
}

TEST(PercentEncode, LeavesOnlyUnreservedCharacters) {
  EXPECT_EQ(percent_encode("att-1._~Z9"), "att-1._~Z9");
  EXPECT_EQ(percent_encode("serial:by-id/a b&c=%\xe9"), "serial%3Aby-id%2Fa%20b%26c%3D%25%E9");
}

}  // namespace
}  // namespace farport::test
