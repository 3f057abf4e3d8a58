#include "control/api/api_server.h"

#include <nlohmann/json.hpp>

#include "tests/unit/control/api/api_fixture.h"

namespace farport::test {
namespace {

using nlohmann::json;

constexpr const char* kPing = "GET /_ping HTTP/1.1\r\nHost: farport\r\nConnection: close\r\n\r\n";

class ApiServerTest : public ApiFixture {
 protected:
  std::string ask(const std::string& text) {
    RawClient client(socket_path);
    EXPECT_TRUE(client.connected());
    client.send(text);
    return client.receive_all();
  }
  // Whatever came before, it serves.
  void expect_serves() {
    const std::string answer = ask(kPing);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
    EXPECT_TRUE(answer.ends_with("OK")) << answer;
  }
  size_t connections() {
    return on_control([this] { return server->connections(); });
  }
  size_t subscriptions() {
    return on_control([this] { return service.subscriptions(); });
  }
};

TEST_F(ApiServerTest, AnswersAndKnowsTheCaller) {
  const std::string answer =
      ask("GET /v1/devices HTTP/1.1\r\nHost: farport\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("Content-Type: application/json"), std::string::npos) << answer;
  const Caller caller = on_control([this] { return service.last_caller; });
  EXPECT_EQ(caller.uid, getuid());
  EXPECT_EQ(caller.gid, getgid());
  EXPECT_EQ(caller.pid, getpid());
  EXPECT_FALSE(caller.user.empty());
  ASSERT_FALSE(caller.groups.empty());
}

TEST_F(ApiServerTest, OneConnectionCarriesRequestsInTurn) {
  RawClient client(socket_path);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.send("GET /_ping HTTP/1.1\r\nHost: farport\r\n\r\n"));
    const std::string answer = client.receive_until("\r\n\r\nOK");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  }
  // Several at once are answered one after the other.
  ASSERT_TRUE(client.send(std::string("GET /_ping HTTP/1.1\r\nHost: farport\r\n\r\n") + kPing));
  const std::string answers = client.receive_all();
  EXPECT_NE(answers.find("HTTP/1.1 200", 20), std::string::npos) << answers;
}

TEST_F(ApiServerTest, GarbageIsRefusedAndHarmsNobody) {
  const std::string cases[] = {
      "hello\r\n\r\n",
      std::string(2000, '\0'),
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
      "GET\r\n\r\n",
      "GET /_ping HTTP/9.9\r\n\r\n",
      "GET /_ping HTTP/1.1\r\nno colon here\r\n\r\n",
      "POST /v1/attachments HTTP/1.1\r\nContent-Length: many\r\n\r\n",
      "POST /v1/attachments HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
  };
  for (const std::string& text : cases) {
    const std::string answer = ask(text);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << text << " -> " << answer;
    EXPECT_NE(answer.find("\"code\":\"usage\""), std::string::npos) << answer;
    expect_serves();
  }
}

TEST_F(ApiServerTest, ATruncatedRequestIsForgotten) {
  const char* cases[] = {
      "",
      "GET /v1/dev",
      "GET /v1/devices HTTP/1.1\r\nHost: f",
      "POST /v1/attachments HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"device\":",
      "POST /v1/attachments HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"dev",
  };
  for (const char* text : cases) {
    RawClient client(socket_path);
    ASSERT_TRUE(client.send(text));
    client.end_sending();
    EXPECT_EQ(client.receive_all().find("200"), std::string::npos) << text;
    expect_serves();
  }
  EXPECT_TRUE(eventually([this] { return connections() == 0; }));
  EXPECT_TRUE(on_control([this] { return service.attach_requests.empty(); }));
}

TEST_F(ApiServerTest, OversizedRequestsAreRefusedByWhatTheySay) {
  const std::string long_header =
      "GET /_ping HTTP/1.1\r\nX: " + std::string(ApiServer::header_bytes_max, 'x') + "\r\n\r\n";
  EXPECT_TRUE(ask(long_header).starts_with("HTTP/1.1 413"));
  const std::string announced =
      "POST /v1/attachments HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n{";
  EXPECT_TRUE(ask(announced).starts_with("HTTP/1.1 413"));
  const std::string body(ApiServer::body_bytes_max + 1, ' ');
  EXPECT_TRUE(ask("POST /v1/attachments HTTP/1.1\r\nContent-Length: " +
                  std::to_string(body.size()) + "\r\n\r\n")
                  .starts_with("HTTP/1.1 413"));
  expect_serves();
  EXPECT_TRUE(on_control([this] { return service.attach_requests.empty(); }));
}

TEST_F(ApiServerTest, TheLargestBodyIsTaken) {
  std::string body = R"({"device": "lab/serial:SCALE"})";
  body.append(ApiServer::body_bytes_max - body.size(), ' ');
  const std::string answer =
      ask("POST /v1/attachments HTTP/1.1\r\nConnection: close\r\n"
          "Content-Length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 201")) << answer;
}

TEST_F(ApiServerTest, PastTheLimitOfConnectionsNewOnesAreClosed) {
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < ApiServer::connections_max; ++i) {
    clients.push_back(std::make_unique<RawClient>(socket_path));
    ASSERT_TRUE(clients.back()->connected()) << i;
  }
  ASSERT_TRUE(eventually([this] { return connections() == ApiServer::connections_max; }));
  RawClient one_more(socket_path);
  one_more.send(kPing);
  EXPECT_EQ(one_more.receive_all(), "");
  // Those who were there are served.
  clients[0]->send(kPing);
  EXPECT_TRUE(clients[0]->receive_all().ends_with("OK"));
  clients.clear();
  ASSERT_TRUE(eventually([this] { return connections() == 0; }));
  expect_serves();
}

TEST_F(ApiServerTest, AnAnswerThatComesLateFindsItsCaller) {
  on_control([this] { service.hold = true; });
  RawClient client(socket_path);
  client.send("DELETE /v1/attachments/att-1 HTTP/1.1\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(eventually([this] { return on_control([this] { return service.held() == 1; }); }));
  expect_serves();  // meanwhile
  on_control([this] { service.answer_held(); });
  EXPECT_TRUE(client.receive_all().starts_with("HTTP/1.1 204"));
}

TEST_F(ApiServerTest, AnAnswerForOneWhoHasLeftIsDropped) {
  on_control([this] { service.hold = true; });
  RawClient client(socket_path);
  client.send("DELETE /v1/attachments/att-1 HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(eventually([this] { return on_control([this] { return service.held() == 1; }); }));
  client.close();
  on_control([this] { service.answer_held(); });
  EXPECT_TRUE(eventually([this] { return connections() == 0; }));
  expect_serves();
}

TEST_F(ApiServerTest, AnAnswerAfterTheServersEndIsDropped) {
  on_control([this] { service.hold = true; });
  RawClient client(socket_path);
  client.send("DELETE /v1/attachments/att-1 HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(eventually([this] { return on_control([this] { return service.held() == 1; }); }));
  on_control([this] { server.reset(); });
  EXPECT_EQ(client.receive_all(), "");
  on_control([this] { service.answer_held(); });
  EXPECT_FALSE(std::filesystem::exists(socket_path));
}

// --- the event stream ---

constexpr const char* kEvents = "GET /v1/events?after=0 HTTP/1.1\r\nHost: farport\r\n\r\n";

TEST_F(ApiServerTest, EventsComeAsTheyHappen) {
  on_control([this] { service.kept = {make_event(1, "attached", "the first")}; });
  RawClient client(socket_path);
  client.send(kEvents);
  const std::string begin = client.receive_until("the first");
  EXPECT_TRUE(begin.starts_with("HTTP/1.1 200")) << begin;
  EXPECT_NE(begin.find("application/x-ndjson"), std::string::npos) << begin;
  ASSERT_TRUE(eventually([this] { return subscriptions() == 1; }));
  on_control([this] { service.emit(make_event(2, "detached", "the second")); });
  const std::string next = client.receive_until("the second");
  EXPECT_NE(next.find("\"sequence\":2"), std::string::npos) << next;
  client.close();
  EXPECT_TRUE(eventually([this] { return subscriptions() == 0 && connections() == 0; }));
}

// A reader that sleeps costs one connection and a bounded amount of memory.
TEST_F(ApiServerTest, AReaderThatSleepsIsCut) {
  RawClient sleeper(socket_path), reader(socket_path);
  sleeper.send(kEvents);
  reader.send("GET /v1/events?after=0 HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(eventually([this] { return subscriptions() == 2; }));
  const std::string message(10'000, 'm');
  uint64_t sequence = 0;
  while (subscriptions() == 2) {
    ASSERT_LT(sequence, 10'000u) << "the sleeper was never cut";
    on_control([&] { service.emit(make_event(++sequence, "attached", message)); });
    const std::string mark = "\"sequence\":" + std::to_string(sequence) + ",";
    ASSERT_EQ(reader.receive_until(mark).find("TIMEOUT"), std::string::npos);
  }
  EXPECT_TRUE(eventually([this] { return connections() == 1; }));
  EXPECT_GT(sequence * message.size(), ApiServer::unsent_bytes_max);
  expect_serves();
}

// What is kept may be more than a reader is allowed to be behind.
TEST_F(ApiServerTest, KeptEventsThatAreTooManyAtOnceCutTheReader) {
  on_control([this] {
    for (uint64_t i = 1; i <= 300; ++i) {
      service.kept.push_back(make_event(i, "attached", std::string(10'000, 'm')));
    }
  });
  RawClient client(socket_path);
  client.send(kEvents);
  EXPECT_EQ(client.receive_all().find("\"sequence\":300"), std::string::npos);
  EXPECT_TRUE(eventually([this] { return connections() == 0 && subscriptions() == 0; }));
  expect_serves();
}

TEST_F(ApiServerTest, ThoseWhoListenAreLetGoAtTheEnd) {
  RawClient client(socket_path);
  client.send(kEvents);
  ASSERT_TRUE(eventually([this] { return subscriptions() == 1; }));
  on_control([this] { server.reset(); });
  EXPECT_EQ(subscriptions(), 0u);
  EXPECT_EQ(client.receive_all().find("TIMEOUT"), std::string::npos);
}

}  // namespace
}  // namespace farport::test
