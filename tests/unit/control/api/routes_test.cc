#include "control/api/routes.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/control/api/fake_service.h"

namespace farport {
namespace {

using nlohmann::json;
using test::FakeService;
using test::make_event;

Caller somebody() { return {1000, 1000, 42, "ada", {"ada", "farport"}}; }

// The answer; every route of the fake answers from inside the call.
ApiResponse ask(FakeService& service, const std::string& method, const std::string& target,
                const std::string& body = {}) {
  std::optional<ApiResponse> response;
  int answers = 0;
  answer(service, {method, target, body, somebody()}, [&](ApiResponse given) {
    ++answers;
    response = std::move(given);
  });
  EXPECT_EQ(answers, 1) << method << " " << target;
  return response.value_or(ApiResponse{});
}

Attachment attachment(const std::string& id) {
  Attachment one;
  one.id = id;
  one.device_host = "lab";
  one.device = "serial:SCALE";
  return one;
}

FakeService furnished() {
  FakeService service;
  service.host_list.resize(1);
  service.host_list[0].name = "desk";
  service.attached = {attachment("att-1"), attachment("att-2")};
  service.stats_by_id["att-2"].attachment = attachment("att-2");
  service.attach_answer = attachment("att-3");
  service.vm_list.resize(1);
  service.vm_list[0].name = "branch";
  service.decision_list.resize(2);
  service.decision_list[0].number = 1;
  service.decision_list[1].number = 2;
  service.checks = std::vector<Check>{{"daemon", true, "runs", ""}};
  return service;
}

TEST(Routes, EachPathAnswers) {
  struct Case {
    const char* method;
    const char* target;
    const char* body;
    unsigned status;
    const char* contains;
  };
  const Case cases[] = {
      {"GET", "/_ping", "", 200, "OK"},
      {"GET", "/healthz", "", 200, "true"},
      {"GET", "/readyz", "", 200, "\"ready\":true"},
      {"GET", "/v1/version", "", 200, "\"version\":\"9.8.7\""},
      {"GET", "/v1/hosts", "", 200, "\"name\":\"desk\""},
      {"GET", "/v1/devices", "", 200, "\"devices\":[]"},
      {"GET", "/v1/devices?host=lab", "", 200, "\"problems\":[]"},
      {"GET", "/v1/attachments", "", 200, "\"id\":\"att-2\""},
      {"GET", "/v1/attachments/att-2", "", 200, "\"id\":\"att-2\""},
      {"GET", "/v1/attachments/att%2D2", "", 200, "\"id\":\"att-2\""},
      {"GET", "/v1/attachments/att-9", "", 404, "\"code\":\"not_found\""},
      {"POST", "/v1/attachments", R"({"device": "lab/serial:SCALE"})", 201, "\"id\":\"att-3\""},
      {"POST", "/v1/attachments", R"({"device": )", 400, "not JSON"},
      {"POST", "/v1/attachments", R"({"device": 7})", 400, "\"code\":\"usage\""},
      {"POST", "/v1/attachments", R"({"device": "x", "speed": "high"})", 400, "speed"},
      {"POST", "/v1/attachments", "", 400, "not JSON"},
      {"DELETE", "/v1/attachments/att-1", "", 204, ""},
      {"GET", "/v1/attachments/att-2/stats", "", 200, "\"meter\""},
      {"GET", "/v1/attachments/att-9/stats", "", 404, "att-9"},
      {"GET", "/v1/vms", "", 200, "branch"},
      {"GET", "/v1/decisions", "", 200, "\"number\":1"},
      {"GET", "/v1/decisions?limit=1", "", 200, "\"number\":2"},
      {"GET", "/v1/decisions?limit=many", "", 400, "whole number"},
      {"GET", "/v1/decisions?limit=-1", "", 400, "whole number"},
      {"GET", "/v1/decisions?limit=10001", "", 400, "10000"},
      {"GET", "/v1/decisions?limit=99999999999999999999", "", 400, "whole number"},
      {"GET", "/v1/events?after=x", "", 400, "whole number"},
      {"GET", "/v1/events?follow=perhaps", "", 400, "true or false"},
      {"GET", "/v1/explain", "", 200, "\"name\":\"daemon\""},
      {"GET", "/v1/nothing", "", 404, "/v1/nothing"},
      {"GET", "/", "", 404, "not_found"},
      {"GET", "", "", 404, "not_found"},
      {"GET", "/v1/attachments/", "", 404, "not_found"},
      {"GET", "/v1/attachments/a/b", "", 404, "not_found"},
      {"GET", "/v1/attachments//stats", "", 404, "not_found"},
      {"GET", "/v1/attachments/%4", "", 400, "malformed"},
      {"GET", "/v1/attachments/%zz", "", 400, "malformed"},
      {"GET", "/v1/devices?host=%f", "", 400, "malformed"},
      {"POST", "/v1/version", "", 405, "GET"},
      {"PUT", "/v1/attachments", "", 405, "POST"},
      {"BREW", "/v1/devices", "", 405, "GET"},
  };
  for (const Case& one : cases) {
    FakeService service = furnished();
    const auto response = ask(service, one.method, one.target, one.body);
    EXPECT_EQ(response.status, one.status) << one.method << " " << one.target;
    EXPECT_NE(response.body.find(one.contains), std::string::npos)
        << one.method << " " << one.target << ": " << response.body;
    if (one.status >= 400) {
      const json error = json::parse(response.body, nullptr, false);
      ASSERT_TRUE(error.is_object()) << one.target << ": " << response.body;
      EXPECT_TRUE(error["message"].is_string()) << one.target;
      EXPECT_TRUE(error["code"].is_string()) << one.target;
    }
  }
}

TEST(Routes, EveryErrorHasItsStatusAndName) {
  const std::pair<ErrorCode, unsigned> cases[] = {
      {ErrorCode::failed, 500},     {ErrorCode::usage, 400},  {ErrorCode::not_found, 404},
      {ErrorCode::busy, 409},       {ErrorCode::denied, 403}, {ErrorCode::timed_out, 504},
      {ErrorCode::unreachable, 502}};
  for (const auto& [code, status] : cases) {
    FakeService service = furnished();
    service.attach_answer = fail(code, "because");
    service.detach_answer = fail(code, "because");
    service.device_list = fail(code, "because");
    service.checks = fail(code, "because");
    const ApiResponse responses[] = {ask(service, "POST", "/v1/attachments", R"({"device": "x"})"),
                                     ask(service, "DELETE", "/v1/attachments/att-1"),
                                     ask(service, "GET", "/v1/devices"),
                                     ask(service, "GET", "/v1/explain")};
    for (const ApiResponse& response : responses) {
      EXPECT_EQ(response.status, status);
      const json error = json::parse(response.body);
      EXPECT_EQ(error["message"], "because");
      EXPECT_EQ(error["code"], error_code_name(code));
    }
  }
}

TEST(Routes, NotReadyIs503WithTheChecks) {
  FakeService service;
  service.ready = false;
  const auto response = ask(service, "GET", "/readyz");
  EXPECT_EQ(response.status, 503u);
  EXPECT_FALSE(json::parse(response.body)["checks"].empty());
}

TEST(Routes, TheRequestReachesTheServiceWithItsCaller) {
  FakeService service = furnished();
  ask(service, "POST", "/v1/attachments",
      R"({"device": "lab/serial:SCALE", "driver": "pty", "vm": "branch", "name": null})");
  ASSERT_EQ(service.attach_requests.size(), 1u);
  EXPECT_EQ(service.attach_requests[0].host, "lab");
  EXPECT_EQ(service.attach_requests[0].device, "serial:SCALE");
  EXPECT_EQ(service.attach_requests[0].driver, "pty");
  EXPECT_EQ(service.attach_requests[0].vm, "branch");
  EXPECT_EQ(service.last_caller.uid, 1000u);
  EXPECT_EQ(service.last_caller.user, "ada");

  ask(service, "DELETE", "/v1/attachments/att-1");
  EXPECT_EQ(service.detach_requests, std::vector<std::string>{"att-1"});
  ask(service, "GET", "/v1/devices?host=a+b%26c&other=1");
  EXPECT_EQ(service.device_hosts.back(), "a b&c");
  ask(service, "GET", "/v1/explain?host=lab&device=serial%3ASCALE");
  EXPECT_EQ(service.explanations.back(),
            (std::pair<std::string, std::string>("lab", "serial:SCALE")));
  ask(service, "GET", "/v1/decisions");
  EXPECT_EQ(service.decision_limits.back(), 100u);
}

TEST(Routes, WrongMethodsNameThoseThatAreRight) {
  FakeService service;
  EXPECT_EQ(ask(service, "PUT", "/v1/attachments").allow, "GET, POST");
  EXPECT_EQ(ask(service, "POST", "/v1/attachments/att-1").allow, "GET, DELETE");
}

TEST(Routes, EventsAreAStreamFromASequence) {
  FakeService service;
  EXPECT_EQ(ask(service, "GET", "/v1/events?after=7").events_after, 7u);
  EXPECT_EQ(ask(service, "GET", "/v1/events").events_after, ~uint64_t{0});
  EXPECT_EQ(ask(service, "GET", "/v1/events?after=7&follow=true").events_after, 7u);
  EXPECT_EQ(service.subscriptions(), 0u);
}

TEST(Routes, EventsThatAreNotFollowedAreThoseKept) {
  FakeService service;
  service.kept = {make_event(1), make_event(2), make_event(3)};
  const auto response = ask(service, "GET", "/v1/events?after=1&follow=false");
  EXPECT_FALSE(response.events_after);
  std::istringstream lines(response.body);
  std::vector<uint64_t> sequences;
  for (std::string line; std::getline(lines, line);) {
    sequences.push_back(json::parse(line)["sequence"].get<uint64_t>());
  }
  EXPECT_EQ(sequences, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(service.subscriptions(), 0u);
}

// A device's strings are the device's: Latin-1, say, is not UTF-8, and must not throw.
TEST(Routes, BytesThatAreNotUtf8AreReplaced) {
  FakeService service;
  DeviceEntry entry;
  entry.info.description = "caf\xe9";
  service.device_list = DeviceList{{entry}, {}};
  const auto response = ask(service, "GET", "/v1/devices");
  EXPECT_EQ(response.status, 200u);
  EXPECT_FALSE(json::parse(response.body, nullptr, false).is_discarded());
}

}  // namespace
}  // namespace farport
