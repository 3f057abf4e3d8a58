// The paths under /v1/trust.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/api/routes.h"
#include "tests/unit/control/api/fake_service.h"

namespace farport::test {
namespace {

using nlohmann::json;

class TrustRoutes : public testing::Test {
 protected:
  ApiResponse ask(const std::string& method, const std::string& target,
                  const std::string& body = {}) {
    ApiResponse given;
    answer(service_, {method, target, body, {1000, 1000, 42, "ada", {"ada"}}},
           [&](ApiResponse response) { given = std::move(response); });
    return given;
  }
  FakeService service_;
};

TEST_F(TrustRoutes, TellWhatIsTrustedAndWhoWasRefused) {
  TrustReport report;
  report.overview.host = "desk";
  report.overview.fingerprint = "SHA256:mine";
  report.overview.keys = {{"lab", "SHA256:theirs", "in the cellar"}};
  report.refusals = {{.reason = Refusal::wrong_key,
                      .address = "192.0.2.7",
                      .message = "another key",
                      .host = "lab",
                      .fingerprint = "SHA256:another",
                      .count = 3,
                      .first_unix_ms = 1000,
                      .last_unix_ms = 2000}};
  service_.trust_report = report;
  const ApiResponse response = ask("GET", "/v1/trust");
  EXPECT_EQ(response.status, 200u);
  const json all = json::parse(response.body);
  EXPECT_EQ(all["fingerprint"], "SHA256:mine");
  EXPECT_TRUE(all["next_fingerprint"].is_null());
  EXPECT_TRUE(all["certificate_expires"].is_null());
  EXPECT_EQ(all["keys"][0]["host"], "lab");
  EXPECT_EQ(all["refusals"][0]["reason"], "wrong_key");
  EXPECT_EQ(all["refusals"][0]["count"], 3);
  service_.trust_report = fail(ErrorCode::not_found, "no keys");
  EXPECT_EQ(ask("GET", "/v1/trust").status, 404u);
}

TEST_F(TrustRoutes, Add) {
  const std::string body = R"({"host": "lab", "fingerprint": "SHA256:x", "replace": true})";
  EXPECT_EQ(ask("POST", "/v1/trust/keys", body).status, 201u);
  ASSERT_EQ(service_.trust_additions.size(), 1u);
  EXPECT_EQ(service_.trust_additions[0].key.name, "lab");
  EXPECT_TRUE(service_.trust_additions[0].replace);
  EXPECT_EQ(service_.last_caller.user, "ada");
  service_.trust_add_answer = false;
  EXPECT_EQ(ask("POST", "/v1/trust/keys", body).status, 200u);
  service_.trust_add_answer = fail(ErrorCode::denied, "only root");
  EXPECT_EQ(ask("POST", "/v1/trust/keys", body).status, 403u);
}

TEST_F(TrustRoutes, MalformedRequestsReachNobody) {
  const char* cases[] = {
      "",
      "null",
      "[]",
      "7",
      "{}",
      R"({"host": "lab"})",
      R"({"fingerprint": "SHA256:x"})",
      R"({"host": 7, "fingerprint": "SHA256:x"})",
      R"({"host": "lab", "fingerprint": null})",
      R"({"host": "lab", "fingerprint": "SHA256:x", "replace": "yes"})",
      R"({"host": "lab", "fingerprint": "SHA256:x", "key": "secret"})",
  };
  for (const char* body : cases) {
    EXPECT_EQ(ask("POST", "/v1/trust/keys", body).status, 400u) << body;
  }
  EXPECT_TRUE(service_.trust_additions.empty());
  for (const char* body : {"", "[]", R"({"prepare": 1})", R"({"prepared": true})"}) {
    EXPECT_EQ(ask("POST", "/v1/trust/renew", body).status, 400u) << body;
  }
  EXPECT_TRUE(service_.trust_renewals.empty());
}

TEST_F(TrustRoutes, Remove) {
  EXPECT_EQ(ask("DELETE", "/v1/trust/keys/lab").status, 204u);
  EXPECT_EQ(ask("DELETE", "/v1/trust/keys/la%62?fingerprint=SHA256%3Aa%2Bb").status, 204u);
  const std::vector<std::pair<std::string, std::string>> expected = {{"lab", ""},
                                                                     {"lab", "SHA256:a+b"}};
  EXPECT_EQ(service_.trust_removals, expected);
  service_.trust_remove_answer = fail(ErrorCode::not_found, "none");
  EXPECT_EQ(ask("DELETE", "/v1/trust/keys/shed").status, 404u);
}

TEST_F(TrustRoutes, Renew) {
  const ApiResponse response = ask("POST", "/v1/trust/renew", R"({"prepare": true})");
  EXPECT_EQ(response.status, 200u);
  EXPECT_EQ(json::parse(response.body)["fingerprint"], "SHA256:new");
  EXPECT_EQ(ask("POST", "/v1/trust/renew", "{}").status, 200u);
  EXPECT_EQ(service_.trust_renewals, (std::vector<bool>{true, false}));
}

}  // namespace
}  // namespace farport::test
