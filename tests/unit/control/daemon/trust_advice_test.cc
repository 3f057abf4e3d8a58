// doctor's words on trust.
#include "control/daemon/trust_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farport {
namespace {

using testing::HasSubstr;

constexpr int64_t now_s = 1'800'000'000, day_s = 86'400;

TrustReport report() {
  TrustReport all;
  all.overview.host = "desk";
  all.overview.fingerprint = "SHA256:mine";
  all.overview.keys = {{"lab", "SHA256:theirs", ""}};
  return all;
}
std::vector<Check> of(const TrustReport& all, const std::string& name) {
  std::vector<Check> found;
  for (Check& check : explain_own_trust(all, now_s * 1000)) {
    if (check.name == name) found.push_back(std::move(check));
  }
  return found;
}

TEST(TrustAdvice, AHostThatIsNotPinnedNeedsBothCommands) {
  const Check check = explain_peer_trust(report().overview, "shed", false, false);
  EXPECT_FALSE(check.ok);
  EXPECT_THAT(check.advice, HasSubstr("farport trust add desk SHA256:mine"));
  EXPECT_THAT(check.advice, HasSubstr("farport trust add shed "));
}

TEST(TrustAdvice, OneThatIsPinnedOrReachedPlainlyIsWell) {
  const TrustOverview known = report().overview;
  EXPECT_THAT(explain_peer_trust(known, "lab", true, false).message, HasSubstr("SHA256:theirs"));
  const Check away = explain_peer_trust(known, "lab", false, false);
  EXPECT_TRUE(away.ok);
  EXPECT_THAT(away.message, HasSubstr("`farport trust list`")) << "ours there is not known";
  EXPECT_TRUE(explain_peer_trust(known, "shed", false, true).ok);
  TrustOverview certified = known;
  certified.authority = true;
  EXPECT_TRUE(explain_peer_trust(certified, "shed", false, false).ok);
}

TEST(TrustAdvice, CertificatesAndListsRunOut) {
  const struct {
    int64_t left_s;
    bool ok;
    std::string says;
  } cases[] = {
      {-1, false, "ran out"}, {3 * day_s, true, "ONLY until"}, {90 * day_s, true, ", until"}};
  for (const auto& one : cases) {
    TrustReport all = report();
    all.overview.certificate = "/etc/farport/desk.pem";
    all.overview.certificate_expires_unix_s = now_s + one.left_s;
    all.overview.revoked_until_unix_s = now_s + one.left_s;
    for (const char* name : {"certificate", "revoked list"}) {
      const auto found = of(all, name);
      ASSERT_EQ(found.size(), 1u) << name;
      EXPECT_EQ(found[0].ok, one.ok) << name;
      EXPECT_THAT(found[0].message, HasSubstr(one.says)) << name;
      EXPECT_EQ(found[0].advice.empty(), one.ok);
    }
  }
  EXPECT_TRUE(of(report(), "certificate").empty());
  EXPECT_TRUE(of(report(), "revoked list").empty());
}

TEST(TrustAdvice, RefusalsOfTheLastMinutesAreTold) {
  TrustReport all = report();
  const int64_t now_ms = now_s * 1000;
  all.refusals = {
      {Refusal::unknown_key, "192.0.2.5", "long ago", 1, now_ms - 900'000, now_ms - 800'000},
      {Refusal::not_tls, "192.0.2.6", "a scanner", 1, now_ms, now_ms},
      {Refusal::wrong_key, "192.0.2.7", "SHA256:other", 4, now_ms - 5000, now_ms},
  };
  const auto found = of(all, "refused");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[0].ok) << "nothing a person could repair";
  EXPECT_FALSE(found[1].ok);
  EXPECT_THAT(found[1].message, HasSubstr("192.0.2.7 (4 times"));
  EXPECT_THAT(found[1].message, HasSubstr("another key than the pinned one: SHA256:other"));
}

}  // namespace
}  // namespace farport
